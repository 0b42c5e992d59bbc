"""Several renderings of one video, and several videos at the same time."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.packet import Packet
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, ObjectType, Options
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.loaders import DETECTORS
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.video import detection_queue, rendering
from anonymizer.pipeline.video.detection_queue import DetectionQueue, FrameDetections
from anonymizer.pipeline.video.io import frame_decoder
from anonymizer.pipeline.video.io.track_writer import CannotSplice, TrackWriter
from anonymizer.pipeline.video.io.tracks import DecodedFrame
from anonymizer.pipeline.video.thread_stages import StageThreads
from tests.clip_compare import pictures
from tests.clip_maker import Clip, box_at, make
from tests.clip_zoo import h264
from tests.fakes import FakeStore, MagentaDetector

pytestmark = pytest.mark.slow

FRAMES, SIZE_WH = 60, (192, 144)


class LateDetector(MagentaDetector):
    """Sees the box in the second half of the video only, where it is further right, and counts the images."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 0

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.images += len(images)
        found = super().detect(images, side)
        left = box_at(FRAMES // 2, SIZE_WH)[0] / SIZE_WH[0]
        return [of[of.boxes[:, 0] >= left * image.shape[1] - 1] for image, of in zip(images, found, strict=True)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Groups of ten frames: those of the first half are copied."""
    return make(Clip(".mp4", (h264(frames=FRAMES, options={"g": "10", "sc_threshold": "0"}),)), tmp_path / "clip")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def boxes_of(path: Path) -> list[list[Any]]:
    return [[each["bbox"] for each in frame["detections"]] for frame in json.loads(path.read_text())]


def test_where_copied_groups_do_not_fit_nothing_is_detected_again(
    monkeypatch: pytest.MonkeyPatch, clip: Path, folder: Path
) -> None:
    detector = LateDetector()
    whole = Anonymizer(store=FakeStore(detector)).video(clip, folder, Options(save_mask="none"))
    assert whole.frames_copied > 0
    expected, images = boxes_of(whole.metadata), detector.images
    assert any(expected)
    copied: list[int | None] = []

    def copy(self: TrackWriter, packet: Packet[Any]) -> None:
        copied.append(packet.pts)
        raise CannotSplice("a packet with a parameter set of its own")

    monkeypatch.setattr(TrackWriter, "copy", copy)
    detector = LateDetector()
    result = Anonymizer(store=FakeStore(detector)).video(clip, folder, Options(save_mask="none"))

    assert copied
    assert result.frames_copied == 0
    assert result.frames == FRAMES
    assert detector.images == images
    assert boxes_of(result.metadata) == expected
    assert result.anonymised is not None
    assert len(list(pictures(result.anonymised))) == FRAMES


def test_an_error_of_the_analysis_ends_a_second_rendering(
    monkeypatch: pytest.MonkeyPatch, clip: Path, folder: Path
) -> None:
    began = threading.Event()

    class Failing(MagentaDetector):
        def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
            if self.calls >= 2:
                # the first rendering has failed by then
                assert began.wait(20)
                raise DetectorFailed("The detector fake failed.")
            return super().detect(images, side)

    renderings = []

    class Counted(rendering.Renderer):
        def start(self) -> None:
            renderings.append(self)
            if len(renderings) == 1:
                raise CannotSplice("packets without times")
            super().start()
            began.set()

    monkeypatch.setattr("anonymizer.pipeline.video.job.Renderer", Counted)
    with pytest.raises(DetectorFailed):
        Anonymizer(store=FakeStore(Failing())).video(clip, folder, Options(save_mask="none"))
    assert len(renderings) == 2
    assert list(folder.iterdir()) == []


def some(pts: int) -> FrameDetections:
    boxes = np.full((pts % 4, 4), pts, np.float32)
    n = len(boxes)
    found = Detections(boxes, [0.5] * n, [ObjectType.FACE.number] * n, ["model"] * n)
    return FrameDetections(pts, found, damaged=pts % 7 == 0, fingerprint=pts**3)


@pytest.mark.parametrize("keep", [True, False])
def test_detections_that_are_kept_are_read_again_and_take_no_memory(
    monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(detection_queue, "MAX_LEAD", 1000)
    queue = DetectionQueue(StageThreads(), keep=keep)
    for number in range(300):
        queue.put(some(number))
        queue.release(number - 10)
    queue.end()
    queue.release(300)
    assert not queue._frames
    again = [queue.wait_for(number) for number in (0, 299, 150, 7)]
    if not keep:
        assert again == [None] * 4
        return
    for frame, number in zip(again, (0, 299, 150, 7), strict=True):
        assert frame is not None
        was = some(number)
        assert (frame.pts, frame.damaged, frame.fingerprint) == (was.pts, was.damaged, was.fingerprint)
        assert (frame.detections.boxes == was.detections.boxes).all()
        assert list(frame.detections.models) == list(was.detections.models)
    queue.close()


def run_together(works: Sequence[Any]) -> list[BaseException]:
    """Run functions in threads at the same time; return what they raise."""
    errors: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return errors


class Counting(MagentaDetector):
    """Keeps how many threads torch has where it detects."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, set[int]] = {}

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.numbers.setdefault(threading.current_thread().name, set()).add(torch.get_num_threads())
        return super().detect(images, side)


def test_one_anonymizer_serves_several_threads_at_once(clip: Path, tmp_path: Path) -> None:
    detector = Counting()
    anonymizer = Anonymizer(store=FakeStore(detector), noise_key=b"key")
    with av.open(str(clip)) as file:
        image = next(file.decode(video=0)).to_ndarray(format="rgb24")
    expected = anonymizer.image(image).pixels
    torch.set_num_threads(2)
    after: list[int] = []

    def of_image() -> None:
        for _ in range(5):
            assert (anonymizer.image(image).pixels == expected).all()

    def of_video(name: str, *, twice: bool) -> None:
        for number in range(1 + twice):
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            assert anonymizer.video(clip, folder, Options(save_mask="none")).frames == FRAMES
        after.append(torch.get_num_threads())

    try:
        works = [partial(of_video, "a", twice=True), partial(of_video, "b", twice=False), of_image]
        assert run_together(works) == []
        assert detector.numbers["detect"] == {1}
        assert after == [2, 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    results = [boxes_of(tmp_path / name / "metadata.json") for name in ("a0", "a1", "b0")]
    assert results[0] == results[1] == results[2]
    assert any(results[0])


def test_a_model_is_loaded_once_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(device="cpu", models="embedded")
    entry = store.entries_for([ObjectType.PERSON])[0]
    load, loaded = DETECTORS[entry.loader], []

    def counted(*args: Any) -> Any:
        loaded.append(args)
        return load(*args)

    monkeypatch.setitem(DETECTORS, entry.loader, counted)
    got = []
    assert run_together([lambda: got.append(store.detector(entry.id))] * 4) == []
    assert len(got) == 4
    assert len({id(detector) for detector in got}) == len(loaded) == 1


class WatchedFrame(DecodedFrame):
    """A decoded frame that weak references can watch."""

    __slots__ = ("__weakref__",)


def test_no_full_size_frames_wait_for_slow_detectors(monkeypatch: pytest.MonkeyPatch, clip: Path, folder: Path) -> None:
    counts: list[int] = []
    alive = weakref.WeakSet[DecodedFrame]()

    def decoded(*fields: Any) -> DecodedFrame:
        alive.add(frame := WatchedFrame(*fields))
        return frame

    def during() -> None:
        # long enough for the decoder to fill all queues
        time.sleep(0.1)
        counts.append(len(alive))

    monkeypatch.setattr(frame_decoder, "DecodedFrame", decoded)
    torch.set_num_threads(2)
    try:
        Anonymizer(store=FakeStore(MagentaDetector(during=during))).video(clip, folder, Options(save_mask="none"))
    finally:
        torch.set_num_threads(1)
    assert len(counts) >= FRAMES / 4
    # those of the second reading: between its stages, in them, and in its decoder
    assert max(counts) <= 2 * rendering._QUEUE_SIZE + 6
