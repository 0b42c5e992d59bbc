"""The motion that most of a picture shares from one frame to the next: a pan, a shake or a zoom of the camera.

Corners all over the picture are followed with the pyramidal Lucas-Kanade method, forth and back. RANSAC (Fischler and
Bolles 1981) finds the shift, turn and scale that most of them share. Phase correlation of thumbnails gives the start,
so that fast pans are found too.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.tracking.optical_flow import Grey, follow_points

__all__ = ["GlobalMotion", "estimate_global_motion"]

Points = NDArray[np.float32]
Boxes = NDArray[np.float32]

#: the picture is divided into square cells, so many along its long side; the best corner of each is followed
_CELLS = 16
#: pixels of the smaller pictures: a thumbnail for phase correlation, and one in which corners are looked for
_THUMBNAIL, _CORNERS = 128, 320
#: Least eigenvalue of the gradients from which a corner can be followed. Noise of codecs on asphalt has up to 1e-4,
#: and half of all cells of our clips have 3e-4 to 2e-2.
_MIN_CORNER = 2e-4
#: Pixels by which a corner may miss the common motion, for a still camera, for each pixel of the shift, and at most.
#: Lenses bend the motion, and what is near moves more than what is far.
_TOLERANCE, _TOLERANCE_SHARE, _MAX_TOLERANCE = 1.5, 0.15, 4.0
#: Fewer corners, or a smaller share of those that were followed, are no common motion.
_MIN_CORNERS, _MIN_SHARE = 10, 0.5
#: share of the picture, in blocks of two by two cells, in which there must be a corner with the common motion; one car
#: on flat asphalt reaches a quarter
_MIN_SPREAD, _BLOCK = 0.3, 2
#: a turn or a change of scale beyond this between two frames is an error
_MAX_TURN = 0.15
#: At a box, those corners count that are no further away than so many cells.
_NEAR_CELLS = 1.5
#: With fewer corners near a box, this share of all corners must have the motion.
_NEAR_CORNERS, _SURE_SHARE = 3, 0.75


@dataclass(frozen=True, slots=True)
class GlobalMotion:
    """The motion that most of a picture shares, from one frame to a neighbouring one.

    Attributes:
        matrix: (2, 3) float32: shift, turn and scale, from pixels of the first picture to those of the second.
        starts: (n, 2) float32, corners that were followed, in pixels of the first picture.
        ends: (n, 2) float32, where they are in the second picture.
        inliers: (n,) bool, which of them have this motion.
        cell: side in pixels of the cells of which each gave one corner at most.
    """

    matrix: NDArray[np.float32]
    starts: Points
    ends: Points
    inliers: NDArray[np.bool_]
    cell: float

    @property
    def share(self) -> float:
        """Share of the corners that have this motion, 0.5..1."""
        return float(self.inliers.mean())

    def inverse(self) -> GlobalMotion:
        """The motion from the second frame back to the first."""
        back = np.asarray(cv2.invertAffineTransform(self.matrix), np.float32)
        return GlobalMotion(back, self.ends, self.starts, self.inliers, self.cell)

    def move_points(self, points: Points) -> Points:
        """Where (..., 2) float32 points of the first picture are in the second, if they have this motion."""
        return np.asarray(points @ self.matrix[:, :2].T + self.matrix[:, 2], np.float32)

    def move_boxes(self, boxes: Boxes) -> tuple[Boxes, NDArray[np.bool_]]:
        """Move boxes as the scene around them moves.

        Args:
            boxes: (n, 4) float32, in pixels of the first picture.

        Returns:
            The boxes in the second picture, (n, 4) float32, moved and scaled but not turned, and (n,) bool, whether
            the scene around each has this motion. Something else may move there, or hide the scene. At least half of
            the corners near a box must have the motion. Where there are fewer than three, three quarters of all must.
        """
        centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        reach = halves + np.float32(_NEAR_CELLS * self.cell)
        near = (np.abs(self.starts[None] - centres[:, None]) <= reach[:, None]).all(axis=2)
        agreeing = near & self.inliers
        corners, count = near.sum(axis=1), agreeing.sum(axis=1)
        holds = np.where(corners < _NEAR_CORNERS, self.share >= _SURE_SHARE, 2 * count >= corners)
        # lenses bend the motion: near corners tell by how much
        missed = self.ends - self.move_points(self.starts)
        local = (agreeing @ missed) / np.maximum(count, 1)[:, None]
        moved = (
            self.move_points(np.asarray(centres, np.float32)) + np.where(count >= _NEAR_CORNERS, 1, 0)[:, None] * local
        )
        halves = halves * np.float32(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))
        return np.concatenate([moved - halves, moved + halves], axis=1).astype(np.float32), holds


def estimate_global_motion(before: Grey, after: Grey) -> GlobalMotion | None:
    """Estimate the motion that most of a picture shares.

    Args:
        before, after: (h, w) uint8 grey images of two neighbouring frames of one scene, of the same size. Their long
            side should have 640 pixels.

    Returns:
        The motion, or None where there is none to be sure of: the picture is flat, or falls apart into parts with
        motions of their own.
    """
    cell = max(before.shape) / _CELLS
    corners = _corners(before, cell)
    if len(corners) < _MIN_CORNERS:
        return None
    shift = _coarse_shift(before, after)
    # the largest motion in a thumbnail may be that of one object, while the camera stands still
    guesses = [shift, np.zeros(2, np.float32)] if shift.any() else [shift]
    found = [_common_motion(before, after, corners, guess, cell) for guess in guesses]
    motions = [each for each in found if each is not None]
    best = max(motions, key=lambda each: int(each.inliers.sum()), default=None)
    if best is None or best.share < _MIN_SHARE or _spread(best, before.shape) < _MIN_SPREAD:
        return None
    return best


def _common_motion(
    before: Grey, after: Grey, corners: Points, shift: NDArray[np.float32], cell: float
) -> GlobalMotion | None:
    """The motion of most corners that are found from a first guess of the shift, whatever their share."""
    ends, followed = follow_points(before, after, corners, corners + shift)
    if followed.sum() < _MIN_CORNERS:
        return None
    starts, ends = corners[followed], ends[followed]
    length = float(np.linalg.norm(np.median(ends - starts, axis=0)))
    tolerance = min(_TOLERANCE + _TOLERANCE_SHARE * length, _MAX_TOLERANCE)
    matrix, mask = cv2.estimateAffinePartial2D(starts, ends, method=cv2.RANSAC, ransacReprojThreshold=tolerance)
    if matrix is None or np.abs(matrix[:, :2] - np.eye(2)).max() > _MAX_TURN:
        return None
    inliers = mask[:, 0] == 1
    if inliers.sum() < _MIN_CORNERS:
        return None
    return GlobalMotion(np.asarray(matrix, np.float32), starts, ends, inliers, cell)


def _spread(motion: GlobalMotion, shape_hw: tuple[int, ...]) -> float:
    """Share of the blocks of the picture, 0..1, in which a corner has the motion."""
    side = _BLOCK * motion.cell
    blocks = np.unique((motion.starts[motion.inliers] // side).astype(int), axis=0)
    height, width = shape_hw
    return len(blocks) / float(np.ceil(height / side) * np.ceil(width / side))


def _corners(image: Grey, cell: float) -> Points:
    """The best corner of each cell, (n, 2) float32, in pixels of the image; none in cells without structure."""
    shrink = min(1.0, _CORNERS / max(image.shape))
    small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else image
    quality = cv2.cornerMinEigenVal(small, 3)
    side = max(2, round(cell * shrink))
    down, across = small.shape[0] // side, small.shape[1] // side
    if not down or not across:
        return np.empty((0, 2), np.float32)
    cells = quality[: down * side, : across * side].reshape(down, side, across, side).swapaxes(1, 2)
    flat = cells.reshape(down, across, side * side)
    rows, columns = np.nonzero(flat.max(axis=2) >= _MIN_CORNER)
    y, x = np.divmod(flat[rows, columns].argmax(axis=1), side)
    corners = np.stack([columns * side + x, rows * side + y], axis=1).astype(np.float32)
    return np.asarray((corners + 0.5) / np.float32(shrink) - 0.5, np.float32)


def _coarse_shift(before: Grey, after: Grey) -> NDArray[np.float32]:
    """About how far the picture has moved, (2,) float32 pixels along x and y; 0 where that explains it better."""
    shrink = min(1.0, _THUMBNAIL / max(before.shape))
    size_wh = (max(8, round(before.shape[1] * shrink)), max(8, round(before.shape[0] * shrink)))
    one, two = (cv2.resize(each, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32) for each in (before, after))
    (x, y), _ = cv2.phaseCorrelate(one, two, cv2.createHanningWindow(size_wh, cv2.CV_32F))
    across, down = round(x), round(y)
    if (across or down) and _difference(one, two, across, down) < _difference(one, two, 0, 0):
        return np.array([x * before.shape[1] / size_wh[0], y * before.shape[0] / size_wh[1]], np.float32)
    return np.zeros(2, np.float32)


def _difference(one: NDArray[np.float32], two: NDArray[np.float32], across: int, down: int) -> float:
    """Mean difference of two pictures where they overlap when the first is moved; infinite if they hardly overlap."""
    height, width = one.shape
    if abs(across) > width // 2 or abs(down) > height // 2:
        return float("inf")
    first = one[max(-down, 0) : height - max(down, 0), max(-across, 0) : width - max(across, 0)]
    second = two[max(down, 0) : height + min(down, 0), max(across, 0) : width + min(across, 0)]
    return float(np.abs(first - second).mean())
