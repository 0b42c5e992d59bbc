"""Regions that the caller drew, as objects to redact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from anonymizer.pipeline.detections import Detections, Mask, Source
from anonymizer.pipeline.options.drawn import DrawnRegion, Shape

__all__ = ["drawn_objects"]

#: In videos, each region is a track of its own, so that its noise is the same in all frames. Tracks that were found
#: have smaller numbers.
FIRST_TRACK = 1_000_000_000
#: corners are rounded to 1 / 2**_SHIFT of a pixel
_SHIFT = 4


def drawn_objects(regions: Sequence[DrawnRegion], size_hw: tuple[int, int], time_s: float | None = None) -> Detections:
    """Make objects of regions. Their score is 1, their source `caller`, and they have no model.

    Args:
        regions: that the caller drew.
        size_hw: height and width of the upright image in pixels.
        time_s: when the frame of a video is shown, in seconds. Default: every region counts.

    Returns:
        The objects with masks. Regions outside the image, or not shown at this time, are left out.
    """
    placed = [
        (number, region, mask)
        for number, region in enumerate(regions)
        if (time_s is None or region.is_shown_at(time_s)) and (mask := _mask(region, size_hw)) is not None
    ]
    if not placed:
        return Detections.empty()
    return Detections(
        boxes=np.array([region.box for _, region, _ in placed], np.float32),
        scores=np.ones(len(placed), np.float32),
        types=np.array([region.type.number for _, region, _ in placed], np.uint8),
        models=np.full(len(placed), ""),
        sources=np.full(len(placed), Source.CALLER.value, "U16"),
        track_ids=np.array([-1 if time_s is None else FIRST_TRACK + number for number, _, _ in placed], np.int64),
        masks=tuple(mask for _, _, mask in placed),
    )


def _mask(region: DrawnRegion, size_hw: tuple[int, int]) -> Mask | None:
    """Every pixel inside the image that a region touches; None if there is none."""
    x1, y1, x2, y2 = region.box
    left, top = max(0, math.floor(x1)), max(0, math.floor(y1))
    width, height = min(size_hw[1], math.ceil(x2)) - left, min(size_hw[0], math.ceil(y2)) - top
    if width < 1 or height < 1:
        return None
    if region.shape is Shape.BOX:
        pixels = np.ones((height, width), np.bool_)
    elif region.shape is Shape.ELLIPSE:
        (x, y), (across, down) = region.points
        # the point of a pixel that is nearest to the centre decides
        columns, rows = _nearest(x, left, width), _nearest(y, top, height)
        pixels = (columns / across) ** 2 + (rows[:, None] / down) ** 2 <= 1
    else:
        # OpenCV's coordinates are those of the centres of pixels
        corners = np.array(region.points) - (left, top) - 0.5
        drawn = np.zeros((height, width), np.uint8)
        cv2.fillPoly(drawn, [np.rint(corners * 2**_SHIFT).astype(np.int32)], (1,), shift=_SHIFT)
        pixels = drawn.astype(np.bool_)
    return Mask(left, top, pixels, Source.CALLER.value) if pixels.any() else None


def _nearest(centre: float, start: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The least distance of each pixel from a centre, along one axis."""
    at = np.arange(start, start + length, dtype=np.float64)
    return np.maximum(np.maximum(at - centre, centre - at - 1), 0.0)
