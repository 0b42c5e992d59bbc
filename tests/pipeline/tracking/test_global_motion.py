from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymizer.pipeline.tracking.global_motion import GlobalMotion, estimate_global_motion
from tests.pipeline.tracking.camera import (
    SMALL_HW,
    CameraPath,
    bare,
    clip,
    pan,
    shake,
    still,
    track,
)
from tests.pipeline.tracking.scenes import texture

HEIGHT, WIDTH = SMALL_HW
GROUND = texture(5, HEIGHT, WIDTH)
#: how many frames the detector is blind, and the first of them
BLIND, FIRST = 6, 14
MISSED = range(FIRST, FIRST + BLIND)


def moved(x: float = 0, y: float = 0, *, turn: float = 0, zoom: float = 1) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), turn, zoom)
    matrix[:, 2] += np.array([x, y])
    return np.asarray(matrix, np.float32)


def view(matrix: np.ndarray, image: np.ndarray = GROUND) -> np.ndarray:
    return cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def box_at(x: float, y: float, side: float = 12) -> np.ndarray:
    return np.array([[x, y, x + side, y + side]], np.float32)


@pytest.mark.parametrize(
    "matrix",
    [
        moved(),
        moved(0.4, -0.3),
        moved(9, 4),
        moved(-50, 3),
        moved(20, -60),
        moved(turn=2),
        moved(zoom=1.04),
        moved(-8, 5, turn=-1.5, zoom=0.97),
    ],
    ids=["still", "shiver", "shake", "pan", "tilt", "turn", "zoom", "all"],
)
def test_the_motion_of_the_camera_is_found(matrix: np.ndarray) -> None:
    motion = estimate_global_motion(GROUND, view(matrix))

    assert motion is not None and motion.share > 0.7
    places = np.array([[100, 100], [500, 80], [320, 300]], np.float32)
    wanted = places @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(motion.move_points(places) - wanted).max() < 0.5
    assert np.abs(motion.inverse().move_points(wanted.astype(np.float32)) - places).max() < 0.5


def test_boxes_move_and_grow_with_the_scene() -> None:
    motion = estimate_global_motion(GROUND, view(moved(7, -3, zoom=1.05)))

    assert motion is not None
    boxes, holds = motion.move_boxes(box_at(314, 174))
    assert holds.all()
    assert np.abs(boxes - box_at(320.7, 170.7, 12.6)).max() < 0.5


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_flat_picture_has_no_motion(grey: int) -> None:
    flat = np.full(SMALL_HW, grey, np.uint8)
    noisy = [np.clip(flat + np.random.default_rng(seed).normal(0, 2, SMALL_HW), 0, 255) for seed in (1, 2)]

    assert estimate_global_motion(flat, flat) is None
    assert estimate_global_motion(*(np.asarray(each, np.uint8) for each in noisy)) is None


def test_pictures_of_other_things_have_no_common_motion() -> None:
    assert estimate_global_motion(GROUND, texture(6, HEIGHT, WIDTH)) is None


def test_one_object_on_a_flat_ground_is_not_the_scene() -> None:
    flat = np.full(SMALL_HW, 100, np.uint8)
    before, after = flat.copy(), flat.copy()
    before[100:220, 200:320] = after[100:220, 214:334] = texture(7, 120, 120)

    assert estimate_global_motion(before, after) is None


@pytest.mark.parametrize("width", [200, 420])
def test_beside_a_truck_the_motion_is_that_of_the_scene_or_none(width: int) -> None:
    """The camera stands still. A truck drives through the picture, over a part of it or over most."""
    truck = 255 - texture(8, HEIGHT, WIDTH + 40)
    before, after = GROUND.copy(), GROUND.copy()
    before[:, :width], after[:, :width] = truck[:, 40 : 40 + width], truck[:, 15 : 15 + width]

    motion = estimate_global_motion(before, after)

    # where the truck is the larger part, its motion does not hold beside it
    assert motion is not None
    place = box_at(560, 170)
    boxes, holds = motion.move_boxes(place)
    assert bool(holds[0]) == (width == 200)
    if holds[0]:
        assert np.abs(boxes - place).max() < 0.5


def test_near_corners_tell_how_a_lens_bends_the_motion() -> None:
    """As through a wide lens, the border of the picture moves more than its middle."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    shift = 10 + 3 * ((x - WIDTH / 2) / (WIDTH / 2)) ** 2
    after = cv2.remap(GROUND, x - shift, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    motion = estimate_global_motion(GROUND, after)

    assert isinstance(motion, GlobalMotion)
    boxes, holds = motion.move_boxes(np.concatenate([box_at(320, 170), box_at(600, 170)]))
    assert holds.all()
    assert abs(boxes[0, 0] - 330) < 0.7 and abs(boxes[1, 0] - 612.3) < 0.9


@pytest.mark.parametrize("rate", [10, 25])
@pytest.mark.parametrize("side", [16, 28, 40])
@pytest.mark.parametrize(
    ("speed", "most"), [(0, 0), (400, 0), (800, 0), (1500, 1)], ids=["shake", "400", "800", "1500"]
)
def test_a_small_face_stays_covered_when_the_camera_moves(speed: float, most: int, side: float, rate: float) -> None:
    # the pan begins when the detector goes blind
    path: CameraPath = pan(speed, (FIRST - 0.5) / rate) if speed else shake
    frames = clip(path, side=side, rate=rate, count=FIRST + BLIND + 6)

    left = bare(frames, track(frames, MISSED, rate))

    assert len(left) <= most, left


@pytest.mark.parametrize("speed", [0, 400], ids=["shake", "400"])
def test_a_face_that_walks_stays_covered_when_the_camera_moves(speed: float) -> None:
    path: CameraPath = pan(speed, (FIRST - 0.5) / 25) if speed else shake
    frames = clip(path, side=28, rate=25, count=FIRST + BLIND + 6, walk=-150)

    assert bare(frames, track(frames, MISSED, 25)) == []


@pytest.mark.parametrize("walk", [500, -500])
def test_a_small_plate_that_moves_further_than_its_size_in_each_frame_is_one_object(walk: float) -> None:
    frames = clip(still, side=24, rate=10, count=18, walk=walk)
    inside = [number for number, (_, box) in enumerate(frames) if box[0] >= 0 and box[2] <= 1920]
    missed = {number for number in inside if 6 <= number < 12}

    assert set(bare(frames, track(frames, missed, 10))).isdisjoint(missed)


@pytest.mark.parametrize("path", [shake, pan(500)], ids=["shake", "pan"])
def test_lead_in_and_lead_out_follow_the_camera(path: CameraPath) -> None:
    frames = clip(path, side=28, rate=25, count=30)
    missed = {*range(30)} - {14, 15}

    left = bare(frames, track(frames, missed, 25))

    assert left == [0, 1, 28, 29]


def test_a_lead_in_goes_on_behind_the_border_from_which_the_camera_came_back() -> None:
    # the face is out of view in frames 7 and 8
    away = {6: 35.0, 7: 70.0, 8: 70.0, 9: 35.0}
    frames = clip(lambda at_s: (800 + away.get(round(25 * at_s), 0.0), 0.0), side=28, rate=25, count=24)

    left = bare(frames, track(frames, range(14), 25))

    assert set(left).isdisjoint({2, 3, 4, 5, 10, 11, 12, 13}), left


def test_a_face_that_the_camera_follows_is_not_taken_for_a_part_of_the_scene() -> None:
    frames = clip(pan(500), side=28, rate=25, count=26, walk=500)

    assert bare(frames, track(frames, MISSED, 25)) == []


def test_a_still_camera_costs_no_cover() -> None:
    frames = clip(still, side=28, rate=25, count=26)

    results = track(frames, MISSED, 25)

    assert bare(frames, results) == []
    widths = [float(np.ptp(each.boxes[0, ::2])) for each in results]
    assert max(widths) < 1.1 * 28
