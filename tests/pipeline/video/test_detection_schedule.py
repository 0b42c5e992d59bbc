from __future__ import annotations

from fractions import Fraction
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.scene_cuts import SceneSignature
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.detection_schedule import (
    SAME_SCALE_S,
    DetectionSchedule,
    Turn,
    in_every_frame,
    is_in_doubt,
    scales_at_first,
    scales_to_run,
)
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from tests.fakes import FakeDetector, FakeStore, MagentaDetector
from tests.pipeline.video.one_scale import MAIN, SCALES, OneScale, count_bare, write_clip


def turns(times_s: list[float]) -> dict[Turn, list[float]]:
    """The times at which each part of the other scales runs."""
    schedule = DetectionSchedule()
    for number, time_s in enumerate(times_s):
        schedule.add(number, time_s)
    of_frames = [schedule.turn(number) for number in range(len(times_s))]
    return {
        part: [time_s for time_s, turn in zip(times_s, of_frames, strict=True) if turn in (part, Turn.ALL)]
        for part in (Turn.LARGEST, Turn.REST)
    }


def test_each_scale_has_a_turn_within_half_a_window() -> None:
    window_s: float = signature(Tracker).parameters["window_s"].default
    assert window_s / 2 >= SAME_SCALE_S
    for rate in (5, 8, 10, 12.5, 24, 25, 30, 60, 240):
        for at in turns([number / rate for number in range(round(4 * rate))]).values():
            assert at[0] in (0, 1 / rate)
            assert np.diff(at).max() <= SAME_SCALE_S + 1e-6


def test_scales_do_not_run_more_often_than_needed() -> None:
    for rate in (10, 25, 30, 60):
        for at in turns([number / rate for number in range(round(4 * rate))]).values():
            assert 7 <= len(at) <= 11


@pytest.mark.parametrize("rate", [0.5, 1, 2, 3.9])
def test_where_frames_are_rare_all_scales_run_in_each(rate: float) -> None:
    times_s = [number / rate for number in range(20)]
    for at in turns(times_s).values():
        assert at == times_s


def test_times_that_vary_stand_still_or_jump_have_turns() -> None:
    steps = np.random.default_rng(3).uniform(1 / 60, 1 / 15, 200)
    for at in turns(np.cumsum(steps).tolist()).values():
        assert np.diff(at).max() <= SAME_SCALE_S
    assert [len(at) for at in turns([7.0] * 200).values()] == [2, 3]
    assert turns([100.0, 100.1, 3.0, 3.1])[Turn.REST] == [100.0, 3.0, 3.1]


def test_the_other_scales_share_the_turns_of_a_detector() -> None:
    detector = OneScale()
    run = {turn: sorted(scales_to_run(detector, long_side=960, turn=turn)) for turn in (None, *Turn)}
    assert run == {
        None: [MAIN],
        Turn.LARGEST: [MAIN, 960],
        Turn.REST: [320, MAIN, 640],
        Turn.ALL: sorted(SCALES),
    }


def test_all_scales_of_a_detector_that_does_not_run_in_every_frame_share_its_turns() -> None:
    detector = OneScale()
    run = {
        turn: sorted(scales_at_first(detector, long_side=960, turn=turn, every_frame=False)) for turn in (None, *Turn)
    }
    assert run == {None: [], Turn.LARGEST: [MAIN, 960], Turn.REST: [320, 640], Turn.ALL: sorted(SCALES)}


def test_as_few_detectors_as_serve_all_types_run_in_every_frame() -> None:
    face, plate, person, vehicle = OBJECT_TYPES
    faces = FakeDetector("faces", (face,))
    whole, parts = FakeDetector("whole"), [FakeDetector("persons", (person, vehicle)), FakeDetector("plates", (plate,))]
    serves = {face: ("faces", "whole"), plate: ("plates", "whole"), person: ("persons",), vehicle: ("persons",)}
    everywhere = {face: ("faces", "whole"), **dict.fromkeys(OBJECT_TYPES[1:], ("whole",))}

    assert in_every_frame([faces, whole], everywhere, [face]) == {"faces"}
    assert in_every_frame([faces, whole], everywhere, OBJECT_TYPES) == {"whole"}
    assert in_every_frame([faces, whole, *parts], serves, OBJECT_TYPES) == {"whole", "persons"}
    assert in_every_frame([whole], everywhere, OBJECT_TYPES) == {"whole"}
    # two that serve different types both run
    assert in_every_frame([faces, parts[1]], {face: ("faces",), plate: ("plates",)}, [face, plate]) == {
        "faces",
        "plates",
    }


def test_all_scales_run_in_the_first_frame_of_another_scene() -> None:
    noise = np.random.default_rng(4).integers(0, 256, (2, 90, 160), np.uint8)
    scenes = [
        SceneSignature.of(np.kron(each // 2 + 60 * number, np.ones((4, 4), np.uint8)))
        for number, each in enumerate(noise)
    ]
    schedule = DetectionSchedule()
    for number in range(20):
        schedule.add(number, number / 25, scenes[number >= 10])

    assert [number for number in range(20) if schedule.turn(number) is Turn.ALL] == [0, 10]


class TwoDetectors(FakeStore):
    """A store with a second detector for faces, which alone sees the object of the clip."""

    def __init__(self, seeing: MagentaDetector) -> None:
        super().__init__(FakeDetector("blind", (ObjectType.FACE,)))
        self.seeing = seeing

    def serves(self) -> dict[ObjectType, tuple[str, ...]]:
        return dict.fromkeys(ObjectType, ("blind", "fake"))

    def detectors(self, object_types: object) -> list[FakeDetector]:
        return [self.detector, self.seeing]


@pytest.mark.parametrize("rate", [10, 25])
def test_an_object_that_only_a_detector_in_turns_sees_is_covered_in_every_frame(rate: int, tmp_path: Path) -> None:
    frames = 3 * rate
    clip = write_clip(tmp_path / "clip.mp4", range(frames), Fraction(1, rate), rate=Fraction(rate))
    detector = OneScale(kind=ObjectType.FACE, sees=MAIN)
    store = TwoDetectors(detector)
    store.detector.detect = lambda images, side: [Detections.empty()] * len(images)  # type: ignore[method-assign]
    times = [number / rate for number in range(frames)]

    assert count_bare(clip, times, detector, face=True, store=store) == 0
    # and not because it ran in all frames
    assert sum(count for side, count in detector.sides if side == MAIN) <= 8


def first_look(score: float, side: float, kind: ObjectType = ObjectType.FACE) -> Detections:
    return Detections(np.array([[50, 50, 50 + side, 50 + side]], np.float32), [score], [kind.number], ["fake"])


@pytest.mark.parametrize(
    ("found", "doubt"),
    [
        (Detections.empty(), False),
        (first_look(0.95, 60), False),
        (first_look(0.7, 60), True),
        (first_look(0.95, 20), True),
        # far below the threshold
        (first_look(0.05, 60), False),
        (first_look(0.95, 20, ObjectType.VEHICLE), False),
        # where there is a person, there may be a face
        (first_look(0.95, 200, ObjectType.PERSON), True),
    ],
)
def test_objects_that_are_not_sure_or_small_and_persons_are_a_doubt(found: Detections, doubt: bool) -> None:
    assert is_in_doubt(found, Options(), {ObjectType.FACE}, 40) is doubt


@pytest.mark.parametrize(("score", "all_run"), [(0.95, False), (0.7, True)])
def test_where_the_first_look_is_in_doubt_all_detectors_run(score: float, all_run: bool, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", range(24), Fraction(1, 25), rate=Fraction(25))
    store = TwoDetectors(detector := OneScale(kind=ObjectType.FACE, sees=MAIN))
    store.detector.detect = lambda images, side: [first_look(score, 80)] * len(images)  # type: ignore[method-assign]

    count_bare(clip, [number / 25 for number in range(24)], detector, face=True, store=store)

    runs = sum(count for side, count in detector.sides if side == MAIN)
    assert runs == 24 if all_run else runs <= 4


@pytest.mark.parametrize(("rate", "sees"), [(10, 960), (25, 960), (25, 320)])
def test_a_small_object_that_one_scale_sees_is_covered_in_every_frame(rate: int, sees: int, tmp_path: Path) -> None:
    frames = 3 * rate
    clip = write_clip(tmp_path / "clip.mp4", range(frames), Fraction(1, rate), rate=Fraction(rate))
    detector = OneScale(sees=sees)
    assert count_bare(clip, [number / rate for number in range(frames)], detector) == 0
    # and not because all scales ran in all frames
    runs = {side: sum(count for at, count in detector.sides if at == side) for side in SCALES}
    # at 25 frames a second, some frames lie between key frames that tell where the object is
    assert runs[MAIN] == frames if rate == 10 else frames // 2 < runs[MAIN] < frames
    assert all(runs[side] <= 8 for side in SCALES if side != MAIN)


def test_so_it_is_in_a_file_that_claims_1000_frames_a_second(tmp_path: Path) -> None:
    steps = np.random.default_rng(5).integers(40, 110, 40)
    times = [0, *np.cumsum(steps)[:-1].tolist()]
    clip = write_clip(tmp_path / "clip.webm", times, Fraction(1, 1000), rate=Fraction(1000), codec="libvpx")
    with VideoReader(clip, check_video(clip), threads=1) as reader:
        assert reader.tracks[0].frame_rate == 1000
    assert count_bare(clip, [pts / 1000 for pts in times], OneScale()) == 0
