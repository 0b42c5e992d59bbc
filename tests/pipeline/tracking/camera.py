"""A camera that moves over a large textured picture, with a face in it.

Sizes and speeds are those of a video that is 1920 pixels wide. The pictures are what the tracker gets of it: grey,
and 640 pixels wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import cv2
import numpy as np

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.tracker import Tracker
from tests.pipeline.tracking.scenes import NOTHING, Box, seen, texture

FULL_HW, SMALL_HW = (1080, 1920), (360, 640)
SCALE = SMALL_HW[1] / FULL_HW[1]
#: where the picture of the camera begins in the large one, in pixels of the video
ORIGIN = (900.0, 600.0)
PLACE = (820.0, 460.0)

#: pixels that the camera has moved to the right and down, by seconds
CameraPath = Callable[[float], tuple[float, float]]
Frames = list[tuple[np.ndarray, Box]]


def still(at_s: float) -> tuple[float, float]:
    return 0.0, 0.0


def shake(at_s: float) -> tuple[float, float]:
    """8 pixels at 4 Hz, in both directions."""
    angle = 2 * math.pi * 4 * at_s
    return 8 * math.sin(angle), 8 * math.sin(0.83 * angle + 1)


def pan(speed: float, start_s: float = 0.0, stop_s: float = math.inf) -> CameraPath:
    """A pan to the right, in pixels per second."""
    return lambda at_s: (speed * max(0.0, min(at_s, stop_s) - start_s), 0.0)


def clip(path: CameraPath, *, side: float, rate: float, count: int, walk: float = 0.0) -> Frames:
    """What the tracker sees of each frame, and where the face is in pixels of the video.

    Args:
        path: of the camera.
        side: of the face.
        rate: frames per second.
        count: of frames.
        walk: speed of the face to the right, in pixels per second.
    """
    ground = cv2.resize(texture(1, 400, 1000), (2000, 800), interpolation=cv2.INTER_CUBIC)
    face = 255 - cv2.resize(texture(3, 9, 9), (64, 64), interpolation=cv2.INTER_CUBIC)
    frames: Frames = []
    for number in range(count):
        x, y = path(number / rate)
        left, top = PLACE[0] + walk * number / rate - x, PLACE[1] - y
        shift = np.array([[1, 0, -(ORIGIN[0] + x) * SCALE], [0, 1, -(ORIGIN[1] + y) * SCALE]], np.float32)
        image = cv2.warpAffine(ground, shift, SMALL_HW[::-1], borderMode=cv2.BORDER_REFLECT)
        size = side * SCALE / 64
        onto = np.array([[size, 0, left * SCALE], [0, size, top * SCALE]], np.float32)
        inside = cv2.warpAffine(np.full_like(face, 255), onto, SMALL_HW[::-1]) > 127
        image[inside] = cv2.warpAffine(face, onto, SMALL_HW[::-1], borderMode=cv2.BORDER_REPLICATE)[inside]
        frames.append((image, (left, top, left + side, top + side)))
    return frames


def track(frames: Frames, missed: Collection[int], rate: float) -> list[Detections]:
    """What the tracker redacts, with a detector that is blind in some frames and sees the face in all others."""
    tracker = Tracker(FULL_HW, Options(), OBJECT_TYPES)
    results: list[Detections] = []
    for number, (image, box) in enumerate(frames):
        results += tracker.push(number / rate, NOTHING if number in missed else seen(box), image)
    return results + tracker.finish()


def bare(frames: Frames, results: Sequence[Detections]) -> list[int]:
    """The frames in which less than 90 % of the face lies in one of the boxes."""
    left = []
    for number, ((_, box), result) in enumerate(zip(frames, results, strict=True)):
        low, high = np.array(box[:2]), np.array(box[2:])
        inside = np.clip(np.minimum(result.boxes[:, 2:], high) - np.maximum(result.boxes[:, :2], low), 0, None)
        if not (inside.prod(axis=1) >= 0.9 * (high - low).prod()).any():
            left.append(number)
    return left
