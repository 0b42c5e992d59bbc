"""Two video tracks in a file, one of which ends long before the other or has few frames."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import pytest

from anonymizer import Anonymizer, Options
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video import detection_queue
from anonymizer.pipeline.video.detection_queue import DetectionQueue, FrameDetections, LaggingTracks
from anonymizer.pipeline.video.thread_stages import StageThreads
from tests.clip_maker import Clip, Video, make
from tests.fakes import FakeStore, MagentaDetector

OPTIONS = Options(license_plate=True, save_mask="none")  # type: ignore[arg-type]
NOTHING = Detections.empty()
#: seconds in which each of these clips is done many times over
PATIENCE_S = 90


def video(frames: int, rate: int = 25, **settings: object) -> Video:
    return Video(size_wh=(96, 64), frames=frames, rate=Fraction(rate), options={"preset": "ultrafast"}, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    "videos",
    [
        (video(30), video(300)),
        (video(300), video(30)),
        # groups of pictures without any object are copied, and are waited for as a whole
        (video(30, box_in=range(0)), video(300, box_in=range(200, 300))),
        # a few frames far apart
        (video(6, rate=1), video(150)),
    ],
    ids=["short first", "short second", "copied", "sparse"],
)
def test_tracks_of_very_different_length_come_out_whole(
    videos: tuple[Video, Video], extension: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection_queue, "MAX_LEAD", 40)
    clip = make(Clip(extension, videos), tmp_path / "two")
    (tmp_path / "results").mkdir()
    end_s = time.monotonic() + PATIENCE_S

    result = Anonymizer(store=FakeStore(MagentaDetector())).video(
        str(clip), tmp_path / "results", OPTIONS, stop=lambda: time.monotonic() > end_s
    )

    assert result.frames == sum(each.frames for each in videos)


def test_a_track_that_lags_is_finished_and_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection_queue, "LAG_S", 1.0)
    monkeypatch.setattr(detection_queue, "LAG_FRAMES", 20)
    finished: list[int] = []
    finish = Tracker.finish

    def counted(tracker: Tracker) -> list[Detections]:
        final = finish(tracker)
        finished.append(len(final))
        return final

    monkeypatch.setattr(Tracker, "finish", counted)
    # the decoder holds frames of the first track back, as many as it has threads
    sparse = video(30, times=range(0, 60, 2), rate=1)
    clip = make(Clip(".mkv", (sparse, video(400, rate=10))), tmp_path / "two")
    (tmp_path / "results").mkdir()

    result = Anonymizer(store=FakeStore(MagentaDetector())).video(str(clip), tmp_path / "results", OPTIONS)

    assert result.frames == 430
    # each frame of the sparse track by itself while the other one lasts, and what is left of both at the end
    assert len(finished) > 10
    assert finished[:5] == [1] * 5


def test_the_first_reading_goes_on_while_the_second_waits_for_another_track(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection_queue, "MAX_LEAD", 5)
    stages = StageThreads()
    short, long = DetectionQueue(stages), DetectionQueue(stages)
    got: list[FrameDetections | None] = []

    def first() -> None:
        for number in range(100):
            long.put(FrameDetections(number, NOTHING, damaged=False, fingerprint=0))
        short.put(FrameDetections(0, NOTHING, damaged=False, fingerprint=0))
        short.end()
        long.end()

    stages.start("first", first)
    stages.start("second", lambda: got.extend([short.wait_for(0), short.wait_for(1), long.wait_for(99)]))
    end_s = time.monotonic() + 20
    while stages.alive() and time.monotonic() < end_s:
        stages.wait(0.1)
    stages.stop()
    stages.join()

    assert [each and each.pts for each in got] == [0, None, 99]


def test_the_first_reading_waits_where_the_second_is_only_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection_queue, "MAX_LEAD", 5)
    stages, queues = StageThreads(), []
    queues.append(DetectionQueue(stages))
    leads: list[int] = []

    def first() -> None:
        for number in range(60):
            queues[0].put(FrameDetections(number, NOTHING, damaged=False, fingerprint=0))
            given[0] = number + 1
        queues[0].end()

    def second() -> None:
        for number in range(60):
            assert queues[0].wait_for(number) is not None
            queues[0].release(number)
            time.sleep(0.005)
            leads.append(given[0] - number)

    given = [0]
    stages.start("first", first)
    stages.start("second", second)
    stages.join()

    assert len(leads) == 60
    assert max(leads) <= 5 + 3


def test_a_track_lags_after_many_seconds_and_many_frames_of_the_others() -> None:
    lagging = LaggingTracks([0, 1, 2])
    assert lagging.add(0, 0.0) == lagging.add(1, 0.0) == []

    # the third has no frame yet: nothing of it waits
    assert not any([*lagging.add(0, number / 25), *lagging.add(1, number / 25)] for number in range(1, 2000))
    late = [(number, tracks) for number in range(2000, 4000) if (tracks := lagging.add(1, number / 25))]
    assert late == [(1999 + 750, [0])]
    assert lagging.add(0, 1.0) == []


@pytest.mark.parametrize("seconds", [[3600.0] * 10, [number / 1000 for number in range(4000)]], ids=["jump", "close"])
def test_a_jump_of_the_times_or_many_frames_in_a_moment_are_no_lag(seconds: list[float]) -> None:
    lagging = LaggingTracks([0, 1])
    lagging.add(0, 0.0)

    assert not any(lagging.add(1, each) for each in seconds)
