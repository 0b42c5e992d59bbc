"""How sure a share is: against simulation, and against what is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anonymizer.evaluation.metrics.statistics import (
    design_effect,
    interval,
    lower_bound,
    mcnemar_test,
    objects_needed,
    ratios,
    resample,
)


def crowds(rng: np.random.Generator, pictures: int, share: float, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Hits and objects of pictures in which objects go together: a chance for each picture, beta-distributed."""
    objects = rng.integers(1, 9, pictures)
    chance = rng.beta(share * alike, (1 - share) * alike, pictures)
    return rng.binomial(objects, chance), objects


def test_a_bound_holds_as_often_as_it_says_where_objects_of_a_picture_go_together() -> None:
    rng = np.random.default_rng(1)
    held = [lower_bound(*crowds(rng, 150, 0.95, 2.0)) <= 0.95 for _ in range(600)]
    # 95 % less three standard errors, and what is lost as the effect is itself estimated
    assert np.mean(held) > 0.91
    naive = 0
    for _ in range(600):
        hits, objects = crowds(rng, 150, 0.95, 2.0)
        naive += stats.beta.ppf(0.05, hits.sum(), objects.sum() - hits.sum() + 1) <= 0.95
    assert naive / 600 < np.mean(held) - 0.05, "objects taken for independent must do worse, or this proves nothing"


def test_an_interval_holds_the_true_share_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        found = interval(*crowds(rng, 120, 0.8, 3.0), draws=400)
        held += found.low <= 0.8 <= found.high
    assert held / 200 > 0.90


def test_all_hits_leave_doubt() -> None:
    found = interval(np.ones(20), np.ones(20))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    assert interval(np.zeros(20), np.ones(20)).high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_without_objects_nothing_is_known() -> None:
    assert math.isnan(interval(np.zeros(5), np.zeros(5)).value)
    assert lower_bound(np.zeros(5), np.zeros(5)) == 0


def test_objects_that_always_go_together_count_once() -> None:
    hits = np.array([5, 0, 5, 5, 0, 5, 5, 5] * 10)
    assert design_effect(hits, np.full(80, 5)) == pytest.approx(5, rel=0.03)
    assert design_effect([1, 0, 1, 1], [1, 1, 1, 1]) == pytest.approx(4 / 3, rel=0.01)


@pytest.mark.parametrize(("target", "objects"), [(0.90, 29), (0.95, 59), (0.98, 149), (0.99, 299)])
def test_it_takes_so_many_objects_without_a_miss(target: float, objects: int) -> None:
    # known as the rule of three: ln(.05) / ln(target)
    assert objects_needed(1.0, target, 1.0) == objects
    assert (
        lower_bound(np.ones(objects), np.ones(objects))
        >= target
        > lower_bound(np.ones(objects - 1), np.ones(objects - 1))
    )


def test_more_objects_are_needed_nearer_to_the_target_and_none_are_enough_at_it() -> None:
    assert objects_needed(0.99, 0.95, 1.0) < objects_needed(0.97, 0.95, 1.0) < objects_needed(0.97, 0.95, 2.0)  # type: ignore[operator]
    assert objects_needed(0.95, 0.95, 1.0) is None


def test_draws_keep_the_mean() -> None:
    weights = resample(50, draws=4000, seed=3)
    parts, wholes = np.arange(50), np.full(50, 10)
    assert weights.sum(1).tolist() == [50] * 4000
    assert ratios(weights, parts, wholes).mean() == pytest.approx(2.45, rel=0.01)
    assert ratios(weights, np.column_stack([parts, parts]), wholes).shape == (4000, 2)


def test_the_sign_test_is_symmetric_and_exact() -> None:
    assert mcnemar_test(0, 0) == 1
    assert mcnemar_test(0, 6) == mcnemar_test(6, 0) == pytest.approx(2 / 64)
