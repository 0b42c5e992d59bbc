"""Follow boxes from one frame to another by optical flow.

A grid of points in the middle of each box is followed with the pyramidal Lucas-Kanade method (Lucas and Kanade 1981;
Bouguet 2001), forth and back. Points that do not return to where they started are dropped. The median of the others
moves the box, and their spread scales it. This is the Median Flow tracker of Kalal, Mikolajczyk and Matas
("Forward-Backward Error: Automatic Detection of Tracking Failures", ICPR 2010).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.tracking.boxes import Box

__all__ = ["Grey", "follow_boxes"]

Grey = NDArray[np.uint8]

#: points per box, across and down, and the share of the box that they are spread over
_GRID = 4
_MIDDLE = 0.7
#: pixels of the small image: a box with a shorter side is not followed
_MIN_SIDE = 5.0
#: pixels of the small image: a point that returns further from its start than this is lost (forward-backward error)
_MAX_RETURN_ERROR = 1.0


def follow_boxes(
    before: Grey, after: Grey, boxes: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Follow boxes from one image to another.

    Args:
        before, after: (h, w) uint8 grey images of the same size.
        boxes: (n, 4) float32, in pixels of these images.

    Returns:
        Boxes in the second image, (n, 4) float32, and whether each was followed, (n,) bool. A box is followed if at
        least half of its points return to their start and agree on the motion. Otherwise it is not reliable.
    """
    height, width = before.shape
    steps = np.linspace(0.5 - _MIDDLE / 2, 0.5 + _MIDDLE / 2, _GRID, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(1, -1, 2)
    points = boxes[:, None, :2] + grid * (boxes[:, None, 2:] - boxes[:, None, :2])
    inside = ((points >= 1) & (points < [width - 1, height - 1])).all(axis=2)
    large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= _MIN_SIDE
    usable = inside & large[:, None]
    followed = np.zeros(usable.shape, bool)
    ends = points.copy()
    if usable.any():
        starts = np.ascontiguousarray(points[usable][:, None])
        forward, forward_ok = _lucas_kanade(before, after, starts)
        back, back_ok = _lucas_kanade(after, before, forward)
        returned = np.linalg.norm(back - starts, axis=2)[:, 0] < _MAX_RETURN_ERROR
        followed[usable] = returned & (forward_ok[:, 0] == 1) & (back_ok[:, 0] == 1)
        ends[usable] = forward[:, 0]
    moved, reliable = boxes.copy(), np.zeros(len(boxes), bool)
    for row in np.flatnonzero(followed.sum(axis=1) >= _GRID * _GRID // 2):
        kept = followed[row]
        moved[row], reliable[row] = _move_box(boxes[row], points[row, kept], ends[row, kept])
    return moved, reliable


def _lucas_kanade(
    before: Grey, after: Grey, points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Where (n, 1, 2) points are in the second image, and (n, 1) whether OpenCV followed them."""
    ends = np.empty_like(points)
    there, status, _ = cv2.calcOpticalFlowPyrLK(before, after, points, ends, winSize=(11, 11), maxLevel=3)
    return np.asarray(there, np.float32), np.asarray(status, np.uint8)


def _move_box(box: Box, starts: NDArray[np.float32], ends: NDArray[np.float32]) -> tuple[Box, bool]:
    """Move and scale a box as (n, 2) points in it moved, and tell whether the points agree."""
    shifts = ends - starts
    shift = np.median(shifts, axis=0)
    spread = float(np.median(np.abs(shifts - shift).sum(axis=1)))
    centred = starts - starts.mean(axis=0)
    # least squares: how much the points moved apart
    scale = float((centred * (ends - ends.mean(axis=0))).sum() / max(float((centred**2).sum()), 1e-6))
    scale = min(max(scale, 0.9), 1.1)
    centre, half = (box[:2] + box[2:]) / 2 + shift, (box[2:] - box[:2]) / 2 * scale
    side = float(min(box[2] - box[0], box[3] - box[1]))
    return np.concatenate([centre - half, centre + half]).astype(np.float32), spread <= max(1.0, 0.15 * side)
