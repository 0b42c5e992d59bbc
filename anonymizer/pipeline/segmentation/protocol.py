"""What every segmenter offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Mask

__all__ = ["Segmenter"]


class Segmenter(Protocol):
    """Says which pixels of a box are the object.

    Attributes:
        id: of the model; what `Mask.source` holds.
        device: `cpu`, `cuda:0`, ….
    """

    id: str
    device: str

    def segment(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], types: NDArray[np.uint8]
    ) -> list[Mask | None]:
        """A mask for each object; None for one that should keep its box.

        Args:
            image: (h, w, 3) uint8 RGB.
            boxes: (n, 4) float32 x1, y1, x2, y2 in its pixels.
            types: (n,) uint8, index into `OBJECT_TYPES`.

        Raises:
            DetectorFailed, OutOfMemory: there is no result.
        """
        ...

    def warm_up(self) -> None:
        """Run once, so that the first picture does not wait."""
        ...
