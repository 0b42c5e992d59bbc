from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, Mask, ObjectType
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.tracker import MAX_FRAMES, Tracker
from tests.pipeline.tracking.scenes import (
    FACE,
    HALF,
    INDOORS,
    NOTHING,
    PERSON,
    PICTURE_HW,
    PLATE,
    RATE,
    SIDE,
    SIZE_HW,
    STREET,
    Box,
    at,
    picture,
    seen,
    texture,
)


def track(
    found: Iterable[Detections],
    pictures: Iterable[np.ndarray] | None = None,
    *,
    times: Sequence[float] | None = None,
    options: Options | None = None,
    window_s: float = 1.0,
) -> list[Detections]:
    found = list(found)
    pictures = list(pictures) if pictures is not None else [STREET] * len(found)
    tracker = Tracker(SIZE_HW, options or Options(), OBJECT_TYPES, window_s=window_s)
    results: list[Detections] = []
    for number, (each, image) in enumerate(zip(found, pictures, strict=True)):
        results += tracker.push(times[number] if times else number / RATE, each, image)
    results += tracker.finish()
    assert len(results) == len(found)
    return results


def one_in(count: int, where: int, each: Detections) -> list[Detections]:
    return [each if number == where else NOTHING for number in range(count)]


def redacted(results: Sequence[Detections]) -> list[int]:
    return [number for number, each in enumerate(results) if len(each)]


def covered(box: Box, result: Detections, kind: ObjectType = FACE) -> float:
    """Share of a box that lies within those to redact."""
    x1, y1, x2, y2 = (round(side) for side in box)
    pixels = np.zeros((y2 - y1, x2 - x1), bool)
    for low_x, low_y, high_x, high_y in result.of_type(kind).boxes:
        top, left = max(round(float(low_y)) - y1, 0), max(round(float(low_x)) - x1, 0)
        pixels[top : max(round(float(high_y)) - y1, 0), left : max(round(float(high_x)) - x1, 0)] = True
    return float(pixels.mean())


def test_a_video_without_frames_has_no_results() -> None:
    assert track([]) == []


def test_a_video_without_objects_has_a_result_for_each_frame() -> None:
    assert redacted(track([NOTHING] * 50)) == []


def test_the_only_frame_is_redacted() -> None:
    (result,) = track([seen(at(100))])

    assert result.boxes.tolist() == [list(at(100))]
    assert (result.sources.tolist(), result.models.tolist(), result.track_ids.tolist()) == (["detector"], ["fake"], [1])


@pytest.mark.parametrize("kind", OBJECT_TYPES)
def test_a_detection_in_a_single_frame_is_covered_half_a_second_before_and_after(kind: ObjectType) -> None:
    results = track(one_in(60, 30, seen(at(100), score=0.8, kind=kind)))

    assert redacted(results) == list(range(30 - HALF, 30 + HALF + 1))
    assert min(covered(at(100), each, kind) for each in results[30 - HALF : 30 + HALF + 1]) == 1
    added = results[31]
    assert (added.sources.tolist(), added.models.tolist(), added.track_ids.tolist()) == (["tracker"], ["fake"], [1])
    assert added.scores.tolist() == pytest.approx([0.8])


def test_an_extension_grows_a_little() -> None:
    results = track(one_in(60, 30, seen(at(100))))

    widths = [float(each.boxes[0, 2] - each.boxes[0, 0]) for each in results[30 : 30 + HALF + 1]]
    assert all(0 < after - before < 0.05 * SIDE for before, after in pairwise(widths))


def test_extensions_follow_what_is_seen() -> None:
    places = [at(100 + 6 * number) for number in range(60)]

    results = track(one_in(60, 30, seen(places[30])), [picture(each) for each in places])

    for number in range(30 - HALF, 30 + HALF + 1):
        assert covered(places[number], results[number]) > 0.9, number


def test_an_extension_goes_on_at_the_last_speed_where_nothing_can_be_followed() -> None:
    places = [at(100 + 4 * number) for number in range(40)]
    plain = np.full(PICTURE_HW, 90, np.uint8)

    results = track([seen(each) for each in places[:20]] + [NOTHING] * 20, [plain] * 40)

    assert redacted(results) == list(range(20 + HALF))
    assert min(covered(places[number], results[number]) for number in range(20, 24)) > 0.9
    assert results[20 + HALF - 1].boxes[0, 0] > places[20][0]


def test_an_extension_ends_where_the_object_has_left_the_frame() -> None:
    places = [at(560 + 12 * number) for number in range(60)]

    results = track([seen(each) for each in places[:4]] + [NOTHING] * 56, [picture(each) for each in places])

    last = redacted(results)[-1]
    assert 4 <= last <= 8
    assert all((each.boxes[:, 2] <= 640).all() for each in results[4:])


def test_nothing_is_left_at_the_border_where_an_object_went() -> None:
    places = [at(596 - 12 * (9 - number)) for number in range(10)]

    results = track([seen(each) for each in places] + [NOTHING] * 20, [np.full(PICTURE_HW, 90, np.uint8)] * 30)

    assert redacted(results)[-1] == 13


def test_extensions_live_across_a_camera_cut() -> None:
    pictures = [STREET] * 30 + [INDOORS] * 30
    before, after = one_in(60, 27, seen(at(100))), one_in(60, 32, seen(at(300)))

    results = track([Detections.merge(each) for each in zip(before, after, strict=True)], pictures)

    assert min(covered(at(100), each) for each in results[27 - HALF : 27 + HALF + 1]) == 1
    assert min(covered(at(300), each) for each in results[32 - HALF : 32 + HALF + 1]) == 1
    assert redacted(results) == list(range(27 - HALF, 32 + HALF + 1))
    assert all(len(set(each.track_ids.tolist())) == len(each) <= 2 for each in results)


def test_an_object_in_the_same_place_behind_a_cut_is_another_one() -> None:
    results = track([seen(at(100))] * 60, [STREET] * 30 + [INDOORS] * 30)

    assert [each.track_ids.tolist() for each in results] == [[1]] * 30 + [[2]] * 30


@pytest.mark.parametrize("flash", [np.full(PICTURE_HW, 255, np.uint8), INDOORS], ids=["white", "another picture"])
def test_a_flash_is_no_cut(flash: np.ndarray) -> None:
    pictures = [STREET] * 30 + [flash] * 2 + [STREET] * 30

    results = track([seen(at(100))] * 29 + [NOTHING] * 4 + [seen(at(100))] * 29, pictures)

    assert {tuple(each.track_ids.tolist()) for each in results} == {(1,)}
    assert min(covered(at(100), each) for each in results) == 1


def test_a_gap_is_filled_in_every_frame() -> None:
    places = [at(100 + 3 * number) for number in range(30)]
    found = [NOTHING if 8 <= number < 22 else seen(each) for number, each in enumerate(places)]

    results = track(found, [picture(each) for each in places])

    assert min(covered(place, each) for place, each in zip(places, results, strict=True)) > 0.95
    assert {tuple(each.track_ids.tolist()) for each in results} == {(1,)}
    assert [each.sources.tolist() for each in results[7:9]] == [["detector"], ["tracker"]]


def test_a_gap_in_which_nothing_can_be_followed_is_filled_in_a_straight_line() -> None:
    places = [at(100 + 3 * number, 160 + 2 * number) for number in range(30)]
    found = [NOTHING if 10 <= number < 20 else seen(each) for number, each in enumerate(places)]

    results = track(found, [np.full(PICTURE_HW, 90, np.uint8)] * 30)

    assert min(covered(place, each) for place, each in zip(places, results, strict=True)) == 1
    assert max(float(np.ptp(each.boxes[0, ::2])) for each in results) < 1.2 * SIDE


def test_what_speeds_up_in_a_gap_stays_covered() -> None:
    # it waits, then leaps: a straight line is far from it all the while
    along = [100.0] * 18 + [100 + 9 * number for number in range(1, 23)]
    places = [at(x) for x in along]
    found = [NOTHING if 8 <= number < 28 else seen(each) for number, each in enumerate(places)]

    followed = track(found, [picture(each) for each in places])
    straight = track(found, [np.full(PICTURE_HW, 90, np.uint8)] * 40)

    assert min(covered(place, each) for place, each in zip(places, followed, strict=True)) > 0.9
    assert min(covered(place, each) for place, each in zip(places, straight, strict=True)) < 0.5


def turning() -> list[tuple[float, float, float, float]]:
    """Fast to the right, and back to the left from frame 12 on: a tracker expects it far away by frame 20."""
    return [at(200 + 14 * min(number, 24 - number)) for number in range(30)]


def test_what_turns_round_in_a_gap_is_the_same_object() -> None:
    places = turning()
    found = [NOTHING if 9 <= number < 20 else seen(each) for number, each in enumerate(places)]

    results = track(found, [picture(each) for each in places])

    assert {tuple(each.track_ids.tolist()) for each in results} == {(1,)}
    assert min(covered(place, each) for place, each in zip(places, results, strict=True)) > 0.9


def test_a_weak_detection_joins_a_track_where_only_flow_predicts_it() -> None:
    places = turning()
    found = [NOTHING] * 30
    found[:9] = [seen(each) for each in places[:9]]
    found[20] = seen(places[20], score=0.3)

    results = track(found, [picture(each) for each in places])

    assert (results[20].sources.tolist(), results[20].track_ids.tolist()) == (["detector"], [1])
    assert redacted(results) == list(range(30))


@pytest.mark.parametrize("missed", [0, 5])
def test_an_object_whose_track_another_one_takes_stays_covered(missed: int) -> None:
    pictures = [picture(at(100))] * (10 + missed) + [picture(at(100), at(150))] * 20
    found = [seen(at(100))] * 10 + [NOTHING] * missed + [seen(at(150))] * 20

    results = track(found, pictures)

    assert min(covered(at(100), each) for each in results[: 10 + HALF]) > 0.95
    assert min(covered(at(150), each) for each in results[10 + missed :]) == 1
    assert all(len(set(each.track_ids.tolist())) == len(each) for each in results)


def test_a_gap_longer_than_the_window_is_covered_half_a_second_from_both_ends() -> None:
    found = [seen(at(100)) if number < 5 or number >= 45 else NOTHING for number in range(60)]

    results = track(found)

    assert redacted(results) == [*range(5 + HALF), *range(45 - HALF, 60)]


def test_a_weak_detection_joins_a_track() -> None:
    found = [seen(at(100 + number), score=0.9 if number % 5 == 0 else 0.2) for number in range(30)]

    results = track(found)

    assert {tuple(each.track_ids.tolist()) for each in results} == {(1,)}
    assert all(each.sources.tolist() == ["detector"] for each in results)
    assert [round(float(each.scores[0]), 1) for each in results[:3]] == [0.9, 0.2, 0.2]


def test_weak_detections_before_the_first_strong_one_join_its_track() -> None:
    found = [seen(at(100), score=0.3)] * 25 + [seen(at(100), score=0.9)] * 5

    results = track(found)

    # frames that were final when the strong detection came are gone
    assert all(each.track_ids.tolist() == [1] for each in results[9:])
    assert all(each.sources.tolist() == ["detector"] for each in results[9:])


def test_weak_detections_alone_are_never_redacted() -> None:
    assert redacted(track([seen(at(100), score=0.49)] * 60)) == []


def test_a_weak_detection_elsewhere_is_not_redacted() -> None:
    found = [Detections.merge([seen(at(100)), seen(at(400), score=0.4)])] * 30

    assert all(each.boxes.tolist() == [list(at(100))] for each in track(found))


def test_thresholds_of_the_request_count() -> None:
    found = [seen(at(100), score=0.3)] * 10

    assert redacted(track(found, options=Options(face_threshold=0.25))) == list(range(10))
    assert redacted(track(found)) == []


def test_nothing_over_its_threshold_is_ever_left_out() -> None:
    chance = np.random.default_rng(4)
    found = []
    for _ in range(80):
        n = int(chance.integers(0, 30))
        corners = chance.uniform(-20, 600, (n, 2))
        boxes = np.concatenate([corners, corners + chance.uniform(1, 90, (n, 2))], 1).astype(np.float32)
        scores, types = chance.uniform(0, 1, n), chance.integers(0, len(OBJECT_TYPES), n)
        found.append(Detections(boxes, scores, types, np.full(n, "fake")))

    results = track(found, [texture(number % 3, *PICTURE_HW) for number in range(80)])

    options = Options()
    for given, result in zip(found, results, strict=True):
        rows = {
            (*map(float, box), float(s), int(t))
            for box, s, t in zip(given.boxes, given.scores, given.types, strict=True)
        }
        wanted = {each for each in rows if each[4] >= options.threshold(OBJECT_TYPES[each[5]])}
        kept = zip(result.boxes, result.scores, result.types, result.sources, strict=True)
        assert wanted <= {(*map(float, box), float(s), int(t)) for box, s, t, source in kept if source == "detector"}


def test_types_that_are_not_tracked_pass_without_a_track() -> None:
    tracker = Tracker(SIZE_HW, Options(), [PLATE])
    tracker.push(0, seen(at(100)), STREET)

    (result,) = tracker.finish()

    assert (result.boxes.tolist(), result.track_ids.tolist()) == ([list(at(100))], [-1])


def test_masks_of_detectors_stay() -> None:
    mask = Mask(100, 160, np.ones((SIDE, SIDE), bool))
    with_mask = replace(seen(at(100), kind=PERSON), masks=(mask,))

    results = track([with_mask, NOTHING, with_mask])

    assert [each.masks for each in results] == [(mask,), (None,), (mask,)]


def test_ids_are_unique_over_types_and_never_come_back() -> None:
    found = []
    for number in range(120):
        parts = [seen(at(100)), seen(at(100), kind=PLATE), seen(at(300), kind=PERSON)]
        found.append(Detections.merge(parts) if number % 50 < 10 else NOTHING)

    results = Detections.merge(track(found))

    by_id = {int(name): int(kind) for name, kind in zip(results.track_ids, results.types, strict=True)}
    assert sorted(by_id) == list(range(1, 10))
    assert all(by_id[int(name)] == kind for name, kind in zip(results.track_ids, results.types, strict=True))


def test_what_a_detection_covers_is_not_added_again() -> None:
    # a second detection in nearly the same place, in one frame only
    twice = [
        Detections.merge([seen(at(100)), seen(at(104))]) if number == 20 else seen(at(100)) for number in range(40)
    ]

    assert [len(each) for each in track(twice)] == [2 if number == 20 else 1 for number in range(40)]


def test_neighbours_are_covered_where_one_of_them_is_missed() -> None:
    both, one = seen(at(100), at(145)), seen(at(100))

    results = track([one if number % 3 else both for number in range(30)], [picture(at(100), at(145))] * 30)

    assert min(covered(place, each) for place in (at(100), at(145)) for each in results) > 0.95


def test_times_may_rise_unevenly() -> None:
    times = list(np.cumsum(np.random.default_rng(5).choice([0.01, 0.04, 0.2], 80)))
    places = [at(100 + 60 * float(time)) for time in times]
    found = [NOTHING if 30 <= number < 34 else seen(each) for number, each in enumerate(places)]

    results = track(found, [np.full(PICTURE_HW, 90, np.uint8)] * 80, times=times)

    assert min(covered(place, each) for place, each in zip(places, results, strict=True)) > 0.95


@pytest.mark.parametrize(("rate", "frames"), [(60, 30), (30, 15), (12.5, 10), (8, 8), (4, 4)])
def test_the_extension_is_half_a_second_or_ten_frames_up_to_the_window(rate: float, frames: int) -> None:
    times = [number / rate for number in range(100)]

    assert redacted(track(one_in(100, 50, seen(at(100))), times=times)) == [*range(50 - frames, 50 + frames + 1)]


def test_the_extension_counts_the_times_of_the_frames() -> None:
    times = [0.0, 0.5, 0.8, 1.4, 1.5, 1.9, 2.0, 2.1, 2.6, 3.0]

    assert redacted(track(one_in(10, 5, seen(at(100))), times=times)) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("times", [[3.0] * 400, [5.0, 1.0] * 200], ids=["equal", "falling"])
def test_times_that_do_not_rise_lose_no_frame(times: list[float]) -> None:
    tracker = Tracker(SIZE_HW, Options(), OBJECT_TYPES)

    results = []
    for number, each in enumerate(times):
        results += tracker.push(each, seen(at(100)), STREET)
        assert number + 1 - len(results) <= MAX_FRAMES

    results += tracker.finish()
    assert redacted(results) == list(range(400))


def test_a_frame_is_final_when_one_a_window_later_comes() -> None:
    tracker = Tracker(SIZE_HW, Options(), OBJECT_TYPES, window_s=1.0)

    given = [len(tracker.push(number / RATE, NOTHING, STREET)) for number in range(50)]

    assert given == [0] * RATE + [1] * 30
    assert len(tracker.finish()) == RATE


def test_without_a_window_every_frame_is_final_at_once() -> None:
    tracker = Tracker(SIZE_HW, Options(), OBJECT_TYPES, window_s=0)

    pictures = [STREET, INDOORS] * 10
    assert [len(tracker.push(n / RATE, seen(at(100)), image)) for n, image in enumerate(pictures)] == [1] * 20


@pytest.mark.slow
def test_a_long_video_is_not_kept() -> None:
    tracker = Tracker(SIZE_HW, Options(hide_gait=True), OBJECT_TYPES)
    chance = np.random.default_rng(6)
    kept = []
    for number in range(600):
        found = seen(at(float(chance.uniform(0, 600))), kind=PERSON) if number % 3 else NOTHING
        tracker.push(number / RATE, found, STREET if number // 40 % 2 else INDOORS)
        kept.append(sum(len(each) for each in vars(tracker).values() if hasattr(each, "__len__")))

    # the motion of the scene is kept for `MAX_FRAMES` frames
    assert max(kept[300:]) <= max(kept[:300]) + 5


def test_tracking_can_be_turned_off() -> None:
    tracker = Tracker(SIZE_HW, Options(no_object_tracking=True), OBJECT_TYPES)
    found = Detections.merge([seen(at(100)), seen(at(300), score=0.4)])

    (result,) = tracker.push(0, found, STREET)

    assert (result.boxes.tolist(), result.track_ids.tolist()) == ([list(at(100))], [-1])
    assert len(tracker.push(0.1, NOTHING, STREET)[0]) == 0
    assert tracker.finish() == []


def test_the_gait_of_a_person_is_covered() -> None:
    # it sways, and is lost for a while
    places = [at(100 + 20 * (number % 4)) for number in range(40)]
    found = [NOTHING if 18 <= number < 21 else seen(each, kind=PERSON) for number, each in enumerate(places)]

    results = track(found, options=Options(hide_gait=True))

    quarter = round(RATE / 4)
    for number, each in enumerate(results):
        near = places[max(number - quarter, 0) : number + quarter + 1]
        whole = (min(box[0] for box in near), 160, max(box[2] for box in near), 200)
        assert covered(whole, each, PERSON) > 0.95, number
        assert each.masks == (None,) * len(each)


def test_only_persons_have_a_gait() -> None:
    places = [at(100 + 8 * (number % 4)) for number in range(20)]

    hidden, plain = (
        track([seen(each) for each in places], options=Options(hide_gait=hide_gait)) for hide_gait in (True, False)
    )

    assert [each.boxes.tolist() for each in hidden] == [each.boxes.tolist() for each in plain]


def test_masks_of_persons_do_not_hide_the_gait() -> None:
    mask = Mask(100, 160, np.ones((SIDE, SIDE), bool))
    with_mask = replace(seen(at(100), kind=PERSON), masks=(mask,))

    results = track([with_mask] * 3, options=Options(hide_gait=True))

    assert [each.masks for each in results] == [(None,)] * 3


def test_importing_tracking_is_cheap() -> None:
    script = (
        "import sys, anonymizer.pipeline.tracking.tracker; assert not {'trackers', 'supervision'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)


@pytest.fixture(scope="module")
def portrait(data: Path) -> tuple[list[Detections], list[np.ndarray]]:
    """What CenterFace finds in 120 frames of a face that turns and is turned to, and small grey pictures of them."""
    with av.open(data / "videos" / "portrait-people.mp4") as container:
        frames = [each.reformat(180, 320, "rgb24").to_ndarray() for each in islice(container.decode(video=0), 120)]
    found = ModelStore(device="cpu").detector("centerface").detect(frames, 256)
    return found, [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in frames]


@pytest.mark.parametrize("in_a_row", [1, 10])
def test_faces_of_a_real_clip_do_not_flicker(
    portrait: tuple[list[Detections], list[np.ndarray]], in_a_row: int
) -> None:
    found, pictures = portrait
    chance = np.random.default_rng(8)
    dropped = np.zeros(len(found), bool)
    while dropped.mean() < 0.2:
        start = int(chance.integers(1, len(found) - in_a_row))
        dropped[start : start + int(chance.integers(1, in_a_row + 1))] = True
    tracker = Tracker((320, 180), Options(), [FACE])
    results: list[Detections] = []
    for number, (each, image) in enumerate(zip(found, pictures, strict=True)):
        results += tracker.push(number / 30, NOTHING if dropped[number] else each, image)
    results += tracker.finish()

    truth = [(n, box) for n, each in enumerate(found) for box in each.boxes[each.scores >= 0.5]]
    left = [n for n, box in truth if covered(box, results[n]) < 0.9]
    assert len(truth) >= 120
    assert sum(dropped[n] for n, _ in truth) >= 0.2 * len(truth)
    assert len(left) <= 0.01 * len(truth), left
