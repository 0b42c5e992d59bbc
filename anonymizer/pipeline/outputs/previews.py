"""Smaller pictures of what is stored: thumbnails for people, masks at a client's scale."""

from __future__ import annotations

import cv2
import numpy as np

from anonymizer.pipeline.images.io import encode_png, load_picture
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.outputs import masks

__all__ = ["scaled_mask_png", "thumbnail"]


def thumbnail(content: bytes, side: int, *, limits: Limits) -> bytes:
    """A picture file as a PNG of which neither side is longer than `side`, upright.

    Raises:
        AnonymizerError: the file is no picture.
    """
    picture = load_picture(content, limits=limits).rgb()
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return encode_png(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))


def scaled_mask_png(content: bytes, percent: int) -> bytes:
    """A stored mask, binary or instance, at a share of its size.

    Args:
        content: PNG.
        percent: 1..100.
    """
    mask = np.array(load_picture(content).pixels, np.uint8)
    return encode_png(masks.scaled(mask, percent))
