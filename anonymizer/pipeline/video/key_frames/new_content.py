"""Tell whether a frame shows anything that the key frames around it do not show.

The frame is divided into square blocks. Each block is looked for near its place in both key frames, as encoders of
videos do. What is found there has only moved. A block that is found nowhere shows something new.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.tracking.optical_flow import Grey

__all__ = ["shows_new_content"]

#: Side of a block, and how far it may have moved, in pixels of pictures of 640 pixels on the long side.
_BLOCK, _REACH = 8, 12
#: Root of the mean squared difference in grey values from which a block is new. Faces of WIDER were pasted into single
#: frames of our clips, at random places. Of those with 12 pixels, 97 to 100 % are new with 15, and 87 to 93 % with 20;
#: of those with 8 pixels 83 to 95 % and 65 to 77 %. With 15, half of the frames of a talking person show nothing new.
_NEW = 15.0
#: Where more blocks than this are not at their place, the frame counts as new: to look for each takes too long.
_MOST_MOVED = 300


def shows_new_content(image: Grey, keys: Sequence[Grey], known: NDArray[np.float32]) -> bool:
    """Whether a frame shows anything that is not in the key frames.

    Args:
        image: (h, w) uint8 grey image of the frame.
        keys: likewise, of the key frames.
        known: (n, 4) float32 boxes in pixels of the image: objects that are known there. What they hold does not
            count.

    Returns:
        True if a part of the frame outside these boxes is found in no key frame near the same place, or if too much has
        moved to look for.
    """
    smooth, *others = (np.asarray(cv2.blur(each, (3, 3)), np.uint8) for each in (image, *keys))
    height, width = image.shape
    moved = np.minimum.reduce([cv2.absdiff(smooth, other) for other in others]).astype(np.float32)
    down, across = -(-height // _BLOCK), -(-width // _BLOCK)
    squares = np.zeros((down * _BLOCK, across * _BLOCK), np.float32)
    squares[:height, :width] = moved * moved
    sums = squares.reshape(down, _BLOCK, across, _BLOCK).sum(axis=(1, 3))
    for x1, y1, x2, y2 in known:
        left, top = max(0, int(np.ceil(x1 / _BLOCK))), max(0, int(np.ceil(y1 / _BLOCK)))
        sums[top : max(0, int(y2 // _BLOCK)), left : max(0, int(x2 // _BLOCK))] = 0
    # blocks at the right and lower border are smaller
    heights = np.minimum(_BLOCK, height - _BLOCK * np.arange(down))
    widths = np.minimum(_BLOCK, width - _BLOCK * np.arange(across))
    limits = _NEW**2 * heights[:, None] * widths
    rows, columns = np.nonzero(sums > limits)
    if len(rows) > _MOST_MOVED:
        return True
    # what has changed most first: it is found least often
    order = np.argsort(-sums[rows, columns])
    return any(
        not _is_found(smooth, others, _BLOCK * int(row), _BLOCK * int(column), float(limits[row, column]))
        for row, column in zip(rows[order], columns[order], strict=True)
    )


def _is_found(image: Grey, others: Sequence[Grey], y: int, x: int, limit: float) -> bool:
    """Whether the block at a place is near it in one of the other images, up to a sum of squared differences."""
    block = image[y : y + _BLOCK, x : x + _BLOCK]
    low_y, low_x = max(0, y - _REACH), max(0, x - _REACH)
    for other in others:
        near = other[low_y : y + _BLOCK + _REACH, low_x : x + _BLOCK + _REACH]
        if cv2.matchTemplate(near, block, cv2.TM_SQDIFF).min() <= limit:
            return True
    return False
