"""A detector that is blind to turned objects, and pictures for it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from tests.fakes import FakeDetector

SIZE_HW = (240, 320)


class UprightDetector(FakeDetector):
    """Detects red boxes that have blue above them, as objects of one type: it is blind to turned ones."""

    def __init__(self, kind: ObjectType = ObjectType.FACE, **values: object) -> None:
        super().__init__(**values)  # type: ignore[arg-type]
        self.kind = kind
        self.seen: list[tuple[tuple[int, ...], int]] = []

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        self.calls += 1
        self.seen += [(image.shape, side) for image in images]
        if self.error:
            raise self.error
        return [self._find(image.astype(int)) for image in images]

    def _find(self, image: NDArray[np.int_]) -> Detections:
        red, green, blue = np.moveaxis(image, 2, 0)
        is_red, is_blue = (red > 150) & (green < 70) & (blue < 90), (blue > 150) & (green < 70) & (red < 90)
        boxes = []
        for x, y, width, height, area in cv2.connectedComponentsWithStats(is_red.astype(np.uint8))[2][1:].tolist():
            above = is_blue[max(y - height // 2, 0) : y, x : x + width]
            if area >= 9 and above.sum() > 0.5 * above.size > 0:
                boxes.append((x, y, x + width, y + height))
        return Detections(
            np.reshape(np.array(boxes, np.float32), (-1, 4)),
            np.full(len(boxes), 0.9, np.float32),
            np.full(len(boxes), self.kind.number, np.uint8),
            np.full(len(boxes), "fake"),
        )


def drawn(*faces: tuple[int, int], size_hw: tuple[int, int] = SIZE_HW) -> Image:
    """Faces of 40 x 40 pixels with blue hair, at these places."""
    image = np.full((*size_hw, 3), 127, np.uint8)
    for x, y in faces:
        image[y - 30 : y, x : x + 40] = (20, 20, 240)
        image[y : y + 40, x : x + 40] = (240, 20, 20)
    return image
