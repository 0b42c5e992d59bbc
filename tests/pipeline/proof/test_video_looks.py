"""`verify` of videos: detectors look again at frames of the finished file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, ObjectType, Options
from anonymizer.pipeline.audit import finished_video
from anonymizer.pipeline.audit.frame_drawing import draw_frames
from anonymizer.pipeline.errors import Cancelled, VerificationFailed
from anonymizer.pipeline.media_kinds import sniff
from anonymizer.pipeline.results import VideoResult
from anonymizer.pipeline.review.edits import ObjectRef, parse_review
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.video.review.base import BaseFiles
from anonymizer.pipeline.video.review.kept import KeptVideo
from anonymizer.pipeline.video.review.work import plan_review
from tests.fakes import FakeDetector, FakeStore
from tests.pipeline.video.test_sabotage import made

pytestmark = pytest.mark.slow

FRAMES = 40
CLEAR, FAINT, THIRD = (30, 20, 90, 90), (200, 60, 260, 120), (120, 20, 180, 80)


@dataclass
class FaintFace(FakeDetector):
    """Detects one face clearly, and another one with a score below its threshold, above half of it."""

    boxes: Sequence[tuple[int, int, int, int]] = (CLEAR, FAINT)

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.calls += 1
        found = Detections(np.array(self.boxes, np.float32), [0.9, 0.3], [0, 0], ["fake"] * 2)
        return [found] * len(images)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("clip") / "clip.mp4", FRAMES)


@pytest.fixture
def anonymizer() -> Anonymizer:
    return Anonymizer(store=FakeStore(FaintFace()), noise_key=b"key")


def brightness(path: Path, box: tuple[int, int, int, int]) -> list[float]:
    x1, y1, x2, y2 = box
    with av.open(str(path)) as container:
        return [float(frame.to_ndarray(format="gray")[y1:y2, x1:x2].mean()) for frame in container.decode(video=0)]


def work(anonymizer: Anonymizer, clip: Path, folder: Path, **options: object) -> VideoResult:
    return anonymizer.video(clip, folder, Options(method="blacken", face=True, **options))  # type: ignore[arg-type]


@dataclass
class FaceOnlyBesideBlack(FaintFace):
    """Detects a third face faintly, once the second one is black."""

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        found = super().detect(images, side)
        x1, y1, x2, y2 = FAINT
        third = Detections(np.array([THIRD], np.float32), [0.3], [0], ["fake"])
        return [
            Detections.merge([each, third]) if image[y1:y2, x1:x2].mean() < 25 else each
            for image, each in zip(images, found, strict=True)
        ]


@pytest.mark.parametrize("more", [{}, {"keep_bit_rate": True}])
def test_what_the_look_finds_is_followed_and_redacted_in_all_frames(
    anonymizer: Anonymizer, clip: Path, tmp_path: Path, more: dict[str, bool]
) -> None:
    result = work(anonymizer, clip, tmp_path, verify=True, **more)
    assert result.anonymised is not None
    for box in (CLEAR, FAINT):
        dark = brightness(result.anonymised, box)
        assert len(dark) == FRAMES
        assert max(dark) < 25
    assert result.verification is not None
    assert (result.verification.looks, result.verification.frames) == (2, 24)
    assert any("only when the finished video was looked at again" in warning for warning in result.warnings)
    frames = json.loads(result.metadata.read_text())
    assert [frame["id"] for frame in frames] == list(range(FRAMES))
    for frame in frames:
        assert sorted(each["source"] for each in frame["detections"]) == ["detector", "verification"]
    content = result.receipt(clip).content
    # one object, though it was seen in each of the frames
    assert content["verification"]["added"] == {"face": 1}
    assert result.counts == {"face": 2}
    assert content["analysed"]["frames"] == FRAMES


def test_without_the_option_nothing_is_looked_at_and_strict_fails(
    anonymizer: Anonymizer, clip: Path, tmp_path: Path
) -> None:
    result = work(anonymizer, clip, tmp_path)
    assert result.verification is None
    assert result.anonymised is not None
    assert min(brightness(result.anonymised, FAINT)) > 60
    with pytest.raises(VerificationFailed, match=r"still shows objects: at .* s and in 24 frame\(s\) in all: a face"):
        work(anonymizer, clip, tmp_path, verify="strict")
    assert list(tmp_path.iterdir()) == []
    lower = work(anonymizer, clip, tmp_path, verify="strict", face_threshold=0.25)
    assert lower.verification is not None
    assert (lower.verification.looks, lower.verification.added) == (1, {})


def test_what_shows_only_in_the_second_rendering_is_redacted_by_a_third(clip: Path, tmp_path: Path) -> None:
    result = work(Anonymizer(store=FakeStore(FaceOnlyBesideBlack()), noise_key=b"key"), clip, tmp_path, verify=True)
    assert result.anonymised is not None
    for box in (CLEAR, FAINT, THIRD):
        assert max(brightness(result.anonymised, box)) < 25
    assert result.verification is not None
    assert (result.verification.looks, result.verification.added) == (3, {"face": 2})
    ids = {row["track_id"] for frame in json.loads(result.metadata.read_text()) for row in frame["detections"]}
    assert len(ids) == 3


def test_what_stays_after_all_renderings_fails(
    anonymizer: Anonymizer, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished_video, "follow_finds", lambda *_: iter(()))
    with pytest.raises(VerificationFailed):
        work(anonymizer, clip, tmp_path, verify=True)
    assert list(tmp_path.iterdir()) == []


def test_the_look_can_be_stopped(
    anonymizer: Anonymizer, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking: list[bool] = []
    right = finished_video.look_at_frames

    def look(*args: object) -> object:
        looking.append(True)
        return right(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(finished_video, "look_at_frames", look)
    monkeypatch.setattr("anonymizer.pipeline.video.job._PROGRESS_S", 0.0)
    with pytest.raises(Cancelled):
        anonymizer.video(clip, tmp_path, Options(verify=True), stop=lambda: bool(looking))
    assert list(tmp_path.iterdir()) == []


def test_the_draw_follows_from_the_checksum(clip: Path) -> None:
    info = sniff(clip.read_bytes()[:4096])
    first, same, other = (draw_frames(clip, info, 24, seed) for seed in ("a", "a", "b"))
    assert first == same != other
    assert len(first[0]) == 24
    assert first[0] <= set(range(FRAMES))
    assert len(draw_frames(clip, info, 100, "a")[0]) == FRAMES


def test_types_that_were_not_asked_for_are_not_looked_for(clip: Path, tmp_path: Path) -> None:
    anonymizer = Anonymizer(store=FakeStore(FaintFace()), noise_key=b"key")
    result = anonymizer.video(clip, tmp_path, Options(license_plate=True, verify="strict"))
    assert result.counts == {ObjectType.LICENSE_PLATE.value: 0}
    assert result.verification is not None


class Reviewed:
    """A video, its first version without a look, and reviews of it with one."""

    def __init__(self, anonymizer: Anonymizer, clip: Path, folder: Path) -> None:
        self.anonymizer, self.clip, self.folder = anonymizer, clip, folder
        (folder / "first").mkdir()
        self.first = anonymizer.video(clip, folder / "first", options(), keep=True)
        assert self.first.kept is not None
        assert self.first.anonymised is not None
        self.kept = KeptVideo.load(self.first.kept)

    def review(self, verify: str, **body: object) -> VideoResult:
        def key_of(name: str, reference: ObjectRef) -> str:
            return f"t{reference.number}"

        state = ReviewState().apply(parse_review(body).edits, key_of)
        assert self.first.anonymised is not None
        base = BaseFiles(self.first.anonymised, self.first.info, self.first.metadata, ())
        info = sniff(self.clip.read_bytes()[:4096])
        work = plan_review((self.clip, info), self.kept, (ReviewState(), state), options(verify=verify), base)
        place = self.folder / f"version-{len(list(self.folder.iterdir()))}"
        place.mkdir()
        return self.anonymizer.video(self.clip, place, work.after.options, review=work)


def options(**values: object) -> Options:
    return Options(method="blacken", face=True, save_mask="none", **values)  # type: ignore[arg-type]


def test_a_reviewed_version_is_looked_at_too_but_not_what_was_left_visible(
    anonymizer: Anonymizer, clip: Path, tmp_path: Path
) -> None:
    reviewed = Reviewed(anonymizer, clip, tmp_path)
    (candidate,) = reviewed.kept.candidates()
    tracks = {
        row["track_id"] for frame in json.loads(reviewed.first.metadata.read_text()) for row in frame["detections"]
    }
    (track,) = tracks
    # the clear face stays visible as the reviewer said; the faint one is found and redacted in all frames
    result = reviewed.review("true", visible=[{"track_id": track}])
    assert result.anonymised is not None
    assert min(brightness(result.anonymised, CLEAR)) > 60
    assert max(brightness(result.anonymised, FAINT)) < 25
    assert result.verification is not None
    assert result.verification.added == {"face": 1}
    # a later review names it by the id that the metadata give it
    (find,) = result.finds
    assert (find.source, find.start_s) == ("verification", 0.0)
    ids = {row["track_id"] for frame in json.loads(result.metadata.read_text()) for row in frame["detections"]}
    assert ids == {track, reviewed.kept.next_id}
    with pytest.raises(VerificationFailed):
        reviewed.review("strict", drop=[{"track_id": track}])
    # once there is a decision on each, nothing is left to find
    for body in (
        {"take": [{"candidate": candidate}]},
        {"take": [{"candidate": candidate}], "visible": [{"track_id": candidate}]},
    ):
        result = reviewed.review("strict", **{"visible": [], **body})
        assert result.verification is not None
        assert (result.verification.looks, result.verification.added) == (1, {})
