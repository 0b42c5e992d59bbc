"""What looks like a camera cut and is none: light that stays for a moment, and a truck in front of the camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.tracker import MAX_FRAMES, Tracker
from tests.pipeline.tracking.scenes import (
    HALF,
    INDOORS,
    NOTHING,
    PICTURE_HW,
    RATE,
    SIZE_HW,
    STREET,
    Box,
    at,
    picture,
    seen,
    texture,
)

WHITE = np.full(PICTURE_HW, 255, np.uint8)
BLACK = np.zeros(PICTURE_HW, np.uint8)
FACE = at(20)
#: how many frames before and after the false cut the face is missed too
AROUND = 3


def behind_truck() -> np.ndarray:
    """A truck over 80 % of the view; the face is to the left of it."""
    image = picture(FACE)
    image[:, PICTURE_HW[1] // 5 :] = 255 - texture(8, *PICTURE_HW)[:, PICTURE_HW[1] // 5 :]
    return image


def track(found: Sequence[Detections], pictures: Sequence[np.ndarray], *, rate: float = RATE) -> list[Detections]:
    tracker = Tracker(SIZE_HW, Options(), OBJECT_TYPES)
    results: list[Detections] = []
    for number, (each, image) in enumerate(zip(found, pictures, strict=True)):
        results += tracker.push(number / rate, each, image)
    results += tracker.finish()
    assert len(results) == len(found)
    return results


def bare(results: Sequence[Detections], box: Box = FACE) -> list[int]:
    """The frames in which less than 95 % of a place lies in one of the boxes."""
    low, high = np.array(box[:2]), np.array(box[2:])
    left = []
    for number, each in enumerate(results):
        inside = np.clip(np.minimum(each.boxes[:, 2:], high) - np.maximum(each.boxes[:, :2], low), 0, None)
        if not (inside.prod(axis=1) >= 0.95 * (high - low).prod()).any():
            left.append(number)
    return left


@pytest.mark.parametrize("rate", [10, 25, 60])
@pytest.mark.parametrize("seconds", [0.2, 0.35, 0.5, 0.7])
@pytest.mark.parametrize("image", [WHITE, BLACK, behind_truck()], ids=["white", "black", "truck"])
def test_a_still_face_that_is_missed_meanwhile_stays_covered(image: np.ndarray, seconds: float, rate: int) -> None:
    length, around = round(seconds * rate), max(1, round(0.12 * rate))
    pictures = [picture(FACE)] * rate + [image] * length + [picture(FACE)] * rate
    missed = range(rate - around, rate + length + around)
    found = [NOTHING if number in missed else seen(FACE) for number in range(len(pictures))]

    results = track(found, pictures, rate=rate)

    assert bare(results) == []
    assert {int(each) for result in results for each in result.track_ids} == {1}


@pytest.mark.parametrize("length", [25, 35])
def test_a_truck_that_stays_bares_the_face_no_sooner_than_extensions_end(length: int) -> None:
    pictures = [picture(FACE)] * 30 + [behind_truck()] * length + [picture(FACE)] * 30
    missed = range(30 - AROUND, 30 + length + AROUND)
    found = [NOTHING if number in missed else seen(FACE) for number in range(len(pictures))]

    results = track(found, pictures)

    assert bare(results) == list(range(missed.start + HALF, missed.stop - HALF))


def test_what_is_first_seen_behind_a_cut_is_covered_before_it_whatever_the_pictures_show() -> None:
    results = track([NOTHING] * 33 + [seen(FACE)] * 40, [STREET] * 30 + [INDOORS] * 43)

    assert bare(results) == list(range(33 - HALF))


def test_what_moves_into_a_cut_is_covered_where_it_was_and_where_it_goes() -> None:
    places = [at(100 + 4 * number) for number in range(60)]
    found = [seen(each) if number < 30 else NOTHING for number, each in enumerate(places)]

    results = track(found, [STREET] * 30 + [INDOORS] * 30)

    # behind the cut, the pictures stand still
    assert 30 not in bare(results, places[30])
    assert not {*range(29, 29 + HALF)} & {*bare(results, places[29])}


def test_an_object_that_left_the_frame_before_a_cut_is_not_carried_over_it() -> None:
    places = [at(560 + 12 * number) for number in range(10)]
    plain = np.full(PICTURE_HW, 20, np.uint8)

    results = track([seen(each) for each in places[:6]] + [NOTHING] * 24, [plain] * 10 + [INDOORS] * 20)

    assert all(len(each) == 0 for each in results[10:])


def test_frames_of_a_possible_cut_wait_no_longer_than_the_memory_allows() -> None:
    tracker = Tracker(SIZE_HW, Options(), OBJECT_TYPES)
    scenes = [texture(number, *PICTURE_HW) for number in range(2, 6)]
    given = 0
    for number in range(900):
        given += len(tracker.push(number / 1000, seen(FACE), scenes[number // 220 % 4]))
        assert number + 1 - given <= MAX_FRAMES
    assert given + len(tracker.finish()) == 900


def test_frames_after_a_stretch_that_was_ended_are_tracked_on() -> None:
    tracker = Tracker(SIZE_HW, Options(), OBJECT_TYPES)
    results: list[Detections] = []
    for number in range(80):
        found = seen(FACE) if number < 18 or number >= 50 else NOTHING
        results += tracker.push(number / RATE, found, STREET)
        if number == 20:
            results += tracker.finish()
            assert len(results) == 21
    results += tracker.finish()

    assert len(results) == 80
    assert bare(results) == list(range(18 + HALF, 50 - HALF))
