"""How much of an object redaction leaves, in numbers.

A correlation shows how strength depends on method and size; it is no test of re-identification. `linked` is one, of the
easiest kind: for whoever holds the very originals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.effects import redact
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions

__all__ = ["Cutout", "linked", "one_type", "pattern", "similarity"]

#: cells across a random pattern
CELLS = 16
#: how much of what is round an object comes with it, as a share of its shorter side
AROUND = 0.5
#: side in pixels to which crops are brought before they are compared
COMPARED_PX = 64

_Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Cutout:
    """One object, and some of what is round it.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        box: (4,) float32, x1, y1, x2, y2 of the object in these pixels.
    """

    pixels: _Pixels
    box: NDArray[np.float32]
    object_type: ObjectType

    @classmethod
    def of(cls, picture: _Pixels, box: NDArray[np.float32], object_type: ObjectType) -> Cutout:
        """Cut out of a picture (h, w, 3) uint8 RGB, in which its box (4,) is."""
        height, width = picture.shape[:2]
        around = AROUND * min(box[2] - box[0], box[3] - box[1])
        x1, y1 = (max(int(side - around), 0) for side in box[:2])
        x2, y2 = min(int(box[2] + around) + 1, width), min(int(box[3] + around) + 1, height)
        return cls(picture[y1:y2, x1:x2].copy(), np.asarray(box - [x1, y1, x1, y1], np.float32), object_type)

    @property
    def short_side(self) -> float:
        """Of the box, in pixels."""
        return float(min(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    def scaled(self, short_side: float) -> Cutout:
        """The same with another shorter side of the box."""
        scale = short_side / self.short_side
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(self.pixels, None, fx=scale, fy=scale, interpolation=how), np.uint8)
        return Cutout(pixels, np.asarray(self.box * scale, np.float32), self.object_type)

    def shape(self, options: Options) -> RedactionRegion:
        """Where its pixels change."""
        (found,) = redaction_regions(one_type(self.box[None], self.object_type), self.pixels.shape[:2], options)
        return found

    def redacted(self, options: Options, *, seed: int = 0) -> _Pixels:
        """Its pixels, redacted as the pipeline does it."""
        return redact(self.pixels, [self.shape(options)], options, seed=seed)

    def inside(self, pixels: _Pixels) -> _Pixels:
        """What lies in the box, of the cutout's pixels or of other ones for them."""
        height, width = pixels.shape[:2]
        x1, y1, x2, y2 = np.clip(np.rint(self.box), 0, [width, height] * 2).astype(int)
        return pixels[y1:y2, x1:x2]

    def left(self, options: Options, *, seed: int = 0) -> float:
        """The similarity of what lies in the box before and after redaction, 0..1."""
        return similarity(self.inside(self.pixels), self.inside(self.redacted(options, seed=seed)))


def one_type(boxes: NDArray[np.float32], object_type: ObjectType) -> Detections:
    """Detections of one type, all certain."""
    n = len(boxes)
    return Detections(boxes, np.ones(n, np.float32), np.full(n, object_type.number), np.full(n, "given"))


def pattern(size: int, object_type: ObjectType, seed: int) -> Cutout:
    """An object of 16 x 16 random grey cells on grey, `size` pixels wide and high."""
    cells = np.random.default_rng(seed).integers(0, 256, (CELLS, CELLS, 1), np.uint8).repeat(3, axis=2)
    picture = np.full((2 * size, 2 * size, 3), 128, np.uint8)
    start, stop = size // 2, size // 2 + size
    picture[start:stop, start:stop] = cv2.resize(cells, (size, size), interpolation=cv2.INTER_NEAREST)
    return Cutout(picture, np.array([start, start, stop, stop], np.float32), object_type)


def similarity(before: _Pixels, after: _Pixels) -> float:
    """Correlation of the values of two pictures of one size, without its sign: 0 nothing in common, 1 the same."""
    first, second = before.astype(float).ravel(), after.astype(float).ravel()
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return abs(float(np.corrcoef(first, second)[0, 1]))


def linked(cutouts: Sequence[Cutout], options: Options, *, seed: int = 0) -> float:
    """The share of redacted objects that whoever holds all the originals can tell which of them they were.

    The guess is the original that is most similar; where several are equally so, there is none. By chance it is 1 / n.
    """
    before = [_compared(each.inside(each.pixels)) for each in cutouts]
    after = [_compared(each.inside(each.redacted(options, seed=seed + n))) for n, each in enumerate(cutouts)]
    likeness = np.array([[similarity(original, each) for original in before] for each in after])
    best = likeness == likeness.max(1, keepdims=True)
    return float((best.diagonal() & (best.sum(1) == 1)).mean())


def _compared(pixels: _Pixels) -> _Pixels:
    return np.asarray(cv2.resize(pixels, (COMPARED_PX, COMPARED_PX), interpolation=cv2.INTER_AREA), np.uint8)
