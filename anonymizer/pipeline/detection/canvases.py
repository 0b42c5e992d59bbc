"""Pack crops of images onto square canvases, so that a detector sees many of them in one pass.

Packing is first fit in shelves, by falling height (Coffman et al., SIAM J. Comput. 1980). The packages for it have had
no release for years.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from anonymizer.pipeline.detection.merging import View
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections

__all__ = ["Canvas", "Crop", "pack"]

#: grey value between the crops; detectors pad their images with it, too
PAD = 114
#: pixels between two crops on a canvas
GAP_PX = 16
#: A box that passes the border of its crop by more pixels than this is dropped: it is none of the crop's objects.
CROSSES_PX = GAP_PX / 2
#: The last canvas ends after so many steps of its side, because it is rarely full.
HEIGHT_STEPS = 4


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of an image, and its size on a canvas.

    Attributes:
        image: index of the image.
        view: the rectangle; its `side` is the long side on the canvas.
    """

    image: int
    view: View

    @property
    def scaled_wh(self) -> tuple[int, int]:
        """Width and height on the canvas in pixels."""
        width, height = self.view.x2 - self.view.x1, self.view.y2 - self.view.y1
        scale = self.view.side / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, slots=True)
class Canvas:
    """Crops that one pass of a detector sees together.

    Attributes:
        side: width in pixels, and the greatest height.
        placed: the numbers of the crops and where they begin: number, x and y in pixels of the canvas.
    """

    side: int
    placed: tuple[tuple[int, int, int], ...]

    def size_hw(self, crops: Sequence[Crop]) -> tuple[int, int]:
        """Height and width in pixels; the height is a multiple of a quarter of the side.

        Args:
            crops: all crops.
        """
        used = max(y + crops[number].scaled_wh[1] for number, _, y in self.placed)
        step = max(1, self.side // HEIGHT_STEPS)
        return min(self.side, -(-used // step) * step), self.side

    def draw(self, crops: Sequence[Crop], images: Sequence[Image]) -> Image:
        """Draw the canvas.

        Args:
            crops: all crops.
            images: (h, w, 3) uint8 RGB each.

        Returns:
            (h, w, 3) uint8 RGB, of `size_hw`.
        """
        pixels = np.full((*self.size_hw(crops), 3), PAD, np.uint8)
        for number, x, y in self.placed:
            crop, (width, height) = crops[number], crops[number].scaled_wh
            of_image = crop.view.crop(images[crop.image])
            how = cv2.INTER_AREA if width < of_image.shape[1] else cv2.INTER_LINEAR
            pixels[y : y + height, x : x + width] = cv2.resize(of_image, (width, height), interpolation=how)
        return pixels

    def split(self, found: Detections, crops: Sequence[Crop]) -> list[tuple[int, Detections]]:
        """Give each crop its own detections.

        Args:
            found: n objects, with boxes in pixels of the canvas.
            crops: all crops.

        Returns:
            For each crop on the canvas its number and its detections, with boxes in pixels of the crop's rectangle of
            the image. Boxes that cross the border of a crop are left out, and masks as well.
        """
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        parts = []
        for number, x, y in self.placed:
            view, size = crops[number].view, np.array(crops[number].scaled_wh, np.float32)
            low = np.array([x, y], np.float32)
            inside = (centres >= low) & (centres < low + size)
            inside &= (found.boxes[:, :2] >= low - CROSSES_PX) & (found.boxes[:, 2:] <= low + size + CROSSES_PX)
            part = found[np.flatnonzero(inside.all(axis=1))]
            factor = np.array([view.x2 - view.x1, view.y2 - view.y1], np.float32) / size
            boxes = np.clip(part.boxes - np.tile(low, 2), 0, np.tile(size, 2)) * np.tile(factor, 2)
            parts.append((number, replace(part, boxes=boxes, masks=())))
        return parts


@dataclass(slots=True)
class _Shelf:
    canvas: int
    y: int
    height: int
    used: int


def pack(crops: Sequence[Crop], side: int) -> list[Canvas]:
    """Pack crops onto as few square canvases as a simple method needs.

    Args:
        crops: no side is longer than `side` on the canvas.
        side: of a canvas, in pixels.

    Returns:
        The canvases. Each crop lies on one of them, apart from the others.

    Raises:
        ValueError: a crop is larger than a canvas.
    """
    shelves: list[_Shelf] = []
    placed: list[list[tuple[int, int, int]]] = []
    ends: list[int] = []
    for number in sorted(range(len(crops)), key=lambda number: -crops[number].scaled_wh[1]):
        width, height = crops[number].scaled_wh
        if max(width, height) > side:
            raise ValueError(f"a crop of {width} x {height} pixels does not fit on a canvas of {side} x {side}")
        shelf = next((shelf for shelf in shelves if shelf.used + width <= side), None)
        if shelf is None:
            canvas = next((index for index, end in enumerate(ends) if end + height <= side), len(ends))
            if canvas == len(ends):
                ends.append(0)
                placed.append([])
            shelf = _Shelf(canvas, ends[canvas], height, 0)
            shelves.append(shelf)
            ends[canvas] += height + GAP_PX
        placed[shelf.canvas].append((number, shelf.used, shelf.y))
        shelf.used += width + GAP_PX
    return [Canvas(side, tuple(of_canvas)) for of_canvas in placed]
