"""The rules that the masks of all segmenters follow, so that no part of a detected object stays visible."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, Mask, ObjectType

__all__ = [
    "BOX",
    "CORE",
    "LEAST_SHARE",
    "LEAST_SIDE",
    "apply_mask_rules",
    "box_mask",
    "can_have_mask",
    "with_box_masks",
]

#: `Mask.source` of a box that is used as a mask
BOX = "box"
#: The core of a box always belongs to the object: this share of its width and height, with round corners.
CORE = 0.6
#: The head of a person always belongs to it: this share of the width, from the top of the box through this share of
#: the height. Found persons from 60 pixels on (street-masks), share with more than a tenth of the head bare, and the
#: changed area against that of the object, with a margin of .1:
#:     only the core    .175  1.79
#:     .6, .2           .029  1.95
#:     .7, .2           .022  1.99
#:     .8, .2           .022  2.04
#:     whole box        .015  2.73
HEAD_WIDTH, HEAD_HEIGHT = 0.6, 0.2
#: A mask that fills a smaller share of its box is not used: the object keeps its box.
LEAST_SHARE = 0.25
#: An object with a shorter side below this, in pixels, keeps its box: it is too small for an outline.
LEAST_SIDE = 8
#: A box that ends this close to a border of the image, as a share of its shorter side, counts as cut off by it.
NEAR = 0.1
#: exponent of the rounded box |x|^2.5 + |y|^2.5 = 1
_ROUND = 2.5


def can_have_mask(box: NDArray[np.float32], number: int) -> bool:
    """Whether the project's own segmenters can make a mask of an object.

    Args:
        box: (4,) float32 x1, y1, x2, y2 inside the image. A box with NaN gets no mask.
        number: index of its type in `OBJECT_TYPES`.
    """
    known = OBJECT_TYPES[number] in (ObjectType.PERSON, ObjectType.VEHICLE)
    return known and bool(box[2] - box[0] >= LEAST_SIDE) and bool(box[3] - box[1] >= LEAST_SIDE)


def apply_mask_rules(
    pixels: NDArray[np.bool_],
    x: int,
    y: int,
    box: NDArray[np.float32],
    size_hw: tuple[int, ...],
    source: str,
    object_type: ObjectType,
) -> Mask | None:
    """Make the mask of an object from the pixels that a segmenter gives.

    The mask includes the core of the box, and that of a person the place of the head. If
    the box ends near a border of the image, the mask runs on to the border.

    Args:
        pixels: (h, w) bool, the pixels of the object; they may reach beyond the image.
        x: left of `pixels` in the image.
        y: top of `pixels` in the image.
        box: (4,) float32 x1, y1, x2, y2 inside the image.
        size_hw: height and width of the image in pixels.
        source: id of the segmenter.
        object_type: of the object.

    Returns:
        A mask inside the image; None: it fills too little of the box, and the object keeps its box.
    """
    if pixels.sum() < LEAST_SHARE * (box[2] - box[0]) * (box[3] - box[1]):
        return None
    height, width = pixels.shape
    across = _core_term(x, width, box[0], box[2])
    down = _core_term(y, height, box[1], box[3])
    core = across + down[:, None] <= 1
    if object_type is ObjectType.PERSON:
        rows = np.arange(y, y + height) + 0.5
        is_upper = (rows > box[1] - 1) & (rows < box[1] + HEAD_HEIGHT * (box[3] - box[1]))
        core |= is_upper[:, None] & (_offset(x, width, box[0], box[2]) <= HEAD_WIDTH)
    pixels, x, y = _extend_to_borders(pixels | core, x, y, box, size_hw)
    left, top = max(-x, 0), max(-y, 0)
    pixels = pixels[top : max(size_hw[0] - y, 0), left : max(size_hw[1] - x, 0)]
    return Mask(x + left, y + top, pixels, source) if pixels.any() else None


def _extend_to_borders(
    pixels: NDArray[np.bool_], x: int, y: int, box: NDArray[np.float32], size_hw: tuple[int, ...]
) -> tuple[NDArray[np.bool_], int, int]:
    """Extend a mask to each border of the image that its box (nearly) reaches: there the object is cut off."""
    reach = NEAR * float(min(box[2] - box[0], box[3] - box[1])) + 2
    x1, y1, x2, y2 = (float(side) for side in box)
    gaps = ((y1, size_hw[0] - y2), (x1, size_hw[1] - x2))
    for axis, (start, sides) in enumerate(((y, (y1, y2)), (x, (x1, x2)))):
        before, after = (gap <= reach for gap in gaps[axis])
        end = start + pixels.shape[axis]
        pad = [(0, 0), (0, 0)]
        pad[axis] = (max(start, 0) if before else 0, max(size_hw[axis] - end, 0) if after else 0)
        pixels, start = np.pad(pixels, pad), start - pad[axis][0]
        if axis == 0:
            y = start
        else:
            x = start
        along = np.moveaxis(pixels, axis, 0)
        near = (sides[1] - sides[0]) / 4
        if before:
            until = max(math.ceil(sides[0] + near) - start, 1)
            along[:until] |= along[:until].any(0)
        if after:
            since = min(math.floor(sides[1] - near) - start, len(along) - 1)
            along[since:] |= along[since:].any(0)
    return pixels, x, y


def _core_term(start: int, length: int, low: float, high: float) -> NDArray[np.float32]:
    """The term of one axis in the equation of the core, for each pixel."""
    return np.asarray((_offset(start, length, low, high) / np.float32(CORE)) ** _ROUND, np.float32)


def _offset(start: int, length: int, low: float, high: float) -> NDArray[np.float32]:
    """Distance of each pixel from the middle of a box along one axis: 1 at its sides."""
    at = np.arange(start, start + length, dtype=np.float32) + 0.5
    return np.asarray(np.abs(2 * at - low - high) / np.float32(high - low), np.float32)


def box_mask(box: NDArray[np.float32], size_hw: tuple[int, ...]) -> Mask | None:
    """Use the whole box as a mask, for an object whose outline is unknown.

    Args:
        box: (4,) float32 x1, y1, x2, y2 in pixels of the image.
        size_hw: height and width of the image in pixels.

    Returns:
        A mask inside the image; None: the box lies outside the image.
    """
    x1, y1 = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
    x2, y2 = min(max(math.ceil(box[2]), x1 + 1), size_hw[1]), min(max(math.ceil(box[3]), y1 + 1), size_hw[0])
    return Mask(x1, y1, np.ones((y2 - y1, x2 - x1), np.bool_), BOX) if x1 < x2 and y1 < y2 else None


def with_box_masks(
    found: Detections, rows: NDArray[np.bool_], size_hw: tuple[int, int], *, source: str = BOX
) -> Detections:
    """Use whole boxes as the masks of persons and vehicles, in place of the masks that they have.

    Args:
        found: n objects.
        rows: (n,) which of them.
        size_hw: height and width of the image in pixels.
        source: what the masks state as their source; default: `box`. With an empty one they are part of the detection,
            and stay if all other masks are made again.

    Returns:
        The same objects with these masks.
    """
    masks = list(found.masks)
    for row in np.flatnonzero(rows):
        if found.object_type(int(row)) in (ObjectType.PERSON, ObjectType.VEHICLE):
            mask = box_mask(found.boxes[row], size_hw)
            masks[row] = mask and replace(mask, source=source)
    return replace(found, masks=tuple(masks))
