"""Two models on the same pictures, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.metrics.comparison import compare, threshold_at_false_blurs
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.found import Row, evaluate_pictures

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
BOX, ELSEWHERE = (10, 10, 30, 40), (100, 50, 120, 80)


def found_in(
    folder: Path, name: str, hits: range, count: int, *, wrong: dict[int, float] | None = None
) -> EvaluationResult:
    """One face in each picture, found with .9 in some of them, and false faces in others."""

    def rows(number: int) -> list[Row]:
        false = [(*ELSEWHERE, wrong[number])] if wrong and number in wrong else []
        return [(*BOX, 0.9)] * (number in hits) + false

    return evaluate_pictures(folder, [{FACE: ([BOX], rows(number))} for number in range(count)], name=name)


def test_what_one_found_and_the_other_did_not_is_counted(tmp_path: Path) -> None:
    first, second = found_in(tmp_path, "a", range(8), 10), found_in(tmp_path, "b", range(3, 10), 10)
    result = compare(first, second, FACE)
    assert (result.names, result.pictures, result.objects) == (("a", "b"), 10, 10)
    assert (result.only_first, result.only_second) == (3, 2)
    assert result.recall == (0.8, 0.7)
    assert result.difference.value == pytest.approx(-0.1)
    assert result.difference.low < -0.1 < result.difference.high
    # of five coins three or more show one side: always
    assert result.p_value == 1
    assert "face: these images show no difference" in str(result)


def test_a_pair_shows_what_two_samples_would_not(tmp_path: Path) -> None:
    # recalls .5 and .6 of 60 alone are 7 percentage points of error each; but the one found what the other did
    first, second = found_in(tmp_path, "a", range(30), 60), found_in(tmp_path, "b", range(36), 60)
    result = compare(first, second, FACE)
    assert first[FACE].recall(0.5).high > second[FACE].recall(0.5).low
    assert result.difference.low > 0
    assert result.p_value == pytest.approx(2 / 2**6)
    assert "b detects more" in str(result)
    assert "a detects more" not in str(result)
    back = compare(second, first, FACE)
    assert (back.only_first, back.only_second, back.difference.value) == (6, 0, -result.difference.value)
    assert "b detects more" in str(back)


def test_the_second_runs_at_the_threshold_that_costs_as_many_false_blurs(tmp_path: Path) -> None:
    # at .5 the first has one false blur; the second has two there, and one from just above .7 up
    first = found_in(tmp_path, "a", range(4), 4, wrong={0: 0.8, 1: 0.2})
    second = found_in(tmp_path, "b", range(4), 4, wrong={0: 0.8, 1: 0.7})
    result = compare(first, second, FACE)
    assert result.thresholds[0] == 0.5
    assert result.thresholds[1] == np.nextafter(np.float32(0.7), np.float32(1))
    assert result.false_blurs == (0.25, 0.25)
    asked = compare(first, second, FACE, thresholds=(0.1, 0.1))
    assert (asked.thresholds, asked.false_blurs) == ((0.1, 0.1), (0.5, 0.5))


@pytest.mark.parametrize(("allowed", "left"), [(0.0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.75, 3), (1.0, 3), (9.0, 3)])
def test_as_low_as_so_many_false_blurs_allow(tmp_path: Path, allowed: float, left: int) -> None:
    found = found_in(tmp_path, "a", range(4), 4, wrong={0: 0.9, 1: 0.8, 2: 0.3})[FACE]
    threshold, wrong = threshold_at_false_blurs(found, allowed), found.scores[~found.hit]
    assert (wrong >= threshold).sum() == left
    # a hair lower it would be one more, unless these are all
    assert (wrong >= np.nextafter(np.float32(threshold), np.float32(-1))).sum() == min(left + 1, 3)


def test_only_pictures_that_both_looked_at_count(tmp_path: Path) -> None:
    faces = [{FACE: ([BOX], [(*BOX, 0.9)])}, {FACE: ([BOX], []), PLATE: ([BOX], [])}, {PLATE: ([BOX], [])}]
    first = evaluate_pictures(tmp_path, faces, name="a")
    second = evaluate_pictures(tmp_path, faces, name="b", object_types=[FACE])
    assert len(first.images) > len(second.images)
    assert (compare(first, second, FACE).pictures, compare(first, second, FACE).objects) == (2, 2)


def test_other_pictures_and_other_labels_are_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    first = found_in(tmp_path / "one", "a", range(2), 2)
    with pytest.raises(ValueError, match="a and b were not evaluated on the same labelled images"):
        compare(first, found_in(tmp_path / "other", "b", range(2), 2), FACE)
    moved = evaluate_pictures(tmp_path / "one", [{FACE: ([ELSEWHERE], [])}] * 2, name="b")
    with pytest.raises(ValueError, match="were not evaluated on the same labelled images"):
        compare(first, moved, FACE)


def test_without_objects_nothing_is_said(tmp_path: Path) -> None:
    none = [{FACE: ([], [(*BOX, 0.9)])}] * 3
    result = compare(evaluate_pictures(tmp_path, none, name="a"), evaluate_pictures(tmp_path, none, name="b"), FACE)
    assert np.isnan([*result.recall, result.difference.value]).all()
    assert result.false_blurs == (1, 1)
    assert "no objects, so recall cannot be compared" in str(result)
