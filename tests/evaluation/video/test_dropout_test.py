"""The dropout test: what is dropped, what is covered all the same, and what that costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymizer import Anonymizer, Detections, ObjectType, Options
from anonymizer.evaluation.video.dropout_test import (
    PICTURE_SIDE,
    Drop,
    Recording,
    bursts,
    covered_share,
    dropout_test,
    record_detections,
    share_of_frames,
    small_grey,
    union_area,
)
from tests.clip_maker import box_at, make
from tests.clip_zoo import CLIPS
from tests.fakes import FakeStore, MagentaDetector

PERSON = ObjectType.PERSON
BOX = [100.0, 60.0, 140.0, 140.0]
#: side by side, and one across both
LEFT, RIGHT, ACROSS = [0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0], [2.0, 0.0, 6.0, 4.0]


def boxes(*each: list[float]) -> np.ndarray:
    return np.array(each, np.float32).reshape(-1, 4)


def only(*frames: int) -> Drop:
    return lambda count, chance: np.isin(np.arange(count), frames)


@pytest.fixture
def recording() -> Recording:
    """A person that stands still for 20 frames, 10 a second, and another below the threshold."""
    found = Detections(boxes(BOX, [10, 10, 30, 50]), [0.9, 0.01], [PERSON.number] * 2, ["made"] * 2)
    picture = np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8)
    return Recording((240, 320), [(number / 10, found, picture) for number in range(20)])


@pytest.mark.parametrize(("dropped", "uncovered"), [((), 0), ((8,), 1), ((5, 6, 12), 3)])
def test_tracking_covers_what_was_dropped(recording: Recording, dropped: tuple[int, ...], uncovered: int) -> None:
    counts = dropout_test(recording, only(*dropped), draws=2)
    assert (counts.objects, counts.uncovered_without, counts.uncovered_with) == (40, 2 * uncovered, 0)
    assert (counts.without, counts.tracked) == (pytest.approx(uncovered / 20), 0)
    assert (counts.frames, counts.draws, counts.tracks) == (40, 2, 2)
    # boxes that are filled in are larger
    assert (counts.price > 0) == bool(dropped)


def test_without_tracking_what_was_dropped_stays_uncovered(recording: Recording) -> None:
    counts = dropout_test(recording, only(5, 6, 12), options=Options(no_object_tracking=True), draws=1)
    assert (counts.uncovered_without, counts.uncovered_with, counts.price) == (3, 3, 0)


def test_another_type_covers_nothing(recording: Recording) -> None:
    face = Detections(boxes([110, 70, 120, 80]), [0.9], [ObjectType.FACE.number], ["made"])
    frames = [
        (at, Detections.merge([found, face]) if number in (0, 19) else found, grey)
        for number, (at, found, grey) in enumerate(recording.frames)
    ]
    # tracked persons are covered throughout; the face of the first frame is dropped and seen again too late
    counts = dropout_test(Recording(recording.size_hw, frames), only(0), draws=1)
    assert (counts.objects, counts.uncovered_without, counts.uncovered_with) == (22, 2, 1)


def test_no_objects_and_no_frames_are_no_error(recording: Recording) -> None:
    empty = Recording((240, 320), [(at, Detections.empty(), grey) for at, _, grey in recording.frames])
    for each in (empty, Recording((240, 320), [])):
        counts = dropout_test(each, bursts(0.5))
        assert (counts.objects, counts.without, counts.tracked, counts.price) == (0, 0, 0, 0)


def test_the_same_draws_each_time(recording: Recording) -> None:
    one, two = (dropout_test(recording, share_of_frames(0.5), draws=2).uncovered_without for _ in range(2))
    assert 0 < one == two < 40


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_how_many_frames_are_dropped(share: float) -> None:
    chance = np.random.default_rng(0)
    assert share_of_frames(share)(5000, chance).mean() == pytest.approx(share, abs=0.02)
    in_runs = bursts(share, longest=6)(5000, chance)
    assert in_runs.mean() == pytest.approx(share, abs=0.002)
    starts = np.count_nonzero(np.diff(in_runs.astype(int), prepend=0) == 1)
    assert starts == 0 if not share else in_runs.sum() / starts > 2


@pytest.mark.parametrize(
    ("of", "area"), [(boxes(), 0), (boxes(LEFT), 16), (boxes(LEFT, LEFT), 16), (boxes(LEFT, RIGHT, ACROSS), 32)]
)
def test_the_area_of_boxes_together(of: np.ndarray, area: float) -> None:
    assert union_area(of) == area


@pytest.mark.parametrize(
    ("of", "share"), [(boxes(), 0), (boxes(LEFT), 0.5), (boxes(LEFT, RIGHT), 1), (boxes([50, 0, 60, 9]), 0)]
)
def test_the_share_that_is_covered(of: np.ndarray, share: float) -> None:
    assert covered_share(np.array(ACROSS, np.float32), of) == pytest.approx(share)


@pytest.mark.parametrize(("shape", "grey"), [((960, 1280, 3), (480, 640)), ((100, 60, 3), (100, 60))])
def test_small_grey_pictures(shape: tuple[int, ...], grey: tuple[int, int]) -> None:
    picture = small_grey(np.full(shape, 77, np.uint8))
    assert picture.shape == grey and max(grey) <= PICTURE_SIDE
    assert (picture == 77).all()


@pytest.mark.parametrize(("name", "size_wh"), [("variable-rate", (192, 144)), ("turned-90", (144, 192))])
def test_every_frame_of_a_clip_is_looked_at_once_upright(tmp_path: Path, name: str, size_wh: tuple[int, int]) -> None:
    finder = MagentaDetector()
    recording = record_detections(Anonymizer(store=FakeStore(finder)), make(CLIPS[name], tmp_path / name))
    assert recording.size_hw == size_wh[::-1] and len(recording.frames) == 30
    assert all(grey.shape == recording.size_hw for _, _, grey in recording.frames)
    times = [at for at, _, _ in recording.frames]
    assert times == sorted(set(times))
    for number, (_, found, _) in enumerate(recording.frames):
        assert np.abs(found.boxes - box_at(number, size_wh)).max() <= 2
        assert found.count_by_type() == {ObjectType.LICENSE_PLATE: 1}


def test_only_what_is_asked_for_is_looked_for(tmp_path: Path) -> None:
    clip = make(CLIPS["plain"], tmp_path / "clip")
    recording = record_detections(Anonymizer(store=FakeStore(MagentaDetector())), clip, object_types=[ObjectType.FACE])
    assert sum(len(found) for _, found, _ in recording.frames) == 0


def test_results_are_short_in_a_notebook(recording: Recording) -> None:
    assert repr(recording) == "Recording(20 frames of 320 x 240 pixels, 40 detections)"
    counts = dropout_test(recording, only(5, 6), options=Options(no_object_tracking=True), draws=1)
    assert repr(counts) == (
        "DropoutCounts(20 objects, uncovered: 10.0% without tracking, 10.0% with tracking, price: 0.0%)"
    )
    assert "<table>" in counts._repr_html_() and "10.0%" in counts._repr_html_()
