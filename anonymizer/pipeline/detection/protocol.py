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
    """Finds objects of one or more types.

    Attributes:
        id: of the model; what `Detections.models` holds.
        object_types: what it finds.
        min_score: the lowest score that is of any use; all above it is returned.
        least_size: shorter side in pixels, at the scale it looks at, of the smallest object that it was made for.
        device: `cpu`, `cuda:0`, ….
    """

    id: str
    object_types: tuple[ObjectType, ...]
    min_score: float
    least_size: float
    device: str

    def sides(self, long_side: int) -> tuple[int, ...]:
        """The scales at which a picture of this long side is looked at as a whole, as long sides in pixels."""
        ...

    @property
    def tile_side(self) -> int:
        """Side of a square tile of a large picture, in pixels of the picture."""
        ...

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        """All objects in each image, looked at with its long side scaled to `side` pixels.

        Args:
            images: (h, w, 3) uint8 RGB.

        Returns:
            For each image its objects, boxes in pixels of that image.

        Raises:
            DetectorFailed, OutOfMemory: there is no result.
        """
        ...

    def video_side(self, long_side: int) -> int:
        """The one scale at which every frame of a video is looked at; the others have their turns."""
        ...

    def warm_up(self) -> None:
        """Run once, so that the first picture does not wait."""
        ...
