"""What every segmenter's masks have to keep: a found object is never left bare."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Mask, ObjectType

__all__ = ["BOX", "CORE", "LEAST", "LEAST_SHARE", "box_mask", "can_have_mask", "covering"]

#: `Mask.source` of a box that stands in for an outline
BOX = "box"
#: All of this share of the box around its middle, with round corners, belongs to an object whatever a network says.
CORE = 0.6
#: A mask that fills less of its box than this share is not believed: the object keeps its box.
LEAST_SHARE = 0.25
#: Shorter side in pixels below which an object keeps its box: there is nothing to be seen in fewer.
LEAST = 8
#: a box that ends so near to a border, as a share of its shorter side, is taken to be cut off by it
NEAR = 0.1
#: of the rounded box |x|^2.5 + |y|^2.5 = 1
_ROUND = 2.5


def can_have_mask(box: NDArray[np.float32], number: int) -> bool:
    """Whether our own ways know its type, and it is large enough inside the image. A box of no numbers is not."""
    known = OBJECT_TYPES[number] in (ObjectType.PERSON, ObjectType.VEHICLE)
    return known and bool(box[2] - box[0] >= LEAST) and bool(box[3] - box[1] >= LEAST)


def covering(
    pixels: NDArray[np.bool_], x: int, y: int, box: NDArray[np.float32], size_hw: tuple[int, ...], source: str
) -> Mask | None:
    """An object's mask inside the image, the core of its box included; None where it is not to be believed.

    Args:
        pixels: (h, w) what a network takes for the object; may reach beyond the image.
        x, y: where its left and top lie in the image.
        box: (4,) x1, y1, x2, y2 inside the image.
        source: id of the network's model.
    """
    if pixels.sum() < LEAST_SHARE * (box[2] - box[0]) * (box[3] - box[1]):
        return None
    height, width = pixels.shape
    across = _off(x, width, box[0], box[2])
    down = _off(y, height, box[1], box[3])
    pixels, x, y = _to_the_borders(pixels | (across + down[:, None] <= 1), x, y, box, size_hw)
    left, top = max(-x, 0), max(-y, 0)
    pixels = pixels[top : max(size_hw[0] - y, 0), left : max(size_hw[1] - x, 0)]
    return Mask(x + left, y + top, pixels, source) if pixels.any() else None


def _to_the_borders(
    pixels: NDArray[np.bool_], x: int, y: int, box: NDArray[np.float32], size_hw: tuple[int, ...]
) -> tuple[NDArray[np.bool_], int, int]:
    """A mask that runs on to each border of the image which its box (nearly) reaches: there the object is cut off."""
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


def _off(start: int, length: int, low: float, high: float) -> NDArray[np.float32]:
    """One axis' share in the equation of the core, for each pixel."""
    at = np.arange(start, start + length, dtype=np.float32) + 0.5
    return np.asarray((np.abs(2 * at - low - high) / ((high - low) * np.float32(CORE))) ** _ROUND, np.float32)


def box_mask(box: NDArray[np.float32], size_hw: tuple[int, ...]) -> Mask | None:
    """The whole box as a mask, for an object whose outline is unknown; None where it lies outside of the image."""
    x1, y1 = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
    x2, y2 = min(max(math.ceil(box[2]), x1 + 1), size_hw[1]), min(max(math.ceil(box[3]), y1 + 1), size_hw[0])
    return Mask(x1, y1, np.ones((y2 - y1, x2 - x1), np.bool_), BOX) if x1 < x2 and y1 < y2 else None
