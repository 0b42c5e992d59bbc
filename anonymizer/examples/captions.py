"""Captions and sizes of the pictures in clips and contact sheets."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_caption", "fit_size"]

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_caption(text: str, width: int, height: int) -> NDArray[np.uint8]:
    """Draw white text on black, centred and as large as fits. OpenCV's own strokes are used, so that no font is needed.

    Args:
        text: in ASCII.
        width: of the picture in pixels.
        height: of the picture in pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    strip = np.zeros((height, width, 3), np.uint8)
    scale = cv2.getFontScaleFromHeight(_FONT, max(round(height * 0.55), 5), 1)
    (across, down), _ = cv2.getTextSize(text, _FONT, scale, 1)
    if across > width - 4:
        scale *= (width - 4) / across
        (across, down), _ = cv2.getTextSize(text, _FONT, scale, 1)
    cv2.putText(
        strip, text, ((width - across) // 2, (height + down) // 2), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA
    )
    return strip


def fit_size(size_wh: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Scale a size so that it fits into a height and a width; the aspect ratio stays.

    Args:
        size_wh: width and height in pixels.
        height: the most pixels of the height.
        width: the most pixels of the width.

    Returns:
        Width and height in pixels, 1 or more.
    """
    scale = min(height / size_wh[1], width / size_wh[0])
    return max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1)
