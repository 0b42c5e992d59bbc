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


def test_what_lies_more_than_half_inside_an_ignored_box_is_not_false() -> None:
    crowd = objects((0, 0, 100, 100), ignored=(0,))
    inside, half_out, mostly_out = (10, 10, 20, 20), (91, 0, 109, 10), (94, 0, 110, 10)
    # an intersection over the union of both would be .01
    assert match_detections(boxes(inside, half_out, mostly_out), crowd) == [0, 0, None]
    assert match_detections(boxes(half_out), crowd, same=0.75) == [None]
    tally = DetectionCounts(0.5)
    tally.add(boxes(inside, mostly_out), np.array([0.9, 0.8]), crowd)
    assert tally.found == [(0.8, False)]


def test_a_second_find_of_an_object_inside_an_ignored_box_is_not_false() -> None:
    known = objects((10, 10, 20, 20), (0, 0, 100, 100), ignored=(1,))
    assert match_detections(boxes((10, 10, 20, 20), (10, 10, 20, 19)), known) == [0, 1]


def by_cocos_rules(found: np.ndarray, known: Objects, same: float) -> list[int | None]:
    """COCO's `evaluateImg`, box by box: objects that count first, a running best, crowds as often as one likes."""
    order = sorted(range(len(known.boxes)), key=lambda row: bool(known.ignored[row]))
    taken: set[int] = set()
    matched: list[int | None] = []
    for x1, y1, x2, y2 in found.astype(float).tolist():
        best, at = min(same, 1 - 1e-10), None
        for row in order:
            a1, b1, a2, b2 = known.boxes[row].astype(float).tolist()
            crowd = bool(known.ignored[row])
            if row in taken and not crowd:
                continue
            if at is not None and not known.ignored[at] and crowd:
                break
            common = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
            area = (x2 - x1) * (y2 - y1)
            overlap = common / (area if crowd else area + (a2 - a1) * (b2 - b1) - common)
            if overlap >= best:
                best, at = overlap, row
        matched.append(at)
        if at is not None:
            taken.add(at)
    return matched


def crowded(rng: np.random.Generator) -> tuple[np.ndarray, Objects]:
    """Objects, a third of them ignored and large, and finds near both; whole pixels make some overlaps equal."""
    low = rng.integers(0, 200, (14, 2))
    known = np.concatenate([low, low + rng.integers(8, 40, (14, 2))], 1)
    ignored = rng.random(14) < 0.35
    known[ignored, 2:] += rng.integers(0, 90, (int(ignored.sum()), 2))
    spots = rng.integers(0, 220, (20, 2))
    guesses = np.concatenate([known + rng.integers(-3, 4, known.shape), np.concatenate([spots, spots + 20], 1)])
    guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
    return guesses[rng.permutation(len(guesses))].astype(np.float32), Objects(known.astype(np.float32), ignored)


@pytest.mark.parametrize("same", [0.5, 0.75, 0.95, 1.0])
def test_matches_are_cocos_with_many_ignored_regions(same: float) -> None:
    rng, ignored = np.random.default_rng(12), 0
    for _ in range(60):
        found, known = crowded(rng)
        matched = match_detections(found, known, same=same)
        assert matched == by_cocos_rules(found, known, same)
        ignored += sum(row is not None and bool(known.ignored[row]) for row in matched)
    assert ignored > 50


def test_recall_and_false_positives_follow_the_threshold() -> None:
    tally = DetectionCounts(0.5)
    tally.add(boxes((0, 0, 10, 10), (50, 50, 60, 60)), np.array([0.6, 0.7]), objects((0, 0, 10, 10), (20, 0, 40, 20)))
    tally.add(boxes((20, 0, 40, 20)), np.array([0.4]), objects((20, 0, 40, 20)))
    assert tally.recall == pytest.approx(1 / 3)
    assert tally.false_positives == 0.5
    # without any false positive nothing is found, as the surest detection is one
    assert tally.recall_at(0) == 0
    assert tally.recall_at(0.5) == pytest.approx(2 / 3)


@pytest.mark.parametrize("ignored_share", [0.0, 0.3, 0.6])
def test_average_precision_is_cocos(ignored_share: float) -> None:
    from faster_coco_eval import COCO, COCOeval_faster

    rng = np.random.default_rng(4)
    tally, images, truth, found = DetectionCounts(0.5), [], [], []
    for number in range(1, 31):
        low = rng.uniform(0, 200, (8, 2))
        known = np.concatenate([low, low + rng.uniform(10, 60, (8, 2))], 1).astype(np.float32)
        ignored = rng.random(8) < ignored_share
        # crowds are larger than what is found in them
        known[ignored, 2:] += 60
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
                 "area": wide * high, "iscrowd": int(skip)}
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
