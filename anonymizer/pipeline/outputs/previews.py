"""Thumbnails of images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.images.io import encode_png, load_picture
from anonymizer.pipeline.limits import Limits

__all__ = ["thumbnail", "thumbnail_of_pixels"]


def thumbnail(content: bytes, side: int, *, limits: Limits) -> bytes:
    """Make a thumbnail of an image file.

    Args:
        content: the bytes of the file.
        side: the longest side of the thumbnail in pixels; smaller images keep their size.
        limits: the largest image that is accepted.

    Returns:
        A PNG file, upright.

    Raises:
        AnonymizerError: the file is no image that is supported.
    """
    return thumbnail_of_pixels(load_picture(content, limits=limits).rgb(), side)


def thumbnail_of_pixels(picture: NDArray[np.uint8], side: int) -> bytes:
    """Make a thumbnail of an image that is decoded already.

    Args:
        picture: (h, w, 3) uint8 RGB.
        side: the longest side of the thumbnail in pixels; smaller images keep their size.

    Returns:
        A PNG file.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return encode_png(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))
