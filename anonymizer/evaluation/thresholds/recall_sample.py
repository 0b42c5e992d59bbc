"""The recall of labelled objects at any threshold, with the bounds that a sample of images allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.metrics.results import TypeResult
from anonymizer.evaluation.metrics.statistics import design_effect, effective_size, lower_bound, objects_needed

__all__ = ["RecallSample"]

#: the number of misses from which on the effective number of objects can be measured
_MIN_MISSES = 10


@dataclass(frozen=True)
class RecallSample:
    """The objects of one type, or of one size group of it, and the bounds of the recall at any threshold.

    The bounds take images as the sample, not objects (`statistics.lower_bound`).

    Attributes:
        match_score: (n,) float32, the highest threshold at which each object is detected; -1 if at none.
        picture: (n,) the image of each object.
        wholes: (p,) how many of the objects each image has.
        confidence: of the bounds, 0..1.
    """

    match_score: NDArray[np.float32]
    picture: NDArray[np.intp]
    wholes: NDArray[np.float64]
    confidence: float

    @classmethod
    def of(cls, type_result: TypeResult, *, size: int | None = None, confidence: float = 0.95) -> RecallSample:
        """Take the objects of a result.

        Args:
            type_result: the result of one object type.
            size: take only objects of this size group, an index into `SIZES`; default: all sizes.
            confidence: of the bounds, 0..1.
        """
        selected = np.ones(type_result.objects, bool) if size is None else type_result.sizes == size
        wholes = type_result.by_picture(selected)
        return cls(type_result.match_score[selected], type_result.object_picture[selected], wholes, confidence)

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """(n,) float32, the match scores, rising."""
        return np.sort(self.match_score)

    @cached_property
    def _where_many_miss(self) -> float:
        """A threshold with enough misses to measure the correlation within images: few misses do not show it."""
        at = min(_MIN_MISSES, len(self.scores) // 2)
        return float(np.nextafter(self.scores[at], 2, dtype=np.float32))

    def hits(self, threshold: float) -> NDArray[np.float64]:
        """Count the detected objects of each image.

        Args:
            threshold: 0..1.

        Returns:
            (p,) float64.
        """
        return np.bincount(self.picture, self.match_score >= threshold, len(self.wholes)).astype(float)

    def _measurable(self, threshold: float) -> NDArray[np.float64]:
        """The hits from which the effective size at a threshold is measured."""
        hits = self.hits(threshold)
        return hits if self.wholes.sum() - hits.sum() >= _MIN_MISSES else self.hits(self._where_many_miss)

    def _size(self, threshold: float) -> float:
        return effective_size(self._measurable(threshold), self.wholes, confidence=self.confidence)

    def lower_bound(self, threshold: float) -> float:
        """Compute the recall that is reached at least, with the confidence.

        Args:
            threshold: 0..1.

        Returns:
            0..1.
        """
        size = self._size(threshold)
        return lower_bound(self.hits(threshold), self.wholes, confidence=self.confidence, size=size)

    def upper_bound(self, threshold: float) -> float:
        """Compute the recall that is reached at most, with the confidence.

        Args:
            threshold: 0..1.

        Returns:
            0..1.
        """
        missed = self.wholes - self.hits(threshold)
        return 1 - lower_bound(missed, self.wholes, confidence=self.confidence, size=self._size(threshold))

    def pictures_needed(self, target: float, threshold: float) -> int | None:
        """Compute how many images like these would be enough for the target.

        Args:
            target: the recall that the lower bound shall reach, 0..1.
            threshold: 0..1.

        Returns:
            The number of images; None if no number is enough.
        """
        hits, total = self.hits(threshold), float(self.wholes.sum())
        objects = objects_needed(
            float(hits.sum()) / total,
            target,
            design_effect(self._measurable(threshold), self.wholes),
            confidence=self.confidence,
            per_picture=total / int((self.wholes > 0).sum()),
        )
        return None if objects is None else math.ceil(objects * len(self.wholes) / total)
