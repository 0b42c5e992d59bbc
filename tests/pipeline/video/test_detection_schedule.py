from __future__ import annotations

from fractions import Fraction
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.detection_schedule import SAME_SCALE_S, DetectionSchedule, Turn, scales_to_run
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
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


@pytest.mark.parametrize(("rate", "sees"), [(10, 960), (25, 960), (25, 320)])
def test_a_small_object_that_one_scale_sees_is_covered_in_every_frame(rate: int, sees: int, tmp_path: Path) -> None:
    frames = 3 * rate
    clip = write_clip(tmp_path / "clip.mp4", range(frames), Fraction(1, rate), rate=Fraction(rate))
    detector = OneScale(sees=sees)
    assert count_bare(clip, [number / rate for number in range(frames)], detector) == 0
    # and not because all scales ran in all frames
    runs = {side: sum(count for at, count in detector.sides if at == side) for side in SCALES}
    assert runs[MAIN] == frames
    assert all(runs[side] <= 8 for side in SCALES if side != MAIN)


def test_so_it_is_in_a_file_that_claims_1000_frames_a_second(tmp_path: Path) -> None:
    steps = np.random.default_rng(5).integers(40, 110, 40)
    times = [0, *np.cumsum(steps)[:-1].tolist()]
    clip = write_clip(tmp_path / "clip.webm", times, Fraction(1, 1000), rate=Fraction(1000), codec="libvpx")
    with VideoReader(clip, check_video(clip), threads=1) as reader:
        assert reader.tracks[0].frame_rate == 1000
    assert count_bare(clip, [pts / 1000 for pts in times], OneScale()) == 0
