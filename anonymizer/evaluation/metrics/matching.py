"""Which detection found which object, and what that comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import Objects

__all__ = ["SIZES", "DetectionCounts", "joined", "matches", "overlaps", "pairwise_overlaps", "size_groups"]

#: intersection over union from which on a detection and an object are the same
SAME = 0.5
#: shorter side of an object in pixels; where the groups by size begin
SIZES = (0, 16, 32, 96)


def overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union (n,) of a box (4,) with each of the others (n, 4)."""
    return np.asarray(pairwise_overlaps(box[None], others)[0])


def pairwise_overlaps(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union (n, m) of each box (n, 4) with each of the others (m, 4)."""
    left, right = boxes[:, None], others[None]
    shared = np.clip(np.minimum(left[..., 2:], right[..., 2:]) - np.maximum(left[..., :2], right[..., :2]), 0, None)
    both = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None] + (others[:, 2:] - others[:, :2]).prod(1)
    area = shared.prod(2)
    return np.asarray(area / (both - area + 1e-6), np.float32)


def matches(boxes: NDArray[np.float32], objects: Objects, *, same: float = SAME) -> list[int | None]:
    """The object that each box found, boxes by falling score; each object is found once, ignored ones often."""
    used: set[int] = set()
    hits: list[int | None] = [None] * len(boxes)
    iou_of = pairwise_overlaps(boxes, objects.boxes)
    for number in np.flatnonzero((iou_of >= same).any(1)):
        iou = iou_of[number]
        fitting = [int(row) for row in np.flatnonzero(iou >= same) if row not in used or objects.ignored[row]]
        hits[number] = best = min(fitting, key=lambda row: (objects.ignored[row], -iou[row]), default=None)
        if best is not None:
            used.add(best)
    return hits


@dataclass
class DetectionCounts:
    """What was found of one type in many images.

    Attributes:
        threshold: the least score that counts in `recall` and `false_positives`.
        found: (score, whether it is an object) of each detection that counts.
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
        """Count one image: boxes (n, 4) and scores (n,) of what was found in it."""
        order = np.argsort(-scores, kind="stable")
        hits = matches(boxes[order], objects)
        self.images += 1
        self.seconds += seconds
        self.objects += int((~objects.ignored).sum())
        self.found += [
            (float(score), hit is not None)
            for score, hit in zip(scores[order], hits, strict=True)
            if hit is None or not objects.ignored[hit]
        ]
        reached = {hit for score, hit in zip(scores[order], hits, strict=True) if score >= self.threshold}
        for row in np.flatnonzero(~objects.ignored):
            size = _size_group(objects.boxes[row])
            self.of_size[size] += 1
            self.found_of_size[size] += row in reached

    @property
    def average_precision(self) -> float:
        """Area under the curve of precision against recall, precision made falling."""
        ranked = sorted(self.found, key=lambda each: -each[0])
        if not ranked or not self.objects:
            return 0.0
        true = np.cumsum([hit for _, hit in ranked])
        recall, precision = true / self.objects, true / np.arange(1, len(ranked) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(recall, prepend=0) * precision))

    @property
    def recall(self) -> float:
        return sum(hit for score, hit in self.found if score >= self.threshold) / max(1, self.objects)

    @property
    def false_positives(self) -> float:
        """For each image, on average."""
        return sum(not hit for score, hit in self.found if score >= self.threshold) / max(1, self.images)

    def recall_at(self, false_positives: float) -> float:
        """The highest recall that costs no more than so many false positives an image."""
        allowed, best, hits, misses = false_positives * self.images, 0, 0, 0
        for _, hit in sorted(self.found, key=lambda each: -each[0]):
            hits, misses = hits + hit, misses + (not hit)
            if misses > allowed:
                break
            best = hits
        return best / max(1, self.objects)


def joined(tallies: Sequence[DetectionCounts]) -> DetectionCounts:
    """Several as one."""
    whole = DetectionCounts(tallies[0].threshold)
    for each in tallies:
        whole.images += each.images
        whole.objects += each.objects
        whole.seconds += each.seconds
        whole.found += each.found
        whole.of_size += each.of_size
        whole.found_of_size += each.found_of_size
    return whole


def _size_group(box: NDArray[np.float32]) -> int:
    return SIZES[int(size_groups(box[None])[0])]


def size_groups(boxes: NDArray[np.float32]) -> NDArray[np.intp]:
    """(n,) the index into `SIZES` of each box (n, 4), by its shorter side."""
    shorter = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return np.asarray(np.searchsorted(SIZES, shorter, side="right") - 1)
