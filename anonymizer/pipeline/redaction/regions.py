"""Where pixels change: for each object, how strongly each pixel around it is redacted.

The shape of an object is its segmentation mask if it has one, a superellipse for a face, and otherwise its box. It is
enlarged by the margin at full strength, and a soft edge fades outward from there. Both lengths are shares of the
shorter side of the object's box. Distances to the shape are measured pixel by pixel (a distance transform). An enlarged
box therefore has round corners, and still covers the whole box.
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

#: Exponent n of the superellipse (Lamé curve) |x|^n + |y|^n = 1 that covers a face. With the default margin, and boxes
#: that are off by 4 % of a side, it covers 99.9 % of tilted faces, as the whole box does. A plain ellipse (n = 2)
#: leaves more than 2 % of the area uncovered for every twelfth face.
_EXPONENT = 2.5

#: A face that is this near to the image's border, in pixels, is taken to be cut off by it.
_BORDER = 2


@dataclass(frozen=True, slots=True, repr=False)
class RedactionRegion:
    """Where the pixels of one object change, and how strongly. It is computed from a detection.

    It is not `options.regions.Region`, which is a rectangle given by the caller in which no pixel is changed.

    Attributes:
        x, y: left and top of the region, in pixels of the upright image.
        alpha: (h, w) uint8, the strength at each pixel of the region: 255 = fully redacted, 0 = not changed.
        object_type: type of the object.
        short_side: shorter side of the object's box in pixels, before it was enlarged.
        row: row of the object in the `Detections`.
    """

    x: int
    y: int
    alpha: NDArray[np.uint8]
    object_type: ObjectType
    short_side: float
    row: int

    def __repr__(self) -> str:
        """The type, the place and the size, without the pixels."""
        height, width = self.alpha.shape
        return f"RedactionRegion({self.object_type}, {width} x {height} pixels at ({self.x}, {self.y}))"

    @property
    def crop(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the region lies in, as an index: `image[region.crop]`."""
        height, width = self.alpha.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


class _PixelBox(NamedTuple):
    """A box in whole pixels, right and bottom exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    def enlarged(self, by: int, size_hw: tuple[int, int]) -> _PixelBox:
        """Larger by so many pixels on each side, but inside the image."""
        height, width = size_hw
        return _PixelBox(
            max(self.x1 - by, 0), max(self.y1 - by, 0), min(self.x2 + by, width), min(self.y2 + by, height)
        )


class _Falloff(NamedTuple):
    """Strength by distance from the object in pixels: full up to `full`, then falling linearly to nothing at `end`."""

    full: int
    end: float

    @property
    def reach(self) -> int:
        """Whole pixels from the object to where nothing changes any more."""
        return math.ceil(self.end)

    def alpha(self, distance: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Alpha, 0..255, at distances in pixels."""
        if self.end <= self.full:
            return _to_alpha(distance <= self.full)
        return _to_alpha((self.end - distance) / (self.end - self.full))


def redaction_regions(detections: Detections, size_hw: tuple[int, int], options: Options) -> list[RedactionRegion]:
    """Compute where the pixels of each object change.

    Args:
        detections: the objects to redact; boxes and masks in pixels of the upright image.
        size_hw: height and width of the upright image in pixels.
        options: the margin and the soft edge of each type, `bbox` (redact whole boxes) and `ignores` are used.

    Returns:
        One region for each object, in the order of the detections. An object without any pixel inside the image and
        outside `options.ignores` has none.

    Raises:
        ValueError: a box has a side that is not a number.

    Examples:
        >>> regions = redaction_regions(detections, image.shape[:2], options)  # doctest: +SKIP
        >>> redacted = redact(image, regions, options, seed=0)  # doctest: +SKIP
    """
    regions = (_redaction_region(detections, row, size_hw, options) for row in range(len(detections)))
    return [region for region in regions if region is not None]


def _redaction_region(
    detections: Detections, row: int, size_hw: tuple[int, int], options: Options
) -> RedactionRegion | None:
    object_type = detections.object_type(row)
    height, width = size_hw
    # Boxes may end far outside the image, even at infinity. Such lengths are limited to the size of the image.
    sides = np.clip(detections.boxes[row].astype(float), (-width, -height) * 2, (2 * width, 2 * height) * 2)
    short_side = max(float(min(sides[2] - sides[0], sides[3] - sides[1])), 1.0)
    # Subtract a tiny amount, as 0.1 * 30 is more than 3 in binary.
    full = math.ceil(options.margin_of(object_type) * short_side - 1e-6)
    falloff = _Falloff(full, max(full, options.soft_edge(object_type) * short_side))
    placed = _placed_alpha(detections.masks[row], sides, object_type, falloff, size_hw, bbox=options.bbox)
    if placed is None:
        return None
    x, y, alpha = placed
    _clear_ignored(alpha, x, y, options.ignores)
    return RedactionRegion(x, y, alpha, object_type, short_side, row) if alpha.any() else None


def _placed_alpha(
    mask: Mask | None,
    sides: NDArray[np.float64],
    object_type: ObjectType,
    falloff: _Falloff,
    size_hw: tuple[int, int],
    *,
    bbox: bool,
) -> tuple[int, int, NDArray[np.uint8]] | None:
    """Left, top and alpha of an object's region; None if no part of the object lies inside the image."""
    if mask is not None and not bbox and (clipped := _clip_mask(mask, size_hw)) is not None:
        height, width = clipped.pixels.shape
        crop = _PixelBox(clipped.x, clipped.y, clipped.x + width, clipped.y + height).enlarged(falloff.reach, size_hw)
        return crop.x1, crop.y1, _mask_alpha(clipped, crop, falloff)
    box = _clip_box(sides, size_hw)
    if box is None:
        return None
    crop = box.enlarged(falloff.reach, size_hw)
    if object_type is ObjectType.FACE and not bbox:
        return crop.x1, crop.y1, _superellipse_alpha(box, crop, falloff, size_hw)
    return crop.x1, crop.y1, _box_alpha(box, crop, falloff, rounded=not bbox)


def _clip_box(sides: NDArray[np.float64], size_hw: tuple[int, int]) -> _PixelBox | None:
    """The pixels inside the image that a box touches, at least one each way; None if it lies outside."""
    height, width = size_hw
    x1, y1 = math.floor(sides[0]), math.floor(sides[1])
    x2, y2 = max(math.ceil(sides[2]), x1 + 1), max(math.ceil(sides[3]), y1 + 1)
    box = _PixelBox(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
    return box if box.x1 < box.x2 and box.y1 < box.y2 else None


def _clip_mask(mask: Mask, size_hw: tuple[int, int]) -> Mask | None:
    """The part of a mask inside the image; None if none of its pixels lies there."""
    height, width = size_hw
    left, top = max(-mask.x, 0), max(-mask.y, 0)
    pixels = mask.pixels[top : max(height - mask.y, 0), left : max(width - mask.x, 0)]
    return Mask(mask.x + left, mask.y + top, pixels) if pixels.any() else None


def _mask_alpha(mask: Mask, crop: _PixelBox, falloff: _Falloff) -> NDArray[np.uint8]:
    """Alpha in a crop around a segmentation mask, from the exact Euclidean distance transform."""
    outside = np.ones((crop.y2 - crop.y1, crop.x2 - crop.x1), np.uint8)
    height, width = mask.pixels.shape
    y, x = mask.y - crop.y1, mask.x - crop.x1
    outside[y : y + height, x : x + width] = ~mask.pixels
    if not falloff.reach:
        return _to_alpha(outside == 0)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return falloff.alpha(cast("NDArray[np.float32]", distance))


def _box_alpha(box: _PixelBox, crop: _PixelBox, falloff: _Falloff, *, rounded: bool) -> NDArray[np.uint8]:
    """Alpha in a crop around a box. If rounded, it falls with the Euclidean distance at the corners too."""
    across = _axis_distance(box.x1, box.x2, crop.x1, crop.x2)
    down = _axis_distance(box.y1, box.y2, crop.y1, crop.y2)
    alpha = np.minimum(falloff.alpha(across), falloff.alpha(down)[:, None])
    if rounded:
        columns, rows = np.flatnonzero(across), np.flatnonzero(down)
        alpha[np.ix_(rows, columns)] = falloff.alpha(np.hypot(across[columns], down[rows, None]))
    return alpha


def _axis_distance(start: int, stop: int, low: int, high: int) -> NDArray[np.float32]:
    """Distance of each pixel in low..high from the nearest pixel in start..stop, along one axis."""
    at = np.arange(low, high, dtype=np.float32)
    return np.maximum(np.maximum(start - at, at - (stop - 1)), 0)


def _superellipse_alpha(
    box: _PixelBox, crop: _PixelBox, falloff: _Falloff, size_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Alpha in a crop around the superellipse that fills a box. It goes straight on where the border cuts the box off.

    `inner` and `outer` are the equations of the superellipses at full strength and at none. The alpha between them is
    (1 - outer) / (inner - outer): 1 where inner = 1, 0 where outer = 1. Each is the sum of a term in x and one in y.
    """
    height, width = size_hw
    columns = _superellipse_terms(box.x1, box.x2, crop.x1, crop.x2, width, falloff)
    rows = _superellipse_terms(box.y1, box.y2, crop.y1, crop.y2, height, falloff)
    inner, outer = (column + row[:, None] for column, row in zip(columns, rows, strict=True))
    if falloff.end <= falloff.full:
        return _to_alpha(inner <= 1)
    np.maximum(inner - outer, 1e-6, out=inner)
    np.subtract(1, outer, out=outer)
    return _to_alpha(np.divide(outer, inner, out=outer))


def _superellipse_terms(
    start: int, stop: int, low: int, high: int, size: int, falloff: _Falloff
) -> list[NDArray[np.float32]]:
    """The terms of one axis in the equations of the inner and the outer superellipse, for each pixel in low..high."""
    half = (stop - start) / 2
    offset = np.arange(low, high, dtype=np.float32) + 0.5 - (start + half)
    if start <= _BORDER:
        offset = np.maximum(offset, 0)
    if stop >= size - _BORDER:
        offset = np.minimum(offset, 0)
    return [
        (np.abs(offset) / np.float32(half + growth)) ** np.float32(_EXPONENT) for growth in (falloff.full, falloff.end)
    ]


def _to_alpha(strength: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Strengths as 0..255; those below 0 or above 1 are clipped."""
    scaled = np.clip(strength, 0, 1, dtype=np.float32)
    scaled *= 255
    return np.asarray(np.rint(scaled, out=scaled), np.uint8)


def _clear_ignored(alpha: NDArray[np.uint8], x: int, y: int, ignores: Sequence[Region]) -> None:
    """Set alpha to 0, in place, in the rectangles that the caller wants unchanged."""
    for ignored in ignores:
        left, top = max(ignored.x - x, 0), max(ignored.y - y, 0)
        alpha[top : max(ignored.y + ignored.height - y, 0), left : max(ignored.x + ignored.width - x, 0)] = 0
