"""What every segmenter offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Mask

__all__ = ["Segmenter"]


class Segmenter(Protocol):
    """Makes a mask for each box: the pixels that belong to the object. Several threads call it at once.

    Attributes:
        id: id of the model; what `Mask.source` holds.
        device: `cpu`, `cuda:0`, ….
    """

    id: str
    device: str

    def segment(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], types: NDArray[np.uint8]
    ) -> list[Mask | None]:
        """Make a mask for each object.

        Args:
            image: (h, w, 3) uint8 RGB.
            boxes: (n, 4) float32 x1, y1, x2, y2 in pixels of the image.
            types: (n,) uint8, index into `OBJECT_TYPES`.

        Returns:
            n masks; None: the object keeps its box.

        Raises:
            DetectorFailed, OutOfMemory: there is no result.
        """
        ...

    def warm_up(self) -> None:
        """Run once, so that the first image does not wait."""
        ...
