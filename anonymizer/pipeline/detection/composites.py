"""What a detector has to see of an image besides its colours: transparency may hide objects, and may draw them.

A viewer lays an image with transparency over a background that nobody knows in advance. An object may show over a dark
one only, may lie in hidden colours, or may be drawn by the alpha plane alone. So each of these is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.turned import SAME_IOU
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.images.io import Picture
from anonymizer.pipeline.tracking.boxes import ious, union

__all__ = ["BACKGROUNDS", "cover_all_looks", "further_looks"]

#: levels of grey that an image with transparency is laid over: black, white and middle grey
BACKGROUNDS = (0, 255, 128)


def further_looks(picture: Picture) -> Iterator[NDArray[np.uint8]]:
    """Show an image in the other ways in which an object in it may be seen; `Picture.rgb` is the first one.

    If a pixel is not opaque, these are the image over each of `BACKGROUNDS`, and the alpha plane and its negative with
    full contrast. An image of 16 bits whose values are small but for a few is shown once more, with those few clipped.

    Args:
        picture: any image.

    Yields:
        (h, w, 3) uint8 RGB, upright. Looks without any contrast, and those that equal one before, are left out. For an
        opaque image of 8 bits there is none.
    """
    if (bright := picture.brightened()) is not None:
        yield bright
    alpha = picture.alpha
    if alpha is None:
        return
    rgb = picture.rgb()
    seen = {_digest(rgb)}
    for look in _looks(rgb, alpha, premultiplied=picture.premultiplied):
        digest = _digest(look)
        if digest not in seen and look.min() != look.max():
            seen.add(digest)
            yield look


def cover_all_looks(objects: Detections, looks: Detections) -> Detections:
    """Grow boxes so that each covers its object as every look shows it: a viewer may see any of them.

    The mean of the boxes would leave part of an object bare that one of the looks hardly shows.

    Args:
        objects: of an image, each once.
        looks: what was found in all looks at it.

    Returns:
        The objects. Each box holds those of its type that have an IoU of more than `SAME_IOU` with it, and at least
        half of its score.
    """
    boxes = objects.boxes.copy()
    for row, box in enumerate(objects.boxes):
        is_same = (looks.types == objects.types[row]) & (looks.scores >= objects.scores[row] / 2)
        is_same &= ious(box, looks.boxes) > SAME_IOU
        boxes[row] = union(box, *looks.boxes[is_same])
    return replace(objects, boxes=boxes)


def _looks(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | NDArray[np.uint16], *, premultiplied: bool
) -> Iterator[NDArray[np.uint8]]:
    opacity = (alpha >> 8 if alpha.dtype == np.uint16 else alpha).astype(np.uint16)[..., None]
    if premultiplied:
        plain = rgb.astype(np.uint16) * 255 // np.maximum(opacity, 1)
        yield np.minimum(plain, 255).astype(np.uint8)
    for level in BACKGROUNDS:
        behind = (255 - opacity) * level
        # 255 * 255 + 127 fits into 16 bits
        laid = rgb + (behind + 127) // 255 if premultiplied else (rgb * opacity + behind + 127) // 255
        yield np.minimum(laid, 255).astype(np.uint8)
    stretched = cv2.normalize(alpha, cast("Any", None), 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    for plane in (stretched, 255 - stretched):
        yield np.dstack([plane] * 3).astype(np.uint8)


def _digest(look: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(cast("Any", np.ascontiguousarray(look))).digest()
