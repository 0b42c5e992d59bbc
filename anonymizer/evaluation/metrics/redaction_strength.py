"""Measure how much of an object is left after redaction.

A correlation shows how strength depends on the method and on the size of the object. It is no test of
re-identification. `linkage_rate` is such a test, of the easiest kind: the attacker holds the very originals.
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

__all__ = ["Cutout", "detections_of_type", "linkage_rate", "random_pattern", "similarity"]

#: cells across a random pattern
CELLS = 16
#: how much of the surroundings a cutout includes, as a share of the object's shorter side
AROUND = 0.5
#: the side in pixels to which crops are resized before they are compared
COMPARED_PX = 64

_Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Cutout:
    """One object, cut out of an image with some of its surroundings.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        box: (4,) float32, x1, y1, x2, y2 of the object in these pixels.
        object_type: the type of the object.
    """

    pixels: _Pixels
    box: NDArray[np.float32]
    object_type: ObjectType

    @classmethod
    def of(cls, picture: _Pixels, box: NDArray[np.float32], object_type: ObjectType) -> Cutout:
        """Cut an object out of an image.

        Args:
            picture: (h, w, 3) uint8 RGB.
            box: (4,) x1, y1, x2, y2 of the object in pixels.
            object_type: the type of the object.
        """
        height, width = picture.shape[:2]
        around = AROUND * min(box[2] - box[0], box[3] - box[1])
        x1, y1 = (max(int(side - around), 0) for side in box[:2])
        x2, y2 = min(int(box[2] + around) + 1, width), min(int(box[3] + around) + 1, height)
        return cls(picture[y1:y2, x1:x2].copy(), np.asarray(box - [x1, y1, x1, y1], np.float32), object_type)

    @property
    def short_side(self) -> float:
        """The shorter side of the box in pixels."""
        return float(min(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    def scaled(self, short_side: float) -> Cutout:
        """Resize the cutout.

        Args:
            short_side: the shorter side of the box in pixels, after resizing.
        """
        scale = short_side / self.short_side
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(self.pixels, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)
        return Cutout(pixels, np.asarray(self.box * scale, np.float32), self.object_type)

    def region(self, options: Options) -> RedactionRegion:
        """Get the region in which redaction changes pixels.

        Args:
            options: of redaction.
        """
        (region,) = redaction_regions(
            detections_of_type(self.box[None], self.object_type), self.pixels.shape[:2], options
        )
        return region

    def redacted(self, options: Options, *, seed: int = 0) -> _Pixels:
        """Redact the object as the pipeline does.

        Args:
            options: of redaction.
            seed: of the noise.

        Returns:
            (h, w, 3) uint8 RGB, the redacted cutout.
        """
        return redact(self.pixels, [self.region(options)], options, seed=seed)

    def inside(self, pixels: _Pixels) -> _Pixels:
        """Crop to the box.

        Args:
            pixels: (h, w, 3) uint8, of this cutout or redacted.
        """
        height, width = pixels.shape[:2]
        x1, y1, x2, y2 = np.clip(np.rint(self.box), 0, [width, height] * 2).astype(int)
        return pixels[y1:y2, x1:x2]

    def remaining_similarity(self, options: Options, *, seed: int = 0) -> float:
        """Compute the similarity of the pixels in the box before and after redaction, 0..1 (see `similarity`).

        Args:
            options: of redaction.
            seed: of the noise.
        """
        return similarity(self.inside(self.pixels), self.inside(self.redacted(options, seed=seed)))

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        return f"Cutout({self.object_type}, {width} x {height} pixels)"


def detections_of_type(boxes: NDArray[np.float32], object_type: ObjectType) -> Detections:
    """Make detections of one type, with score 1.

    Args:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels.
        object_type: the type of all of them.
    """
    n = len(boxes)
    return Detections(boxes, np.ones(n, np.float32), np.full(n, object_type.number), np.full(n, "given"))


def random_pattern(size: int, object_type: ObjectType, seed: int) -> Cutout:
    """Make an object of 16 x 16 random grey cells on a grey background.

    Args:
        size: width and height of the object in pixels.
        object_type: what it is redacted as.
        seed: of the random numbers.
    """
    cells = np.random.default_rng(seed).integers(0, 256, (CELLS, CELLS, 1), np.uint8).repeat(3, axis=2)
    picture = np.full((2 * size, 2 * size, 3), 128, np.uint8)
    start, stop = size // 2, size // 2 + size
    picture[start:stop, start:stop] = cv2.resize(cells, (size, size), interpolation=cv2.INTER_NEAREST)
    return Cutout(picture, np.array([start, start, stop, stop], np.float32), object_type)


def similarity(before: _Pixels, after: _Pixels) -> float:
    """Compute the absolute correlation of the pixel values of two images of the same size.

    Args:
        before: (h, w, 3) uint8.
        after: (h, w, 3) uint8.

    Returns:
        0..1: 0 is no similarity, 1 is the same image.
    """
    first, second = before.astype(float).ravel(), after.astype(float).ravel()
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return abs(float(np.corrcoef(first, second)[0, 1]))


def linkage_rate(cutouts: Sequence[Cutout], options: Options, *, seed: int = 0) -> float:
    """Compute the share of redacted objects that an attacker who holds all originals can identify.

    For each redacted object the attacker chooses the most similar original. If several are equally similar, the
    attacker does not choose.

    Args:
        cutouts: the originals.
        options: of redaction.
        seed: of the noise.

    Returns:
        0..1. Guessing would give 1 / n for n objects.
    """
    originals = [_resized(cutout.inside(cutout.pixels)) for cutout in cutouts]
    redacted = [
        _resized(cutout.inside(cutout.redacted(options, seed=seed + number))) for number, cutout in enumerate(cutouts)
    ]
    likeness = np.array([[similarity(original, after) for original in originals] for after in redacted])
    best = likeness == likeness.max(1, keepdims=True)
    return float((best.diagonal() & (best.sum(1) == 1)).mean())


def _resized(pixels: _Pixels) -> _Pixels:
    return np.asarray(cv2.resize(pixels, (COMPARED_PX, COMPARED_PX), interpolation=cv2.INTER_AREA), np.uint8)
