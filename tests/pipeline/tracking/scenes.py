"""Small made-up scenes for tests of tracking: a textured background, with the same thing at each place of the frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.tracking.state import EXTENSION_S

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
SIZE_HW = (360, 640)
PICTURE_HW = (180, 320)
RATE = 20
HALF = round(EXTENSION_S * RATE)
SIDE = 40

Box = Sequence[float]


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """What a camera may see: spots of all sizes."""
    chance = np.random.default_rng(seed)
    noise = sum(
        cv2.resize(chance.uniform(0, 60, (max(height // n, 2), max(width // n, 2))), (width, height))
        for n in (3, 9, 40)
    )
    return np.asarray(noise, np.uint8)


STREET, INDOORS = texture(1, *PICTURE_HW), 255 - texture(2, *PICTURE_HW)[::-1] // 2
THING = 255 - texture(3, SIDE // 2, SIDE // 2)
NOTHING = Detections.empty()


def seen(*boxes: Box, score: float = 0.9, kind: ObjectType = FACE) -> Detections:
    n = len(boxes)
    return Detections(np.reshape(boxes, (n, 4)), np.full(n, score), np.full(n, kind.number), np.full(n, "fake"))


def at(x: float, y: float = 160, side: float = SIDE) -> tuple[float, float, float, float]:
    return (x, y, x + side, y + side)


def picture(*boxes: Box, scene: np.ndarray = STREET) -> np.ndarray:
    """A scene with the same thing at each place of the frame."""
    image = scene.copy()
    for x, y, *_ in boxes:
        left, top = round(x / 2), round(y / 2)
        part = image[max(top, 0) : top + len(THING), max(left, 0) : left + len(THING)]
        if part.size:
            part[:] = THING[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]
    return image
