"""Calibration: map the scores of a model to the chance that a box is right, and weight the chance by what a miss costs.

With calibrated scores, one threshold means the same for every model. The functions come from isotonic regression
(Zadrozny and Elkan, KDD 2002).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anonymizer.pipeline.detections import Detections, ObjectType

__all__ = ["SMALL_PX", "Calibration", "Calibrations", "unweigh_misses", "weigh_misses"]

#: an object whose shorter side has fewer pixels of the image is small
SMALL_PX = 16


@dataclass(frozen=True)
class Calibration:
    """A rising function from a model's scores to chances: linear between its knots, and constant beyond them.

    Attributes:
        knots: two or more (score, chance) pairs, both 0..1. Scores rise strictly, chances do not fall.

    Raises:
        ValueError: the knots are fewer than two, or not such pairs.

    Examples:
        >>> Calibration(((0.0, 0.0), (0.5, 0.9)))(np.array([0.25, 0.7], np.float32))
        array([0.45, 0.9 ], dtype=float32)
    """

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        knots = np.asarray(self.knots, float)
        if knots.ndim != 2 or knots.shape[1] != 2 or len(knots) < 2:
            raise ValueError("a calibration needs at least two (score, chance) pairs")
        scores, chances = knots.T
        if not ((knots >= 0) & (knots <= 1)).all() or (np.diff(scores) <= 0).any() or (np.diff(chances) < 0).any():
            raise ValueError("the pairs of a calibration must lie in 0..1 and rise")

    @classmethod
    def read(cls, knots: Sequence[Sequence[float]]) -> Calibration:
        """Read the lists of (score, chance) pairs in the registry."""
        return cls(tuple((float(score), float(chance)) for score, chance in knots))

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the chances (n,) float32 of scores (n,) float32."""
        return np.asarray(np.interp(scores, *np.asarray(self.knots, float).T), np.float32)


@dataclass(frozen=True)
class Calibrations:
    """The calibrations of one model, by object type. A type without any keeps its scores.

    A score means another chance where a network sees an object badly. Therefore small objects, and objects in enlarged
    views of an image, can have maps of their own.

    Attributes:
        whole: for all objects that no other map is for.
        small: for objects whose shorter side has fewer than `SMALL_PX` pixels of the image.
        close: for detections in enlarged views of an image (tiles, a second look), whatever the size of the object.
    """

    whole: Mapping[ObjectType, Calibration] = field(default_factory=dict)
    small: Mapping[ObjectType, Calibration] = field(default_factory=dict)
    close: Mapping[ObjectType, Calibration] = field(default_factory=dict)

    @classmethod
    def read(cls, rows: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Calibrations:
        """Read the maps in the registry.

        Args:
            rows: by name of the attribute, and by object type, the lists of (score, chance) pairs.

        Raises:
            ValueError: an object type or a list of pairs is not allowed.
        """
        return cls(
            **{
                name: {ObjectType(key): Calibration.read(knots) for key, knots in maps.items()}
                for name, maps in rows.items()
            }
        )

    @classmethod
    def merge(cls, parts: Iterable[Calibrations]) -> Calibrations:
        """Join the calibrations of several object types.

        Args:
            parts: of the same model; for a type that several have, the last one counts.
        """
        merged = cls()
        for part in parts:
            merged = cls({**merged.whole, **part.whole}, {**merged.small, **part.small}, {**merged.close, **part.close})
        return merged

    def apply(self, detections: Detections, *, close: bool = False) -> Detections:
        """Replace the scores of a model by chances.

        Args:
            detections: of this model, with its own scores, and with boxes in pixels of the image.
            close: whether they come from enlarged views of the image; default: False, from the whole image.

        Returns:
            The same objects by falling chance.
        """
        scores = detections.scores.copy()
        sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
        is_small = sides.min(axis=1, initial=np.inf) < SMALL_PX
        for object_type in {*self.whole, *self.small, *self.close}:
            of_type = detections.types == object_type.number
            enlarged = self.close.get(object_type) if close else None
            for rows, own in ((of_type & is_small, self.small), (of_type & ~is_small, self.whole)):
                chance = enlarged or own.get(object_type) or self.whole.get(object_type)
                if chance is not None:
                    scores[rows] = chance(scores[rows])
        return replace(detections, scores=scores)[np.argsort(-scores, kind="stable")]

    def of_type(self, object_type: ObjectType) -> Calibrations:
        """The maps of one object type alone."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        return Calibrations(
            **{name: {object_type: maps[object_type]} for name, maps in named.items() if object_type in maps}
        )

    def digest(self, object_type: ObjectType) -> str:
        """Compute 8 hexadecimal digits that change with the maps of an object type; empty: it has no map."""
        maps = self.of_type(object_type)
        if maps == Calibrations():
            return ""
        knots = [[each.knots for each in by_type.values()] for by_type in (maps.whole, maps.small, maps.close)]
        return hashlib.sha256(repr((SMALL_PX, knots)).encode()).hexdigest()[:8]


def weigh_misses(chances: ArrayLike, miss_cost: ArrayLike) -> NDArray[np.float32]:
    """Weight chances by what a miss costs: k p / (k p + 1 - p) for the chance p and the cost k.

    If a missed object costs k times as much as a needless blur, redacting costs less from the chance 1 / (k + 1) up.
    There the weighted chance is exactly .5. The weight multiplies the odds p / (1 - p) by k, so 0 and 1 stay what they
    are, and the order stays. Source: Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.

    Args:
        chances: (n,) that a box is right, 0..1.
        miss_cost: one for all or (n,), from 1 up; 1 leaves the chances as they are.

    Returns:
        (n,) float32, 0..1.

    Examples:
        >>> weigh_misses([0.0, 0.2, 0.5, 1.0], 4)
        array([0. , 0.5, 0.8, 1. ], dtype=float32)
    """
    wanted = np.asarray(miss_cost, float) * np.asarray(chances, float)
    return np.asarray(wanted / (wanted + 1 - np.asarray(chances, float)), np.float32)


def unweigh_misses(scores: ArrayLike, miss_cost: ArrayLike) -> NDArray[np.float32]:
    """Give the chances back that `weigh_misses` made scores of: s / (s + k (1 - s)).

    Args:
        scores: (n,) weighted chances, 0..1.
        miss_cost: one for all or (n,), from 1 up.

    Returns:
        (n,) float32, 0..1.

    Examples:
        >>> unweigh_misses([0.0, 0.5, 0.8, 1.0], 4)
        array([0. , 0.2, 0.5, 1. ], dtype=float32)
    """
    return weigh_misses(scores, 1 / np.asarray(miss_cost, float))
