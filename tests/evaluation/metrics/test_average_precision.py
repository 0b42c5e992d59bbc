"""Average precision, as faster-coco-eval has it and counted by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.metrics.average_precision import CocoRows, average_precision
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.found import evaluate_pictures, objects

FACE = ObjectType.FACE
Drawn = list[tuple[np.ndarray, np.ndarray, Objects]]


def drawn(pictures: int = 30, count: int = 8, *, seed: int = 4, ignored_share: float = 0.1) -> Drawn:
    """Boxes near objects and boxes elsewhere; one object in ten is ignored, and larger than what is found in it."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(pictures):
        low = rng.uniform(0, 400, (count, 2))
        known = np.concatenate([low, low + rng.uniform(10, 60, (count, 2))], 1).astype(np.float32)
        guesses = np.concatenate([known + rng.normal(0, 3, known.shape), known[rng.permutation(count)] + 70])
        scores, ignored = rng.random(2 * count).astype(np.float32), rng.random(count) < ignored_share
        known[ignored, 2:] += 50
        rows.append((guesses.astype(np.float32), scores, Objects(known, ignored)))
    return rows


def by_the_library(rows: Drawn, index: int) -> float:
    """COCO's own table: 0 is AP at .5 to .95, 1 at .5."""
    images, truth, found = [], [], []
    for number, (boxes, scores, known) in enumerate(rows, start=1):
        images.append({"id": number, "width": 500, "height": 500})
        for box, ignored in zip(known.boxes, known.ignored, strict=True):
            at = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
            row = {"id": len(truth) + 1, "image_id": number, "category_id": 1, "bbox": at, "iscrowd": int(ignored)}
            truth.append(row | {"area": at[2] * at[3]})
        for box, score in zip(boxes, scores, strict=True):
            at = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
            found.append({"image_id": number, "category_id": 1, "bbox": at, "score": float(score)})
    coco = COCO({"images": images, "annotations": truth, "categories": [{"id": 1, "name": "face"}]})
    run = COCOeval_faster(coco, coco.loadRes(found), "bbox", print_function=lambda *_: None)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return float(run.stats[index])


def rows_of(pictures: Drawn) -> CocoRows:
    rows = CocoRows()
    for boxes, scores, known in pictures:
        rows.add(boxes, scores, known)
    return rows


def small(pictures: Drawn) -> Drawn:
    """The same boxes in pictures of 200 x 100 pixels."""
    return [
        (boxes / np.float32(6), scores, Objects(known.boxes / np.float32(6), known.ignored))
        for boxes, scores, known in pictures
    ]


def evaluate_drawn(folder: Path, pictures: Drawn) -> EvaluationResult:
    """The result of `evaluate`."""
    rows = [
        {FACE: ([tuple(box) for box in known.boxes], [(*box, score) for box, score in zip(boxes, scores, strict=True)])}
        for boxes, scores, known in pictures
    ]
    ignored = {number: np.flatnonzero(known.ignored).tolist() for number, (_, _, known) in enumerate(pictures)}
    return evaluate_pictures(folder, rows, ignored=ignored)


def test_it_is_what_the_library_says() -> None:
    pictures = drawn()
    rows = rows_of(pictures)
    assert rows.average_precision() == pytest.approx(by_the_library(pictures, 1))
    assert rows.average_precision(iou=None) == pytest.approx(by_the_library(pictures, 0))
    assert 0.1 < rows.average_precision(iou=None) < rows.average_precision() < 1


@pytest.mark.parametrize(("iou", "index"), [(0.5, 1), (0.75, 2), (None, 0)])
def test_of_a_result_with_many_ignored_regions_it_is_what_the_library_says(
    tmp_path: Path, iou: float | None, index: int
) -> None:
    """What lies in an ignored region at an IoU of .5 need not at .75, so no detection may be left out before."""
    pictures = small(drawn(12, ignored_share=0.4))
    result = evaluate_drawn(tmp_path, pictures)
    assert len(result[FACE].ignored_scores) > 20
    assert average_precision(result, FACE, iou=iou) == pytest.approx(by_the_library(pictures, index))


def test_a_crowd_is_counted_to_the_end() -> None:
    """COCO looks at 100 detections of a picture."""
    pictures = drawn(2, 120)
    assert rows_of(pictures).average_precision() > by_the_library(pictures, 1) + 0.05


def test_it_can_be_counted_by_hand(tmp_path: Path) -> None:
    a, b, elsewhere = (10, 10, 30, 40), (60, 10, 90, 40), (150, 50, 170, 80)
    judged = evaluate_pictures(tmp_path, [{FACE: ([a, b], [(*a, 0.9), (*elsewhere, 0.8), (*b, 0.7)])}])
    # up to a recall of one half every detection is right, beyond two of three are; COCO reads 51 and 50 points
    assert average_precision(judged, FACE) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_what_fits_an_ignored_object_counts_neither_way() -> None:
    a, b = (10, 10, 30, 40), (60, 10, 90, 40)
    rows = CocoRows()
    rows.add(np.array([b, a], np.float32), np.array([0.9, 0.8], np.float32), objects([a, b], ignored=[1]))
    assert rows.average_precision() == pytest.approx(1)


def test_without_objects_there_is_none_and_without_detections_it_is_nothing(tmp_path: Path) -> None:
    box = (10, 10, 30, 40)
    empty = CocoRows()
    assert math.isnan(empty.average_precision())
    empty.add(np.array([box], np.float32), np.array([0.9], np.float32), objects([]))
    assert math.isnan(empty.average_precision())
    assert average_precision(evaluate_pictures(tmp_path, [{FACE: ([box], [])}]), FACE) == 0
