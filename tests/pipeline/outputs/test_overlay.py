"""What was found, drawn on a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.overlay import COLOURS, draw
from anonymizer.pipeline.redaction.regions import redaction_regions

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
SIZE_HW = (200, 300)


def found(*boxes: tuple[float, ...]) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4), np.full(n, 0.87), np.full(n, FACE.number), np.full(n, "t")
    )


def grey(*channels: int, dtype: Any = np.uint8) -> Any:
    return np.full((*SIZE_HW, *channels), 100, dtype)


def test_there_is_one_colour_for_each_type() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS) == len(OBJECT_TYPES)


def test_nothing_found_is_an_equal_copy() -> None:
    before = grey(3)
    after = draw(before, Detections.empty(), [], scores=True)
    np.testing.assert_array_equal(after, before)
    assert after is not before


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "colour"), [((), 162), ((3,), COLOURS[FACE]), ((4,), (25, 96, 255, 0))], ids=["grey", "RGB", "CMYK"]
)
def test_a_box_is_drawn_in_the_colour_of_its_type(channels: Any, colour: Any, dtype: Any) -> None:
    detections = found((100, 50, 180, 150))
    before = grey(*channels, dtype=dtype)
    after = draw(before, detections, redaction_regions(detections, SIZE_HW, Options()), scores=False)
    full = np.array(colour) * (np.iinfo(dtype).max // 255)
    for point in ((50, 140), (149, 140), (100, 100), (100, 179)):
        np.testing.assert_array_equal(after[point], full)
    assert (before == 100).all()
    assert after.dtype == dtype


def test_what_is_redacted_is_tinted_and_outlined_and_the_rest_is_left() -> None:
    detections = found((100, 50, 180, 150))
    (shape,) = redaction_regions(detections, SIZE_HW, Options())
    after = draw(grey(3), detections, [shape], scores=False)
    covered = np.zeros(SIZE_HW, bool)
    covered[shape.crop] = shape.alpha > 0
    assert (after[~covered] == 100).all()
    assert (after[covered] != 100).any(axis=-1).all()
    assert after[shape.y + shape.alpha.shape[0] // 2, shape.x].tolist() == list(COLOURS[FACE])


@pytest.mark.parametrize(
    "box",
    [
        (100, 50, 180, 150),
        (0, 0, 30, 30),
        (280, 0, 300, 20),
        (-50, -50, 400, 400),
        (290, 190, 320, 220),
        (400, 0, 450, 9),
    ],
)
def test_scores_are_written_inside_the_picture(box: tuple[float, ...]) -> None:
    detections = found(box)
    with_scores = draw(grey(3), detections, [], scores=True)
    without = draw(grey(3), detections, [], scores=False)
    assert (with_scores == 0).all(axis=-1).sum() > 20
    assert not (without == 0).all(axis=-1).any()


def test_a_picture_smaller_than_the_text_is_fine() -> None:
    assert draw(np.zeros((5, 7, 3), np.uint8), found((1, 1, 4, 4)), [], scores=True).shape == (5, 7, 3)
