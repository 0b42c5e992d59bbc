from __future__ import annotations

import numpy as np

from anonymizer.pipeline.tracking.optical_flow import follow_boxes
from tests.pipeline.tracking.scenes import PICTURE_HW, at, picture


def test_boxes_are_followed_by_what_is_in_them() -> None:
    before, after = picture(at(100), at(300, 60)), picture(at(112, 164), at(300, 60))

    boxes, followed = follow_boxes(before, after, np.array([at(50, 80, 20), at(150, 30, 20)], np.float32))

    assert followed.all()
    assert np.abs(boxes - [at(56, 82, 20), at(150, 30, 20)]).max() < 0.5


def test_a_box_without_any_structure_is_not_followed() -> None:
    plain = np.full(PICTURE_HW, 90, np.uint8)
    noise = np.random.default_rng(7).integers(0, 256, (2, *PICTURE_HW), np.uint8)
    boxes = np.array([at(50, 80, 20), at(50, 80, 2), at(400, 80, 20)], np.float32)

    for before, after in ((plain, plain), noise):
        same, followed = follow_boxes(before, after, boxes)
        assert not followed.any()
        assert (same == boxes).all()
