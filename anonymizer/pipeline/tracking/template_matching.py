"""Follow an object by template matching, where optical flow has too few pixels, or loses them.

The pixels of a box are searched for in the other frame by normalised cross-correlation (Lewis, "Fast Normalized
Cross-Correlation", 1995). The place that is found counts only if the search leads back from there to the box.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.tracking.boxes import Box

__all__ = ["MIN_SIDE", "follow_template"]

#: a box with a shorter side in pixels of the image is not followed
MIN_SIDE = 4
#: lowest correlation, -1..1, at which two places show the same object
_MIN_CORRELATION = 0.6
#: standard deviation in grey values of a box without content, which would be found everywhere
_FEATURELESS = 3.0
#: the shorter side in pixels that is enough to tell an object: larger ones are searched for in smaller images
_ENOUGH = 24
#: how far from the box the search back may end: a share of its shorter side, and pixels
_MAX_RETURN_SHARE, _MAX_RETURN_PX = 0.25, 1.5


def follow_template(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    box: Box,
    *,
    shift: NDArray[np.float32],
    reach: float,
) -> Box | None:
    """Find the pixels of a box in another image.

    Args:
        before, after: (h, w) uint8 grey images of the same size.
        box: (4,) float32 x1, y1, x2, y2 in pixels of the first image.
        shift: (2,) float32, how far the object is expected to have moved, in pixels along x and y.
        reach: how far around the expected place it is searched for, in pixels.

    Returns:
        The box in the second image, of the same size; None if it is not found, or if the box shows too little.
    """
    rectangle = _pixels(box, before.shape)
    if rectangle is None:
        return None
    x1, y1, x2, y2 = rectangle
    patch = before[y1:y2, x1:x2]
    if float(patch.std()) < _FEATURELESS:
        return None
    (high, wide), margin = patch.shape, math.ceil(reach)
    if min(high, wide) >= 2 * _ENOUGH:
        share = _ENOUGH / min(high, wide)
        one, two = _shrink(before, share), _shrink(after, share)
        of_box, of_shift = (np.asarray(each * share, np.float32) for each in (box, shift))
        found = follow_template(one, two, of_box, shift=of_shift, reach=reach * share)
        return None if found is None else np.asarray(found / share, np.float32)
    step_x, step_y = (round(float(along)) for along in shift)
    there = _search(patch, after, (x1 + step_x, y1 + step_y), margin)
    if there is None:
        return None
    x, y = there
    back = _search(after[y : y + high, x : x + wide], before, (x - step_x, y - step_y), margin)
    allowed = max(_MAX_RETURN_PX, _MAX_RETURN_SHARE * min(high, wide))
    if back is None or math.hypot(back[0] - x1, back[1] - y1) > allowed:
        return None
    return np.asarray(box + np.array([x - x1, y - y1] * 2, np.float32), np.float32)


def _shrink(image: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)


def _pixels(box: Box, size_hw: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """The whole pixels of the part of a box that lies in an image; None if that is too little."""
    height, width = size_hw
    x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x2, y2 = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    return None if min(x2 - x1, y2 - y1) < MIN_SIDE else (x1, y1, x2, y2)


def _search(
    patch: NDArray[np.uint8], image: NDArray[np.uint8], around: tuple[int, int], margin: int
) -> tuple[int, int] | None:
    """Left and upper end of the place in an image that shows a patch best, not too far from a point; None: nowhere."""
    high, wide = patch.shape
    left, top = max(0, around[0] - margin), max(0, around[1] - margin)
    window = image[top : max(0, around[1] + high + margin), left : max(0, around[0] + wide + margin)]
    if window.shape[0] < high or window.shape[1] < wide:
        return None
    _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(window, patch, cv2.TM_CCOEFF_NORMED))
    return (left + x, top + y) if best >= _MIN_CORRELATION else None
