"""Fit calibrations to detections that are known to be right or wrong, and measure how well the chances come true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import norm

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.pipeline.detection.calibration import Calibration

__all__ = [
    "MIN_DETECTIONS",
    "MIN_OBJECTS",
    "JudgedDetections",
    "brier_score",
    "every_other",
    "fit_calibration",
    "is_clearly_better",
    "reliability_error",
]

KNOTS = 12
BINS = 10
#: the highest chance: no score is certain
MAX_CHANCE = 0.99
#: the smallest group of detections for one knot, and the smallest number of detections for a calibration
MIN_GROUP, MIN_DETECTIONS = 10, 50
#: the fewest objects for a calibration of its own: the objects alone make half of the groups. With fewer, groups
#: are left out, and a step from wrong to right becomes a slope: 8 of 20 objects got chances under .5.
MIN_OBJECTS = KNOTS // 2 * MIN_GROUP
#: one-sided confidence with which a calibration must be better than another one, to be clearly better
CONFIDENCE = 0.95

#: (score, whether the detection is an object) of each detection
ScoredHits = Sequence[tuple[float, bool]]


@dataclass(frozen=True)
class JudgedDetections:
    """Detections of one object type, without those of ignored objects, and whether they are right.

    Attributes:
        scores: (n,) float32, 0..1, as the detector gives them.
        hits: (n,) bool, whether the detection is an object.
        sides: (n,) float32, the shorter side of the detection in pixels of the image.
        images: (n,) int64, the id of the image.
    """

    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    sides: NDArray[np.float32]
    images: NDArray[np.int64]

    @classmethod
    def merge(cls, parts: Sequence[JudgedDetections]) -> JudgedDetections:
        """Join the detections of several images.

        Args:
            parts: one or more.
        """
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: NDArray[np.bool_]) -> JudgedDetections:
        return JudgedDetections(self.scores[rows], self.hits[rows], self.sides[rows], self.images[rows])

    def __repr__(self) -> str:
        return f"JudgedDetections({len(self)} detections, {self.objects} objects)"

    @property
    def objects(self) -> int:
        """How many of the detections are objects."""
        return int(self.hits.sum())

    @property
    def found(self) -> ScoredHits:
        """The score of each detection, and whether it is an object."""
        return list(zip(self.scores.tolist(), self.hits.tolist(), strict=True))

    def calibrated(self, chance: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> JudgedDetections:
        """The same detections with other scores.

        Args:
            chance: a function from scores to chances, such as a `Calibration`.
        """
        return replace(self, scores=chance(self.scores))

    def halves(self, first: Iterable[int]) -> tuple[JudgedDetections, JudgedDetections]:
        """Split the detections by image.

        Args:
            first: ids of images.

        Returns:
            The detections in these images, and those in all others.
        """
        in_first = np.isin(self.images, list(first))
        return self[in_first], self[~in_first]


def every_other(images: Iterable[LabelledImage]) -> set[int]:
    """Get the ids of every other image of each data set."""
    by_source: defaultdict[str, list[int]] = defaultdict(list)
    for image in images:
        by_source[image.source].append(image.id)
    return {number for numbers in by_source.values() for number in numbers[::2]}


def fit_calibration(detections: ScoredHits, *, parent: Calibration | None = None, knots: int = KNOTS) -> Calibration:
    """Fit the rising function from scores to chances that is nearest to the data (isotonic regression).

    With a parent, the function is shrunk to it. Of n objects, the fit gets the weight n / (n + m) and the parent
    m / (n + m), where m is `MIN_OBJECTS`. This is m-estimation (Zadrozny and Elkan, "Obtaining calibrated probability
    estimates", ICML 2001) with the parent's chance as the base rate. So few objects change the parent a little, and
    many replace it.

    Args:
        detections: (score, whether it is an object) of each detection.
        parent: a calibration of like scores, for example of the weights that a training started from.
        knots: the most knots of the function; those of the parent are added.

    Returns:
        The calibration.

    Raises:
        ValueError: there are fewer than `MIN_DETECTIONS` detections, or too few of them are objects: fewer than
            `MIN_OBJECTS`; with a parent, fewer than one group of 10.
    """
    objects, least = sum(hit for _, hit in detections), MIN_OBJECTS if parent is None else MIN_GROUP
    if len(detections) < MIN_DETECTIONS or objects < least:
        raise ValueError(
            f"{len(detections)} detections, {objects} of them objects, are too few for a calibration: "
            f"it needs {MIN_DETECTIONS} and {least}."
        )
    # half of the groups are of objects, so few objects allow few knots
    fitted = _isotonic(detections, min(knots, 2 * (objects // MIN_GROUP)))
    return fitted if parent is None else _pooled(fitted, parent, objects / (objects + MIN_OBJECTS))


def _isotonic(detections: ScoredHits, knots: int) -> Calibration:
    scores, hits = np.array(sorted(detections), float).T
    chances = isotonic_regression(hits).x
    # one knot at the mean of each group; half of the groups follow the scores of hits, half those of all detections
    shares = np.linspace(0, 1, knots // 2 + 1)[:-1]
    edges = np.unique(np.concatenate([np.quantile(scores, shares), np.quantile(scores[hits > 0], shares)]))
    group = np.searchsorted(edges, scores, side="right")
    members = [group == number for number in np.unique(group) if (group == number).sum() >= MIN_GROUP]
    pairs = [(0.0, 0.0), *((scores[rows].mean(), chances[rows].mean()) for rows in members), (1.0, 1.0)]
    at, level = np.round(pairs, 4).T
    kept = np.concatenate([np.diff(at) > 0.005, [True]])
    # tiny steps between knots of the same chance keep the order of the scores
    level = np.append(np.minimum(level[kept][:-1], MAX_CHANCE) + 1e-4 * np.arange(kept.sum() - 1), 1)
    return Calibration.read(np.stack([at[kept], np.maximum.accumulate(level)], 1).round(4).tolist())


def _pooled(fitted: Calibration, parent: Calibration, weight: float) -> Calibration:
    """The weighted mean of two calibrations; `weight`, 0..1, is that of the first."""
    at = np.unique(np.round([score for each in (fitted, parent) for score, _ in each.knots], 4)).astype(np.float32)
    chances = weight * fitted(at) + (1 - weight) * parent(at)
    return Calibration.read(np.stack([at, np.maximum.accumulate(chances)], 1).astype(float).round(4).tolist())


def reliability_error(detections: ScoredHits, chance: Callable[[np.ndarray], np.ndarray] = np.asarray) -> float:
    """Compute the expected calibration error (Naeini et al., AAAI 2015).

    It is the mean difference between the predicted chance and the share of hits, over ten bins of the chance.

    Args:
        detections: (score, whether it is an object) of each detection.
        chance: a function from scores to chances; default: the score is the chance.

    Returns:
        The error, 0..1.
    """
    scores, hits = np.array(detections, float).reshape(-1, 2).T
    chances = chance(scores)
    bins = np.minimum((chances * BINS).astype(int), BINS - 1)
    errors = [abs(chances[bins == n].mean() - hits[bins == n].mean()) * (bins == n).sum() for n in np.unique(bins)]
    return float(sum(errors) / max(1, len(detections)))


def brier_score(detections: JudgedDetections) -> float:
    """Compute the mean squared difference between chance and outcome (Brier 1950); lower is better.

    Args:
        detections: one or more, with chances as scores.
    """
    return float(_squared_errors(detections).mean())


def is_clearly_better(detections: JudgedDetections, other: JudgedDetections) -> bool:
    """Whether chances have a lower Brier score than others by more than the choice of the images can explain.

    The fall of the summed squared errors must exceed 1.64 of its standard errors (95 %, one-sided). Images are the
    sample, not detections, as the detections of one image are alike.

    Args:
        detections: with the chances as scores. None of the two calibrations was fitted to them.
        other: the same detections, with the other chances as scores.
    """
    _, image = np.unique(detections.images, return_inverse=True)
    gains = np.bincount(image, _squared_errors(other) - _squared_errors(detections))
    if len(gains) < 2:
        return False
    return bool(gains.sum() > norm.ppf(CONFIDENCE) * np.sqrt(len(gains)) * gains.std(ddof=1))


def _squared_errors(detections: JudgedDetections) -> NDArray[np.float64]:
    return np.asarray((detections.scores.astype(np.float64) - detections.hits) ** 2)
