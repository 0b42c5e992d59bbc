from __future__ import annotations

import numpy as np
import pytest

from anonymizer.pipeline.tracking.boxes import area, centre_shift, covers, enlarge, ious, is_displaced, union


def box(*sides: float) -> np.ndarray:
    return np.array(sides, np.float32)


def test_the_area_of_a_box_turned_inside_out_is_0() -> None:
    assert (area(box(1, 2, 4, 8)), area(box(4, 2, 1, 8))) == (18, 0)


def test_a_shift_is_that_of_the_centre() -> None:
    assert centre_shift(box(0, 0, 10, 10), box(5, 0, 15, 20)).tolist() == [5, 5]


@pytest.mark.parametrize(("seconds", "margin"), [(0, 0), (0.4, 2), (60, 4)])
def test_a_box_is_enlarged_with_time_up_to_a_limit(seconds: float, margin: float) -> None:
    grown = enlarge(box(100, 100, 120, 140), seconds)

    assert grown.tolist() == pytest.approx([100 - margin, 100 - 2 * margin, 120 + margin, 140 + 2 * margin])
    assert grown.dtype == np.float32


def test_a_union_holds_all_boxes() -> None:
    assert union(box(0, 5, 10, 10), box(5, 0, 7, 20)).tolist() == [0, 0, 10, 20]


def test_ious() -> None:
    others = np.stack([box(0, 0, 10, 10), box(0, 0, 10, 5), box(20, 20, 30, 30)])

    assert ious(box(0, 0, 10, 10), others).tolist() == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize(
    ("other", "is_covered"),
    [(box(0, 0, 10, 10), True), (box(0, 0, 100, 100), True), (box(0, 0, 10, 8), True), (box(0, 0, 10, 6), False)],
)
def test_a_box_is_covered_by_one_that_is_nearly_the_same_or_holds_it(other: np.ndarray, is_covered: bool) -> None:
    assert covers(other[None], box(0, 0, 10, 10)) == is_covered
    assert not covers(np.empty((0, 4), np.float32), box(0, 0, 10, 10))


@pytest.mark.parametrize(("shift", "expected"), [(9, False), (11, True)])
def test_a_box_is_displaced_if_it_moved_by_more_than_its_size(shift: float, expected: bool) -> None:
    assert is_displaced(box(0, 0, 10, 40), box(shift, 0, 10 + shift, 40)) == expected
