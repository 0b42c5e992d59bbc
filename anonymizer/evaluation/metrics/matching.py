"""Match detections to labelled objects, and count hits and misses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import Objects

__all__ = [
    "SIZES",
    "DetectionCounts",
    "match_detections",
    "merge_counts",
    "overlaps",
    "pairwise_overlaps",
    "size_groups",
]

#: a detection and an object match from this intersection over union (IoU) on
MATCH_IOU = 0.5
#: size groups: the lower limits of the shorter side of an object's box, in pixels
SIZES = (0, 16, 32, 96)


def overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the intersection over union (IoU) of one box with several others.

    Args:
        box: (4,) float32, x1, y1, x2, y2 in pixels.
        others: (n, 4) float32.

    Returns:
        (n,) float64, 0..1.
    """
    return np.asarray(pairwise_overlaps(box[None], others)[0])


def pairwise_overlaps(
    boxes: NDArray[np.float32], others: NDArray[np.float32], *, ignored: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Compute the intersection over union (IoU) of each box with each of the others.

    For ignored others it is the intersection over the area of the box, as COCO's metric has it for crowds. An ignored
    box may hold many objects, so a detection of one of them has a small IoU with it, but lies inside it.

    Args:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels.
        others: (m, 4) float32.
        ignored: (m,) bool, which of the others are ignored; default: none.

    Returns:
        (n, m) float64, 0..1.
    """
    left, right = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.clip(np.minimum(left[..., 2:], right[..., 2:]) - np.maximum(left[..., :2], right[..., :2]), 0, None)
    own, other = (left[..., 2:] - left[..., :2]).prod(2), (right[..., 2:] - right[..., :2]).prod(2)
    intersection = sides.prod(2)
    whole = own + other - intersection
    if ignored is not None:
        whole = np.where(ignored[None], own, whole)
    # two boxes without area have nothing in common
    return np.asarray(np.divide(intersection, whole, out=np.zeros_like(intersection), where=whole > 0))


def match_detections(boxes: NDArray[np.float32], objects: Objects, *, same: float = MATCH_IOU) -> list[int | None]:
    """Match each detection to a labelled object.

    This is the greedy matching of COCO's metric (cocodataset.org/#detection-eval). Detections choose in the given
    order. Each takes the object with the highest IoU that is still free; objects that count come before ignored ones.
    An object can be matched once, an ignored object many times. Ignored objects are crowds in COCO's sense: a
    detection matches one if half of the detection (with `same`: this share) is inside it.

    Args:
        boxes: (n, 4) float32, the detected boxes, by falling score.
        objects: the labelled objects of the same image and type.
        same: the smallest IoU of a match, 0..1.

    Returns:
        For each box the row of its object in `objects`, or None.
    """
    used: set[int] = set()
    rows: list[int | None] = [None] * len(boxes)
    iou_of = pairwise_overlaps(boxes, objects.boxes, ignored=objects.ignored)
    # COCO's own limit: an IoU of 1 may be rounded down
    enough = iou_of >= min(same, 1 - 1e-10)
    for number in np.flatnonzero(enough.any(1)):
        iou = iou_of[number]
        candidates = [int(row) for row in np.flatnonzero(enough[number]) if row not in used or objects.ignored[row]]
        # of equal ones COCO takes the last
        rows[number] = best = max(candidates, key=lambda row: (not objects.ignored[row], iou[row], row), default=None)
        if best is not None:
            used.add(best)
    return rows


@dataclass
class DetectionCounts:
    """The detections of one object type in many images, counted.

    Attributes:
        threshold: the smallest score, 0..1, that counts in `recall` and `false_positives`.
        images: the number of images.
        objects: the number of objects, without ignored ones.
        seconds: the time that the detector took.
        found: for each detection its score and whether it matches an object; those of ignored objects are left out.
        of_size: the number of objects of each size group (a value of `SIZES`).
        found_of_size: how many of them are detected at the threshold.
    """

    threshold: float
    images: int = 0
    objects: int = 0
    seconds: float = 0.0
    found: list[tuple[float, bool]] = field(default_factory=list)
    of_size: Counter[int] = field(default_factory=Counter)
    found_of_size: Counter[int] = field(default_factory=Counter)

    def add(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], objects: Objects, seconds: float = 0.0
    ) -> None:
        """Count one image.

        Args:
            boxes: (n, 4) float32, the detected boxes.
            scores: (n,) float32, 0..1.
            objects: the labelled objects.
            seconds: the time that the detector took.
        """
        order = np.argsort(-scores, kind="stable")
        rows = match_detections(boxes[order], objects)
        self.images += 1
        self.seconds += seconds
        self.objects += int((~objects.ignored).sum())
        self.found += [
            (float(score), row is not None)
            for score, row in zip(scores[order], rows, strict=True)
            if row is None or not objects.ignored[row]
        ]
        detected = {row for score, row in zip(scores[order], rows, strict=True) if score >= self.threshold}
        for row in np.flatnonzero(~objects.ignored):
            size = SIZES[int(size_groups(objects.boxes[row][None])[0])]
            self.of_size[size] += 1
            self.found_of_size[size] += row in detected

    @property
    def average_precision(self) -> float:
        """The area under the curve of precision against recall, 0..1, with precision made monotonic."""
        ranked = sorted(self.found, key=lambda detection: -detection[0])
        if not ranked or not self.objects:
            return 0.0
        hits = np.cumsum([hit for _, hit in ranked])
        recall, precision = hits / self.objects, hits / np.arange(1, len(ranked) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(recall, prepend=0) * precision))

    @property
    def recall(self) -> float:
        """The share of the objects that are detected at the threshold, 0..1."""
        return sum(hit for score, hit in self.found if score >= self.threshold) / max(1, self.objects)

    @property
    def false_positives(self) -> float:
        """How many detections an image at the threshold are no object."""
        return sum(not hit for score, hit in self.found if score >= self.threshold) / max(1, self.images)

    def recall_at(self, false_positives: float) -> float:
        """Compute the highest recall, 0..1, with no more than this number of false positives an image.

        Args:
            false_positives: the largest number of false positives an image.
        """
        allowed, best, hits, misses = false_positives * self.images, 0, 0, 0
        for _, hit in sorted(self.found, key=lambda detection: -detection[0]):
            hits, misses = hits + hit, misses + (not hit)
            if misses > allowed:
                break
            best = hits
        return best / max(1, self.objects)

    def __repr__(self) -> str:
        return f"DetectionCounts({self.images} images, {self.objects} objects, {len(self.found)} detections)"


def merge_counts(counts: Sequence[DetectionCounts]) -> DetectionCounts:
    """Merge the counts of several groups of images into one.

    Args:
        counts: one or more, with the same threshold.
    """
    merged = DetectionCounts(counts[0].threshold)
    for group in counts:
        merged.images += group.images
        merged.objects += group.objects
        merged.seconds += group.seconds
        merged.found += group.found
        merged.of_size += group.of_size
        merged.found_of_size += group.found_of_size
    return merged


def size_groups(boxes: NDArray[np.float32]) -> NDArray[np.intp]:
    """Sort boxes into size groups by their shorter side.

    Args:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels.

    Returns:
        (n,) for each box an index into `SIZES`.
    """
    shorter = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return np.asarray(np.searchsorted(SIZES, shorter, side="right") - 1)
