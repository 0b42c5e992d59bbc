"""The colour that fills a license plate comes from what stays visible, in pictures and in the planes of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.options.options import Method, Options, PlateFill
from anonymizer.pipeline.redaction.effects import grids, redact
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.redaction.yuv import redact_planes
from tests.pipeline.redaction.planes import FACE, PLATE, VEHICLE, form, objects

SIZE = (160, 240)
METHODS = [Method.BLUR, Method.PIXELATE]
GREY = form(shift=(0, 0), kind="gray", full=True)


def together(first: Detections, second: Detections) -> Detections:
    pairs = ((getattr(first, name), getattr(second, name)) for name in ("boxes", "scores", "types", "models"))
    boxes, scores, types, models = (np.concatenate(pair) for pair in pairs)
    return Detections(boxes, scores, types, models)


def redacted(before: NDArray[Any], detections: Detections, options: Options, *, video: bool) -> NDArray[Any]:
    regions = redaction_regions(detections, SIZE, options)
    if not video:
        return redact(before, regions, options, seed=3)
    plane = before.copy()
    redact_planes([plane], GREY, regions, [3] * len(regions), options)
    return plane


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([[60, 60, 120, 80], [90, 60, 160, 80]], id="two that overlap"),
        pytest.param([[60, 60, 160, 80], [95, 66, 120, 74]], id="one in another"),
        pytest.param([[95, 66, 120, 74], [60, 60, 160, 80]], id="one in another, the other way round"),
        pytest.param([[60, 60, 110, 80], [113, 60, 160, 80]], id="side by side"),
    ],
)
def test_no_colour_comes_from_another_plate(boxes: Any, method: Method, video: bool) -> None:
    options, results = Options(method=method), []
    for ink in (0, 255):
        before = np.full(SIZE, 90, np.uint8)
        before[60:80, 60:160] = ink
        results.append(redacted(before, objects(boxes, PLATE), options, video=video))
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] == 90).all()


@pytest.mark.parametrize("video", [False, True])
def test_within_a_vehicle_of_other_colours_nearby_it_takes_the_redacted_colour(video: bool) -> None:
    options = Options(method=Method.PIXELATE, bbox=True, kernel_size_vehicle=1, margin=0)
    found = together(objects([60, 20, 180, 140], VEHICLE), objects([90, 70, 150, 90], PLATE))
    before = np.full(SIZE, 200, np.uint8)
    before[55:105, 75:165] = 0
    after = redacted(before, found, options, video=video).astype(int)
    # the ring around the plate is black, the cell of the vehicle is not
    assert after[72:88, 92:148].min() > 100
    assert abs(after[80, 120] - after[50, 70]) <= 1


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_cells_of_a_vehicle_do_not_depend_on_its_plate(method: Method, video: bool) -> None:
    options, results = Options(method=method, bbox=True), []
    found = together(objects([20, 20, 220, 140], VEHICLE), objects([90, 70, 150, 90], PLATE))
    for ink in (0, 255):
        before = np.full(SIZE, 90, np.uint8)
        before[70:90, 90:150] = ink
        results.append(redacted(before, found, options, video=video))
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("video", [False, True])
def test_equal_cells_at_the_edge_have_no_second_noise(video: bool) -> None:
    """Two values of one mean would tell more of it than one does."""
    starts = ("license_plate_anonymization_gradient_start", "face_anonymization_gradient_start")
    edge: Any = {"margin": 0.1} | dict.fromkeys(starts, 0.3)
    for options, kind in (
        (Options(method=Method.PIXELATE, plate_fill=PlateFill.PLATE, **edge), PLATE),
        (Options(method=Method.PIXELATE, kernel_size_face=0.01, **edge), FACE),
    ):
        detections = objects([60, 60, 140, 110], kind)
        (region,) = redaction_regions(detections, SIZE, options)
        columns, rows = grids(region, options)[0]
        assert grids(region, options) == [(columns, rows)] * 2
        after = redacted(np.full(SIZE, 128, np.uint8), detections, options, video=video)
        assert len(np.unique(after[region.crop][region.alpha > 0])) <= columns * rows
