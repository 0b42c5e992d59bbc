"""Detail: sharp parts of a large image are covered by views, smooth and enlarged ones are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymizer.pipeline.detection.detail import BLOCK_PX, detail_map, detailed_views
from anonymizer.pipeline.detection.merging import View

SIDE = 320


def sharp(height: int, width: int) -> np.ndarray:
    """A picture with edges of all sizes: random rectangles."""
    rng, pixels = np.random.default_rng(2), np.full((height, width, 3), 90, np.uint8)
    for _ in range(height * width // 150):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        size = int(rng.integers(3, 12))
        pixels[y : y + size, x : x + size] = rng.integers(0, 256, 3)
    return pixels


def covered(views: list[View], height: int, width: int) -> np.ndarray:
    pixels = np.zeros((height, width), bool)
    for view in views:
        pixels[view.y1 : view.y2, view.x1 : view.x2] = True
    return pixels


def test_a_sharp_picture_has_detail_and_one_that_was_enlarged_has_none() -> None:
    small = sharp(200, 300)
    assert detail_map(small).mean() > 0.9
    for factor in (3, 5):
        enlarged = np.asarray(cv2.resize(small, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)
        assert detail_map(enlarged).mean() < 0.02
    assert not detail_map(np.full((200, 300, 3), 127, np.uint8)).any()


def test_views_cover_what_is_sharp_and_little_else() -> None:
    image = np.full((2000, 3000, 3), 120, np.uint8)
    image[500:900, 1000:2100] = sharp(400, 1100)
    image[1500:1580, 2500:2580] = sharp(80, 80)

    views = detailed_views(image, SIDE)

    assert all(max(view.x2 - view.x1, view.y2 - view.y1) == view.side <= SIDE for view in views)
    shown = covered(views, 2000, 3000)
    assert shown[500:900, 1000:2100].all()
    assert shown[1510:1570, 2510:2570].all()
    assert shown.mean() < 0.16


def test_neighbours_overlap_so_that_small_objects_lie_whole_in_one_view() -> None:
    image = sharp(700, 1300)
    views = detailed_views(image, SIDE)
    rng = np.random.default_rng(4)
    for _ in range(200):
        x, y = int(rng.integers(1300 - 60)), int(rng.integers(700 - 60))
        assert any(v.x1 <= x and v.y1 <= y and v.x2 >= x + 60 and v.y2 >= y + 60 for v in views)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 33), (5, 900)])
def test_images_of_odd_sizes_are_covered(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, ::3] = 255
    assert detail_map(image).shape == (-(-height // BLOCK_PX), -(-width // BLOCK_PX))
    assert covered(detailed_views(image, SIDE), height, width).all() == detail_map(image).all()
    assert detailed_views(np.full((height, width, 3), 9, np.uint8), SIDE) == []
