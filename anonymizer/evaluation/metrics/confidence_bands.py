"""How sure a whole curve is: intervals of every figure at many thresholds at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anonymizer.evaluation.metrics.results import TypeResult
from anonymizer.evaluation.metrics.statistics import interval_of, ratios, resample

__all__ = ["Band", "Bands", "bands"]

Values = NDArray[np.float64]
#: low and high ends, each (k,)
Band = tuple[Values, Values]


@dataclass(frozen=True)
class Bands:
    """95 % intervals at each of k thresholds; not a number where there are no objects."""

    recall: Band
    leak_rate: Band
    false_blurs: Band


def bands(found: TypeResult, thresholds: ArrayLike) -> Bands:
    """The intervals of `TypeFindings.curve` at rising thresholds (k,)."""
    at = np.asarray(thresholds, np.float32)
    objects, ones = found.by_picture(np.ones(found.objects)), np.ones(found.pictures)
    hits = _reaching(found.object_picture, found.match_score, found.pictures, at)
    covered = _reaching(found.object_picture, found.cover_score, found.pictures, at)
    wrong = _reaching(found.picture[~found.hit], found.scores[~found.hit], found.pictures, at)
    return Bands(
        recall=_band(hits, objects),
        leak_rate=_band(objects[:, None] - covered, objects),
        false_blurs=_band(wrong, ones),
    )


def _band(parts: Values, wholes: Values) -> Band:
    """The interval of many shares or means, with one matrix product for the draws of all.

    Args:
        parts: (pictures, k).
        wholes: (pictures,).
    """
    drawn = ratios(resample(len(parts)), parts, wholes)
    rows = [interval_of(drawn[:, n], parts[:, n], wholes) for n in range(parts.shape[1])]
    return np.array([row.low for row in rows]), np.array([row.high for row in rows])


def _reaching(picture: NDArray[np.intp], values: NDArray[np.float32], pictures: int, at: NDArray[np.float32]) -> Values:
    """(pictures, k): how many values of each picture reach each threshold."""
    columns = len(at) + 1
    places = picture * columns + np.searchsorted(at, values, side="right")
    counts = np.bincount(places, minlength=pictures * columns).reshape(pictures, columns)
    # a value that reaches a threshold reaches all lower ones
    return counts[:, ::-1].cumsum(1)[:, ::-1][:, 1:].astype(float)
