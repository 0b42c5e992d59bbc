"""Confidence intervals and tests for shares that are measured on labelled images.

The objects of one image are not independent: a crowd in which a detector fails is one failure, not forty. So the sample
consists of images. With many images, intervals come from resampling them (bootstrap). With few, and for all lower
bounds, they are exact ones for the effective number of objects. That is the number of independent objects that would
tell as much as the objects of these images (`effective_size`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from anonymizer.evaluation.metrics.effective_size import (
    Values,
    design_effect,
    effective_size,
    freedom,
    objects_together,
    t_ratio,
    with_objects,
)

__all__ = [
    "METHOD_NOTE",
    "UNDEFINED",
    "Interval",
    "IntervalMethod",
    "design_effect",
    "difference_interval",
    "effective_size",
    "interval",
    "interval_from_draws",
    "jackknife_interval",
    "lower_bound",
    "mcnemar_test",
    "objects_needed",
    "ratios",
    "resample",
    "too_few_for_bootstrap",
]

#: what the notes of tables say about the words in intervals
METHOD_NOTE = "Intervals are bootstrap intervals, or exact ones (marked) where few images or few misses are measured."
#: samples of a bootstrap
DRAWS = 2000
#: From so many images on the bootstrap is used. We simulated shares of .6 to .97 with correlation within images. BCa
#: intervals (95 %) contained the true share in 55 to 100 % of the simulations with 2 to 4 images, in 68 to 99 % with
#: fewer than 30; exact intervals always in 95 % or more.
ENOUGH_PICTURES = 30
#: and if so many of the images have a hit, and so many a miss: the few that have one decide the whole bootstrap
ENOUGH_EACH = 10


class IntervalMethod(StrEnum):
    """How an interval was computed."""

    #: there is nothing to measure
    NONE = "none"
    #: by resampling images; for many images
    BOOTSTRAP = "bootstrap"
    #: from the binomial distribution, or the Poisson distribution for counts, for the effective number of objects
    EXACT = "exact"
    #: from the variance when each image in turn is left out; for average precision of few images
    JACKKNIFE = "jackknife"
    #: from the variance between images and Student's t; for differences on few images
    STUDENT = "t"


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured figure and its confidence interval.

    Attributes:
        value: the figure; NaN if there is nothing to divide by.
        low: the lower end of the interval.
        high: the upper end of the interval.
        method: how the interval was computed; `print` names it if it is not the bootstrap.
    """

    value: float
    low: float
    high: float
    method: IntervalMethod = IntervalMethod.BOOTSTRAP

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}{self.mark})"

    @property
    def mark(self) -> str:
        """What stands behind the interval: the method, such as ", exact"; nothing for the bootstrap."""
        return "" if self.method is IntervalMethod.BOOTSTRAP else f", {self.method}"


#: the interval of a figure with nothing to divide by
UNDEFINED = Interval(math.nan, math.nan, math.nan, IntervalMethod.NONE)


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
    parts: ArrayLike,
    wholes: ArrayLike,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    counts: bool = False,
) -> Interval:
    """Compute a share, or a mean over images, and its confidence interval.

    With 30 or more images the interval is a bootstrap interval over images (BCa; Efron 1987, "Better Bootstrap
    Confidence Intervals"). It is exact if there are fewer, or if fewer than 10 images have a hit or a miss. Exact are
    the intervals of Clopper and Pearson (1934) for shares and of Garwood (1936) for counts. Both are computed for the
    effective number (Korn and Graubard 1998).

    Args:
        parts: (pictures,) the numerator of each image, for example detected objects.
        wholes: (pictures,) the denominator of each image, for example all objects; ones for a mean over images.
        confidence: of the interval, 0..1.
        draws: the number of bootstrap samples.
        seed: of the random numbers.
        counts: whether `parts` are counts that may exceed `wholes`, so that the figure is no share.

    Returns:
        The figure and its interval, which says how it was computed; NaN if the denominators sum to 0.

    Examples:
        >>> str(interval([9, 8, 10], [10, 10, 10]))
        '0.900 (0.429 to 1.000, exact)'
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    few = too_few_for_bootstrap(parts, wholes, counts=counts)
    drawn = np.zeros(0) if few else ratios(resample(len(parts), draws=draws, seed=seed), parts, wholes)
    return interval_from_draws(drawn, parts, wholes, confidence=confidence, counts=counts)


def too_few_for_bootstrap(parts: ArrayLike, wholes: ArrayLike, *, counts: bool = False) -> bool:
    """Tell whether images are too few for a bootstrap interval.

    Args:
        parts: (pictures,) the numerator of each image.
        wholes: (pictures,) the denominator of each image.
        counts: whether `parts` are counts that may exceed `wholes`.

    Returns:
        True if fewer than 30 images have a denominator, or fewer than 10 have a hit or a miss.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    some = wholes > 0
    each = [(parts > 0) & some] if counts else [(parts > 0) & some, (parts < wholes) & some]
    return int(some.sum()) < ENOUGH_PICTURES or min(int(kind.sum()) for kind in each) < ENOUGH_EACH


def interval_from_draws(
    drawn: Values, parts: Values, wholes: Values, *, confidence: float = 0.95, counts: bool = False
) -> Interval:
    """Compute the interval of `interval` from bootstrap samples that exist already.

    Args:
        drawn: (draws,) the share in each sample, from `ratios`; not used if the images are too few.
        parts: (pictures,) the numerator of each image.
        wholes: (pictures,) the denominator of each image.
        confidence: of the interval, 0..1.
        counts: whether `parts` are counts that may exceed `wholes`.
    """
    if not wholes.sum():
        return UNDEFINED
    value = float(parts.sum() / wholes.sum())
    tails = np.array([1 - confidence, 1 + confidence]) / 2
    if too_few_for_bootstrap(parts, wholes, counts=counts):
        if counts:
            return Interval(value, *_garwood(parts, wholes, float(tails[1])), IntervalMethod.EXACT)
        size = effective_size(parts, wholes, confidence=float(tails[1]))
        return Interval(value, *_two_sided(value, size, float(tails[1])), IntervalMethod.EXACT)
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, _bca_quantiles(tails, drawn, value, parts, wholes))
    return Interval(value, float(low), float(high))


def difference_interval(gained: ArrayLike, wholes: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Compute by how much two shares of the same objects differ, and the interval of the difference.

    It is a bootstrap interval over images. With fewer than 30 images, or fewer than 10 with a difference, it is one of
    Student's t, with the degrees of freedom of Satterthwaite (1946). If no image has a difference, it is the exact
    interval of the share of objects that could differ, in both directions.

    Args:
        gained: (pictures,) how many more objects of each image the second share has; may be negative.
        wholes: (pictures,) the number of objects of each image.
        confidence: of the interval, 0..1.

    Returns:
        The difference, -1..1, and its interval; NaN without objects.
    """
    gained, wholes = with_objects(gained, wholes)
    if not len(wholes):
        return UNDEFINED
    n, value, level = len(wholes), float(gained.sum() / wholes.sum()), (1 + confidence) / 2
    if not too_few_for_bootstrap(np.abs(gained), wholes, counts=True):
        low, high = np.nanquantile(ratios(resample(n), gained, wholes), [1 - level, level])
        return Interval(value, float(low), float(high))
    residuals = gained - value * wholes
    if not residuals.any():
        _, most = _two_sided(abs(value), objects_together(wholes), level)
        return Interval(value, max(value - most, -1.0), min(value + most, 1.0), IntervalMethod.EXACT)
    error = math.sqrt(n / (n - 1) * float((residuals**2).sum())) / wholes.sum()
    reach = error * float(special.stdtrit(freedom(residuals), level))
    return Interval(value, max(value - reach, -1.0), min(value + reach, 1.0), IntervalMethod.STUDENT)


def jackknife_interval(value: float, without: Values, objects: Values, *, confidence: float = 0.95) -> Interval:
    """Compute the interval of a figure between 0 and 1 that is no share, such as average precision, for few images.

    The figure is treated as a share of the objects with the same variance. The variance is that of the jackknife
    (Quenouille 1956; Tukey 1958).

    Args:
        value: the figure, 0..1.
        without: (pictures,) the figure without each image in turn; NaN if it is not defined.
        objects: (pictures,) the number of objects in each image.
        confidence: of the interval, 0..1.
    """
    level, without, total = (1 + confidence) / 2, without[~np.isnan(without)], float(objects.sum())
    n = len(without)
    size = objects_together(objects)
    deviations = (n - 1) * (without.mean() - without) if n > 1 else np.zeros(0)
    variance = float((deviations**2).sum()) / (n * (n - 1)) if n > 1 else 0.0
    if n > 1 and variance > 0 and 0 < value < 1:
        size = min(value * (1 - value) / variance, total) * t_ratio(total - 1, freedom(deviations), level)
    return Interval(value, *_two_sided(value, size, level), IntervalMethod.JACKKNIFE)


def _bca_quantiles(tails: Values, drawn: Values, value: float, parts: Values, wholes: Values) -> Values:
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


def lower_bound(parts: ArrayLike, wholes: ArrayLike, *, confidence: float = 0.95, size: float | None = None) -> float:
    """Compute a one-sided lower confidence bound of a share.

    It is the exact bound of Clopper and Pearson (1934) for the effective number of objects (Korn and Graubard 1998).

    Args:
        parts: (pictures,) the numerator of each image, for example detected objects.
        wholes: (pictures,) the denominator of each image, for example all objects.
        confidence: of the bound, 0..1.
        size: the effective number of objects; default: `effective_size` of these images.

    Returns:
        The bound, 0..1; 0 without objects.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    if not wholes.sum():
        return 0.0
    size = effective_size(parts, wholes, confidence=confidence) if size is None else size
    return _clopper_pearson(float(parts.sum() / wholes.sum()) * size, size, confidence)


def objects_needed(
    share: float, target: float, effect: float, *, confidence: float = 0.95, per_picture: float = 1.0
) -> int | None:
    """Compute how many objects a sample needs so that the lower bound of a share reaches a target.

    Args:
        share: the measured share, 0..1.
        target: what the lower bound shall reach, 0..1.
        effect: the design effect.
        confidence: of the bound, 0..1.
        per_picture: how many objects an image has that has any; on average.

    Returns:
        The number of objects; None if no number is enough, because the share itself does not exceed the target.
    """

    def reached(objects: int) -> bool:
        pictures = objects / per_picture
        ratio = t_ratio(objects - 1, pictures - 1, confidence) if pictures > 1 else 1 / objects
        size = objects / effect * ratio
        return _clopper_pearson(share * size, size, confidence) >= target

    if share <= target:
        return None
    low, high = 1, 1
    while not reached(high):
        low, high = high, 2 * high
        if high > 10**9:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return high


def _clopper_pearson(hits: float, count: float, confidence: float) -> float:
    """The lower bound of hits / count; both may be fractions, as effective numbers are."""
    return 0.0 if hits <= 0 else float(special.betaincinv(hits, count - hits + 1, 1 - confidence))


def _two_sided(share: float, size: float, level: float) -> tuple[float, float]:
    """The bounds of a share of `size` independent objects, each with this confidence."""
    misses = (1 - share) * size
    return _clopper_pearson(share * size, size, level), 1 - _clopper_pearson(misses, size, level)


def _garwood(parts: Values, wholes: Values, level: float) -> tuple[float, float]:
    """The bounds of a mean of counts, each with this confidence (Garwood 1936), for the effective number of events."""
    parts, wholes = with_objects(parts, wholes)
    n, total, exposure = len(wholes), float(parts.sum()), float(wholes.sum())
    if not total:
        return 0.0, float(special.gammaincinv(1, level)) / exposure
    # in a single image, all events may have one cause
    effect = max(1.0, total)
    if n > 1:
        residuals = parts - total / exposure * wholes
        effect = max(1.0, n / (n - 1) * float((residuals**2).sum()) / total)
        effect /= t_ratio(math.inf, freedom(residuals), level)
    events = total / effect
    low, high = special.gammaincinv(events, 1 - level), special.gammaincinv(events + 1, level)
    return float(low) * effect / exposure, float(high) * effect / exposure


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
