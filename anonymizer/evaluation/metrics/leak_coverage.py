"""What stays visible of the objects that are there, and what is covered without need, at every threshold at once.

An object's pixels are its labelled outline where it has one; without, the ellipse in a face's box, and the whole box of
everything else. For each object that gives one number: the highest threshold at which enough of its pixels are covered
at full strength. Leak rates at any threshold follow from these without looking at a picture again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions

__all__ = ["VISIBLE", "LeakCoverage", "leak_coverage", "object_mask"]

#: an object of which a larger share of pixels stays visible is a leak
VISIBLE = 0.1
#: alpha at which nothing of a pixel is left
_FULL = 255


@dataclass(frozen=True)
class LeakCoverage:
    """What redacting all detections of one type would do to one picture.

    Attributes:
        scores: (n,) float32, for each object, ignored ones too, the highest threshold at which no more than `VISIBLE`
            of its pixels stay visible; -1 where it leaks at any.
        shares: (n,) float32, the share of its pixels that is covered when every detection is redacted.
        excess: (k, 2) float64, thresholds and the pixels that each covers in addition without need: outside of what
            redacting exactly the labelled objects would change.
        pixels: of the picture.
    """

    scores: NDArray[np.float32]
    shares: NDArray[np.float32]
    excess: NDArray[np.float64]
    pixels: int

    def to_bytes(self) -> bytes:
        """As `from_bytes` reads it."""
        head = [len(self.scores), self.pixels]
        return np.concatenate([head, self.scores, self.shares, self.excess.ravel()]).astype(np.float64).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> LeakCoverage:
        numbers = np.frombuffer(data, np.float64)
        count, pixels = int(numbers[0]), int(numbers[1])
        scores, shares, excess = np.split(numbers[2:], [count, 2 * count])
        return cls(scores.astype(np.float32), shares.astype(np.float32), excess.reshape(-1, 2), pixels)


def leak_coverage(
    found: Detections,
    objects: Objects,
    object_type: ObjectType,
    size_hw: tuple[int, int],
    options: Options,
) -> LeakCoverage:
    """What redacting all that was found of one type would leave visible and cover without need.

    Args:
        found: of the type, whatever the score; masks are used where there are any, unless `options.bbox`.
        objects: of the type.
    """
    found = found[np.argsort(-found.scores, kind="stable")]
    drawn = redaction_regions(found, size_hw, options)
    masks = [object_mask(objects, row, object_type, size_hw) for row in range(len(objects.boxes))]
    judged = [_covered(each, drawn, found.scores) for each in masks]
    return LeakCoverage(
        np.array([score for score, _ in judged], np.float32),
        np.array([share for _, share in judged], np.float32),
        np.array(list(_excess(drawn, found.scores, _needed(objects, masks, object_type, size_hw, options)))).reshape(
            -1, 2
        ),
        size_hw[0] * size_hw[1],
    )


def object_mask(objects: Objects, row: int, object_type: ObjectType, size_hw: tuple[int, int]) -> Mask:
    """The pixels of a labelled object, one at least, inside the picture."""
    height, width = size_hw
    outline = objects.outlines[row] if objects.outlines else None
    x1, y1 = np.floor(objects.boxes[row][:2]).astype(int)
    x2, y2 = np.ceil(objects.boxes[row][2:]).astype(int)
    x1, y1 = min(max(int(x1), 0), width - 1), min(max(int(y1), 0), height - 1)
    x2, y2 = min(max(int(x2), x1 + 1), width), min(max(int(y2), y1 + 1), height)
    pixels = np.zeros((y2 - y1, x2 - x1), np.uint8)
    if outline is not None:
        # one after the other, as together they would take each other's overlaps away; OpenCV's whole numbers are the
        # middles of pixels, those of labels their edges
        for each in outline:
            cv2.fillPoly(pixels, [np.rint((each - (x1, y1) - 0.5) * 16).astype(np.int32)], 1, shift=4)
    elif object_type is ObjectType.FACE:
        centre = ((objects.boxes[row][:2] + objects.boxes[row][2:]) / 2 - (x1, y1)).astype(float)
        axes = np.maximum((objects.boxes[row][2:] - objects.boxes[row][:2]) / 2, 0.5).astype(float)
        down, across = np.ogrid[: y2 - y1, : x2 - x1]
        inside = ((across + 0.5 - centre[0]) / axes[0]) ** 2 + ((down + 0.5 - centre[1]) / axes[1]) ** 2 <= 1
        pixels = inside.astype(np.uint8)
    return Mask(x1, y1, pixels.astype(bool) if pixels.any() else np.ones(pixels.shape, bool))


def _covered(mask: Mask, drawn: list[RedactionRegion], scores: NDArray[np.float32]) -> tuple[float, float]:
    """The threshold at which an object is covered (-1: at none), and the share of it that all shapes cover."""
    left, all_pixels = mask.pixels.copy(), int(mask.pixels.sum())
    reached = -1.0
    for shape in drawn:
        if (crop := _common(mask.x, mask.y, mask.pixels.shape, shape)) is None:
            continue
        here, there = crop
        left[here] &= shape.alpha[there] < _FULL
        if reached < 0 and int(left.sum()) <= VISIBLE * all_pixels:
            reached = float(scores[shape.row])
    return reached, 1 - int(left.sum()) / all_pixels


def _needed(
    objects: Objects, masks: list[Mask], object_type: ObjectType, size_hw: tuple[int, int], options: Options
) -> NDArray[np.bool_]:
    """(h, w) bool: what redacting exactly the labelled objects would change."""
    n = len(objects.boxes)
    outlined = objects.outlines or (None,) * n
    known = Detections(
        objects.boxes,
        np.ones(n, np.float32),
        np.full(n, object_type.number, np.uint8),
        np.full(n, "label"),
        masks=tuple(None if outline is None else mask for outline, mask in zip(outlined, masks, strict=True)),
    )
    needed = np.zeros(size_hw, bool)
    # an outline that was found may be a box all the same: what lies in the object's box is not without need
    for shape in [
        *redaction_regions(known, size_hw, options),
        *redaction_regions(known, size_hw, replace(options, bbox=True)),
    ]:
        needed[shape.crop] |= shape.alpha > 0
    return needed


def _excess(
    drawn: list[RedactionRegion], scores: NDArray[np.float32], taken: NDArray[np.bool_]
) -> Iterator[tuple[float, int]]:
    for shape in drawn:
        part = taken[shape.crop]
        new = (shape.alpha > 0) & ~part
        if count := int(new.sum()):
            part |= new
            yield float(scores[shape.row]), count


def _common(
    x: int, y: int, size_hw: tuple[int, ...], shape: RedactionRegion
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """What two crops share, as rows and columns of each; None where they share nothing."""
    height, width = shape.alpha.shape
    x1, y1 = max(x, shape.x), max(y, shape.y)
    x2, y2 = min(x + size_hw[1], shape.x + width), min(y + size_hw[0], shape.y + height)
    if x1 >= x2 or y1 >= y2:
        return None
    return (
        (slice(y1 - y, y2 - y), slice(x1 - x, x2 - x)),
        (slice(y1 - shape.y, y2 - shape.y), slice(x1 - shape.x, x2 - shape.x)),
    )
