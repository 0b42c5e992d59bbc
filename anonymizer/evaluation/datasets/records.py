"""What the readers of all label formats return, before it is checked against the images."""

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

#: the largest coordinate that is accepted
_LARGEST = 1e9


class BrokenLabel(ValueError):
    """A label does not follow its format. The message says what is wrong, without a full stop."""


@dataclass(frozen=True)
class Label:
    """One labelled object.

    Attributes:
        object_type: the type.
        box: (4,) float64, x1, y1, x2, y2 as labelled; finite numbers.
        ignored: whether the object is ignored: neither a hit nor a miss.
        where: which label of its image it is, for messages.
        outline: polygons, each (k, 2) float64 x, y; None if only the box is labelled.
    """

    object_type: ObjectType
    box: NDArray[np.float64]
    ignored: bool
    where: str
    outline: tuple[NDArray[np.float64], ...] | None = None


@dataclass(frozen=True)
class PictureLabels:
    """The labels of one image.

    Attributes:
        path: of the image file.
        name: what messages call the image.
        labels: its objects.
        size_hw: height and width in pixels that the labels state; None if they do not state it.
        fractions: whether boxes and outlines are fractions of the image's width and height; otherwise they are pixels.
        id: the number of the image in the label file; None if it has none.
        source: the data set that the image came from; None if the label file does not state it.
        labelled: the types of which every object is labelled; None: those of the whole set.
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
    """The labels of a whole set.

    Attributes:
        pictures: the labels of each image.
        types: the object types that the set has a class for.
    """

    pictures: list[PictureLabels] = field(default_factory=list)
    types: tuple[ObjectType, ...] = ()


def numbers(values: object, what: str) -> NDArray[np.float64]:
    """Convert a list of numbers.

    Args:
        values: numbers, or texts with numbers.
        what: what the message of an error calls them.

    Returns:
        (n,) float64.

    Raises:
        BrokenLabel: these are not numbers, or a number is not finite or 1e9 or more.
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
    """Convert the points of a polygon.

    Args:
        values: the numbers x1, y1, x2, y2, ...

    Returns:
        (k, 2) float64 x, y.

    Raises:
        BrokenLabel: these are not numbers, or not three or more pairs of numbers.
    """
    flat = numbers(values, "the polygon")
    if len(flat) < 6 or len(flat) % 2:
        raise BrokenLabel(f"the polygon has {len(flat)} numbers, not pairs of x and y of three points or more")
    return flat.reshape(-1, 2)


def bounds(polygons: tuple[NDArray[np.float64], ...]) -> NDArray[np.float64]:
    """Compute the box around polygons.

    Args:
        polygons: each (k, 2) x, y.

    Returns:
        (4,) float64, x1, y1, x2, y2.
    """
    points = np.concatenate(polygons)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """Convert the size of an image as the labels state it.

    Args:
        height: in pixels.
        width: in pixels.

    Returns:
        Height and width; None if one of them is missing or 0.

    Raises:
        BrokenLabel: these are not whole numbers above 0.
    """
    if not height or not width:
        return None
    size = numbers([height, width], "the size (height, width)")
    if (size < 1).any() or (size % 1).any():
        raise BrokenLabel(f"the size (height, width) is {height}, {width}, not whole numbers above 0")
    return int(size[0]), int(size[1])


def add_unknown(unknown: Counter[str], where: str, problems: Problems) -> None:
    """Add a problem for each class name that is not known.

    Args:
        unknown: how many labels each unknown name has.
        where: the label file.
        problems: what the problems are added to.
    """
    for name, count in unknown.items():
        detail = f"{name!r} is not a known object type; labels left out: {count}"
        problems.add(ProblemKind.TYPE_UNKNOWN, where, detail)
