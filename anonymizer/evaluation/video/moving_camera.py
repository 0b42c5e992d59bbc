"""Recordings as a camera sees them that shakes or pans: a window that moves over the frames of a clip."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from anonymizer.evaluation.video.dropout_test import Recording
from anonymizer.pipeline.detections import Detections

__all__ = ["CameraPath", "move_camera", "pan", "shake"]

#: Returns how far the camera has moved along x and y at a time in seconds, as shares of the long side of the frame.
CameraPath = Callable[[float], tuple[float, float]]

#: share of an object that has to lie in the window, or it is not there at all
_MIN_INSIDE = 0.5


def shake(amount: float = 8 / 1920, rate: float = 4.0) -> CameraPath:
    """A camera that shakes in both directions.

    Args:
        amount: largest distance from the middle, as a share of the long side of the frame; default: 8 pixels of 1920.
        rate: shakes per second along x, default: 4; a little fewer along y.
    """
    angle = 2 * math.pi * rate
    return lambda at_s: (amount * math.sin(angle * at_s), amount * math.sin(0.83 * angle * at_s + 1))


def pan(speed: float = 400 / 1920, reach: float = 0.1) -> CameraPath:
    """A camera that pans to one side and back, without end.

    Args:
        speed: as a share of the long side of the frame per second; default: 400 pixels of 1920.
        reach: how far it moves to each side, likewise; default: 0.1.
    """

    def moved(at_s: float) -> tuple[float, float]:
        # a triangle wave that begins in the middle
        along = (speed * at_s + reach) % (4 * reach)
        return (along - reach if along <= 2 * reach else 3 * reach - along), 0.0

    return moved


def move_camera(recording: Recording, path: CameraPath, *, share: float = 0.75) -> Recording:
    """Make the recording that a moving camera would have made: a window in the middle moves over the frames.

    Args:
        recording: the detections of a clip.
        path: how the window moves. At the border of the frames, the picture is mirrored.
        share: size of the window as a share of the frame, 0..1; default: 0.75.

    Returns:
        Frames of the size of the window. Its detections lie at least half in the window, and are cut off at its border.
    """
    height, width = (round(side * share) for side in recording.size_hw)
    full_height, full_width = recording.size_hw
    limits = np.array([width, height, width, height], np.float32)
    frames = []
    for at, found, grey in recording.frames:
        x, y = (part * max(recording.size_hw) for part in path(at))
        left, top = (full_width - width) / 2 + x, (full_height - height) / 2 + y
        scale_x, scale_y = grey.shape[1] / full_width, grey.shape[0] / full_height
        shift = np.array([[1, 0, -left * scale_x], [0, 1, -top * scale_y]], np.float32)
        size_wh = (round(width * scale_x), round(height * scale_y))
        view = np.asarray(cv2.warpAffine(grey, shift, size_wh, borderMode=cv2.BORDER_REFLECT), np.uint8)
        boxes = found.boxes - np.array([left, top, left, top], np.float32)
        inside = np.clip(boxes, 0, limits)
        areas, whole = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (inside, boxes))
        kept = np.flatnonzero(areas > _MIN_INSIDE * whole)
        moved = Detections(inside[kept], found.scores[kept], found.types[kept], found.models[kept])
        frames.append((at, moved, view))
    return Recording((height, width), frames)
