"""Key frames in real videos: fewer looks of the detectors, and nothing that is bare."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, Options
from anonymizer.evaluation.video.dropout_test import covered_share
from anonymizer.pipeline.video.detection_schedule import DetectionSchedule
from tests.fakes import FakeDetector, FakeStore
from tests.pipeline.video.key_frames.test_new_content import ground

SIZE_WH, SIDE, FRAMES = (640, 360), 48, 50


@dataclass
class BrightDetector(FakeDetector):
    """Finds what is bright: each square of the clip, as a license plate that is sure."""

    looks: int = 0

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.looks += len(images)
        return [self._bright(image) for image in images]

    def _bright(self, image: NDArray[np.uint8]) -> Detections:
        boxes = []
        for left in range(0, image.shape[1], 80):
            rows, columns = np.nonzero(image[:, left : left + 80, 0] > 205)
            if len(rows) > 40:
                x1, x2 = left + columns.min(), left + columns.max() + 1
                boxes.append([x1, rows.min(), x2, rows.max() + 1])
        count = len(boxes)
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), [0.97] * count, [1] * count, ["fake"] * count)


def box_at(number: int) -> tuple[int, int, int, int]:
    """Where the object that moves is: up and down in the first quarter of the frame."""
    y = 100 + abs((3 * number) % 120 - 60)
    return 50, y, 50 + SIDE, y + SIDE


def write(path: Path, *, rate: int, flashes: dict[int, tuple[int, int]] | None = None) -> Path:
    """A clip with one object that moves, and further ones that are there for one frame."""
    still, surface = ground(size=(SIZE_WH[1], SIZE_WH[0])), 210 + ground(7)[:SIDE, :SIDE] // 6
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(rate), options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        for number in range(FRAMES):
            image = still.copy()
            x1, y1, x2, y2 = box_at(number)
            image[y1:y2, x1:x2] = surface
            if number in (flashes or {}):
                x, y = (flashes or {})[number]
                image[y : y + 16, x : x + 16] = 235
            frame = av.VideoFrame.from_ndarray(np.repeat(image[..., None], 3, axis=2), "rgb24")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def run(clip: Path, name: str = "results") -> tuple[BrightDetector, list[NDArray[np.float32]]]:
    """The detector, and the boxes of each frame."""
    detector, folder = BrightDetector(), clip.parent / name
    folder.mkdir()
    options = Options(license_plate=True, save_mask="none")  # type: ignore[arg-type]
    result = Anonymizer(store=FakeStore(detector)).video(clip, folder, options)
    rows = json.loads(result.metadata.read_text())
    boxes = [np.array([each["bbox"] for each in frame["detections"]], np.float32).reshape(-1, 4) for frame in rows]
    assert len(boxes) == FRAMES
    return detector, boxes


@pytest.mark.parametrize(("rate", "most"), [(10, FRAMES), (25, FRAMES * 3 // 5), (60, FRAMES * 2 // 5)])
def test_detectors_run_in_some_frames_and_the_object_is_covered_in_all(rate: int, most: int, tmp_path: Path) -> None:
    detector, boxes = run(write(tmp_path / "clip.mp4", rate=rate))
    assert detector.looks == FRAMES if most == FRAMES else detector.looks <= most
    for number, of_frame in enumerate(boxes):
        assert covered_share(np.array(box_at(number), np.float32), of_frame) > 0.9, number


@pytest.mark.parametrize("threads", [1, 2])
def test_an_object_that_is_there_for_one_frame_is_covered_in_it(threads: int, tmp_path: Path) -> None:
    flashes = {number: (400 + 4 * number, 60) for number in (2, 9, 13, 21, 35, 49)}
    clip = write(tmp_path / "clip.mp4", rate=25, flashes=flashes)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        detector, boxes = run(clip)
    finally:
        torch.set_num_threads(before)
    assert detector.looks < FRAMES
    for number, (x, y) in flashes.items():
        assert covered_share(np.array([x, y, x + 16, y + 16], np.float32), boxes[number]) > 0.9, number


def test_frames_of_two_tracks_are_all_looked_at(tmp_path: Path) -> None:
    single = write(tmp_path / "clip.mp4", rate=25)
    double = tmp_path / "two.mkv"
    with av.open(str(single)) as one, av.open(str(single)) as two, av.open(str(double), "w") as out:
        targets = [out.add_stream_from_template(each.streams.video[0]) for each in (one, two)]
        packets = [[packet for packet in each.demux(video=0) if packet.dts is not None] for each in (one, two)]
        for pair in zip(*packets, strict=True):
            for packet, target in zip(pair, targets, strict=True):
                packet.stream = target
                out.mux(packet)
    detector, folder = BrightDetector(), tmp_path / "results"
    folder.mkdir()
    Anonymizer(store=FakeStore(detector)).video(double, folder, Options(license_plate=True, save_mask="none"))  # type: ignore[arg-type]
    assert detector.looks == 2 * FRAMES


def test_turns_and_frames_that_must_be_are_key_frames_and_no_others_are_far_apart() -> None:
    for rate in (5, 10, 12.5, 24, 25, 30, 60, 240):
        schedule, times_s = DetectionSchedule(key_frames=True), [number / rate for number in range(200)]
        for number, time_s in enumerate(times_s):
            schedule.add(number, time_s, must_be_key=number in (17, 18))
        keys = [number for number in range(200) if schedule.is_key(number)]
        assert {number for number in range(200) if schedule.turn(number)} | {17, 18} <= set(keys)
        assert np.diff(keys).max() <= 4
        assert rate > 12.5 or np.diff([times_s[key] for key in keys]).max() <= max(0.17, 1 / rate) + 1e-9
    # a schedule without key frames
    schedule = DetectionSchedule()
    for number in range(50):
        schedule.add(number, number / 25)
    assert all(schedule.is_key(number) for number in range(50))
