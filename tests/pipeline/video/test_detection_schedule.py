from __future__ import annotations

from fractions import Fraction
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.detection_schedule import TURN_S, DetectionSchedule, scales_to_run
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from tests.pipeline.video.one_scale import MAIN, SCALES, OneScale, count_bare, write_clip


def turns(times_s: list[float]) -> list[float]:
    """The times of the turns."""
    schedule = DetectionSchedule()
    for number, time_s in enumerate(times_s):
        schedule.add(number, time_s)
    return [time_s for number, time_s in enumerate(times_s) if schedule.is_turn(number)]


def test_turns_are_at_most_half_a_window_apart() -> None:
    window_s: float = signature(Tracker).parameters["window_s"].default
    assert window_s / 2 >= TURN_S
    for rate in (5, 10, 12.5, 24, 25, 30, 60):
        at = turns([number / rate for number in range(round(4 * rate))])
        assert at[0] == 0
        assert np.diff(at).max() <= TURN_S + 1e-6
        # not more often than needed
        assert np.diff(at).min() > TURN_S - 2.5 / rate


@pytest.mark.parametrize("rate", [0.5, 1, 2, 3.9])
def test_where_frames_are_rare_each_is_a_turn(rate: float) -> None:
    times_s = [number / rate for number in range(20)]
    # the gap to the frame after the second is known from the one before it
    assert turns(times_s) == times_s


def test_times_that_vary_stand_still_or_jump_have_turns() -> None:
    steps = np.random.default_rng(3).uniform(1 / 60, 1 / 15, 200)
    assert np.diff(turns(np.cumsum(steps).tolist())).max() <= TURN_S
    assert len(turns([7.0] * 100)) == 4
    assert turns([100.0, 100.1, 3.0, 3.1]) == [100.0, 3.0, 3.1]


def test_a_turn_runs_all_scales_and_another_frame_one() -> None:
    detector = OneScale()
    assert scales_to_run(detector, long_side=960, is_turn=False) == (MAIN,)
    assert sorted(scales_to_run(detector, long_side=960, is_turn=True)) == sorted(SCALES)


@pytest.mark.parametrize("rate", [10, 25])
def test_a_small_object_that_one_scale_sees_is_covered_in_every_frame(rate: int, tmp_path: Path) -> None:
    frames = 3 * rate
    clip = write_clip(tmp_path / "clip.mp4", range(frames), Fraction(1, rate), rate=Fraction(rate))
    detector = OneScale()
    assert count_bare(clip, [number / rate for number in range(frames)], detector) == 0
    # and not because all scales ran in all frames
    runs = {side: sum(count for at, count in detector.sides if at == side) for side in SCALES}
    assert runs[MAIN] == frames
    assert all(runs[side] <= 7 for side in SCALES if side != MAIN)


def test_so_it_is_in_a_file_that_claims_1000_frames_a_second(tmp_path: Path) -> None:
    steps = np.random.default_rng(5).integers(40, 110, 40)
    times = [0, *np.cumsum(steps)[:-1].tolist()]
    clip = write_clip(tmp_path / "clip.webm", times, Fraction(1, 1000), rate=Fraction(1000), codec="libvpx")
    with VideoReader(clip, check_video(clip), threads=1) as reader:
        assert reader.tracks[0].frame_rate == 1000
    assert count_bare(clip, [pts / 1000 for pts in times], OneScale()) == 0
