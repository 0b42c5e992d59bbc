"""The burst test: whole bursts of 10 frames without detections, while the camera stands still, shakes or pans."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer import Detections, ObjectType
from anonymizer.evaluation.video.dropout_test import Recording, bursts, dropout_test, share_of_frames
from anonymizer.evaluation.video.moving_camera import CameraPath, move_camera, pan, shake
from tests.pipeline.tracking.scenes import texture

FACE = ObjectType.FACE
SIZE_HW, SMALL_HW, RATE, COUNT = (1080, 1920), (360, 640), 25, 50
#: faces of 28 to 60 pixels in a frame that is 1920 pixels wide
PLACES = [(500.0, 400.0, 528.0), (900.0, 300.0, 940.0), (1300.0, 700.0, 1360.0)]
BOXES = np.array([(x, y, right, y + right - x) for x, y, right in PLACES], np.float32)


@pytest.fixture(scope="module")
def recording() -> Recording:
    """A street with three faces that stand still, 25 frames a second."""
    street = texture(1, *SMALL_HW)
    for number, box in enumerate(np.round(BOXES / 3).astype(int)):
        x1, y1, x2, y2 = box
        street[y1:y2, x1:x2] = 255 - texture(number + 3, y2 - y1, x2 - x1)
    found = Detections(BOXES, np.full(3, 0.9), np.full(3, FACE.number), np.full(3, "made"))
    return Recording(SIZE_HW, [(number / RATE, found, street) for number in range(COUNT)])


@pytest.mark.parametrize("path", [shake(), pan(), pan(800 / 1920)], ids=["shake", "400", "800"])
def test_bursts_of_ten_frames_leave_little_bare(recording: Recording, path: CameraPath) -> None:
    moving = move_camera(recording, path)

    counts = dropout_test(moving, bursts(0.2, shortest=10), draws=2)
    flicker = dropout_test(moving, share_of_frames(0.2), draws=1)

    assert counts.without >= 0.2 and counts.objects >= 2 * 3 * COUNT * 0.9
    assert counts.tracked <= 0.02
    assert flicker.tracked <= 0.005


def test_bursts_have_the_length_that_is_asked_for() -> None:
    dropped = bursts(0.1, longest=10, shortest=10)(5000, np.random.default_rng(0))

    edges = np.flatnonzero(np.diff(dropped.astype(int), prepend=0, append=0))
    assert (edges[1::2] - edges[::2]).min() >= 10


def test_pictures_and_boxes_move_together(recording: Recording) -> None:
    moved = move_camera(recording, lambda at_s: (30 / 1920 * (at_s > 0), 60 / 1920 * (at_s > 0)))

    assert moved.size_hw == (810, 1440)
    (_, before, first), (_, after, second) = moved.frames[:2]
    assert np.allclose(before.boxes - after.boxes, [30, 60, 30, 60])
    assert first.shape == (270, 480)
    assert np.abs(first[20:, 10:].astype(int) - second[:-20, :-10]).max() <= 1


def test_what_leaves_the_window_is_cut_off_and_then_gone(recording: Recording) -> None:
    moved = move_camera(recording, lambda at_s: (250 / 1920 if at_s < 1 else 275 / 1920, 0))

    assert [len(found) for _, found, _ in moved.frames] == [3] * 25 + [2] * 25
    (_, found, _), *_ = moved.frames
    assert found.boxes[0].tolist() == pytest.approx([10, 265, 38, 293])


@pytest.mark.parametrize("at_s", [0.0, 0.3, 1.7, 20.0])
def test_paths_stay_near_the_middle(at_s: float) -> None:
    for path, reach in ((shake(), 8 / 1920), (pan(), 0.1), (pan(800 / 1920, 0.2), 0.2)):
        x, y = path(at_s)
        assert abs(x) <= reach + 1e-9 and abs(y) <= reach + 1e-9
    (x, _), (later, _) = pan()(0.01), pan()(0.02)
    assert 1920 * abs(later - x) / 0.01 == pytest.approx(400)
