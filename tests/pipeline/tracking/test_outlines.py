"""An object that tracking added is left out only where what is drawn for others covers it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, Mask, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.outlines import without_covered_additions
from anonymizer.pipeline.tracking.tracker import Tracker
from tests.pipeline.tracking.scenes import FACE, PERSON, PLATE, RATE, SIZE_HW, STREET, VEHICLE, Box, seen

LARGE, SMALL = (100, 60, 300, 320), (110, 70, 140, 130)
FRAMES, MISSED = 30, range(12, 16)


def missed_inside(kind: ObjectType, options: Options, *, small: Box = SMALL, masks: bool = False) -> list[int]:
    """How many objects there are in each frame in which the small one, inside of the large one's box, is missed."""
    tracker = Tracker(SIZE_HW, options, OBJECT_TYPES)
    results: list[Detections] = []
    for number in range(FRAMES):
        found = seen(LARGE, kind=kind) if number in MISSED else seen(LARGE, small, kind=kind)
        if masks:
            # the lower half of the large one, and all of the small one
            pixels = [Mask(100, 190, np.ones((130, 200), bool)), Mask(110, 70, np.ones((60, 30), bool))]
            found = replace(found, masks=tuple(pixels[: len(found)]))
        results += tracker.push(number / RATE, found, STREET)
    results += tracker.finish()
    return [len(results[number]) for number in MISSED]


@pytest.mark.parametrize("kind", [PERSON, VEHICLE])
def test_one_in_the_box_of_another_stays_where_the_other_gets_a_mask(kind: ObjectType) -> None:
    assert missed_inside(kind, Options()) == [2] * len(MISSED)


def test_one_in_the_box_of_another_stays_where_its_mask_does_not_cover_it() -> None:
    assert missed_inside(PERSON, Options(), masks=True) == [2] * len(MISSED)
    assert missed_inside(PERSON, Options(), masks=True, small=(110, 200, 140, 260)) == [1] * len(MISSED)


def test_a_face_in_the_corner_of_another_faces_box_stays() -> None:
    assert missed_inside(FACE, Options(margin=0.0), small=(102, 62, 122, 88)) == [2] * len(MISSED)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (PLATE, Options()),
        (FACE, Options()),
        (PERSON, Options(bbox=True)),
        (VEHICLE, Options(bbox=True)),
        (PERSON, Options(hide_gait=True)),
    ],
)
def test_one_that_is_drawn_with_another_is_left_out(kind: ObjectType, options: Options) -> None:
    assert missed_inside(kind, options, small=(180, 160, 220, 200)) == [1] * len(MISSED)


def persons(*masks: Mask) -> Detections:
    """Persons of which all but the first were added by tracking."""
    boxes = [(m.x, m.y, m.x + m.pixels.shape[1], m.y + m.pixels.shape[0]) for m in masks]
    sources = np.array(["detector", *["tracker"] * (len(masks) - 1)])
    return replace(seen(*boxes, kind=PERSON), masks=masks, sources=sources)


def test_masks_are_compared_when_they_are_made() -> None:
    standing = np.zeros((200, 100), bool)
    standing[:, 40:] = True
    beside, inside = Mask(100, 150, np.ones((60, 25), bool)), Mask(150, 150, np.ones((60, 25), bool))

    left = without_covered_additions(persons(Mask(100, 100, standing), beside, inside), SIZE_HW, Options())

    assert left.masks[1:] == (beside,)
    # what detectors found stays, and so does what nothing covers
    both = persons(beside, inside)
    assert without_covered_additions(both, SIZE_HW, Options()) is both
    found = replace(persons(Mask(100, 100, standing), inside), sources=np.array(["detector"] * 2))
    assert len(without_covered_additions(found, SIZE_HW, Options())) == 2
