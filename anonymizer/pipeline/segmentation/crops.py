"""Square crops of objects, for segmenters with an input of a fixed size, and the way back to pixels of the image."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SPAN", "Window"]

#: width and height of a window, as a multiple of those of its box
SPAN = 1.3
_GREY = (127, 127, 127)


class Window(NamedTuple):
    """A box and its surroundings, in whole pixels of the image. A window may pass the borders of the image."""

    x1: int
    y1: int
    x2: int
    y2: int

    @classmethod
    def around(cls, box: NDArray[np.float32]) -> Window:
        """The window of a box (4,) float32 x1, y1, x2, y2 in pixels of the image."""
        x1, y1, x2, y2 = (float(side) for side in box)
        across, down = (x2 - x1) * (SPAN - 1) / 2, (y2 - y1) * (SPAN - 1) / 2
        return cls(math.floor(x1 - across), math.floor(y1 - down), math.ceil(x2 + across), math.ceil(y2 + down))

    def crop(self, image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        """Cut the window out of an image and stretch it to a square.

        Args:
            image: (h, w, 3) uint8 RGB.
            side: of the square, in pixels.

        Returns:
            (side, side, 3) uint8 RGB; grey beyond the borders of the image.
        """
        height, width = image.shape[:2]
        left, top, right, below = max(-self.x1, 0), max(-self.y1, 0), max(self.x2 - width, 0), max(self.y2 - height, 0)
        inside = image[max(self.y1, 0) : self.y2, max(self.x1, 0) : self.x2]
        if left or top or right or below:
            framed = cv2.copyMakeBorder(inside, top, below, left, right, cv2.BORDER_CONSTANT, value=_GREY)
            inside = np.asarray(framed, np.uint8)
        how = cv2.INTER_AREA if max(self.x2 - self.x1, self.y2 - self.y1) > side else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(inside, (side, side), interpolation=how), np.uint8)

    def resize_back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize values (side, side) float32 of a crop to the window's own pixels, (y2 - y1, x2 - x1) float32."""
        return np.asarray(cv2.resize(values, (self.x2 - self.x1, self.y2 - self.y1), interpolation=cv2.INTER_LINEAR))
