"""Masks without a model, from the colours in a box and from the shape of the box.

GrabCut (Rother, Kolmogorov, Blake, "GrabCut", SIGGRAPH 2004) runs twice with different starts, on the box stretched to
a small square. Its result is averaged with a box with round corners. Colours alone lose the windows of a car and the
head of a person; the shape alone has no outline.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Mask, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.segmentation.crops import SPAN, Window
from anonymizer.pipeline.segmentation.mask_rules import apply_mask_rules, can_have_mask

__all__ = ["CUT_SIDE", "INSIDE", "HeuristicSegmenter", "colour_probability", "shape_probability"]

#: side in pixels of the square crop that GrabCut sees: the box and its surroundings
CUT_SIDE = 64
#: The starts of GrabCut: the radius within which all pixels belong to the object, and within which they probably do.
#: Radius 1 is at the sides of the box.
_STARTS = ((0.6, 1.1), (0.7, 1.0))
#: The rounded box |x|^2.5 + |y|^2.5 = 1 overlaps more with drawn vehicles (.757) than the box (.723) and the ellipse.
_ROUND = 2.5
#: how fast the probability falls across the outline of the rounded box, in radii
_SOFT = 0.12
#: By type: the weight of the shape (the colours have the rest), and the probability from which on a pixel belongs to
#: the object. Measured by benchmarks/masks.py (IoU; with a margin of .1: share of the object covered, changed area
#: over area of the box). Masks did not extend to near borders yet, which adds about .01 to the area:
#:     persons  .3 .35  .680 .962 .946    .5 .4   .664 .973 .990    .3 .25  .668 .971 .985
#:     vehicles .5 .35  .784 .990 1.11    .7 .6   .758 .971 .999    .5 .5   .765 .968 1.01
_RULES = {ObjectType.PERSON.number: (0.5, 0.42), ObjectType.VEHICLE.number: (0.7, 0.61)}

_OFFSET = np.abs(np.arange(CUT_SIDE) + 0.5 - CUT_SIDE / 2) / (CUT_SIDE / SPAN / 2)
_RADIUS = (_OFFSET**_ROUND + _OFFSET[:, None] ** _ROUND) ** (1 / _ROUND)
#: (CUT_SIDE, CUT_SIDE) bool: the box
INSIDE = (_OFFSET <= 1) & (_OFFSET <= 1)[:, None]

#: not used: GrabCut starts with a mask
_NO_RECT = (0, 0, 1, 1)

Image = NDArray[np.uint8]


def shape_probability() -> NDArray[np.float32]:
    """The probability that each pixel of a crop belongs to the object, by its position.

    Returns:
        (CUT_SIDE, CUT_SIDE) float32, 0..1.
    """
    return np.asarray(1 / (1 + np.exp((_RADIUS - 1) / _SOFT)), np.float32)


def colour_probability(crop: Image) -> NDArray[np.float32]:
    """The probability that each pixel of a crop belongs to the object, by its colours (GrabCut).

    Args:
        crop: (CUT_SIDE, CUT_SIDE, 3) uint8 RGB.

    Returns:
        (CUT_SIDE, CUT_SIDE) float32, 0..1.
    """
    results = [_grabcut(crop, sure, likely) for sure, likely in _STARTS]
    return np.asarray(np.mean(results, axis=0), np.float32)


def _grabcut(crop: Image, sure: float, likely: float) -> NDArray[np.bool_]:
    start = np.where(likely > _RADIUS, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    start[sure > _RADIUS] = cv2.GC_FGD
    start[~INSIDE] = cv2.GC_BGD
    # GrabCut initialises its colour models at random
    cv2.setRNGSeed(1)
    cv2.grabCut(crop, start, _NO_RECT, np.zeros((1, 65)), np.zeros((1, 65)), 1, cv2.GC_INIT_WITH_MASK)
    return np.asarray((start == cv2.GC_FGD) | (start == cv2.GC_PR_FGD))


class HeuristicSegmenter:
    """A segmenter that needs no model. It makes masks of persons and vehicles; other objects keep their boxes.

    Attributes:
        id: `grabcut`.
        device: `cpu`.
    """

    id = "grabcut"
    device = "cpu"

    def warm_up(self) -> None:
        """There is nothing to prepare."""

    def segment(self, image: Image, boxes: NDArray[np.float32], types: NDArray[np.uint8]) -> list[Mask | None]:
        """Make a mask for each person and vehicle, from the colours and the shape of its box.

        Args:
            image: (h, w, 3) uint8 RGB.
            boxes: (n, 4) float32 x1, y1, x2, y2 in pixels of the image. Parts outside the image are ignored.
            types: (n,) uint8, index into `OBJECT_TYPES`.

        Returns:
            n masks. An entry is None if the object keeps its box: it has another type, its box is too small, or no
            usable mask was found.

        Raises:
            DetectorFailed: GrabCut failed.
        """
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        return [
            self._mask(image, box, int(number)) if can_have_mask(box, int(number)) else None
            for box, number in zip(boxes, types, strict=True)
        ]

    def _mask(self, image: Image, box: NDArray[np.float32], number: int) -> Mask | None:
        window = Window.around(box)
        shape_weight, threshold = _RULES[number]
        try:
            colour = colour_probability(window.crop(image, CUT_SIDE))
        except cv2.error as error:
            raise DetectorFailed(f"The segmenter {self.id} failed ({type(error).__name__}).") from error
        probability = shape_weight * shape_probability() + (1 - shape_weight) * colour
        pixels = window.resize_back(np.where(INSIDE, probability, 0).astype(np.float32)) > threshold
        return apply_mask_rules(pixels, window.x1, window.y1, box, image.shape[:2], self.id, OBJECT_TYPES[number])
