from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, ObjectType, Source
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.template_matching import follow_template
from anonymizer.pipeline.video.between_turns import TurnFiller
from anonymizer.pipeline.video.detection_schedule import Turn

SIZE_HW = (270, 480)
#: turns of the two halves of the scales: the largest runs in frames 0, 6 and 12, the rest in 0, 3 and 9
TURNS = {0: Turn.ALL, 3: Turn.REST, 6: Turn.LARGEST, 9: Turn.REST, 12: Turn.LARGEST}

Grey = NDArray[np.uint8]


def noise(seed: int, size_hw: tuple[int, int], blur: float) -> Grey:
    made = np.random.default_rng(seed).uniform(0, 255, size_hw).astype(np.float32)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(made, (0, 0), blur), None, 20, 235, cv2.NORM_MINMAX), np.uint8)


GROUND, OBJECT = noise(1, SIZE_HW, 3), noise(2, (16, 16), 1)


def box_at(number: int, *, step: float = 9) -> NDArray[np.float32]:
    return np.array([60 + step * number, 100, 76 + step * number, 116], np.float32)


def picture(number: int, *, seen: bool = True, ground: Grey = GROUND, step: float = 9) -> Grey:
    made = ground.copy()
    if seen:
        x1, y1, x2, y2 = box_at(number, step=step).astype(int)
        made[y1:y2, x1:x2] = OBJECT
    return made


def detection(box: NDArray[np.float32], score: float = 0.9) -> Detections:
    return Detections(box[None], [score], [ObjectType.FACE.number], ["fake"])


def filled(
    detected: dict[int, Detections], pictures: list[Grey], *, rate: float = 12, turns: dict[int, Turn] = TURNS
) -> list[Detections]:
    """The detections of all frames; they come out in the order of the frames."""
    filler: TurnFiller[int] = TurnFiller(SIZE_HW, Options(face=True))
    out = []
    for number, image in enumerate(pictures):
        found = detected.get(number, Detections.empty())
        out += filler.push(number, number / rate, found, image, turn=turns.get(number))
        # no frame waits longer than until the next turn but one
        assert number - len(out) < 2 * 3 + 1
    out += filler.finish()
    assert [number for number, _ in out] == list(range(len(pictures)))
    return [found for _, found in out]


def test_an_object_of_one_turn_is_carried_to_the_turns_of_the_same_scales() -> None:
    found = filled({6: detection(box_at(6))}, [picture(number) for number in range(15)])
    for number, of_frame in enumerate(found):
        # frame 0 and frame 12 have that scale themselves
        assert len(of_frame) == (0 < number < 12)
        if len(of_frame):
            assert of_frame.boxes[0] == pytest.approx(box_at(number), abs=1.5)
            assert of_frame.sources[0] == (Source.DETECTOR if number == 6 else Source.TRACKER).value


def test_what_is_detected_between_is_not_added_twice_and_its_box_counts() -> None:
    there = {number: detection(box_at(number) + np.float32(2)) for number in (4, 7)}
    found = filled({6: detection(box_at(6)), **there}, [picture(number) for number in range(15)])
    assert [len(of_frame) for of_frame in found] == [0, *[1] * 11, 0, 0, 0]
    assert found[3].boxes[0] == pytest.approx(box_at(3) + 2, abs=1.5)


def test_an_object_that_leaves_or_is_hidden_is_carried_no_further() -> None:
    seen = range(4, 9)
    found = filled({6: detection(box_at(6))}, [picture(number, seen=number in seen) for number in range(15)])
    assert [number for number, of_frame in enumerate(found) if len(of_frame)] == list(seen)


def test_nothing_is_carried_across_a_cut() -> None:
    other = noise(7, SIZE_HW, 3)
    pictures = [picture(number) if number < 8 else other for number in range(15)]
    found = filled({6: detection(box_at(6))}, pictures)
    assert [number for number, of_frame in enumerate(found) if len(of_frame)] == list(range(1, 8))


def test_weak_and_large_objects_are_left_to_the_tracker() -> None:
    pictures = [picture(number) for number in range(15)]
    large = box_at(6) + np.array([-30, -30, 30, 30], np.float32)
    for of_turn in (detection(box_at(6), 0.1), detection(large)):
        found = filled({6: of_turn}, pictures)
        assert [number for number, of_frame in enumerate(found) if len(of_frame)] == [6]


def test_frames_of_all_scales_come_out_at_once_as_they_are() -> None:
    turns = dict.fromkeys(range(6), Turn.ALL)
    found = filled({2: detection(box_at(2))}, [picture(number) for number in range(6)], turns=turns)
    assert [len(of_frame) for of_frame in found] == [0, 0, 1, 0, 0, 0]


def test_frames_may_follow_after_the_end_of_a_stretch() -> None:
    filler: TurnFiller[int] = TurnFiller(SIZE_HW, Options(face=True))
    assert filler.push(0, 0.0, detection(box_at(0)), picture(0), turn=Turn.ALL)
    assert not filler.push(1, 0.1, Detections.empty(), picture(1), turn=None)
    ((number, found),) = filler.finish()
    assert (number, len(found)) == (1, 1)
    assert not filler.push(2, 0.2, Detections.empty(), picture(2), turn=Turn.LARGEST)
    ((number, found),) = filler.finish()
    assert (number, len(found)) == (2, 0)


def test_times_that_stand_still_are_no_fault() -> None:
    found = filled({6: detection(box_at(6, step=4))}, [picture(number, step=4) for number in range(15)], rate=1e12)
    assert [len(of_frame) for of_frame in found] == [0, *[1] * 11, 0, 0, 0]


@pytest.mark.parametrize(
    ("box", "reach"),
    [
        # out of reach, without content, outside the image, too small
        ([100, 100, 116, 116], 8),
        ([300, 60, 316, 76], 40),
        ([-40, 60, -20, 76], 40),
        ([100, 100, 103, 116], 40),
    ],
)
def test_what_cannot_be_found_again_is_lost(box: list[float], reach: float) -> None:
    before, after = GROUND.copy(), GROUND.copy()
    before[50:90, 290:330] = after[50:90, 290:330] = 90
    before[100:116, 100:116] = after[100:116, 124:140] = OBJECT
    still = np.zeros(2, np.float32)
    assert follow_template(before, after, np.array(box, np.float32), shift=still, reach=reach) is None


def test_a_box_at_the_border_and_an_expected_place_are_followed() -> None:
    before, after = GROUND.copy(), GROUND.copy()
    before[100:116, 0:10] = after[100:116, 30:40] = OBJECT[:, 6:]
    box = np.array([-6, 100, 10, 116], np.float32)
    moved = follow_template(before, after, box, shift=np.array([28, 0], np.float32), reach=5)
    assert moved is not None
    assert moved.tolist() == [24, 100, 40, 116]
