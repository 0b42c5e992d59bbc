"""What the readers of all label formats return, before it is checked against the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.pipeline.detections import ObjectType

__all__ = [
    "BrokenLabel",
    "Label",
    "Labels",
    "PictureLabels",
    "add_unknown",
    "bounds",
    "ellipse",
    "mask_contours",
    "numbers",
    "polygon",
    "stated_size",
    "turned_box",
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
        format: what the format is called.
        classes: how many labels each class name has; 0 for a class without labels.
        unlabelled: the names of images that have no label file. Whether they belong to the set depends on the format.
        categories: the class names by their number in the label files; empty if classes have no numbers.
    """

    pictures: list[PictureLabels] = field(default_factory=list)
    types: tuple[ObjectType, ...] = ()
    format: str = ""
    classes: Counter[str] = field(default_factory=Counter)
    unlabelled: tuple[str, ...] = ()
    categories: Mapping[Any, str] = field(default_factory=dict)


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


def ellipse(
    centre: NDArray[np.float64], radii: NDArray[np.float64], degrees: float = 0.0
) -> tuple[NDArray[np.float64]]:
    """Make the polygon of an ellipse.

    Args:
        centre: (2,) x, y.
        radii: (2,) along x and along y, before it is turned.
        degrees: how far it is turned clockwise.

    Returns:
        One polygon, (64, 2) float64 x, y.
    """
    turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return (_turned(np.column_stack([np.cos(turns), np.sin(turns)]) * radii, degrees) + centre,)


def turned_box(box: NDArray[np.float64], pivot: NDArray[np.float64], degrees: float) -> tuple[NDArray[np.float64]]:
    """Make the polygon of a box that is turned.

    Args:
        box: (4,) x1, y1, x2, y2 before it is turned.
        pivot: (2,) x, y, the point that it is turned around.
        degrees: how far it is turned clockwise.

    Returns:
        One polygon, (4, 2) float64 x, y.
    """
    x1, y1, x2, y2 = box
    return (_turned(np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) - pivot, degrees) + pivot,)


def _turned(points: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    turn = np.radians(degrees)
    # y points down, so this is clockwise
    return np.asarray(points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]), np.float64)


def mask_contours(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    """Make the outer contours of a mask, along the edges of its pixels; holes are filled.

    Args:
        pixels: (h, w) uint8; other values than 0 belong to the object.

    Returns:
        The contours, each (k, 2) float64 x, y; none if no pixel belongs to the object.
    """
    if not pixels.any():
        return ()
    x, y, width, height = cv2.boundingRect(pixels)
    # OpenCV's contours run through the outermost pixels. At twice the size they lie next to the edges that we want.
    large = np.repeat(np.repeat(pixels[y : y + height, x : x + width], 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(((contour.reshape(-1, 2) + 1) // 2 + (x, y)).astype(np.float64) for contour in contours)


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


def add_unknown(classes: Counter[str], names: ClassNames, where: str, problems: Problems) -> None:
    """Add a problem for each class name that is not known and that no map leaves out.

    Args:
        classes: how many labels each class name has.
        names: what class names mean.
        where: the label file.
        problems: what the problems are added to.
    """
    for name, count in classes.items():
        if count and names.parse(name) is None and not names.is_left_out(name):
            detail = f"{name!r} is not a known object type; labels left out: {count}"
            problems.add(ProblemKind.TYPE_UNKNOWN, where, detail)
