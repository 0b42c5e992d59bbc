"""When the objects of the frames between two key frames are known without a detector."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.pipeline.detections import Detections, ObjectType, Source
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.boxes import covers
from anonymizer.pipeline.video.key_frames.agreement import objects_between
from tests.pipeline.video.key_frames.test_new_content import Grey, ground, with_patch

#: frames have twice the size of the grey images
SIZE_HW = (726, 1280)
TIMES_S = [0.0, 0.04, 0.08, 0.12, 0.16]
VEHICLE, FACE, PERSON = ObjectType.VEHICLE, ObjectType.FACE, ObjectType.PERSON


def box_at(number: int) -> list[float]:
    """The box of the object, in pixels of the frame."""
    x, y = 300 + 4 * number, 170
    return [2 * x, 2 * y, 2 * (x + 32), 2 * (y + 32)]


def pictures() -> list[Grey]:
    """An object that moves by four pixels a frame."""
    face = ground(5)[:32, :32]
    images = []
    for number in range(5):
        image = ground()
        x, y = 300 + 4 * number, 170
        image[y : y + 32, x : x + 32] = 255 - face
        images.append(image)
    return images


def found(*boxes: list[float], score: float = 0.95, kind: ObjectType = VEHICLE) -> Detections:
    count = len(boxes)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), [score] * count, [kind.number] * count, ["m"] * count)


def between(
    first: Detections, last: Detections, images: list[Grey] | None = None, wanted: tuple[ObjectType, ...] = (VEHICLE,)
) -> list[Detections | None]:
    shown = images or pictures()
    return objects_between(
        shown, TIMES_S, first, last, size_hw=SIZE_HW, object_types=wanted, options=Options(vehicle=True)
    )


def test_an_object_is_covered_where_it_is_in_each_frame() -> None:
    frames = between(found(box_at(0)), found(box_at(4), score=0.92))
    for number, frame in enumerate(frames, 1):
        assert frame is not None
        box = np.array(box_at(number), np.float32)
        assert covers(frame.boxes, box)
        # and hardly more
        assert np.abs(frame.boxes[0] - box).max() <= 4
        assert frame.scores.tolist() == pytest.approx([0.92])
        assert frame.sources.tolist() == [Source.TRACKER.value]


def test_frames_without_objects_stay_without() -> None:
    image = ground()
    nothing = Detections.empty()
    assert [len(frame) for frame in between(nothing, nothing, [image] * 5) if frame is not None] == [0, 0, 0]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (found(box_at(0)), Detections.empty()),
        (Detections.empty(), found(box_at(4))),
        (found(box_at(0)), found(box_at(4), [20, 20, 120, 120])),
        # another object, or the same object elsewhere
        (found(box_at(0)), found(box_at(4), kind=ObjectType.LICENSE_PLATE)),
        (found(box_at(0)), found([900, 340, 964, 404])),
        # one that is not sure
        (found(box_at(0), score=0.6), found(box_at(4))),
        (found(box_at(0)), Detections.merge([found(box_at(4)), found([20, 20, 120, 120], score=0.3)])),
        # too small to be followed
        (found([600, 340, 612, 352]), found([600, 340, 612, 352])),
    ],
    ids=["gone", "new", "one more", "another type", "elsewhere", "unsure", "a weak one more", "small"],
)
def test_where_the_key_frames_disagree_or_are_not_sure_detectors_run(first: Detections, last: Detections) -> None:
    assert between(first, last) == [None] * 3


def test_where_faces_are_wanted_a_person_is_a_doubt() -> None:
    first, last = found(box_at(0), kind=PERSON), found(box_at(4), kind=PERSON)
    assert between(first, last, wanted=(PERSON,)) != [None] * 3
    assert between(first, last, wanted=(PERSON, FACE)) == [None] * 3


def test_an_object_that_flow_loses_is_a_doubt() -> None:
    images = pictures()
    images[2] = with_patch(images[2], 290, 150, 64)
    assert between(found(box_at(0)), found(box_at(4)), images) == [None] * 3


def test_detectors_run_in_the_one_frame_that_shows_something_new() -> None:
    images = pictures()
    images[2] = with_patch(images[2], 100, 80, 12)
    frames = between(found(box_at(0)), found(box_at(4)), images)
    assert [frame is None for frame in frames] == [False, True, False]
