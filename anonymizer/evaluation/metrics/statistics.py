"""How sure a measured share is, where objects of one picture are no independent draws.

Pictures are what is drawn at random: a crowd that a detector fails in counts as one mishap, not as forty. So intervals
come from drawing pictures again (bootstrap), and bounds from as many objects as the same number of independent ones
would be worth.
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
    "interval_of",
    "lower_bound",
    "needed",
    "ratios",
    "resample",
    "sign_test",
]

#: draws of a bootstrap
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the range that holds the true one with a given confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@functools.lru_cache(maxsize=4)
def resample(pictures: int, *, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """(draws, pictures): how often each picture is in each of so many sets drawn with replacement (Efron 1979)."""
    if not pictures:
        return np.zeros((draws, 0))
    weights = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), draws).astype(float)
    # kept, as every figure of a set asks for the same draws
    weights.setflags(write=False)
    return weights


def ratios(weights: NDArray[np.float64], parts: ArrayLike, wholes: ArrayLike) -> NDArray[np.float64]:
    """Of every draw, the sum of the parts through the sum of the wholes.

    Args:
        weights: (draws, pictures), from `resample`.
        parts: (pictures,) or (pictures, k), such as objects found.
        wholes: (pictures,), such as objects that are there.

    Returns:
        (draws,) or (draws, k); not a number where a draw has no whole.
    """
    above, below = weights @ np.asarray(parts, float), weights @ np.asarray(wholes, float)
    below = np.where(below > 0, below, np.nan)
    return np.asarray(above / (below if above.ndim == 1 else below[:, None]))


def interval(
    parts: ArrayLike, wholes: ArrayLike, *, confidence: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """A share or a mean over pictures, with a bootstrap interval (BCa; Efron 1987); where all are hits, or all misses,
    and so all draws alike, with the exact one of Clopper and Pearson (1934).

    Args:
        parts: (pictures,) of each picture.
        wholes: (pictures,) of each picture; ones for a mean over pictures.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    drawn = ratios(resample(len(parts), draws=draws, seed=seed), parts, wholes)
    return interval_of(drawn, parts, wholes, confidence=confidence)


def interval_of(
    drawn: NDArray[np.float64], parts: NDArray[np.float64], wholes: NDArray[np.float64], *, confidence: float = 0.95
) -> Interval:
    """The same, where the shares of the draws are there already.

    Args:
        drawn: (draws,), from `ratios`.
    """
    if not wholes.sum():
        return Interval(math.nan, math.nan, math.nan)
    value = float(parts.sum() / wholes.sum())
    tails = np.array([1 - confidence, 1 + confidence]) / 2
    if (parts <= wholes).all() and value in (0.0, 1.0):
        low = lower_bound(parts, wholes, confidence=tails[1])
        return Interval(value, low, 1 - lower_bound(wholes - parts, wholes, confidence=tails[1]))
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, _corrected(tails, drawn, value, parts, wholes))
    return Interval(value, float(low), float(high))


def _corrected(
    tails: NDArray[np.float64],
    drawn: NDArray[np.float64],
    value: float,
    parts: NDArray[np.float64],
    wholes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The shares of draws to cut at, for bias, and for a spread that changes with the value (BCa).

    Shares near 1 need it: their draws are skewed. In simulations with 126 pictures and a true share of .97 that goes
    together within pictures, plain 95 % percentiles held it in 86 to 90 % of samples, these in 92 to 93 %.
    """
    bias = stats.norm.ppf(np.clip((drawn < value).mean() + (drawn == value).mean() / 2, 1e-4, 1 - 1e-4))
    rest = wholes.sum() - wholes
    without = (parts.sum() - parts)[rest > 0] / rest[rest > 0]
    # none where one picture holds everything
    apart = without.mean() - without if len(without) else without
    spread = float((apart**2).sum())
    change = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    at = bias + stats.norm.ppf(tails)
    return np.asarray(stats.norm.cdf(bias + at / (1 - change * at)))


def design_effect(parts: ArrayLike, wholes: ArrayLike) -> float:
    """How many times more objects it takes than independent ones would, as those of one picture are alike (Kish 1965).

    The variance of the ratio of sums over pictures (linearised), through that of as many independent draws; 1 at least.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    with_some = wholes > 0
    parts, wholes, n = parts[with_some], wholes[with_some], int(with_some.sum())
    if n < 2:
        return 1.0
    share = parts.sum() / wholes.sum()
    if share in (0.0, 1.0):
        # all alike: nothing is known of how they hang together
        return 1.0
    apart = parts - share * wholes
    variance = n / (n - 1) * float((apart**2).sum()) / wholes.sum() ** 2
    return max(1.0, float(variance / (share * (1 - share) / wholes.sum())))


def lower_bound(parts: ArrayLike, wholes: ArrayLike, *, confidence: float = 0.95, effect: float | None = None) -> float:
    """What a share is at least, with this confidence (one-sided).

    The exact bound of Clopper and Pearson (1934) for as many independent objects as these are worth (Korn and
    Graubard 1998).

    Args:
        effect: the design effect, where it is known better than from these; measured on them without.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    effect = effect or design_effect(parts, wholes)
    return _exact(parts.sum() / effect, wholes.sum() / effect, confidence)


def _exact(hits: float, count: float, confidence: float) -> float:
    return 0.0 if hits <= 0 else float(stats.beta.ppf(1 - confidence, hits, count - hits + 1))


def needed(share: float, target: float, effect: float, *, confidence: float = 0.95) -> int | None:
    """How many objects it takes until the lower bound of this share reaches the target; None where none are enough."""
    if share <= target:
        return None
    low, high = 1, 1
    while _exact(share * high / effect, high / effect, confidence) < target:
        low, high = high, 2 * high
        if high > 10**9:
            return None
    while low < high:
        middle = (low + high) // 2
        enough = _exact(share * middle / effect, middle / effect, confidence) >= target
        low, high = (low, middle) if enough else (middle + 1, high)
    return high


def sign_test(only_first: int, only_second: int) -> float:
    """The chance that two equal models differ as much or more: exact McNemar test (1947), two-sided."""
    both = only_first + only_second
    return 1.0 if not both else float(stats.binomtest(only_first, both).pvalue)
