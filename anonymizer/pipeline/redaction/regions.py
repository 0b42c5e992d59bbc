"""Where pixels change: for each object, how strongly each pixel around it is redacted.

An object is its segmentation where there is one, an ellipse for a face, and else its box. All lengths are shares of the
shorter side of its box. It grows by the margin at full strength; a soft edge fades outward from there. Growth measures
distances between pixels, so that a box grows into one with round corners that still covers all of itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.options.regions import Region

__all__ = ["RedactionRegion", "redaction_regions"]

#: Of the ellipse |x|^2.5 + |y|^2.5 = 1. With the default margin, and boxes that are off by 4 % of a side, it covers
#: 99.9 % of tilted faces, as the whole box does; the plain ellipse (2) leaves more than 2 % of every twelfth open.
_EXPONENT = 2.5

#: A face this near to the picture's border, in pixels, is taken to be cut off by it.
_BORDER = 2


@dataclass(frozen=True, slots=True)
class RedactionRegion:
    """Where one object's pixels change, cropped to that.

    Attributes:
        x, y: left and top of the crop, in pixels of the upright image.
        alpha: (h, w) uint8, 255 = full strength, 0 = not changed.
        short_side: shorter side in pixels of the object's box, before it grew.
        row: its row in the `Detections`.
    """

    x: int
    y: int
    alpha: NDArray[np.uint8]
    object_type: ObjectType
    short_side: float
    row: int

    @property
    def crop(self) -> tuple[slice, slice]:
        """Rows and columns of the image that it lies in."""
        height, width = self.alpha.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


class _Box(NamedTuple):
    """Whole pixels, right and bottom exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    def grown(self, by: int, size_hw: tuple[int, int]) -> _Box:
        """Larger by so many pixels on each side, inside the image."""
        height, width = size_hw
        return _Box(max(self.x1 - by, 0), max(self.y1 - by, 0), min(self.x2 + by, width), min(self.y2 + by, height))


class _Edge(NamedTuple):
    """Strength by distance from the object in pixels: full up to `full`, then falling to nothing at `end`."""

    full: int
    end: float

    @property
    def reach(self) -> int:
        return math.ceil(self.end)

    def strength(self, distance: NDArray[np.float32]) -> NDArray[np.uint8]:
        if self.end <= self.full:
            return _as_alpha(distance <= self.full)
        return _as_alpha((self.end - distance) / (self.end - self.full))


def redaction_regions(detections: Detections, size_hw: tuple[int, int], options: Options) -> list[RedactionRegion]:
    """Where each object's pixels change, in the order of the detections.

    Args:
        size_hw: of the upright image.

    Returns:
        One for each object of which anything lies inside the image and outside `options.ignores`.

    Raises:
        ValueError: a box is not a number.
    """
    found = (_shape(detections, row, size_hw, options) for row in range(len(detections)))
    return [shape for shape in found if shape is not None]


def _shape(detections: Detections, row: int, size_hw: tuple[int, int], options: Options) -> RedactionRegion | None:
    object_type = detections.object_type(row)
    height, width = size_hw
    # Nothing is gained from a box that passes the border by more than the image's size; infinity would not be a length.
    sides = np.clip(detections.boxes[row].astype(float), (-width, -height) * 2, (2 * width, 2 * height) * 2)
    short_side = max(float(min(sides[2] - sides[0], sides[3] - sides[1])), 1.0)
    # Less a hair: in binary, 0.1 x 30 lies above 3.
    full = math.ceil(options.margin * short_side - 1e-6)
    edge = _Edge(full, max(full, options.soft_edge(object_type) * short_side))
    placed = _placed(detections.masks[row], sides, object_type, edge, size_hw, bbox=options.bbox)
    if placed is None:
        return None
    x, y, alpha = placed
    _cut(alpha, x, y, options.ignores)
    return RedactionRegion(x, y, alpha, object_type, short_side, row) if alpha.any() else None


def _placed(
    mask: Mask | None,
    sides: NDArray[np.float64],
    object_type: ObjectType,
    edge: _Edge,
    size_hw: tuple[int, int],
    *,
    bbox: bool,
) -> tuple[int, int, NDArray[np.uint8]] | None:
    """Left, top and alpha; None where nothing lies in the image."""
    if mask is not None and not bbox and (core := _inside(mask, size_hw)) is not None:
        crop = _Box(core.x, core.y, core.x + core.pixels.shape[1], core.y + core.pixels.shape[0])
        crop = crop.grown(edge.reach, size_hw)
        return crop.x1, crop.y1, _outline(core, crop, edge)
    box = _clipped(sides, size_hw)
    if box is None:
        return None
    crop = box.grown(edge.reach, size_hw)
    if object_type is ObjectType.FACE and not bbox:
        return crop.x1, crop.y1, _ellipse(box, crop, edge, size_hw)
    return crop.x1, crop.y1, _rectangle(box, crop, edge, rounded=not bbox)


def _clipped(sides: NDArray[np.float64], size_hw: tuple[int, int]) -> _Box | None:
    """The pixels that a box touches inside the image: at least one each way, unless it lies outside."""
    height, width = size_hw
    x1, y1 = math.floor(sides[0]), math.floor(sides[1])
    x2, y2 = max(math.ceil(sides[2]), x1 + 1), max(math.ceil(sides[3]), y1 + 1)
    box = _Box(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
    return box if box.x1 < box.x2 and box.y1 < box.y2 else None


def _inside(mask: Mask, size_hw: tuple[int, int]) -> Mask | None:
    """The part of a mask that lies inside the image; None where no pixel of it does."""
    height, width = size_hw
    left, top = max(-mask.x, 0), max(-mask.y, 0)
    pixels = mask.pixels[top : max(height - mask.y, 0), left : max(width - mask.x, 0)]
    return Mask(mask.x + left, mask.y + top, pixels) if pixels.any() else None


def _outline(core: Mask, crop: _Box, edge: _Edge) -> NDArray[np.uint8]:
    """A segmentation and all around it."""
    outside = np.ones((crop.y2 - crop.y1, crop.x2 - crop.x1), np.uint8)
    height, width = core.pixels.shape
    y, x = core.y - crop.y1, core.x - crop.x1
    outside[y : y + height, x : x + width] = ~core.pixels
    if not edge.reach:
        return _as_alpha(outside == 0)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return edge.strength(cast("NDArray[np.float32]", distance))


def _rectangle(box: _Box, crop: _Box, edge: _Edge, *, rounded: bool) -> NDArray[np.uint8]:
    """A box and all around it; where rounded, nearer than the growth to its corners."""
    across, down = _gap(box.x1, box.x2, crop.x1, crop.x2), _gap(box.y1, box.y2, crop.y1, crop.y2)
    alpha = np.minimum(edge.strength(across), edge.strength(down)[:, None])
    if rounded:
        columns, rows = np.flatnonzero(across), np.flatnonzero(down)
        alpha[np.ix_(rows, columns)] = edge.strength(np.hypot(across[columns], down[rows, None]))
    return alpha


def _gap(start: int, stop: int, low: int, high: int) -> NDArray[np.float32]:
    """Distance of each pixel in low..high from the nearest one in start..stop, along one axis."""
    at = np.arange(low, high, dtype=np.float32)
    return np.maximum(np.maximum(start - at, at - (stop - 1)), 0)


def _ellipse(box: _Box, crop: _Box, edge: _Edge, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The ellipse in a box, grown; straight on to the border where the box is cut off there.

    With `inner` and `outer` the equations of the ellipse at full strength and at none, the alpha between them is
    (1 - outer) / (inner - outer): 1 where inner = 1, 0 where outer = 1. Each is a sum of a term in x and one in y.
    """
    height, width = size_hw
    columns = _terms(box.x1, box.x2, crop.x1, crop.x2, width, edge)
    rows = _terms(box.y1, box.y2, crop.y1, crop.y2, height, edge)
    inner, outer = (column + row[:, None] for column, row in zip(columns, rows, strict=True))
    if edge.end <= edge.full:
        return _as_alpha(inner <= 1)
    np.maximum(inner - outer, 1e-6, out=inner)
    np.subtract(1, outer, out=outer)
    return _as_alpha(np.divide(outer, inner, out=outer))


def _terms(start: int, stop: int, low: int, high: int, size: int, edge: _Edge) -> list[NDArray[np.float32]]:
    """One axis' share in the equations of the inner and the outer ellipse, for each pixel in low..high."""
    half = (stop - start) / 2
    off = np.arange(low, high, dtype=np.float32) + 0.5 - (start + half)
    if start <= _BORDER:
        off = np.maximum(off, 0)
    if stop >= size - _BORDER:
        off = np.minimum(off, 0)
    return [(np.abs(off) / np.float32(half + growth)) ** np.float32(_EXPONENT) for growth in (edge.full, edge.end)]


def _as_alpha(strength: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.uint8]:
    """0..1 and what lies beyond it, as 0..255."""
    scaled = np.clip(strength, 0, 1, dtype=np.float32)
    scaled *= 255
    return np.asarray(np.rint(scaled, out=scaled), np.uint8)


def _cut(alpha: NDArray[np.uint8], x: int, y: int, ignores: Sequence[Region]) -> None:
    for each in ignores:
        left, top = max(each.x - x, 0), max(each.y - y, 0)
        alpha[top : max(each.y + each.height - y, 0), left : max(each.x + each.width - x, 0)] = 0
