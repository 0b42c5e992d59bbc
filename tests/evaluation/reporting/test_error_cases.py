"""Error cases: their order, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.reporting.error_cases import (
    ErrorCase,
    detected_but_visible,
    false_blurs,
    grey_out_covered,
    group_by_picture,
    thumbnail,
    thumbnails,
    worst_misses,
)
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.outputs.overlay import COLOURS
from tests.evaluation.found import evaluate_pictures

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
SMALL, LARGE, OTHER = (10, 10, 20, 20), (40, 10, 100, 70), (110, 10, 150, 50)


@pytest.fixture
def judged(tmp_path: Path) -> EvaluationResult:
    """A small face that is detected at .3, a large one that only a loose box covers, and one that nothing covers."""
    loose = (40, 10, 190, 95)
    return evaluate_pictures(
        tmp_path,
        [
            {FACE: ([SMALL, LARGE], [(*SMALL, 0.3), (*loose, 0.8)])},
            {FACE: ([OTHER], [(*SMALL, 0.6), (*LARGE, 0.2)])},
        ],
    )


def test_what_stays_visible_comes_first_and_then_the_largest(judged: EvaluationResult) -> None:
    misses = worst_misses(judged, FACE, 0.5)
    assert [tuple(each.box) for each in misses] == [OTHER, SMALL, LARGE]
    assert [each.visible for each in misses] == [True, True, False]
    assert [each.path.name for each in misses] == ["1.png", "0.png", "0.png"]
    assert [each.score for each in misses] == pytest.approx([-1, 0.3, -1])
    assert [each.words for each in misses] == [
        "40 x 40 px, detected at no threshold",
        "10 x 10 px, detected at 0.30 or lower",
        "60 x 60 px, detected at no threshold, but covered by something else",
    ]
    assert len(worst_misses(judged, FACE, 0.5, count=1)) == 1


def test_objects_that_were_detected_but_leak_are_listed_separately(tmp_path: Path) -> None:
    half = (40, 10, 100, 45)
    # a circle of 30 px below 5 px under its middle: (acos(1/6) - sqrt(35)/36) / pi
    pictures = [{FACE: ([SMALL, LARGE, OTHER], [(*SMALL, 0.9), (*half, 0.8)])}, {FACE: ([OTHER], [])}]
    judged = evaluate_pictures(tmp_path, pictures)
    (leak,) = detected_but_visible(judged, FACE, 0.5)
    assert (tuple(leak.box), leak.words) == (LARGE, "60 x 60 px, detected with 0.80, 39% visible")
    assert detected_but_visible(judged, FACE, 0.85) == []
    assert len(worst_misses(judged, FACE, 0.85)) == 3


def test_what_is_covered_is_grey_and_what_is_left_is_not(tmp_path: Path) -> None:
    half, other_type = (40, 10, 100, 45), (150, 60, 180, 90)
    pictures = [
        {FACE: ([LARGE], [(*half, 0.8), (*SMALL, 0.3)]), PLATE: ([], [(*other_type, 0.9)])},
        {FACE: ([OTHER], [(*OTHER, 0.9)])},
    ]
    judged = evaluate_pictures(tmp_path, pictures)
    (leak,) = detected_but_visible(judged, FACE, 0.5)
    pixels = np.full((100, 200, 3), 200, np.uint8)
    left = grey_out_covered(judged, leak, 0.5, pixels)
    expected = pixels.copy()
    expected[10:45, 40:100] = 128
    np.testing.assert_array_equal(left, expected)
    assert (pixels == 200).all()
    (view,) = thumbnails(
        [leak], changed=lambda each, real: grey_out_covered(judged, each, 0.5, np.full_like(real, 200))
    )
    assert view is not None
    assert {128, 200} <= set(view[:, 80, 0].tolist())


def test_a_lower_threshold_misses_less(judged: EvaluationResult) -> None:
    assert [tuple(each.box) for each in worst_misses(judged, FACE, 0.3)] == [OTHER, LARGE]


def test_the_surest_false_blur_comes_first_and_none_under_the_threshold(judged: EvaluationResult) -> None:
    assert [each.words for each in false_blurs(judged, FACE, 0.5)] == [
        "150 x 85 px, score 0.80",
        "10 x 10 px, score 0.60",
    ]
    assert len(false_blurs(judged, FACE, 0.1)) == 3
    assert false_blurs(judged, FACE, 0.9) == []


def error_case(box: tuple[float, ...], path: Path = Path("a.png")) -> ErrorCase:
    return ErrorCase("miss", FACE, path, np.array(box, np.float32), -1, True)


def test_a_thumbnail_shows_the_object_in_a_frame_of_its_types_colour() -> None:
    pixels = np.full((400, 600, 3), 90, np.uint8)
    pixels[150:250, 250:350] = 200
    view = thumbnail(error_case((250, 150, 350, 250)), pixels, side=125)
    # 250 pixels round the middle are shown, half as large
    assert view.shape == (125, 125, 3)
    assert view[62, 62].tolist() == [200] * 3
    assert view[5, 5].tolist() == [90] * 3
    frame = np.flatnonzero((view[62] == COLOURS[FACE]).all(axis=1))
    assert (frame.min(), frame.max()) == pytest.approx((37.5, 87.5), abs=1.5)


@pytest.mark.parametrize("box", [(-5, -5, 20, 20), (580, 380, 600, 400), (0, 0, 600, 400), (30, 30, 31, 31)])
def test_where_the_picture_ends_is_grey(box: tuple[float, ...]) -> None:
    view = thumbnail(error_case(box), np.full((400, 600, 3), 90, np.uint8))
    assert view.shape == (160, 160, 3)
    kinds = {tuple(pixel) for pixel in view.reshape(-1, 3).tolist() if pixel in ([90] * 3, [230] * 3)}
    assert kinds == {(90,) * 3, (230,) * 3} or box == (30, 30, 31, 31)


def test_pictures_that_cannot_be_read_have_no_thumbnail(judged: EvaluationResult, tmp_path: Path) -> None:
    misses = worst_misses(judged, FACE, 0.5)
    (tmp_path / "1.png").write_bytes(b"no picture")
    views = thumbnails([*misses, error_case((0, 0, 9, 9), tmp_path / "gone.png")], side=40)
    assert [None if view is None else view.shape for view in views] == [None, (40, 40, 3), (40, 40, 3), None]


def test_each_picture_comes_once() -> None:
    a, b = Path("a.png"), Path("b.png")
    rows = [error_case((0, 0, n, n), path) for n, path in enumerate((a, b, a), start=1)]
    assert [(path, [id(each) for each in of]) for path, of in group_by_picture(rows)] == [
        (a, [id(rows[0]), id(rows[2])]),
        (b, [id(rows[1])]),
    ]


def test_a_case_is_short_in_a_notebook() -> None:
    assert repr(error_case((0, 0, 9, 8))) == "ErrorCase(miss, face, a.png: 9 x 8 px, detected at no threshold)"
