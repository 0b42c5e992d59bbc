"""Confidence intervals and tests for shares that are measured on labelled images.

The objects of one image are not independent: a crowd in which a detector fails is one failure, not forty. So the sample
consists of images. Intervals come from resampling images (bootstrap). Lower bounds use the effective number of objects,
which is the number of objects divided by the design effect.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = [
    "Interval",
    "design_effect",
    "interval",
    "interval_from_draws",
    "lower_bound",
    "mcnemar_test",
    "objects_needed",
    "ratios",
    "resample",
]

#: samples of a bootstrap
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured figure and its confidence interval.

    Attributes:
        value: the figure; NaN if there is nothing to divide by.
        low: the lower end of the interval.
        high: the upper end of the interval.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@functools.lru_cache(maxsize=4)
def resample(pictures: int, *, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """Draw bootstrap samples of the images, with replacement (Efron 1979).

    Args:
        pictures: the number of images.
        draws: the number of samples.
        seed: of the random numbers.

    Returns:
        (draws, pictures) float64, read-only: how often each image is in each sample.
    """
    if not pictures:
        return np.zeros((draws, 0))
    weights = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), draws).astype(float)
    # cached, because every figure of a set uses the same draws: nobody may change them
    weights.setflags(write=False)
    return weights


def ratios(weights: NDArray[np.float64], parts: ArrayLike, wholes: ArrayLike) -> NDArray[np.float64]:
    """Compute a ratio of sums for each bootstrap sample.

    Args:
        weights: (draws, pictures), from `resample`.
        parts: (pictures,) or (pictures, k), the numerators, for example detected objects.
        wholes: (pictures,), the denominators, for example all objects.

    Returns:
        (draws,) or (draws, k) float64; NaN for samples in which the denominators sum to 0.
    """
    numerator, denominator = weights @ np.asarray(parts, float), weights @ np.asarray(wholes, float)
    denominator = np.where(denominator > 0, denominator, np.nan)
    return np.asarray(numerator / (denominator if numerator.ndim == 1 else denominator[:, None]))


def interval(
    parts: ArrayLike, wholes: ArrayLike, *, confidence: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Compute a share, or a mean over images, and its confidence interval.

    The interval is a bootstrap interval over images (BCa; Efron 1987, "Better Bootstrap Confidence Intervals"). If the
    share is exactly 0 or 1, all bootstrap samples are equal. Then the interval is the exact one of Clopper and Pearson
    (1934), for the effective number of objects.

    Args:
        parts: (pictures,) the numerator of each image, for example detected objects.
        wholes: (pictures,) the denominator of each image, for example all objects; ones for a mean over images.
        confidence: of the interval, 0..1.
        draws: the number of bootstrap samples.
        seed: of the random numbers.

    Returns:
        The figure and its interval; NaN if the denominators sum to 0.

    Example:
        >>> str(interval([9, 8, 10], [10, 10, 10]))
        '0.900 (0.800 to 1.000)'
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    drawn = ratios(resample(len(parts), draws=draws, seed=seed), parts, wholes)
    return interval_from_draws(drawn, parts, wholes, confidence=confidence)


def interval_from_draws(
    drawn: NDArray[np.float64], parts: NDArray[np.float64], wholes: NDArray[np.float64], *, confidence: float = 0.95
) -> Interval:
    """Compute the interval of `interval` from bootstrap samples that exist already.

    Args:
        drawn: (draws,) the share in each sample, from `ratios`.
        parts: (pictures,) the numerator of each image.
        wholes: (pictures,) the denominator of each image.
        confidence: of the interval, 0..1.
    """
    if not wholes.sum():
        return Interval(math.nan, math.nan, math.nan)
    value = float(parts.sum() / wholes.sum())
    tails = np.array([1 - confidence, 1 + confidence]) / 2
    if (parts <= wholes).all() and value in (0.0, 1.0):
        low = lower_bound(parts, wholes, confidence=tails[1])
        return Interval(value, low, 1 - lower_bound(wholes - parts, wholes, confidence=tails[1]))
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, _bca_quantiles(tails, drawn, value, parts, wholes))
    return Interval(value, float(low), float(high))


def _bca_quantiles(
    tails: NDArray[np.float64],
    drawn: NDArray[np.float64],
    value: float,
    parts: NDArray[np.float64],
    wholes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Correct the quantiles for bias and for a variance that changes with the value (BCa; Efron 1987).

    Shares near 1 need this, because their bootstrap samples are skewed. We simulated 126 images and a true share of .97
    with correlation within images. Plain 95 % percentile intervals contained the true share in 86 to 90 % of the
    simulations, BCa intervals in 92 to 93 %.
    """
    bias = stats.norm.ppf(np.clip((drawn < value).mean() + (drawn == value).mean() / 2, 1e-4, 1 - 1e-4))
    # the share without each image in turn (jackknife); empty if one image holds everything
    rest = wholes.sum() - wholes
    jackknife = (parts.sum() - parts)[rest > 0] / rest[rest > 0]
    deviations = jackknife.mean() - jackknife if len(jackknife) else jackknife
    squares = float((deviations**2).sum())
    acceleration = float((deviations**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    z = bias + stats.norm.ppf(tails)
    return np.asarray(stats.norm.cdf(bias + z / (1 - acceleration * z)))


def design_effect(parts: ArrayLike, wholes: ArrayLike) -> float:
    """Compute the design effect: how many times larger the sample must be than with independent objects (Kish 1965).

    It is the variance of the share with images as the sample (linearised), divided by the variance that the same
    number of independent objects would have.

    Args:
        parts: (pictures,) the numerator of each image, for example detected objects.
        wholes: (pictures,) the denominator of each image, for example all objects.

    Returns:
        1 or more. It is 1 if it cannot be measured: with fewer than two images, or if the share is 0 or 1.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    with_some = wholes > 0
    parts, wholes, n = parts[with_some], wholes[with_some], int(with_some.sum())
    if n < 2:
        return 1.0
    share = parts.sum() / wholes.sum()
    if share in (0.0, 1.0):
        # nothing is known about the correlation within images
        return 1.0
    residuals = parts - share * wholes
    variance = n / (n - 1) * float((residuals**2).sum()) / wholes.sum() ** 2
    return max(1.0, float(variance / (share * (1 - share) / wholes.sum())))


def lower_bound(parts: ArrayLike, wholes: ArrayLike, *, confidence: float = 0.95, effect: float | None = None) -> float:
    """Compute a one-sided lower confidence bound of a share.

    It is the exact bound of Clopper and Pearson (1934) for the effective number of objects (Korn and Graubard 1998).

    Args:
        parts: (pictures,) the numerator of each image, for example detected objects.
        wholes: (pictures,) the denominator of each image, for example all objects.
        confidence: of the bound, 0..1.
        effect: the design effect; default: measured on these images.

    Returns:
        The bound, 0..1.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    effect = effect or design_effect(parts, wholes)
    return _clopper_pearson(parts.sum() / effect, wholes.sum() / effect, confidence)


def _clopper_pearson(hits: float, count: float, confidence: float) -> float:
    """The lower bound of hits / count; both may be fractions, as effective numbers are."""
    return 0.0 if hits <= 0 else float(stats.beta.ppf(1 - confidence, hits, count - hits + 1))


def objects_needed(share: float, target: float, effect: float, *, confidence: float = 0.95) -> int | None:
    """Compute how many objects a sample needs so that the lower bound of a share reaches a target.

    Args:
        share: the measured share, 0..1.
        target: what the lower bound shall reach, 0..1.
        effect: the design effect.
        confidence: of the bound, 0..1.

    Returns:
        The number of objects; None if no number is enough, because the share itself does not exceed the target.
    """
    if share <= target:
        return None
    low, high = 1, 1
    while _clopper_pearson(share * high / effect, high / effect, confidence) < target:
        low, high = high, 2 * high
        if high > 10**9:
            return None
    while low < high:
        middle = (low + high) // 2
        enough = _clopper_pearson(share * middle / effect, middle / effect, confidence) >= target
        low, high = (low, middle) if enough else (middle + 1, high)
    return high


def mcnemar_test(only_first: int, only_second: int) -> float:
    """Compute the p-value that two models detect the same share of objects: exact McNemar test (1947), two-sided.

    Args:
        only_first: the number of objects that only the first model detects.
        only_second: the number of objects that only the second model detects.

    Returns:
        The p-value, 0..1; 1 if there is no such object.
    """
    discordant = only_first + only_second
    return 1.0 if not discordant else float(stats.binomtest(only_first, discordant).pvalue)
