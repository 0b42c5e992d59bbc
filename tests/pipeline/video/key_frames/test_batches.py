"""The frames between key frames are the same ones, however the frames are cut into batches and shared by threads."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.video.detection_schedule import DetectionSchedule
from anonymizer.pipeline.video.frame_images import FrameImages, FrameRecord
from anonymizer.pipeline.video.key_frames.detection import KeyFrameDetection
from anonymizer.pipeline.video.thread_stages import StageQueue, StageThreads
from tests.pipeline.video.key_frames.test_new_content import ground, with_patch

FRAMES, CHANGED = 43, (5, 18, 30, 41)


class Counting:
    """Takes the place of the detectors: finds one vehicle in each frame, and keeps which frames it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def detect(self, frames: Sequence[FrameImages]) -> list[Detections]:
        self.seen += [frame.record.number for frame in frames]
        box = np.array([[200, 100, 300, 200]], np.float32)
        return [Detections(box, [0.95], [ObjectType.VEHICLE.number], ["fake"]) for _ in frames]


def frames() -> list[FrameImages]:
    track: Any = SimpleNamespace(index=0, size_hw=(360, 640), time_base=Fraction(1, 25))
    still = ground(size=(360, 640))
    images = [with_patch(still, 400, 60, 16) if number in CHANGED else still for number in range(FRAMES)]
    return [
        FrameImages(FrameRecord(track, number, number, damaged=False, fingerprint=0), [], image, image)
        for number, image in enumerate(images)
    ]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("least", [1, 7, 32, 100])
def test_frames_come_out_once_and_detectors_see_the_same_ones(least: int, threads: int) -> None:
    schedule, batches = DetectionSchedule(key_frames=True), list[list[FrameImages]]()
    for frame in frames():
        schedule.add(frame.record.number, frame.record.time_s)
        if not batches or (len(batches[-1]) >= least and schedule.is_key(frame.record.number)):
            batches.append([])
        batches[-1].append(frame)
    counting, stages = Counting(), StageThreads()
    job: Any = SimpleNamespace(object_types=(ObjectType.VEHICLE,), options=Options(vehicle=True))
    between = KeyFrameDetection(counting, schedule, job, stages, threads)  # type: ignore[arg-type]
    given = [StageQueue[Sequence[FrameImages]](stages, 50) for _ in range(threads)]
    done: dict[int, tuple[Sequence[FrameImages], Sequence[Detections]]] = {}

    def work(thread: int) -> None:
        for count, batch in enumerate(between.run(thread, given[thread])):
            done[thread + count * threads] = batch

    for thread in range(threads):
        stages.start("detect", lambda thread=thread: work(thread))  # type: ignore[misc]
    for number, batch in enumerate(batches):
        given[number % threads].put(batch)
    for queue in given:
        queue.close()
    stages.join()

    numbers = [frame.record.number for number in sorted(done) for frame in done[number][0]]
    assert numbers == list(range(FRAMES))
    assert all(len(of_frame) == 1 for _, found in done.values() for of_frame in found)
    keys = {number for number in range(FRAMES) if schedule.is_key(number)}
    last = max(keys)
    # after the last key frame there is none to compare with
    assert sorted(counting.seen) == sorted(keys | set(CHANGED) | set(range(last, FRAMES)))
