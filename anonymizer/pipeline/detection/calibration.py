"""Calibration: map the scores of a model to the chance that a box is right.

With calibrated scores, one threshold means the same for every model. The functions come from isotonic regression
(Zadrozny and Elkan, KDD 2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """A rising function from a model's scores to chances: linear between its knots, and constant beyond them.

    Attributes:
        knots: two or more (score, chance) pairs, both 0..1. Scores rise strictly, chances do not fall.

    Raises:
        ValueError: the knots are fewer than two, or not such pairs.

    Example:
        >>> Calibration(((0.0, 0.0), (0.5, 0.9)))(np.array([0.25, 0.7], np.float32))
        array([0.45, 0.9 ], dtype=float32)
    """

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        knots = np.asarray(self.knots, float)
        if knots.ndim != 2 or knots.shape[1] != 2 or len(knots) < 2:
            raise ValueError("a calibration needs at least two (score, chance) pairs")
        scores, chances = knots.T
        if not ((knots >= 0) & (knots <= 1)).all() or (np.diff(scores) <= 0).any() or (np.diff(chances) < 0).any():
            raise ValueError("the pairs of a calibration must lie in 0..1 and rise")

    @classmethod
    def read(cls, knots: Sequence[Sequence[float]]) -> Calibration:
        """Read the lists of (score, chance) pairs in the registry."""
        return cls(tuple((float(score), float(chance)) for score, chance in knots))

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the chances (n,) float32 of scores (n,) float32."""
        return np.asarray(np.interp(scores, *np.asarray(self.knots, float).T), np.float32)
