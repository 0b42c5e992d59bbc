"""A renderer or an encoder that leaves faces bare: no such video becomes a result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, ObjectType, Options
from anonymizer.pipeline.errors import Cancelled, EncoderFailed
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import PlaneFormat, frame_planes, redact_planes
from anonymizer.pipeline.results import VideoProgress
from anonymizer.pipeline.video import job, rendering, verify_file
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.io.writer import VideoWriter
from anonymizer.pipeline.video.verify_file import FrameSample, FrameSamples
from anonymizer.pipeline.video.verify_frame import check_frame
from tests.clip_compare import pictures
from tests.fakes import FakeDetector, FakeStore

#: x1, y1, x2, y2 of a large face and of five small ones
LARGE = (30, 20, 150, 160)
SMALL = tuple((180 + 28 * (number % 4), 20 + 40 * (number // 4), 196 + 28 * (number % 4), 40 + 40 * (number // 4))
              for number in range(5))  # fmt: skip
SIZE_WH = (320, 180)
METHODS = ("blur", "pixelate", "blacken")

#: what stands in for `redact_planes`: it gets the number of the call, and the function's own arguments
Fault = Callable[..., None]

pytestmark = pytest.mark.slow


@dataclass
class FixedBoxes(FakeDetector):
    """Detects the same faces in every frame."""

    boxes: Sequence[tuple[int, int, int, int]] = (LARGE, *SMALL)
    kind: ObjectType = ObjectType.FACE

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.calls += 1
        self.during()
        n = len(self.boxes)
        found = Detections(np.array(self.boxes, np.float32), [0.9] * n, [self.kind.number] * n, ["fake"] * n)
        return [found] * len(images)


def made(path: Path, frames: int, *, detail: float = 40, brightness: float = 120, codec: str = "libx264") -> Path:
    """A clip of a scene that stands still, with detail of a few pixels everywhere, and a little noise in each frame."""
    rng = np.random.default_rng(8)
    width, height = SIZE_WH
    coarse = rng.normal(brightness, detail, (height // 4, width // 4, 3))
    scene = np.kron(coarse, np.ones((4, 4, 1)))
    options = {"preset": "ultrafast", "crf": "18"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            noisy = scene + rng.normal(0, min(detail / 10, 2), scene.shape)
            frame = av.VideoFrame.from_ndarray(np.clip(noisy, 0, 255).astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def bare(wrong_at: Callable[[int], bool], rows: Sequence[int] | None = None) -> Fault:
    """A fault that leaves some regions as they are, in some frames; rows: of the boxes, default: all."""

    def redact(number: int, planes: Any, form: PlaneFormat, regions: Sequence[RedactionRegion], seeds: Sequence[int],
               *others: Any) -> None:  # fmt: skip
        kept = [
            (region, seed)
            for region, seed in zip(regions, seeds, strict=True)
            if not wrong_at(number) or (rows is not None and region.row not in rows)
        ]
        redact_planes(planes, form, [region for region, _ in kept], [seed for _, seed in kept], *others)

    return redact


def weak(number: int, planes: Any, *others: Any) -> None:
    """Every region keeps three quarters of its source."""
    before = [plane.astype(int) for plane in planes]
    redact_planes(planes, *others)
    for plane, was in zip(planes, before, strict=True):
        plane[...] = (plane + 3 * was) // 4


def half(number: int, planes: Any, form: PlaneFormat, regions: Sequence[RedactionRegion], *others: Any) -> None:
    """The lower half of the large face stays as it is."""
    x1, y1, x2, y2 = LARGE
    lower = slice((y1 + y2) // 2, y2), slice(x1, x2)
    before = planes[0][lower].copy()
    redact_planes(planes, form, regions, *others)
    planes[0][lower] = before


def colours(number: int, planes: Any, *others: Any) -> None:
    """Colours stay as they are."""
    before = [plane.copy() for plane in planes[1:]]
    redact_planes(planes, *others)
    for plane, was in zip(planes[1:], before, strict=True):
        plane[...] = was


def brighter(number: int, planes: Any, *others: Any) -> None:
    """Every pixel is brighter by one step, which nobody sees."""
    planes[0][...] = np.minimum(planes[0], 254) + 1


FAULTS: dict[str, Fault] = {
    "nothing is redacted": bare(lambda _: True),
    "a large face in every odd frame": bare(lambda number: number % 2 == 1, [0]),
    "frames that are no multiples of 16": bare(lambda number: number % 16 != 0),
    "one small face in one frame": bare(lambda number: number == 29, [3]),
    "four of five small faces": bare(lambda _: True, [1, 2, 3, 4]),
    "half of a face": half,
    "the colours": colours,
    "all is a little brighter": brighter,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return made(tmp_path / "clip.mp4", 32)


def anonymizer(**changes: Any) -> Anonymizer:
    return Anonymizer(store=FakeStore(FixedBoxes(**changes)))


def sabotage(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    """Replace what redacts a frame."""
    calls = iter(range(1_000_000))
    monkeypatch.setattr(rendering, "redact_planes", lambda *args: fault(next(calls), *args))


class TestRenderer:
    @pytest.mark.parametrize(
        ("fault", "method"),
        [*((fault, "blur") for fault in FAULTS), ("nothing is redacted", "pixelate"), ("half of a face", "blacken"),
         ("one small face in one frame", "pixelate"), ("one small face in one frame", "blacken")],
    )  # fmt: skip
    def test_what_stays_bare_is_no_result(
        self, monkeypatch: pytest.MonkeyPatch, source: Path, folder: Path, fault: str, method: str
    ) -> None:
        sabotage(monkeypatch, FAULTS[fault])
        with pytest.raises(EncoderFailed, match=r"Frame \d+ was not redacted as it should be at the face at x \d+"):
            anonymizer().video(source, folder, Options(method=method))
        assert list(folder.iterdir()) == []

    def test_187_of_200_frames(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
        sabotage(monkeypatch, bare(lambda number: number >= 13))
        with pytest.raises(EncoderFailed, match="Frame 13 was not redacted"):
            anonymizer().video(made(tmp_path / "clip.mp4", 200), folder, Options(save_mask="none"))

    @pytest.mark.parametrize("fault", ["nothing is redacted", "one small face in one frame"])
    def test_plates(self, monkeypatch: pytest.MonkeyPatch, source: Path, folder: Path, fault: str) -> None:
        sabotage(monkeypatch, FAULTS[fault])
        with pytest.raises(EncoderFailed, match="not redacted as it should be at the license plate"):
            anonymizer(kind=ObjectType.LICENSE_PLATE).video(source, folder)

    def test_a_weak_mixture(self, monkeypatch: pytest.MonkeyPatch, source: Path, folder: Path) -> None:
        sabotage(monkeypatch, weak)
        with pytest.raises(EncoderFailed, match="Frame 0 was not redacted"):
            anonymizer().video(source, folder)

    def test_frames_with_drawings_of_debug(self, monkeypatch: pytest.MonkeyPatch, source: Path, folder: Path) -> None:
        sabotage(monkeypatch, FAULTS["nothing is redacted"])
        with pytest.raises(EncoderFailed, match="Frame 0 was not redacted"):
            anonymizer().video(source, folder, Options(debug=True))


class TestRightOnes:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(("detail", "brightness"), [(40, 120), (0, 0), (0, 255), (0.7, 16), (3, 250), (127, 128)])
    def test_flat_black_and_white_faces_pass(
        self, tmp_path: Path, folder: Path, method: str, detail: float, brightness: float
    ) -> None:
        source = made(tmp_path / "clip.mp4", 10, detail=detail, brightness=brightness)
        for kind in (ObjectType.FACE, ObjectType.LICENSE_PLATE):
            result = anonymizer(kind=kind).video(source, folder, Options(method=method, save_mask="none"))
            assert result.review_counts["frames_redacted"] == 10

    def test_a_video_that_was_redacted_before_passes_again(self, source: Path, tmp_path: Path) -> None:
        # the noise of each key is another one: what is left of the cells' edges differs by chance
        for number, method in enumerate((*["pixelate"] * 5, "blacken", "blacken", "blur")):
            folder = tmp_path / str(number)
            folder.mkdir()
            result = anonymizer().video(source, folder, Options(method=method, save_mask="none"))
            assert result.anonymised is not None
            source = result.anonymised


class TestEncoder:
    """Here the renderer is right, and the fault lies between it and the file."""

    @staticmethod
    def sabotage(
        monkeypatch: pytest.MonkeyPatch, source: Path, wrong_at: Callable[[int], bool], boxes: Sequence[tuple[int, ...]]
    ) -> None:
        originals = [frame.to_ndarray() for frame in pictures(source)]
        encode, calls = VideoWriter.encode, iter(range(1_000_000))

        def faulty(self: VideoWriter, track: VideoTrack, picture: av.VideoFrame, *others: Any) -> None:
            number = next(calls)
            luma = frame_planes(picture)[0]
            for x1, y1, x2, y2 in boxes if wrong_at(number) else ():
                luma[y1:y2, x1:x2] = originals[number][y1:y2, x1:x2]
            encode(self, track, picture, *others)

        monkeypatch.setattr(VideoWriter, "encode", faulty)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        "boxes",
        [[LARGE], [(60, 60, 100, 100)], SMALL[1:], SMALL[2:3]],
        ids=["the large face", "a part of it", "four of five small ones", "one of them"],
    )
    def test_what_is_bare_in_the_file_is_no_result(
        self,
        monkeypatch: pytest.MonkeyPatch,
        source: Path,
        folder: Path,
        boxes: Sequence[tuple[int, ...]],
        method: str,
    ) -> None:
        self.sabotage(monkeypatch, source, lambda _: True, boxes)
        with pytest.raises(EncoderFailed, match=r"Frame \d+ of the result is not redacted"):
            anonymizer().video(source, folder, Options(method=method))
        assert list(folder.iterdir()) == []

    def test_every_odd_frame(self, monkeypatch: pytest.MonkeyPatch, source: Path, folder: Path) -> None:
        # 24 of 32 frames are compared
        self.sabotage(monkeypatch, source, lambda number: number % 2 == 1, [LARGE])
        with pytest.raises(EncoderFailed, match=r"Frame \d*[13579] of the result is not redacted"):
            anonymizer().video(source, folder)

    def test_187_of_200_frames(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
        source = made(tmp_path / "clip.mp4", 200)
        self.sabotage(monkeypatch, source, lambda number: number % 16 > 0, [LARGE, *SMALL])
        with pytest.raises(EncoderFailed, match=r"Frame \d+ of the result is not redacted"):
            anonymizer().video(source, folder, Options(save_mask="none"))


class TestProof:
    """How the proof of the file runs."""

    @pytest.fixture
    def began(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """When each frame began to be compared; a comparison takes 0.15 s longer than usual."""
        began: list[float] = []

        def slow(*args: Any, **others: Any) -> Any:
            began.append(time.monotonic())
            time.sleep(0.15)
            return check_frame(*args, **others)

        monkeypatch.setattr(verify_file, "check_frame", slow)
        return began

    def test_it_is_stopped_within_two_seconds_and_leaves_nothing(
        self, began: list[float], source: Path, folder: Path
    ) -> None:
        def stop() -> bool:
            return bool(began)

        with pytest.raises(Cancelled):
            anonymizer().video(source, folder, stop=stop)
        assert time.monotonic() - began[0] < 2
        assert list(folder.iterdir()) == []

    def test_it_reports_how_long_it_will_take(self, began: list[float], source: Path, folder: Path) -> None:
        told: list[tuple[float, VideoProgress]] = []
        anonymizer().video(source, folder, progress=lambda progress: told.append((time.monotonic(), progress)))
        assert len(began) == 24
        meanwhile = [progress for at, progress in told if at > began[0]]
        assert len(meanwhile) >= 4
        assert {(progress.frames, progress.total) for progress in meanwhile} == {(32, 32)}
        left = [progress.seconds_left for progress in meanwhile]
        assert None not in left
        assert left[-1] < left[0] < 30
        # no pause of more than two seconds
        times = [at for at, _ in told if at > began[0]]
        assert max(np.diff([began[0], *times])) < 2

    def test_with_keep_bit_rate_only_the_last_rendering_is_proven(
        self, monkeypatch: pytest.MonkeyPatch, source: Path, folder: Path
    ) -> None:
        renderings, proofs = [], []

        class Counted(rendering.Renderer):
            def start(self) -> None:
                renderings.append(self)
                super().start()

        monkeypatch.setattr(job, "Renderer", Counted)
        monkeypatch.setattr(job, "verify_file", lambda *args: (proofs.append(args), verify_file.verify_file(*args)))
        result = anonymizer().video(source, folder, Options(keep_bit_rate=True))
        assert result.anonymised is not None
        assert len(renderings) >= 2
        assert len(proofs) == 1

    def test_frames_are_drawn_by_chance_and_evenly(self) -> None:
        form = PlaneFormat(8, (0, 0), "gray", full_range=True)
        plane = np.zeros((8, 8), np.uint8)
        sample = FrameSample(plane, plane, "gray", form, (), 1)
        drawn = []
        for _ in range(200):
            samples = FrameSamples()
            for number in range(100):
                if samples.wants_next():
                    samples.keep((0, number), sample)
            drawn.append(tuple(number for number in range(100) if samples.get(0, number)))
        assert {len(numbers) for numbers in drawn} == {24}
        assert len(set(drawn)) > 190
        # each is expected 48 times
        counts = np.bincount(np.concatenate(drawn), minlength=100)
        assert counts.min() > 15
        assert counts.max() < 90

    def test_few_frames_are_kept_of_a_large_video(self) -> None:
        form = PlaneFormat(8, (0, 0), "gray", full_range=True)
        # 20 MiB, of which no page is touched
        plane = np.zeros((4096, 5120), np.uint8)
        samples = FrameSamples()
        for number in range(50):
            if samples.wants_next():
                samples.keep((0, number), FrameSample(plane, plane, "gray", form, (), 1))
        assert sum(samples.get(0, number) is not None for number in range(50)) == 2
