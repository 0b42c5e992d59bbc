"""Smaller copies of stored files: thumbnails of images, and masks at the size that a client asks for."""

from __future__ import annotations

import cv2
import numpy as np

from anonymizer.pipeline.images.io import encode_png, load_picture
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.outputs import masks

__all__ = ["scaled_mask_png", "thumbnail"]


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
    picture = load_picture(content, limits=limits).rgb()
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return encode_png(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))


def scaled_mask_png(content: bytes, percent: int) -> bytes:
    """Make a stored mask smaller, as `masks.scaled` does.

    Args:
        content: a PNG file of a binary mask or an instance mask.
        percent: size of the result, 1..100.

    Returns:
        A PNG file.
    """
    mask = np.array(load_picture(content).pixels, np.uint8)
    return encode_png(masks.scaled(mask, percent))
