"""How sure a share is: against simulation, and against what is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anonymizer.evaluation.metrics.statistics import (
    UNDEFINED,
    IntervalMethod,
    design_effect,
    difference_interval,
    effective_size,
    interval,
    lower_bound,
    mcnemar_test,
    objects_needed,
    ratios,
    resample,
    too_few_for_bootstrap,
)


def crowds(
    rng: np.random.Generator, pictures: int, share: float, alike: float, *, heavy: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Hits and objects of pictures in which objects go together: a chance for each picture, beta-distributed.

    A few of the heavy ones hold up to 80 objects.
    """
    objects = rng.integers(1, 9, pictures)
    if heavy:
        objects = np.minimum(1 + rng.geometric(0.25, pictures) * (1 + 9 * (rng.random(pictures) < 0.1)), 80)
    chance = rng.beta(share * alike, (1 - share) * alike, pictures)
    return rng.binomial(objects, chance), objects


def linearised_only(hits: np.ndarray, objects: np.ndarray) -> float:
    """The bound without the correction: the objects divided by the measured design effect, and nothing else."""
    share, total, n = hits.sum() / objects.sum(), objects.sum(), len(objects)
    if share in (0, 1):
        return float(stats.beta.ppf(0.05, hits.sum(), total - hits.sum() + 1))
    variance = n / (n - 1) * ((hits - share * objects) ** 2).sum() / total**2
    effect = max(1, variance / (share * (1 - share) / total))
    return float(stats.beta.ppf(0.05, hits.sum() / effect, (total - hits.sum()) / effect + 1))


@pytest.mark.parametrize(
    ("pictures", "share", "alike", "heavy"),
    [(100, 0.98, 2.0, False), (60, 0.9, 2.0, False), (40, 0.95, 2.0, True), (150, 0.9, 2.0, True)],
)
def test_a_bound_is_missed_no_more_often_than_it_says(pictures: int, share: float, alike: float, heavy: bool) -> None:
    rng, times = np.random.default_rng(7), 1500
    sampled = [crowds(rng, pictures, share, alike, heavy=heavy) for _ in range(times)]
    missed = np.mean([lower_bound(*each) > share for each in sampled])
    # the nominal 5 %, and three standard errors of this simulation
    allowed = 0.05 + 3 * (0.05 * 0.95 / times) ** 0.5
    assert missed < allowed
    assert np.mean([linearised_only(*each) > share for each in sampled]) > missed + 0.02, "or this proves nothing"
    if heavy or share > 0.95:
        assert np.mean([linearised_only(*each) > share for each in sampled]) > allowed


def test_an_interval_holds_the_true_share_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        found = interval(*crowds(rng, 120, 0.8, 3.0), draws=400)
        assert found.method is IntervalMethod.BOOTSTRAP
        held += found.low <= 0.8 <= found.high
    assert held / 200 > 0.90


@pytest.mark.parametrize("pictures", [2, 3, 4, 10, 20])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_an_interval_of_few_pictures_is_exact_and_holds(pictures: int, share: float) -> None:
    rng, times = np.random.default_rng(pictures), 400
    held = by_bootstrap = 0
    for _ in range(times):
        hits, objects = crowds(rng, pictures, share, 2.0, heavy=True)
        found = interval(hits, objects)
        assert found.method is IntervalMethod.EXACT
        held += found.low <= share <= found.high
        drawn = np.quantile(ratios(resample(pictures, draws=200), hits, objects), [0.025, 0.975])
        by_bootstrap += drawn[0] <= share <= drawn[1]
    assert held / times > 0.95 - 3 * (0.05 * 0.95 / times) ** 0.5
    assert by_bootstrap / times < 0.9, "a bootstrap must do worse, or this proves nothing"


@pytest.mark.parametrize("pictures", [3, 10, 25])
def test_an_interval_of_a_mean_of_counts_holds(pictures: int) -> None:
    rng, times, held = np.random.default_rng(3), 400, 0
    for _ in range(times):
        # some pictures have many false blurs: variance 3 times the mean
        found = interval(rng.negative_binomial(1, 1 / 3, pictures), np.ones(pictures), counts=True)
        assert found.method is IntervalMethod.EXACT
        held += found.low <= 2 <= found.high
    assert held / times > 0.95 - 3 * (0.05 * 0.95 / times) ** 0.5


def test_a_mean_of_counts_is_garwoods_where_the_counts_vary_as_chance_does() -> None:
    counts = np.array([0, 1, 0, 2, 1, 0, 1, 1, 0, 1])
    assert counts.var(ddof=1) < counts.mean()
    found = interval(counts, np.ones(10), counts=True)
    # Student's t with the degrees of freedom of Satterthwaite, as a factor on the events
    squares = (counts - counts.mean()) ** 2
    freedom = min(9, 2 * 10 * squares.mean() ** 2 / squares.var())
    factor = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, freedom)) ** 2
    ends = stats.chi2.ppf(0.025, 2 * 7 * factor) / 2, stats.chi2.ppf(0.975, 2 * (7 * factor + 1)) / 2
    assert (found.low, found.high) == pytest.approx(np.array(ends) / (10 * factor))
    # known as the rule of three, for two sides: -ln(.025) / 10
    none = interval(np.zeros(10), np.ones(10), counts=True)
    assert (none.low, none.high) == (0, pytest.approx(-math.log(0.025) / 10))


def test_few_pictures_with_a_miss_are_few() -> None:
    hits, objects = np.full(200, 3), np.full(200, 3)
    hits[:9] = 2
    assert too_few_for_bootstrap(hits, objects)
    assert interval(hits, objects).method is IntervalMethod.EXACT
    hits[9] = 2
    assert not too_few_for_bootstrap(hits, objects)
    assert interval(hits, objects).method is IntervalMethod.BOOTSTRAP
    assert too_few_for_bootstrap(hits[:29], objects[:29])


def test_an_interval_says_how_it_was_made() -> None:
    assert str(interval([9, 8, 10], [10, 10, 10])).endswith(", exact)")
    hits = np.array([0, 1] * 50)
    assert str(interval(hits, np.ones(100))) == f"0.500 ({interval(hits, np.ones(100)).low:.3f} to 0.600)"
    assert (str(interval([0], [0])), interval([0], [0]).method) == ("-", IntervalMethod.NONE)


def test_with_one_object_a_picture_it_is_the_exact_interval_of_clopper_and_pearson() -> None:
    hits = np.arange(25) >= 3
    known = stats.binomtest(22, 25).proportion_ci(method="exact")
    found = interval(hits, np.ones(25))
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_the_effective_size_is_korn_and_graubards() -> None:
    rng = np.random.default_rng(5)
    hits, objects = crowds(rng, 40, 0.8, 2.0)
    share, total = hits.sum() / objects.sum(), objects.sum()
    residuals = hits - share * objects
    linearised = 40 / 39 * (residuals**2).sum() / total**2 / (share * (1 - share) / total)
    # the correlation within pictures from the F of an analysis of variance over the single objects
    groups = [np.repeat([1, 0], [hit, count - hit]) for hit, count in zip(hits, objects, strict=True)]
    f = stats.f_oneway(*groups).statistic
    size = (total - (objects**2).sum() / total) / 39
    correlation = (f - 1) / (f + size - 1)
    effect = max(linearised, 1 + correlation * ((objects**2).sum() / total - 1))
    assert design_effect(hits, objects) == pytest.approx(effect)
    squares = residuals**2
    freedom = min(39, 2 * 40 * squares.mean() ** 2 / squares.var())
    for confidence in (0.9, 0.95, 0.975):
        ratio = stats.t.ppf(confidence, total - 1) / stats.t.ppf(confidence, freedom)
        expected = max(total / effect * ratio**2, min(total / effect, total**2 / (objects**2).sum()))
        assert effective_size(hits, objects, confidence=confidence) == pytest.approx(expected)


def test_where_nothing_is_known_of_the_correlation_a_picture_counts_once() -> None:
    assert effective_size([20], [25]) == 1
    assert effective_size([5, 5, 5, 5], [5, 5, 5, 5]) == pytest.approx(4)
    assert lower_bound([5, 5, 5, 5], [5, 5, 5, 5]) == pytest.approx(0.05 ** (1 / 4))


def test_a_difference_of_few_pictures_holds_and_is_students() -> None:
    rng, times, held = np.random.default_rng(11), 400, 0
    for _ in range(times):
        objects = rng.integers(1, 9, 6)
        gained = rng.binomial(objects, rng.beta(2, 2, 6)) - rng.binomial(objects, rng.beta(2, 2, 6))
        found = difference_interval(gained, objects)
        held += found.low <= 0 <= found.high
    assert found.method is IntervalMethod.STUDENT
    assert held / times > 0.95 - 3 * (0.05 * 0.95 / times) ** 0.5
    equal = difference_interval(np.zeros(20), np.ones(20))
    # none of 20 differs, as an exact bound
    assert (equal.low, equal.high) == pytest.approx((-(1 - 0.025 ** (1 / 20)), 1 - 0.025 ** (1 / 20)))
    assert difference_interval([0], [0]) is UNDEFINED


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
    # objects that are each alone in their picture go together with none
    assert design_effect([1, 0, 1, 1], [1, 1, 1, 1]) == 1


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
    # fewer pictures for as many objects say less
    assert objects_needed(0.99, 0.95, 1.0) < objects_needed(0.99, 0.95, 1.0, per_picture=30)  # type: ignore[operator]


def test_draws_keep_the_mean() -> None:
    weights = resample(50, draws=4000, seed=3)
    parts, wholes = np.arange(50), np.full(50, 10)
    assert weights.sum(1).tolist() == [50] * 4000
    assert ratios(weights, parts, wholes).mean() == pytest.approx(2.45, rel=0.01)
    assert ratios(weights, np.column_stack([parts, parts]), wholes).shape == (4000, 2)


def test_the_sign_test_is_symmetric_and_exact() -> None:
    assert mcnemar_test(0, 0) == 1
    assert mcnemar_test(0, 6) == mcnemar_test(6, 0) == pytest.approx(2 / 64)
