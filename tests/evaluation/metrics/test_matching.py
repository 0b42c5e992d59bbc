"""Counting: which detection found which object, against COCO's own rules."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.metrics.matching import DetectionCounts, match_detections, merge_counts


def objects(*boxes: tuple[float, ...], ignored: tuple[int, ...] = ()) -> Objects:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return Objects(rows, np.isin(np.arange(len(rows)), ignored))


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_each_object_is_found_once() -> None:
    known = objects((0, 0, 10, 10))
    assert match_detections(boxes((0, 0, 10, 10), (0, 0, 10, 9)), known) == [0, None]


def test_an_ignored_object_is_found_as_often_as_you_like_and_never_counts() -> None:
    known = objects((0, 0, 10, 10), ignored=(0,))
    tally = DetectionCounts(0.5)
    tally.add(boxes((0, 0, 10, 10), (0, 0, 10, 9)), np.array([0.9, 0.8]), known)
    assert (tally.found, tally.objects, tally.recall, tally.false_positives) == ([], 0, 0, 0)


def test_an_object_goes_before_an_ignored_one() -> None:
    known = objects((0, 0, 10, 10), (0, 0, 10, 11), ignored=(0,))
    assert match_detections(boxes((0, 0, 10, 10)), known) == [1]


def test_recall_and_false_positives_follow_the_threshold() -> None:
    tally = DetectionCounts(0.5)
    tally.add(boxes((0, 0, 10, 10), (50, 50, 60, 60)), np.array([0.6, 0.7]), objects((0, 0, 10, 10), (20, 0, 40, 20)))
    tally.add(boxes((20, 0, 40, 20)), np.array([0.4]), objects((20, 0, 40, 20)))
    assert tally.recall == pytest.approx(1 / 3)
    assert tally.false_positives == 0.5
    # without any false positive nothing is found, as the surest detection is one
    assert tally.recall_at(0) == 0
    assert tally.recall_at(0.5) == pytest.approx(2 / 3)


def test_average_precision_is_cocos() -> None:
    from faster_coco_eval import COCO, COCOeval_faster

    rng = np.random.default_rng(4)
    tally, images, truth, found = DetectionCounts(0.5), [], [], []
    for number in range(1, 31):
        low = rng.uniform(0, 200, (8, 2))
        known = np.concatenate([low, low + rng.uniform(10, 60, (8, 2))], 1).astype(np.float32)
        ignored = np.zeros(8, bool)
        guesses = np.concatenate([known + rng.normal(0, 3, known.shape), known[rng.permutation(8)] + 40]).astype(
            np.float32
        )
        scores = rng.random(16).astype(np.float32)
        tally.add(guesses, scores, Objects(known, ignored))
        images.append({"id": number, "width": 300, "height": 300})
        for box, skip in zip(known, ignored, strict=True):
            wide, high = (box[2:] - box[:2]).tolist()
            truth.append(
                {"id": len(truth) + 1, "image_id": number, "category_id": 1, "bbox": [*box[:2].tolist(), wide, high],
                 "area": wide * high, "iscrowd": 0, "ignore": int(skip)}
            )  # fmt: skip
        found += [
            {"image_id": number, "category_id": 1, "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
             "score": float(score)}
            for box, score in zip(guesses, scores, strict=True)
        ]  # fmt: skip
    coco = COCO({"images": images, "annotations": truth, "categories": [{"id": 1, "name": "face"}]})
    run = COCOeval_faster(coco, coco.loadRes(found), "bbox", print_function=lambda *_: None)
    run.evaluate()
    run.accumulate()
    run.summarize()
    # COCO reads the curve at 101 recalls, here it is all of it
    assert tally.average_precision == pytest.approx(run.stats[1], abs=0.01)


def test_tallies_join() -> None:
    one, two = DetectionCounts(0.5), DetectionCounts(0.5)
    one.add(boxes((0, 0, 10, 10)), np.array([0.9]), objects((0, 0, 10, 10)))
    two.add(boxes((50, 0, 60, 10)), np.array([0.8]), objects((0, 0, 40, 40)))
    whole = merge_counts([one, two])
    assert (whole.images, whole.objects, whole.recall, whole.false_positives) == (2, 2, 0.5, 0.5)
    assert dict(whole.of_size) == {0: 1, 32: 1}
