"""Resize images to what a network takes, and map its boxes back to pixels of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from torch import Tensor

from anonymizer.pipeline.detection.protocol import Image

__all__ = ["Letterbox", "Resize", "round_up"]

#: the coarsest stride of the networks: sides of their inputs are multiples of it
STRIDE = 32


@dataclass(frozen=True, slots=True)
class Resize:
    """Resize images of one size, and map boxes back.

    Attributes:
        image_wh: width and height of the images in pixels.
        scaled_wh: width and height after resizing, in pixels.

    Examples:
        >>> resize = Resize.to_long_side(np.zeros((100, 200, 3), np.uint8), 64)
        >>> resize.scaled_wh
        (64, 32)
    """

    image_wh: tuple[int, int]
    scaled_wh: tuple[int, int]

    @classmethod
    def to_long_side(cls, image: Image, side: int) -> Self:
        """Keep the shape of an image and scale its long side to `side` pixels.

        Args:
            image: (h, w, 3) uint8; only its shape is used.
            side: long side after resizing, in pixels.
        """
        height, width = image.shape[:2]
        scale = side / max(height, width)
        return cls((width, height), (max(1, round(width * scale)), max(1, round(height * scale))))

    def __call__(self, image: Image) -> Image:
        """Resize one image, (h, w, 3) uint8."""
        how = cv2.INTER_AREA if max(self.scaled_wh) < max(self.image_wh) else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, self.scaled_wh, interpolation=how), np.uint8)

    def restore_boxes(self, boxes: Tensor) -> Tensor:
        """Map boxes back to the image and clip them to it.

        Args:
            boxes: (n, 4) float32 x1, y1, x2, y2 in pixels of the resized image.

        Returns:
            (n, 4) float32 x1, y1, x2, y2 in pixels of the image.
        """
        size = boxes.new_tensor([*self.image_wh, *self.image_wh])
        # both sides have a factor of their own: a side of a few pixels is rounded to whole pixels
        return (boxes * size / boxes.new_tensor([*self.scaled_wh, *self.scaled_wh])).clamp(min=0).minimum(size)


@dataclass(frozen=True, slots=True)
class Letterbox(Resize):
    """Resize images and lay them on the top left of a canvas.

    Attributes:
        canvas_wh: width and height of the canvas in pixels.
        pad: value 0..255 of the canvas where no image lies.
    """

    canvas_wh: tuple[int, int] = (0, 0)
    pad: int = 0

    @classmethod
    def of(cls, image: Image, side: int, *, pad: int, canvas_side: int | None = None) -> Letterbox:
        """Scale the long side of an image to `side` pixels and pad it.

        Args:
            image: (h, w, 3) uint8; only its shape is used.
            side: long side after resizing, in pixels.
            pad: value 0..255 of the canvas where no image lies.
            canvas_side: side of a square canvas; default: the smallest canvas whose sides are multiples of 32.
        """
        resize = Resize.to_long_side(image, side)
        width, height = resize.scaled_wh
        canvas_wh = (round_up(width), round_up(height)) if canvas_side is None else (canvas_side, canvas_side)
        return cls(resize.image_wh, resize.scaled_wh, canvas_wh, pad)

    def __call__(self, image: Image) -> Image:
        """Resize one image and pad it, (h, w, 3) uint8."""
        canvas = np.full((self.canvas_wh[1], self.canvas_wh[0], 3), self.pad, np.uint8)
        canvas[: self.scaled_wh[1], : self.scaled_wh[0]] = Resize.__call__(self, image)
        return canvas


def round_up(length: float) -> int:
    """The smallest multiple of 32 that is not below `length`."""
    return math.ceil(length / STRIDE) * STRIDE
