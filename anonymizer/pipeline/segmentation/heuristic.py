"""Masks without a model: what colours and the shape of its box say about an object.

GrabCut (Rother, Kolmogorov, Blake, 2004), begun in two ways on the box stretched to a small square, is averaged with
the box with round corners: colours alone lose a car's windows and a person's head, the shape alone knows no outline.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Mask, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.segmentation.crops import SPAN, Window
from anonymizer.pipeline.segmentation.mask_rules import can_have_mask, covering

__all__ = ["CUT_SIDE", "INSIDE", "HeuristicSegmenter", "by_colour", "by_shape"]

#: pixels of a side of what GrabCut looks at: the box, stretched to a square, and what is around it
CUT_SIDE = 64
#: Where GrabCut begins: up to which radius all is the object, and to which it may be (1 = the box's sides).
_STARTS = ((0.6, 1.1), (0.7, 1.0))
#: The rounded box |x|^2.5 + |y|^2.5 = 1 overlaps more with drawn vehicles (.757) than the box (.723) and the ellipse.
_ROUND = 2.5
#: how fast belief falls across the rounded box's outline, in radii
_SOFT = 0.12
#: Weight of the shape beside the colours, and the belief from which on a pixel belongs to the object. Measured by
#: benchmarks/masks.py (IoU; with the default margin: share of the object covered, changed area by the box's), before
#: masks ran on to near borders, which adds about .01 to the area:
#:     persons  .3 .35  .680 .962 .946    .5 .4   .664 .973 .990    .3 .25  .668 .971 .985
#:     vehicles .5 .35  .784 .990 1.11    .7 .6   .758 .971 .999    .5 .5   .765 .968 1.01
_RULES = {ObjectType.PERSON.number: (0.5, 0.42), ObjectType.VEHICLE.number: (0.7, 0.61)}

_AT = np.abs(np.arange(CUT_SIDE) + 0.5 - CUT_SIDE / 2) / (CUT_SIDE / SPAN / 2)
_RADIUS = (_AT**_ROUND + _AT[:, None] ** _ROUND) ** (1 / _ROUND)
#: (CUT_SIDE, CUT_SIDE) bool: the box
INSIDE = (_AT <= 1) & (_AT <= 1)[:, None]

#: it begins with a mask instead
_NO_RECT = (0, 0, 1, 1)

Image = NDArray[np.uint8]


def by_shape() -> NDArray[np.float32]:
    """How likely each pixel of a stretched box is the object's, by its place, (CUT_SIDE, CUT_SIDE) 0..1."""
    return np.asarray(1 / (1 + np.exp((_RADIUS - 1) / _SOFT)), np.float32)


def by_colour(cut: Image) -> NDArray[np.float32]:
    """The same by its colours, of a stretched box (CUT_SIDE, CUT_SIDE, 3) RGB."""
    found = [_grabcut(cut, sure, likely) for sure, likely in _STARTS]
    return np.asarray(np.mean(found, axis=0), np.float32)


def _grabcut(cut: Image, sure: float, likely: float) -> NDArray[np.bool_]:
    start = np.where(likely > _RADIUS, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    start[sure > _RADIUS] = cv2.GC_FGD
    start[~INSIDE] = cv2.GC_BGD
    # it draws its first guesses at random
    cv2.setRNGSeed(1)
    cv2.grabCut(cut, start, _NO_RECT, np.zeros((1, 65)), np.zeros((1, 65)), 1, cv2.GC_INIT_WITH_MASK)
    return np.asarray((start == cv2.GC_FGD) | (start == cv2.GC_PR_FGD))


class HeuristicSegmenter:
    """A segmenter that is always there. Persons and vehicles only: others keep their shapes."""

    id = "grabcut"
    device = "cpu"

    def warm_up(self) -> None:
        pass

    def segment(self, image: Image, boxes: NDArray[np.float32], types: NDArray[np.uint8]) -> list[Mask | None]:
        """Masks of objects; None for one that should keep its box. As `Segmenter` says."""
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        return [
            self._mask(image, box, int(number)) if can_have_mask(box, int(number)) else None
            for box, number in zip(boxes, types, strict=True)
        ]

    def _mask(self, image: Image, box: NDArray[np.float32], number: int) -> Mask | None:
        window = Window.around(box)
        share, least = _RULES[number]
        try:
            belief = share * by_shape() + (1 - share) * by_colour(window.cut(image, CUT_SIDE))
        except cv2.error as error:
            raise DetectorFailed(f"The segmenter {self.id} failed ({type(error).__name__}).") from error
        pixels = window.widened(np.where(INSIDE, belief, 0).astype(np.float32)) > least
        return covering(pixels, window.x1, window.y1, box, image.shape[:2], self.id)
