"""Detectors and a store for tests in which a real detector would be slow, or has to fail on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anonymizer import Anonymizer
from anonymizer.pipeline.detection.calibration import Calibrations
from anonymizer.pipeline.detection.canvases import PAD
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.model_zoo.store import ModelStore


@dataclass
class FakeDetector:
    """Detects two faces and a license plate in every image, and counts its calls.

    It detects nothing in the crops of a second look: these would show the same objects, and not new ones.
    """

    id: str = "fake"
    object_types: tuple[ObjectType, ...] = tuple(ObjectType)
    min_score: float = 0.05
    least_size: float = 8.0
    tile_side: int = 320
    device: str = "cpu"
    calls: int = 0
    error: Exception | None = None
    during: Callable[[], None] = field(default=lambda: None)

    def warm_up(self) -> None:
        pass

    def scales(self, long_side: int) -> tuple[int, ...]:
        return (320,)

    def video_scale(self, long_side: int) -> int:
        return 320

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.calls += 1
        self.during()
        if self.error:
            raise self.error
        boxes = np.array([[20, 20, 60, 70], [100, 100, 160, 120], [200, 50, 240, 90]], np.float32)
        types = [ObjectType.FACE.number, ObjectType.LICENSE_PLATE.number, ObjectType.FACE.number]
        found = Detections(boxes, [0.9, 0.7, 0.3], types, ["fake"] * 3)
        # the canvas of a second look is padded to the right of its crops
        return [Detections.empty() if (image[:, -1] == PAD).all() else found for image in images]


class FakeStore(ModelStore):
    """A store with one fake detector for all object types."""

    def __init__(self, detector: FakeDetector, *, cost: float = 1.0) -> None:
        super().__init__(device="cpu")
        self.detector, self.cost = detector, cost

    def serves(self) -> dict[ObjectType, tuple[str, ...]]:
        return dict.fromkeys(ObjectType, ("fake",))

    def calibrations(self, model_id: str) -> Calibrations:
        return Calibrations()

    def miss_cost(self, object_type: ObjectType) -> float:
        return self.cost

    def segmenter(self) -> None:
        return None

    def require(self, object_types: object) -> None:
        pass

    def keys(self, object_types: tuple[ObjectType, ...]) -> dict[str, str]:
        return {object_type.value: "fake@1" for object_type in object_types}

    def detectors(self, object_types: object) -> list[FakeDetector]:  # type: ignore[override]
        return [self.detector]


def fake_anonymizer(*args: object, **kwargs: object) -> Anonymizer:
    """An anonymizer with a fake detector, made in the process that calls this."""
    return Anonymizer(store=FakeStore(FakeDetector()))


@dataclass
class MagentaDetector(FakeDetector):
    """Detects the magenta box of `clip_zoo.scene`."""

    kind: ObjectType = ObjectType.LICENSE_PLATE

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.calls += 1
        self.during()
        if self.error:
            raise self.error
        return [_magenta(image, self.kind) for image in images]


def _magenta(image: NDArray[np.uint8], kind: ObjectType) -> Detections:
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    seen = np.minimum(red, blue) - green > 50
    if not (red - green).any():
        # grey: where light and dark stripes lie one upon the other
        seen[4:] = np.abs(red[4:] - red[:-4]) > 40
    if seen.sum() < 30:
        return Detections.empty()
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    return Detections(box, [0.9], [kind.number], ["fake"])
