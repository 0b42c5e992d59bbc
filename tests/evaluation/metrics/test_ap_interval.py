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
from anonymizer.evaluation.metrics.statistics import resample
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.found import evaluate_pictures, objects

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
    made = judged(tmp_path, 12)
    found = made[FACE]
    weights = resample(found.pictures, draws=4)
    counts = found.by_picture(np.ones(found.objects))
    hits_by_iou = module._hits_by_iou(made, FACE, iou)
    samples = [module._sampled_ap(found.picture, found.scores, hits, counts, weights) for hits in hits_by_iou]
    drawn = np.mean(samples, axis=0)
    for value, times in zip(drawn, weights.astype(int), strict=True):
        rows = CocoRows()
        for number in np.repeat(np.arange(found.pictures), times):
            mine = found.picture == number
            boxes = [tuple(box) for box in found.object_boxes[found.object_picture == number]]
            rows.add(found.boxes[mine], found.scores[mine], objects(boxes))
        assert value == pytest.approx(rows.average_precision(iou=iou), abs=1e-5)


def test_the_figure_lies_in_its_interval_which_narrows_with_more_pictures(tmp_path: Path) -> None:
    widths = []
    for count in (12, 120):
        (tmp_path / str(count)).mkdir()
        made = judged(tmp_path / str(count), count)
        interval = ap_interval(made, FACE)
        assert interval.value == average_precision(made, FACE)
        assert interval.low < interval.value < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_without_objects_or_detections_it_is_no_range(tmp_path: Path) -> None:
    box = (10, 10, 30, 40)
    nothing = ap_interval(evaluate_pictures(tmp_path, [{FACE: ([], [(*box, 0.9)])}]), FACE)
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.low)
    (tmp_path / "other").mkdir()
    blind = ap_interval(evaluate_pictures(tmp_path / "other", [{FACE: ([box], [])}]), FACE)
    assert (blind.value, blind.low, blind.high) == (0, 0, 0)
