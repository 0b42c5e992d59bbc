"""Measure what redaction leaves visible of labelled objects and what it covers unnecessarily, at every threshold.

The pixels of an object are its labelled outline. Without an outline they are the ellipse inside a face's box, and the
whole box of every other object. For each object this gives one number: the highest threshold at which enough of its
pixels are fully covered. The leak rate at any threshold follows from these numbers, without reading an image again.
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

#: an object leaks if more than this share of its pixels stays visible
VISIBLE = 0.1
#: the alpha at which nothing of the original pixel is left
_OPAQUE = 255


@dataclass(frozen=True)
class LeakCoverage:
    """What redacting all detections of one object type does to one image.

    Attributes:
        scores: (n,) float32, for each object (ignored ones too) the highest threshold at which it is covered: at most a
            share of `VISIBLE` of its pixels stays visible. It is -1 if the object leaks at every threshold.
        shares: (n,) float32, 0..1, the share of its pixels that is covered if every detection is redacted.
        excess: (k, 2) float64. Each row holds a threshold and how many more pixels are changed unnecessarily there:
            pixels that redacting exactly the labelled objects would not change.
        pixels: the number of pixels of the image.
    """

    scores: NDArray[np.float32]
    shares: NDArray[np.float32]
    excess: NDArray[np.float64]
    pixels: int

    def __repr__(self) -> str:
        covered = int((self.scores >= 0).sum())
        return f"LeakCoverage({covered} of {len(self.scores)} objects covered, {self.pixels} pixels)"

    def to_bytes(self) -> bytes:
        """Convert to bytes, which `from_bytes` reads."""
        head = [len(self.scores), self.pixels]
        return np.concatenate([head, self.scores, self.shares, self.excess.ravel()]).astype(np.float64).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> LeakCoverage:
        """Read what `to_bytes` wrote."""
        numbers = np.frombuffer(data, np.float64)
        count, pixels = int(numbers[0]), int(numbers[1])
        scores, shares, excess = np.split(numbers[2:], [count, 2 * count])
        return cls(scores.astype(np.float32), shares.astype(np.float32), excess.reshape(-1, 2), pixels)


def leak_coverage(
    detections: Detections,
    objects: Objects,
    object_type: ObjectType,
    size_hw: tuple[int, int],
    options: Options,
) -> LeakCoverage:
    """Measure what redacting all detections of one type leaves visible and covers unnecessarily.

    Args:
        detections: of this type, with any score. Their masks are used, unless `options.bbox` is set.
        objects: the labelled objects of this type.
        object_type: the type.
        size_hw: height and width of the image in pixels.
        options: how objects are redacted: margin, soft edges, boxes or masks.

    Returns:
        The coverage of every object, and the excess.
    """
    detections = detections[np.argsort(-detections.scores, kind="stable")]
    regions = redaction_regions(detections, size_hw, options)
    masks = [object_mask(objects, row, object_type, size_hw) for row in range(len(objects.boxes))]
    covered = [_cover_score(mask, regions, detections.scores) for mask in masks]
    necessary = _necessary_pixels(objects, masks, object_type, size_hw, options)
    return LeakCoverage(
        np.array([score for score, _ in covered], np.float32),
        np.array([share for _, share in covered], np.float32),
        np.array(list(_excess(regions, detections.scores, necessary))).reshape(-1, 2),
        size_hw[0] * size_hw[1],
    )


def object_mask(objects: Objects, row: int, object_type: ObjectType, size_hw: tuple[int, int]) -> Mask:
    """Make the mask of a labelled object.

    Args:
        objects: the labelled objects.
        row: which of them.
        object_type: their type.
        size_hw: height and width of the image in pixels.

    Returns:
        The pixels of the object inside the image, at least one.
    """
    height, width = size_hw
    outline = objects.outlines[row] if objects.outlines else None
    x1, y1 = np.floor(objects.boxes[row][:2]).astype(int)
    x2, y2 = np.ceil(objects.boxes[row][2:]).astype(int)
    x1, y1 = min(max(int(x1), 0), width - 1), min(max(int(y1), 0), height - 1)
    x2, y2 = min(max(int(x2), x1 + 1), width), min(max(int(y2), y1 + 1), height)
    pixels = np.zeros((y2 - y1, x2 - x1), np.uint8)
    if outline is not None:
        # One call for each polygon: in one call, pixels in two polygons would be left out. OpenCV's integer
        # coordinates are the centres of pixels, those of labels are their edges.
        for polygon in outline:
            cv2.fillPoly(pixels, [np.rint((polygon - (x1, y1) - 0.5) * 16).astype(np.int32)], 1, shift=4)
    elif object_type is ObjectType.FACE:
        centre = ((objects.boxes[row][:2] + objects.boxes[row][2:]) / 2 - (x1, y1)).astype(float)
        axes = np.maximum((objects.boxes[row][2:] - objects.boxes[row][:2]) / 2, 0.5).astype(float)
        down, across = np.ogrid[: y2 - y1, : x2 - x1]
        inside = ((across + 0.5 - centre[0]) / axes[0]) ** 2 + ((down + 0.5 - centre[1]) / axes[1]) ** 2 <= 1
        pixels = inside.astype(np.uint8)
    return Mask(x1, y1, pixels.astype(bool) if pixels.any() else np.ones(pixels.shape, bool))


def _cover_score(mask: Mask, regions: list[RedactionRegion], scores: NDArray[np.float32]) -> tuple[float, float]:
    """The highest threshold at which an object is covered (-1: none), and the share of it that all regions cover."""
    visible, object_pixels = mask.pixels.copy(), int(mask.pixels.sum())
    threshold = -1.0
    for region in regions:
        if (crops := _common_crop(mask, region)) is None:
            continue
        of_mask, of_region = crops
        visible[of_mask] &= region.alpha[of_region] < _OPAQUE
        if threshold < 0 and int(visible.sum()) <= VISIBLE * object_pixels:
            threshold = float(scores[region.row])
    return threshold, 1 - int(visible.sum()) / object_pixels


def _necessary_pixels(
    objects: Objects, masks: list[Mask], object_type: ObjectType, size_hw: tuple[int, int], options: Options
) -> NDArray[np.bool_]:
    """(h, w) bool: the pixels that redacting exactly the labelled objects would change."""
    n = len(objects.boxes)
    outlines = objects.outlines or (None,) * n
    known = Detections(
        objects.boxes,
        np.ones(n, np.float32),
        np.full(n, object_type.number, np.uint8),
        np.full(n, "label"),
        masks=tuple(None if outline is None else mask for outline, mask in zip(outlines, masks, strict=True)),
    )
    necessary = np.zeros(size_hw, bool)
    # a detector may give only a box where an outline is labelled: covering the object's box counts as necessary too
    for region in [
        *redaction_regions(known, size_hw, options),
        *redaction_regions(known, size_hw, replace(options, bbox=True)),
    ]:
        necessary[region.crop] |= region.alpha > 0
    return necessary


def _excess(
    regions: list[RedactionRegion], scores: NDArray[np.float32], counted: NDArray[np.bool_]
) -> Iterator[tuple[float, int]]:
    """For each region its score, and how many pixels it changes that are not in `counted`, which grows."""
    for region in regions:
        part = counted[region.crop]
        new = (region.alpha > 0) & ~part
        if count := int(new.sum()):
            part |= new
            yield float(scores[region.row]), count


def _common_crop(mask: Mask, region: RedactionRegion) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """The rows and columns of both arrays where a mask and a region overlap; None if they do not."""
    (mask_height, mask_width), (height, width) = mask.pixels.shape, region.alpha.shape
    x1, y1 = max(mask.x, region.x), max(mask.y, region.y)
    x2, y2 = min(mask.x + mask_width, region.x + width), min(mask.y + mask_height, region.y + height)
    if x1 >= x2 or y1 >= y2:
        return None
    return (
        (slice(y1 - mask.y, y2 - mask.y), slice(x1 - mask.x, x2 - mask.x)),
        (slice(y1 - region.y, y2 - region.y), slice(x1 - region.x, x2 - region.x)),
    )
