"""Scores that mean something: the chance that a box is right, so that one threshold means the same for every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """A rising map from a model's own scores to chances, straight between its knots and level beyond them.

    Attributes:
        knots: (score, chance) pairs, both 0..1, scores rising strictly and chances rising.

    Raises:
        ValueError: the knots are fewer than two, or not such pairs.
    """

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        knots = np.asarray(self.knots, float)
        if knots.ndim != 2 or knots.shape[1] != 2 or len(knots) < 2:
            raise ValueError("a calibration takes two (score, chance) pairs at least")
        scores, chances = knots.T
        if not ((knots >= 0) & (knots <= 1)).all() or (np.diff(scores) <= 0).any() or (np.diff(chances) < 0).any():
            raise ValueError("the pairs of a calibration lie in 0..1 and rise")

    @classmethod
    def read(cls, knots: Sequence[Sequence[float]]) -> Calibration:
        """From the lists of the registry."""
        return cls(tuple((float(score), float(chance)) for score, chance in knots))

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chances (n,) float32 of scores (n,)."""
        return np.asarray(np.interp(scores, *np.asarray(self.knots, float).T), np.float32)
