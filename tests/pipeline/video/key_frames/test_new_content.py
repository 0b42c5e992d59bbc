"""A frame shows something new where a block of it is in neither key frame, near the same place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.pipeline.video.key_frames.new_content import shows_new_content

NOTHING = np.empty((0, 4), np.float32)
Grey = NDArray[np.uint8]


def ground(seed: int = 1, size: tuple[int, int] = (363, 640)) -> Grey:
    noise = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.asarray(cv2.normalize(smooth, None, 60, 190, cv2.NORM_MINMAX), np.uint8)  # type: ignore[call-overload]


def with_patch(image: Grey, x: int, y: int, side: int) -> Grey:
    """A copy with a checked square, of which neither half is the same grey as the ground for long."""
    checked = np.kron([[0, 1], [1, 0]], np.ones((side // 2, side // 2))).astype(bool)
    copy = image.copy()
    copy[y : y + side, x : x + side] = np.where(checked, 250, 10)
    return copy


def test_the_same_picture_and_one_with_noise_show_nothing_new() -> None:
    image = ground()
    noisy = np.clip(image + np.random.default_rng(2).normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    assert not shows_new_content(image, (image, image), NOTHING)
    assert not shows_new_content(noisy, (image, image), NOTHING)


@pytest.mark.parametrize("at", [(300, 170), (0, 0), (632, 0), (0, 355), (631, 354), (305, 173)])
def test_a_small_object_is_new_wherever_it_is(at: tuple[int, int]) -> None:
    image = ground()
    assert shows_new_content(with_patch(image, *at, 8), (image, image), NOTHING)


def test_what_is_in_one_of_the_key_frames_near_the_same_place_is_not_new() -> None:
    image = ground()
    seen = with_patch(image, 300, 170, 16)
    moved = with_patch(image, 308, 165, 16)
    assert not shows_new_content(moved, (seen, seen), NOTHING)
    # one key frame has it, as the other has what it uncovers
    assert not shows_new_content(moved, (seen, image), NOTHING)
    assert shows_new_content(with_patch(image, 340, 170, 16), (seen, seen), NOTHING)


def test_what_known_objects_hold_does_not_count() -> None:
    image = ground()
    changed = with_patch(image, 304, 168, 16)
    assert not shows_new_content(changed, (image, image), np.array([[300, 160, 328, 192]], np.float32))
    # a box that holds a part of it only
    assert shows_new_content(changed, (image, image), np.array([[300, 160, 312, 192]], np.float32))


def test_a_camera_that_moves_little_shows_nothing_new_and_another_scene_does() -> None:
    wide = ground(size=(363, 700))
    assert not shows_new_content(wide[:, 3:643], (wide[:, :640], wide[:, 6:646]), NOTHING)
    assert shows_new_content(ground(3), (ground(), ground()), NOTHING)
