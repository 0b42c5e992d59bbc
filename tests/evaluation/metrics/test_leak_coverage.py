"""What stays visible and what is covered without need, on pictures small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.metrics.leak_coverage import LeakCoverage, leak_coverage, object_mask
from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.options.options import Options

PLATE, FACE, PERSON = ObjectType.LICENSE_PLATE, ObjectType.FACE, ObjectType.PERSON
SIZE_HW = (100, 200)
#: nothing but boxes: no margin, no soft edge
BARE = Options(margin=0, face_anonymization_gradient_start=0, license_plate_anonymization_gradient_start=0, bbox=True)


def objects(*boxes: tuple[float, ...], outlines: tuple = ()) -> Objects:
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), bool), outlines)


def found(*rows: tuple[float, ...], object_type: ObjectType = PLATE) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    n = len(table)
    return Detections(table[:, :4], table[:, 4], np.full(n, object_type.number), np.full(n, "x"))


def test_a_tenth_of_the_pixels_may_stay_visible_and_no_more() -> None:
    known = objects((0, 0, 100, 10))
    assert leak_coverage(found((0, 0, 90, 10, 0.7)), known, PLATE, SIZE_HW, BARE).scores.tolist() == [np.float32(0.7)]
    assert leak_coverage(found((0, 0, 89, 10, 0.7)), known, PLATE, SIZE_HW, BARE).scores.tolist() == [-1]


def test_detections_cover_together_and_the_last_one_that_it_takes_sets_the_threshold() -> None:
    known = objects((0, 0, 100, 10))
    judged = leak_coverage(
        found((0, 0, 50, 10, 0.9), (50, 0, 100, 10, 0.3), (0, 0, 40, 10, 0.1)), known, PLATE, SIZE_HW, BARE
    )
    assert judged.scores.tolist() == [np.float32(0.3)]
    assert judged.shares.tolist() == [1]
    half = leak_coverage(found((0, 0, 50, 10, 0.9)), known, PLATE, SIZE_HW, BARE)
    assert (half.scores.tolist(), half.shares.tolist()) == ([-1], [0.5])


def test_what_is_covered_without_need_is_counted_once_and_at_the_highest_score() -> None:
    known = objects((0, 0, 20, 10))
    judged = leak_coverage(
        found((0, 0, 20, 10, 0.9), (50, 0, 60, 10, 0.8), (55, 0, 65, 10, 0.4)), known, PLATE, SIZE_HW, BARE
    )
    np.testing.assert_allclose(judged.excess, [[0.8, 100], [0.4, 50]], rtol=1e-6)
    assert judged.pixels == 100 * 200


def test_the_margin_that_a_perfect_detector_would_redact_too_is_no_excess() -> None:
    known = objects((50, 40, 90, 60))
    options = Options(bbox=True, margin=0.1)
    assert not len(leak_coverage(found((50, 40, 90, 60, 0.9)), known, PLATE, SIZE_HW, options).excess)
    wider = leak_coverage(found((46, 40, 94, 60, 0.9)), known, PLATE, SIZE_HW, options)
    # four columns on each side, the soft edge above and below included
    assert 8 * 20 < wider.excess[0, 1] <= 8 * 30


def test_a_soft_edge_covers_nothing() -> None:
    # redacted in full for 20 of 30 columns; the soft edge reaches over the rest and hides it in part only
    soft = Options(margin=0, license_plate_anonymization_gradient_start=1.0)
    assert leak_coverage(found((0, 0, 20, 20, 0.9)), objects((0, 0, 30, 20)), PLATE, SIZE_HW, soft).scores.tolist() == [
        -1
    ]


def test_a_face_is_the_ellipse_in_its_box() -> None:
    mask = object_mask(objects((20, 20, 60, 80)), 0, FACE, SIZE_HW)
    assert mask.pixels.sum() == pytest.approx(math.pi * 20 * 30, rel=0.01)
    # corners of the box may show, as no face is in them
    judged = leak_coverage(
        found((20, 20, 60, 80, 0.9), object_type=FACE), objects((20, 20, 60, 80)), FACE, SIZE_HW, Options()
    )
    assert judged.scores.tolist() == [np.float32(0.9)]


def test_a_labelled_outline_is_the_object() -> None:
    triangle = np.array([[10, 10], [50, 10], [10, 50]], np.float32)
    known = objects((10, 10, 50, 50), outlines=((triangle,),))
    mask = object_mask(known, 0, PERSON, SIZE_HW)
    # with the pixels that its slanting side runs through
    assert 800 <= mask.pixels.sum() <= 860
    corner = found((10, 10, 50, 50, 0.9), object_type=PERSON)
    # the other half of its box is background
    half = Mask(10, 10, np.tril(np.ones((40, 40), bool))[::-1], "x")
    covered = leak_coverage(
        Detections(corner.boxes, corner.scores, corner.types, corner.models, masks=(half,)),
        known, PERSON, SIZE_HW, Options(),
    )  # fmt: skip
    assert covered.scores.tolist() == [np.float32(0.9)]
    assert not len(covered.excess)


def test_polygons_of_one_object_that_overlap_are_all_of_it() -> None:
    left, right = (np.array([[x, 10], [x + 40, 10], [x + 40, 50], [x, 50]], np.float32) for x in (10, 30))
    mask = object_mask(objects((10, 10, 70, 50), outlines=((left, right),)), 0, PERSON, SIZE_HW)
    assert (mask.pixels.shape, mask.pixels.sum()) == ((40, 60), 40 * 60)


@pytest.mark.parametrize("box", [(-10, -10, 0.2, 0.2), (199.9, 99.9, 230, 130), (5, 5, 5.1, 5.1)])
def test_an_object_has_one_pixel_at_least(box: tuple[float, ...]) -> None:
    for each in (FACE, PLATE):
        assert object_mask(objects(box), 0, each, SIZE_HW).pixels.sum() >= 1


@pytest.mark.parametrize(("detections", "known"), [(found(), objects()), (found((0, 0, 9, 9, 0.5)), objects())])
def test_pictures_without_objects(detections: Detections, known: Objects) -> None:
    judged = leak_coverage(detections, known, PLATE, SIZE_HW, BARE)
    assert len(judged.scores) == 0
    assert len(judged.excess) == len(detections)


def test_it_survives_being_kept() -> None:
    judged = leak_coverage(
        found((0, 0, 50, 10, 0.9), (80, 0, 99, 9, 0.2)), objects((0, 0, 50, 10)), PLATE, SIZE_HW, BARE
    )
    back = LeakCoverage.from_bytes(judged.to_bytes())
    for name in ("scores", "shares", "excess"):
        np.testing.assert_array_equal(getattr(back, name), getattr(judged, name))
    assert back.pixels == judged.pixels
