"""What every detector offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, ObjectType

__all__ = ["Detector", "Image"]

#: (h, w, 3) uint8 RGB
Image = NDArray[np.uint8]


class Detector(Protocol):
    """Detects objects of one or more types. Several threads call it at once.

    A scale of a detector is the long side in pixels to which it resizes an image (multi-scale testing).

    Attributes:
        id: id of the model; what `Detections.models` holds.
        object_types: the types that it detects.
        min_score: the lowest useful score, 0..1; all boxes above it are returned.
        least_size: shorter side of the smallest object that it was made for, in pixels of the resized image.
        device: `cpu`, `cuda:0`, ….

    A detector may have a property `side_by_side`: whether several images take less time side by side, each on one core,
    than one after the other on all cores. Default: no.
    """

    id: str
    object_types: tuple[ObjectType, ...]
    min_score: float
    least_size: float
    device: str

    def scales(self, long_side: int) -> tuple[int, ...]:
        """The scales at which a whole image is analysed, as long sides in pixels.

        Args:
            long_side: of the image, in pixels.
        """
        ...

    @property
    def tile_side(self) -> int:
        """Side of a square tile of a large image, in pixels of the image."""
        ...

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        """Detect all objects in each image.

        Args:
            images: (h, w, 3) uint8 RGB each, of any sizes.
            side: the scale, as long side in pixels that each image is resized to.

        Returns:
            One `Detections` for each image, with boxes in pixels of that image.

        Raises:
            DetectorFailed, OutOfMemory: there is no result.
        """
        ...

    def video_scale(self, long_side: int) -> int:
        """The one scale at which every frame of a video is analysed; the other scales take turns.

        Args:
            long_side: of the frames, in pixels.
        """
        ...

    def warm_up(self) -> None:
        """Run once, so that the first image does not wait."""
        ...
