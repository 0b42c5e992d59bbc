"""One detected object: its type, its mask, and where it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["OBJECT_TYPES", "Detection", "Mask", "ObjectType", "Source"]


class ObjectType(StrEnum):
    """The four types of objects that are detected and redacted."""

    FACE = "face"
    LICENSE_PLATE = "license-plate"
    PERSON = "person"
    VEHICLE = "vehicle"

    @property
    def number(self) -> int:
        """The index in `OBJECT_TYPES`, which `Detections.types` holds."""
        return OBJECT_TYPES.index(self)

    @property
    def code(self) -> int:
        """The value of `type` in the metadata (the API defines face 103; the others are ours)."""
        return _CODES[self]

    @property
    def flag(self) -> int:
        """The bit in the blue channel of an instance mask."""
        return _FLAGS[self]

    @property
    def legacy_flag(self) -> int:
        """The blue value in the older layout of instance masks."""
        return _LEGACY_FLAGS[self]

    @property
    def words(self) -> str:
        """The name in a sentence: "license plate"."""
        return self.value.replace("-", " ")


OBJECT_TYPES: tuple[ObjectType, ...] = tuple(ObjectType)
_FACE, _PLATE, _PERSON, _VEHICLE = OBJECT_TYPES
_CODES = {_PERSON: 101, _VEHICLE: 102, _FACE: 103, _PLATE: 104}
_FLAGS = {_PERSON: 128, _PLATE: 64, _FACE: 32, _VEHICLE: 16}
_LEGACY_FLAGS = {_PLATE: 64, _PERSON: 128, _FACE: 192, _VEHICLE: 255}


class Source(StrEnum):
    """What reports an object.

    A detector, the tracker where a detector missed it, the second look at the result, or the caller (`regions`).
    """

    DETECTOR = "detector"
    TRACKER = "tracker"
    VERIFICATION = "verification"
    CALLER = "caller"


@dataclass(frozen=True, slots=True, repr=False)
class Mask:
    """The pixels of one object, cropped to the object.

    Attributes:
        x, y: left and top of the crop, in pixels of the upright image.
        pixels: (h, w) bool; True belongs to the object.
        source: id of the segmenter that made the mask, or `box` for a filled box; empty if the detector made it.
    """

    x: int
    y: int
    pixels: NDArray[np.bool_]
    source: str = ""

    def __repr__(self) -> str:
        """The place and the size, without the pixels."""
        height, width = self.pixels.shape
        return f"Mask({width} x {height} pixels at ({self.x}, {self.y}), source={self.source!r})"

    def full(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Get the mask in the size of its image.

        Args:
            size_hw: height and width of the image in pixels.

        Returns:
            (h, w) bool.
        """
        whole = np.zeros(size_hw, np.bool_)
        height, width = self.pixels.shape
        whole[self.y : self.y + height, self.x : self.x + width] = self.pixels
        return whole


@dataclass(frozen=True, slots=True)
class Detection:
    """One detected object: a single entry of `Detections`.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the upright image, right and bottom exclusive.
        object_type: its type.
        score: 0..1.
        model: id of the model that detected it.
        source: whether a detector or the tracker reports it.
        track_id: its track in a video; None without tracking.
        mask: its segmentation mask; None if it has none.
    """

    box: tuple[float, float, float, float]
    object_type: ObjectType
    score: float
    model: str
    source: Source = Source.DETECTOR
    track_id: int | None = None
    mask: Mask | None = None

    def __repr__(self) -> str:
        """The type, the score and the box in whole pixels."""
        x1, y1, x2, y2 = (round(side) for side in self.box)
        track = "" if self.track_id is None else f", track {self.track_id}"
        return f"Detection({self.object_type} {self.score:.3f} at [{x1}, {y1}, {x2}, {y2}], {self.model}{track})"
