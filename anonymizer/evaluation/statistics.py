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

__all__ = ["Interval", "design_effect", "interval", "lower_bound", "needed", "ratios", "resample", "sign_test"]

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
    """A share or a mean over pictures with a percentile bootstrap interval; where that is empty of information (all
    hits or all misses), the exact one of Clopper and Pearson (1934).

    Args:
        parts: (pictures,) of each picture.
        wholes: (pictures,) of each picture; ones for a mean over pictures.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    if not wholes.sum():
        return Interval(math.nan, math.nan, math.nan)
    value = float(parts.sum() / wholes.sum())
    tail = (1 - confidence) / 2
    drawn = ratios(resample(len(parts), draws=draws, seed=seed), parts, wholes)
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    if (parts <= wholes).all() and value in (0.0, 1.0):
        low = lower_bound(parts, wholes, confidence=1 - tail)
        high = 1 - lower_bound(wholes - parts, wholes, confidence=1 - tail)
    return Interval(value, float(low), float(high))


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
