"""Where a large image holds detail that a smaller copy of it would lose.

A picture that was enlarged, or that is out of focus, shows nothing new at its own scale. Where it is sharp, small
objects may be there that no first look at a smaller copy can even suspect.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.merging import View
from anonymizer.pipeline.detection.protocol import Image

__all__ = ["detail_map", "detailed_views"]

#: side of a block in pixels of the image
BLOCK_PX = 32
#: A block holds detail if its mean absolute Laplacian is at least this, in grey levels of 0..255, …
LEAST_LAPLACIAN = 3.0
#: … and at least this share of the one at half the size. Share of blocks with detail, for pictures of val at their own
#: scale or smaller; for an image around them that was enlarged ten times; for streets enlarged 2.5 to 4 times:
#:     2, .4    .89 .09 .08
#:     3, .4    .86 .08 .06
#:     3, .5    .81 .08 .01
LEAST_SHARE = 0.5
#: blocks with detail among a block and the eight around it, at least: fewer are noise, or one edge
LEAST_NEIGHBOURS = 4
#: the Laplacian is kept in 8 bits: its positive half, which is as large as the negative one, enlarged so many times
SCALE = 4
#: A rectangle around blocks with detail is divided while less than this share of it holds detail, unless it is small.
DENSE, LEAST_BLOCKS = 0.4, 5
#: surroundings in pixels that a view shows beside blocks with detail
MARGIN_PX = 8

#: left, top, right and bottom in blocks; and which of these sides divide a larger rectangle
_Box = tuple[int, ...]
_Sides = tuple[bool, ...]


def detail_map(image: Image) -> NDArray[np.bool_]:
    """Tell which blocks of an image hold detail that half of its size would lose.

    Args:
        image: (h, w, 3) uint8 RGB.

    Returns:
        (rows, columns) bool, one for each `BLOCK_PX` square; blocks at the right and bottom may be cut.
    """
    height, width = image.shape[:2]
    rows, columns = -(-height // BLOCK_PX), -(-width // BLOCK_PX)
    green = cv2.extractChannel(image, 1)
    half = cv2.resize(green, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    own, smaller = (_mean_laplacian(np.asarray(plane, np.uint8), (columns, rows)) for plane in (green, half))
    detail = (own >= SCALE * LEAST_LAPLACIAN / 2) & (own >= LEAST_SHARE * smaller)
    neighbours = cv2.boxFilter(detail.astype(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(detail & (neighbours >= LEAST_NEIGHBOURS), bool)


def _mean_laplacian(plane: NDArray[np.uint8], blocks_wh: tuple[int, int]) -> NDArray[np.float32]:
    laplacian = cv2.Laplacian(plane, cv2.CV_8U, scale=SCALE)
    return np.asarray(cv2.resize(laplacian, blocks_wh, interpolation=cv2.INTER_AREA), np.float32)


def detailed_views(image: Image, side: int) -> list[View]:
    """Plan views at the image's own scale that cover all blocks with detail.

    Args:
        image: (h, w, 3) uint8 RGB.
        side: the longest side of a view, in pixels.

    Returns:
        The views. Views of one larger area overlap by two blocks.
    """
    height, width = image.shape[:2]
    views = []
    for block_box, is_divided in _cover(detail_map(image), max(1, side // BLOCK_PX - 2)):
        margins = np.where(is_divided, BLOCK_PX, MARGIN_PX) * [-1, -1, 1, 1]
        x1, y1, x2, y2 = (np.array(block_box) * BLOCK_PX + margins).tolist()
        x1, y1, x2, y2 = max(0, x1), max(0, y1), min(width, x2), min(height, y2)
        views.append(View(x1, y1, x2, y2, max(x2 - x1, y2 - y1)))
    return views


def _cover(blocks: NDArray[np.bool_], most: int) -> Iterator[tuple[_Box, _Sides]]:
    """Rectangles that cover all true blocks, of at most so many blocks along a side.

    A rectangle is halved until it fits, and while less than `DENSE` of it is true. Each is given as left, top, right
    and bottom, and which of these sides divide a larger rectangle.
    """
    to_do: list[tuple[_Box, _Sides]] = [((0, 0, blocks.shape[1], blocks.shape[0]), (False,) * 4)]
    while to_do:
        (left, top, right, bottom), divided = to_do.pop()
        part = blocks[top:bottom, left:right]
        rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        if not len(rows):
            continue
        box = (left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1)
        # a side that moved inwards has no detail beyond it
        is_divided = tuple(
            was and new == old for was, new, old in zip(divided, box, (left, top, right, bottom), strict=True)
        )
        width, height = box[2] - box[0], box[3] - box[1]
        is_dense = blocks[box[1] : box[3], box[0] : box[2]].mean() >= DENSE or max(width, height) <= LEAST_BLOCKS
        if max(width, height) <= most and is_dense:
            yield box, is_divided
            continue
        axis = int(height > width)
        middle = (box[axis] + box[axis + 2]) // 2
        for side in (axis, axis + 2):
            # one half begins at the middle, the other one ends there
            half = tuple(middle if each == side else box[each] for each in range(4))
            to_do.append((half, tuple(each == side or is_divided[each] for each in range(4))))
