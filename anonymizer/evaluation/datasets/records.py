"""What the readers of all label formats give, before it is held against the pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.pipeline.detections import ObjectType

__all__ = [
    "BrokenLabel",
    "Label",
    "Labels",
    "PictureLabels",
    "add_unknown",
    "bounds",
    "numbers",
    "polygon",
    "stated_size",
]

_LARGEST = 1e9


class BrokenLabel(ValueError):
    """A label does not say what it should; the text says what is wrong, without a full stop."""


@dataclass(frozen=True)
class Label:
    """One object.

    Attributes:
        box: (4,) float64, x1, y1, x2, y2, finite, else as labelled.
        where: which label of its picture it is.
        outline: polygons, each (k, 2) float64 x, y.
    """

    object_type: ObjectType
    box: NDArray[np.float64]
    ignored: bool
    where: str
    outline: tuple[NDArray[np.float64], ...] | None = None


@dataclass(frozen=True)
class PictureLabels:
    """What the labels say of one picture.

    Attributes:
        name: what to call it where something is wrong.
        size_hw: in pixels, as the labels say; None where they do not.
        fractions: boxes and outlines are fractions of the picture's width and height, not pixels.
        labelled: the types of which every object is labelled; None is those of the whole set.
    """

    path: Path
    name: str
    labels: list[Label]
    size_hw: tuple[int, int] | None = None
    fractions: bool = False
    id: int | None = None
    source: str | None = None
    labelled: tuple[ObjectType, ...] | None = None


@dataclass(frozen=True)
class Labels:
    """A whole set; `types` are those that it has a name for."""

    pictures: list[PictureLabels] = field(default_factory=list)
    types: tuple[ObjectType, ...] = ()


def numbers(values: object, what: str) -> NDArray[np.float64]:
    """(n,) float64 of a list.

    Raises:
        BrokenLabel: they are no numbers, not finite, or beyond any picture.
    """
    try:
        array = np.asarray(values, np.float64)
    except (ValueError, TypeError, OverflowError):
        array = np.array(np.nan)
    if array.ndim != 1 or not (np.abs(array) < _LARGEST).all():
        shown = str(values)
        raise BrokenLabel(f"{what} is {shown if len(shown) <= 60 else shown[:57] + '...'}, not numbers below 1e9")
    return array


def polygon(values: object) -> NDArray[np.float64]:
    """(k, 2) float64 x, y of x1, y1, x2, y2, ...

    Raises:
        BrokenLabel: they are no such numbers, or no pairs, or fewer than three pairs.
    """
    flat = numbers(values, "the polygon")
    if len(flat) < 6 or len(flat) % 2:
        raise BrokenLabel(f"the polygon has {len(flat)} numbers, not pairs of x and y of three points or more")
    return flat.reshape(-1, 2)


def bounds(polygons: tuple[NDArray[np.float64], ...]) -> NDArray[np.float64]:
    """(4,) the box round all of them."""
    points = np.concatenate(polygons)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """Height and width as labels say; None where they say nothing, or 0.

    Raises:
        BrokenLabel: they are no whole numbers above 0.
    """
    if not height or not width:
        return None
    size = numbers([height, width], "the size (height, width)")
    if (size < 1).any() or (size % 1).any():
        raise BrokenLabel(f"the size (height, width) is {height}, {width}, not whole numbers above 0")
    return int(size[0]), int(size[1])


def add_unknown(unknown: Counter[str], where: str, problems: Problems) -> None:
    """Take note of names that are none of a known type, each once with its number of objects."""
    for name, count in unknown.items():
        detail = f"{name!r} is no known type of object, labels left out: {count}"
        problems.add(ProblemKind.TYPE_UNKNOWN, where, detail)
