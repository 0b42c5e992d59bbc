"""Intervals of whole curves: the same as those of single thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.metrics.confidence_bands import confidence_bands
from tests.evaluation.made import FACE, PERSON, made

THRESHOLDS = [0.0, 0.3, 0.5, 0.9, 0.95]


@pytest.mark.parametrize("name", ["recall", "leak_rate", "false_blurs"])
def test_they_are_those_of_single_thresholds(tmp_path: Path, name: str) -> None:
    found = made(tmp_path)[FACE]

    low, high = getattr(confidence_bands(found, THRESHOLDS), name)

    single = [getattr(found, name)(at) for at in THRESHOLDS]
    np.testing.assert_allclose(low, [each.low for each in single])
    np.testing.assert_allclose(high, [each.high for each in single])


def test_without_objects_nothing_is_known_but_of_false_blurs(tmp_path: Path) -> None:
    found = confidence_bands(made(tmp_path)[PERSON], THRESHOLDS)

    assert np.isnan(found.recall).all() and np.isnan(found.leak_rate).all()
    assert (found.false_blurs[0] == 0).all()
    assert (found.false_blurs[1] > 0).all(), "none in three pictures does not mean none ever"
