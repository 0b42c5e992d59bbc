"""What was found, drawn on a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.overlay import COLOURS, draw, strokes
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
    assert ((with_scores < 60).all(axis=-1) & (with_scores != without).any(axis=-1)).sum() > 20
    assert not (without == 0).all(axis=-1).any()


def test_a_picture_smaller_than_the_text_is_fine() -> None:
    assert draw(np.zeros((5, 7, 3), np.uint8), found((1, 1, 4, 4)), [], scores=True).shape == (5, 7, 3)


def label_boxes(size_hw: tuple[int, int], detections: Detections) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of each label: the last strokes, two for each."""
    drawn = list(strokes(size_hw, detections, [], scores=True))[4 * len(detections) :: 2]
    return [(each.x, each.y, each.x + each.alpha.shape[1], each.y + each.alpha.shape[0]) for each in drawn]


def test_no_label_covers_another_and_the_highest_scores_have_theirs() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (60, 2))
    detections = found(*np.hstack([corners, corners + 60]).tolist())
    detections = Detections(detections.boxes, rng.random(60), detections.types, detections.models)
    labels = label_boxes((500, 600), detections)
    assert 5 < len(labels) < 60
    for number, (x1, y1, x2, y2) in enumerate(labels):
        assert 0 <= x1 < x2 <= 600 and 0 <= y1 < y2 <= 500
        assert not any(x1 < u2 and u1 < x2 and y1 < v2 and v1 < y2 for u1, v1, u2, v2 in labels[:number])
    best = detections.boxes[detections.scores.argmax()]
    assert abs(labels[0][0] - best[0]) <= 60


def test_letters_grow_with_the_picture() -> None:
    heights = [label_boxes(size, found((100, 50, 180, 150)))[0] for size in ((200, 300), (2000, 3000))]
    small, large = (bottom - top for _, top, _, bottom in heights)
    assert 12 <= small < 20 and large > 3 * small
