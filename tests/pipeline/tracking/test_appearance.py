"""A detection that a tracker gives to the wrong track: it begins a track of its own, and is covered before it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.appearance import fits, leapt, similarity
from anonymizer.pipeline.tracking.motion import MotionState, Observation
from anonymizer.pipeline.tracking.scene_cuts import SceneSignature
from anonymizer.pipeline.tracking.state import Frame, Track
from anonymizer.pipeline.tracking.tracker import Tracker
from tests.pipeline.tracking.scenes import HALF, NOTHING, RATE, SIDE, SIZE_HW, STREET, Box, at, picture, seen, texture

#: the passer-by is where detections are until then, and somebody else stands beside it
JUMP, COUNT = 16, 40
PLACE, BESIDE = at(100), at(146)


def street(*faces: tuple[Box, int]) -> np.ndarray:
    """The street with different faces: a place in the frame and a seed for each."""
    image = STREET.copy()
    for (x, y, *_), seed in faces:
        left, top = round(x / 2), round(y / 2)
        image[top : top + SIDE // 2, left : left + SIDE // 2] = 255 - texture(seed, SIDE // 2, SIDE // 2)
    return image


def track(found: Sequence[Detections], pictures: Sequence[np.ndarray]) -> list[Detections]:
    tracker = Tracker(SIZE_HW, Options(), OBJECT_TYPES)
    results: list[Detections] = []
    for number, (each, image) in enumerate(zip(found, pictures, strict=True)):
        results += tracker.push(number / RATE, each, image)
    return results + tracker.finish()


def covered(box: Box, result: Detections) -> bool:
    """Whether 90 % of a place lie in one of the boxes."""
    low, high = np.array(box[:2]), np.array(box[2:])
    inside = np.clip(np.minimum(result.boxes[:, 2:], high) - np.maximum(result.boxes[:, :2], low), 0, None)
    return bool((inside.prod(axis=1) >= 0.9 * (high - low).prod()).any())


def ids_at(box: Box, result: Detections) -> set[int]:
    """The tracks of the detections that are exactly in a place."""
    return {int(each) for each in result.track_ids[np.abs(result.boxes - box).max(axis=1, initial=0) < 1]}


@pytest.mark.parametrize("seed", [4, 3], ids=["another face", "a face that looks the same"])
@pytest.mark.parametrize("missed", [0, 3])
def test_somebody_whom_a_track_jumps_to_is_covered_before_that(missed: int, seed: int) -> None:
    pictures = [street((PLACE, 3), (BESIDE, seed))] * COUNT
    found = [seen(PLACE)] * JUMP + [NOTHING] * missed + [seen(BESIDE)] * (COUNT - JUMP - missed)

    results = track(found, pictures)

    first = JUMP + missed
    assert [number for number in range(first - HALF, COUNT) if not covered(BESIDE, results[number])] == []
    assert [number for number in range(JUMP + HALF) if not covered(PLACE, results[number])] == []
    if seed == 4 and not missed:
        assert ids_at(PLACE, results[0]).isdisjoint(ids_at(BESIDE, results[-1]))


def test_the_lead_in_follows_somebody_who_walks_back_to_where_they_came_from() -> None:
    passer, other = [at(300)] * COUNT, [at(346, 160 + 4 * (number - JUMP)) for number in range(COUNT)]
    pictures = [street((one, 3), (two, 4)) for one, two in zip(passer, other, strict=True)]
    found = [seen(passer[n]) if n < JUMP else seen(other[n]) for n in range(COUNT)]

    results = track(found, pictures)

    assert [n for n in range(JUMP - HALF, COUNT) if not covered(other[n], results[n])] == []


def test_a_face_that_moves_fast_keeps_its_track() -> None:
    # the detector loses it for a moment, and finds it more than its width further on
    places = [at(40 + 18 * number) for number in range(24)]
    found = [NOTHING if 10 <= number < 13 else seen(each) for number, each in enumerate(places)]

    results = track(found, [picture(each) for each in places])

    assert {tuple(each.track_ids.tolist()) for each in results} == {(1,)}


def test_a_detection_fits_where_it_was_predicted_whole_or_in_part() -> None:
    predicted = np.array(at(100), np.float32)

    assert fits(np.array(at(110), np.float32), predicted)
    assert fits(np.array(at(105, 165, 15), np.float32), predicted)
    assert not fits(np.array(at(130), np.float32), predicted)
    # a large box around the predicted one may show more than that object
    assert not fits(np.array(at(60, 120, 120), np.float32), predicted)


def test_the_same_face_looks_the_same_wherever_it_is() -> None:
    before, after = street((PLACE, 3)), street((at(300, 40), 3), (BESIDE, 4))
    small = [np.asarray(np.divide(box, 2), np.float32) for box in (PLACE, at(302, 42), BESIDE)]

    assert (similarity(before, small[0], after, small[1]) or 0) > 0.8
    assert (similarity(before, small[0], after // 2, small[1]) or 0) > 0.8
    assert (similarity(before, small[0], after, small[2]) or 0) < 0.5


def test_what_shows_nothing_cannot_be_compared() -> None:
    flat, place = np.full_like(STREET, 90), np.asarray(np.divide(PLACE, 2), np.float32)

    assert similarity(flat, place, flat, place) is None
    assert similarity(STREET, place, STREET, np.array([10, 10, 12, 12], np.float32)) is None
    assert similarity(STREET, place, STREET, np.array([-50, 10, -20, 40], np.float32)) is None


class TestLeapt:
    """Which track a small detection continues that overlaps none of them."""

    FRAME = Frame(
        1, 0.1, NOTHING, np.empty(0, bool), np.empty(0, np.int64), STREET, SceneSignature.of(STREET)
    )  # no detection matters here

    def track(self, x: float, side: float = 12) -> Track:
        seen_at = Observation(0, 0.0, np.array(at(x, 100, side), np.float32), 0.9, "fake")
        track = Track.initiate(int(x), 0, seen_at)
        track.motion = MotionState.from_observation(seen_at, np.zeros(2, np.float32))
        return track

    @pytest.mark.parametrize(
        ("places", "found"),
        [
            ([100], 100),
            # too far away, and of two that are about as near
            ([140], None),
            ([100, 134], None),
            ([112, 134], 112),
            ([], None),
        ],
    )
    def test_the_only_one_that_is_near(self, places: list[float], found: int | None) -> None:
        box = np.array(at(117, 100, 12), np.float32)
        track = leapt(box, [self.track(x) for x in places], self.FRAME, (0.5, 0.5))
        assert (track and track.id) == found

    def test_in_a_crowd_it_may_be_anybody(self) -> None:
        two = seen(at(117, 100, 12), at(90, 100, 12))
        frame = replace(self.FRAME, detections=two, above_threshold=np.ones(2, bool))
        assert leapt(two.boxes[0], [self.track(100)], frame, (0.5, 0.5)) is None

    def test_no_other_size_and_no_large_object(self) -> None:
        box = np.array(at(117, 100, 12), np.float32)
        assert leapt(box, [self.track(100, 20)], self.FRAME, (0.5, 0.5)) is None
        assert leapt(np.array(at(117, 100, 40), np.float32), [self.track(100, 40)], self.FRAME, (0.5, 0.5)) is None
