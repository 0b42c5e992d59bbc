"""Intervals of average precision: drawn sets are judged as COCO would judge them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.metrics import ap_interval as module
from anonymizer.evaluation.metrics.ap_interval import ap_interval
from anonymizer.evaluation.metrics.average_precision import CocoRows, average_precision
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.metrics.statistics import IntervalMethod, jackknife_interval, resample
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.found import evaluate_pictures
from tests.evaluation.metrics.test_average_precision import drawn, evaluate_drawn, small

FACE = ObjectType.FACE


def judged(folder: Path, count: int, *, seed: int = 1) -> EvaluationResult:
    """Faces that are found more or less well, and false ones."""
    rng, pictures = np.random.default_rng(seed), []
    for _ in range(count):
        known = [(x, 10.0, x + 30, 50.0) for x in (5.0, 60.0, 120.0)[: rng.integers(1, 4)]]
        shifts = rng.normal(0, 4, len(known))
        found = [(x1 + by, y1, x2 + by, y2, rng.random()) for (x1, y1, x2, y2), by in zip(known, shifts, strict=True)]
        pictures.append({FACE: (known, [*found, (150, 60, 180, 90, rng.random())])})
    return evaluate_pictures(folder, pictures)


@pytest.mark.parametrize("iou", [0.5, 0.75, None])
def test_every_draw_is_what_coco_says_of_a_set_with_these_pictures(tmp_path: Path, iou: float | None) -> None:
    pictures = small(drawn(12, ignored_share=0.3))
    result = evaluate_drawn(tmp_path, pictures)
    weights = resample(12, draws=4)
    counts = result[FACE].by_picture(np.ones(result[FACE].objects))
    by_iou = module._ranked_by_iou(result, FACE, iou)
    values = np.mean([module._sampled_ap(*detections, counts, weights) for detections in by_iou], axis=0)
    for value, times in zip(values, weights.astype(int), strict=True):
        rows = CocoRows()
        for number in np.repeat(np.arange(12), times):
            rows.add(*pictures[number])
        assert value == pytest.approx(rows.average_precision(iou=iou), abs=1e-5)


def test_few_pictures_get_an_interval_that_holds() -> None:
    """Found objects and false ones with known chances; a large sample has the true average precision."""
    rng = np.random.default_rng(5)

    def sampled(pictures: int) -> tuple[np.ndarray, ...]:
        objects = rng.integers(1, 6, pictures)
        found, wrong = rng.binomial(objects, rng.beta(3, 1.5, pictures)), rng.poisson(1.2, pictures)
        hit = np.repeat([True, False], [found.sum(), wrong.sum()])
        scores = np.where(hit, rng.beta(4, 2, len(hit)), rng.beta(2, 4, len(hit))).astype(np.float32)
        picture = np.concatenate([np.arange(pictures).repeat(found), np.arange(pictures).repeat(wrong)])
        return picture, scores, hit, objects.astype(float)

    large = sampled(20_000)
    truth = module._sampled_ap(*large, np.ones((1, 20_000)))[0]
    for pictures in (2, 4, 10):
        held = by_bootstrap = 0
        for _ in range(200):
            small_set = sampled(pictures)
            value = module._sampled_ap(*small_set, np.ones((1, pictures)))[0]
            found = jackknife_interval(value, module._sampled_ap(*small_set, 1 - np.eye(pictures)), small_set[-1])
            held += found.low <= truth <= found.high
            low, high = np.nanquantile(module._sampled_ap(*small_set, resample(pictures, draws=100)), [0.025, 0.975])
            by_bootstrap += low <= truth <= high
        assert held / 200 > 0.95 - 3 * (0.05 * 0.95 / 200) ** 0.5
        assert pictures > 4 or by_bootstrap / 200 < 0.85, "a bootstrap must do worse, or this proves nothing"


def test_the_figure_lies_in_its_interval_which_narrows_with_more_pictures(tmp_path: Path) -> None:
    widths = []
    for count in (12, 120):
        (tmp_path / str(count)).mkdir()
        made = judged(tmp_path / str(count), count)
        interval = ap_interval(made, FACE)
        assert interval.value == average_precision(made, FACE)
        assert interval.low < interval.value < interval.high
        few = count < 30
        assert interval.method is (IntervalMethod.JACKKNIFE if few else IntervalMethod.BOOTSTRAP)
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_without_objects_or_detections_it_is_no_range(tmp_path: Path) -> None:
    box = (10, 10, 30, 40)
    nothing = ap_interval(evaluate_pictures(tmp_path, [{FACE: ([], [(*box, 0.9)])}]), FACE)
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.low)
    (tmp_path / "other").mkdir()
    blind = ap_interval(evaluate_pictures(tmp_path / "other", [{FACE: ([box], [])}]), FACE)
    # nothing found in one picture does not mean nothing ever
    assert (blind.value, blind.low, blind.high) == (0, 0, pytest.approx(0.975))
