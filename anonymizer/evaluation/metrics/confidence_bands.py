"""Confidence bands of a curve: the intervals of several figures at many thresholds at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anonymizer.evaluation.metrics.results import TypeResult
from anonymizer.evaluation.metrics.statistics import interval_from_draws, ratios, resample

__all__ = ["Band", "ConfidenceBands", "confidence_bands"]

Values = NDArray[np.float64]
#: the lower and the upper ends, each (k,) float64
Band = tuple[Values, Values]


@dataclass(frozen=True)
class ConfidenceBands:
    """95% intervals at each of k thresholds, as `statistics.interval` computes them; NaN without objects.

    Attributes:
        recall: the lower and the upper ends, each (k,) float64, 0..1.
        leak_rate: the lower and the upper ends, each (k,) float64, 0..1.
        false_blurs: the lower and the upper ends, each (k,) float64, an image.
    """

    recall: Band
    leak_rate: Band
    false_blurs: Band

    def __repr__(self) -> str:
        return f"ConfidenceBands({len(self.recall[0])} thresholds)"


def confidence_bands(type_result: TypeResult, thresholds: ArrayLike) -> ConfidenceBands:
    """Compute the intervals of the figures of `TypeResult.curve`.

    Args:
        type_result: the result of one object type.
        thresholds: (k,) 0..1, rising.

    Returns:
        The bands of recall, leak rate and false blurs.
    """
    at = np.asarray(thresholds, np.float32)
    pictures, wrong = type_result.pictures, ~type_result.hit
    objects = type_result.by_picture(np.ones(type_result.objects))
    hits = _count_reaching(type_result.object_picture, type_result.match_score, pictures, at)
    covered = _count_reaching(type_result.object_picture, type_result.cover_score, pictures, at)
    false = _count_reaching(type_result.picture[wrong], type_result.scores[wrong], pictures, at)
    return ConfidenceBands(
        recall=_band(hits, objects),
        leak_rate=_band(objects[:, None] - covered, objects),
        false_blurs=_band(false, np.ones(pictures), counts=True),
    )


def _band(parts: Values, wholes: Values, *, counts: bool = False) -> Band:
    """The intervals of many shares or means, with one matrix product for all bootstrap samples.

    Args:
        parts: (pictures, k).
        wholes: (pictures,).
        counts: whether `parts` are counts that may exceed `wholes`.
    """
    drawn = ratios(resample(len(parts)), parts, wholes)
    rows = [
        interval_from_draws(drawn[:, column], parts[:, column], wholes, counts=counts)
        for column in range(parts.shape[1])
    ]
    return np.array([row.low for row in rows]), np.array([row.high for row in rows])


def _count_reaching(
    picture: NDArray[np.intp], values: NDArray[np.float32], pictures: int, at: NDArray[np.float32]
) -> Values:
    """(pictures, k): how many values of each image reach each threshold."""
    columns = len(at) + 1
    cells = picture * columns + np.searchsorted(at, values, side="right")
    counts = np.bincount(cells, minlength=pictures * columns).reshape(pictures, columns)
    # a value that reaches a threshold reaches all lower ones
    return counts[:, ::-1].cumsum(1)[:, ::-1][:, 1:].astype(float)
