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

__all__ = ["Grey", "follow_boxes", "follow_points", "is_even"]

Grey = NDArray[np.uint8]

#: points per box, across and down, and the share of the box that they are spread over
_GRID = 4
_MIDDLE = 0.7
#: pixels of the small image: a box with a shorter side is not followed
_MIN_SIDE = 5.0
#: pixels of the small image: a point that returns further from its start than this is lost (forward-backward error)
_MAX_RETURN_ERROR = 1.0
#: pixels of the small image: the points of a box with a shorter side are too near to each other to tell its scale
_MIN_SCALED_SIDE = 16.0
#: window of the method in pixels, and how often the picture is halved
_WINDOW, _LEVELS = 11, 4
#: pixels around the points that are looked at; more would never be reached from the coarsest picture
_REACH = 96
#: Smaller eigenvalue of the structure tensor from which the surface around a point shows its motion. The noise of two
#: grey levels gives 4e-5, a pattern of 40 grey levels 2e-4.
_MIN_TEXTURE = 6e-5
#: pixels from which two expected places of a box are told apart
_APART = 1.0


def follow_points(
    before: Grey, after: Grey, points: NDArray[np.float32], expected: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Follow points from one image to another, and back again.

    Args:
        before, after: (h, w) uint8 grey images of the same size.
        points: (n, 2) float32, x and y in pixels of the first image.
        expected: (n, 2) float32, about where they are in the second image.

    Returns:
        The points in the second image, (n, 2) float32, and which of them were found and returned to their start, (n,)
        bool.
    """
    height, width = before.shape
    limits = [width - 1, height - 1]
    usable = ((points >= 1) & (points < limits) & (expected >= 1) & (expected < limits)).all(axis=1)
    ends, followed = expected.copy(), np.zeros(len(points), bool)
    if not usable.any():
        return ends, followed
    starts, guesses = points[usable], expected[usable]
    both = np.concatenate([starts, guesses])
    low = np.maximum(both.min(axis=0).astype(int) - _REACH, 0)
    high = np.minimum(both.max(axis=0).astype(int) + _REACH + 1, [width, height])
    one, two = (image[low[1] : high[1], low[0] : high[0]] for image in (before, after))
    origin = low.astype(np.float32)
    forward, forward_ok = _lucas_kanade(one, two, starts - origin, guesses - origin)
    back, back_ok = _lucas_kanade(two, one, forward, forward + starts - guesses)
    returned = np.linalg.norm(back + origin - starts, axis=1) < _MAX_RETURN_ERROR
    followed[usable] = returned & forward_ok & back_ok
    ends[usable] = forward + origin
    return ends, followed


def follow_boxes(
    before: Grey, after: Grey, boxes: NDArray[np.float32], expected: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Follow boxes from one image to another.

    Args:
        before, after: (h, w) uint8 grey images of the same size.
        boxes: (n, 4) float32, in pixels of these images.
        expected: (n, 4) float32, about where they are in the second image; default: where they were. A box that is
            not found from there is looked for from where it was.

    Returns:
        Boxes in the second image, (n, 4) float32, and whether each was followed, (n,) bool. A box is followed if at
        least half of its points return to their start and agree on the motion. Otherwise it is not reliable.
    """
    if expected is None:
        return _follow_boxes(before, after, boxes, boxes)
    moved, reliable = _follow_boxes(before, after, boxes, expected)
    again = ~reliable & (np.abs(expected - boxes).max(axis=1, initial=0) >= _APART)
    if again.any():
        moved[again], reliable[again] = _follow_boxes(before, after, boxes[again], boxes[again])
    return moved, reliable


def is_even(image: Grey, box: NDArray[np.float32]) -> bool:
    """Whether the surface within a box is so even that flow cannot tell whether it moved.

    On such a surface, and along a straight edge, points return to where they started wherever the object went.

    Args:
        image: (h, w) uint8 grey image.
        box: (4,) float32, in pixels of the image.
    """
    height, width = image.shape
    x1, y1, x2, y2 = (int(side) for side in np.clip(box, 0, [width, height, width, height]))
    left, top = max(0, x1 - _WINDOW), max(0, y1 - _WINDOW)
    part = image[top : y2 + _WINDOW, left : x2 + _WINDOW]
    if x2 - x1 < _MIN_SIDE or y2 - y1 < _MIN_SIDE:
        return False
    texture = cv2.cornerMinEigenVal(np.ascontiguousarray(part), blockSize=_WINDOW, ksize=3)
    points = np.rint(_grid(np.asarray(box, np.float32)[None])[0] - (left, top)).astype(int)
    columns, rows = np.clip(points, 0, [part.shape[1] - 1, part.shape[0] - 1]).T
    return int((texture[rows, columns] >= _MIN_TEXTURE).sum()) < _GRID * _GRID // 2


def _follow_boxes(
    before: Grey, after: Grey, boxes: NDArray[np.float32], expected: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Follow boxes from where they are expected."""
    starts, guesses = _grid(boxes), _grid(expected)
    followed = np.zeros(starts.shape[:2], bool)
    large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= _MIN_SIDE
    ends = starts.copy()
    if large.any():
        flat, found = follow_points(before, after, starts[large].reshape(-1, 2), guesses[large].reshape(-1, 2))
        ends[large], followed[large] = flat.reshape(-1, _GRID * _GRID, 2), found.reshape(-1, _GRID * _GRID)
    enough = followed.sum(axis=1) >= _GRID * _GRID // 2
    moved, reliable = boxes.copy(), np.zeros(len(boxes), bool)
    if enough.any():
        moved[enough], reliable[enough] = _move_boxes(boxes[enough], starts[enough], ends[enough], followed[enough])
    return moved, reliable


def _grid(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 16, 2) points in the middle of each of n boxes."""
    steps = np.linspace(0.5 - _MIDDLE / 2, 0.5 + _MIDDLE / 2, _GRID, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(1, -1, 2)
    return np.asarray(boxes[:, None, :2] + grid * (boxes[:, None, 2:] - boxes[:, None, :2]), np.float32)


def _lucas_kanade(
    before: Grey, after: Grey, points: NDArray[np.float32], expected: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where (n, 2) points are in the second image, and (n,) whether OpenCV followed them."""
    # OpenCV writes to its copy of the expected places
    starts, ends = (np.array(each, np.float32, order="C").reshape(-1, 1, 2) for each in (points, expected))
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, starts, ends, winSize=(_WINDOW, _WINDOW), maxLevel=_LEVELS, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
    )
    return np.asarray(there[:, 0], np.float32), np.asarray(status[:, 0] == 1)


def _move_boxes(
    boxes: NDArray[np.float32], starts: NDArray[np.float32], ends: NDArray[np.float32], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Move and scale n boxes as the (n, k, 2) points in them moved, and tell of each whether its points agree.

    Only points that are `kept`, (n, k) bool, count; each box has some.
    """
    shifts = ends - starts
    shift = _medians(shifts, kept)
    spread = _medians(np.abs(shifts - shift[:, None]).sum(axis=2, keepdims=True), kept)[:, 0]
    weights = kept[:, :, None] / kept.sum(axis=1)[:, None, None]
    centred = starts - (starts * weights).sum(axis=1, keepdims=True)
    ends_centred = ends - (ends * weights).sum(axis=1, keepdims=True)
    # least squares: how much the points moved apart
    apart = (centred * ends_centred * weights).sum(axis=(1, 2))
    scale = apart / np.maximum((centred * centred * weights).sum(axis=(1, 2)), 1e-6)
    side = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    scale = np.where(side >= _MIN_SCALED_SIDE, np.clip(scale, 0.9, 1.1), 1.0)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * scale[:, None]
    moved = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    return moved, np.asarray(spread <= np.maximum(1.0, 0.15 * side), np.bool_)


def _medians(values: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Medians over the kept points: (n, c) of (n, k, c) values, for (n, k) bool with at least one True in each row."""
    ordered = np.sort(np.where(kept[:, :, None], values, np.inf), axis=1)
    rows, count = np.arange(len(values)), kept.sum(axis=1)
    return np.asarray((ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2, np.float32)
