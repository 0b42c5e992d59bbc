from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detection.turned import (
    QUARTERS,
    Orientation,
    look_at_orientations,
    same_objects,
    turn,
    turn_back,
)
from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from tests.pipeline.detection.upright import SIZE_HW, UprightDetector, drawn

FACE, PERSON = ObjectType.FACE, ObjectType.PERSON


def keep(detections: Detections, *, close: bool) -> Detections:
    assert not close
    return detections


def orientations(detector: UprightDetector, *images: Image) -> list[Orientation]:
    found = detector.detect(images, 320)
    detector.seen.clear()
    return look_at_orientations(images, found, [FACE], detector, keep)


class TestTurning:
    @pytest.mark.parametrize("quarters", [0, *QUARTERS])
    @given(st.integers(0, 30), st.integers(0, 20), st.integers(1, 9), st.integers(1, 9))
    def test_boxes_and_masks_come_back_to_their_places(
        self, quarters: int, x: int, y: int, width: int, height: int
    ) -> None:
        image = np.zeros((30, 40, 3), np.uint8)
        shape = np.random.default_rng(x).random((height, width)) < 0.5
        shape[0, 0] = True
        image[y : y + height, x : x + width, 0] = np.where(shape, 255, 0)
        image[y : y + height, x : x + width, 1] = 255
        turned = turn(image, quarters)
        rows, columns = np.flatnonzero(turned[..., 1].any(1)), np.flatnonzero(turned[..., 1].any(0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        pixels = turned[box[1] : box[3], box[0] : box[2], 0] == 255
        mask = Mask(int(box[0]), int(box[1]), pixels, "sam")

        found = turn_back(
            Detections([box], [0.5], [PERSON.number], ["a"], masks=(mask,)), quarters, (30, 40)  # type: ignore[arg-type]
        )  # fmt: skip

        assert found.boxes.tolist() == [[x, y, x + width, y + height]]
        (back,) = found.masks
        assert back is not None and back.source == "sam"
        assert np.array_equal(back.full((30, 40)), image[..., 0] == 255)

    def test_no_objects_stay_no_objects(self) -> None:
        assert len(turn_back(Detections.empty(), 1, SIZE_HW)) == 0

    def test_objects_are_the_same_if_type_and_place_are(self) -> None:
        box, near, far = (10, 10, 50, 50), (14, 10, 54, 50), (60, 10, 99, 50)
        objects = Detections([box, box, far], [0.5] * 3, [FACE.number, PERSON.number, FACE.number], ["a"] * 3)  # type: ignore[arg-type]
        others = Detections([near], [0.5], [FACE.number], ["a"])  # type: ignore[arg-type]

        assert same_objects(objects, others).tolist() == [True, False, False]
        assert same_objects(objects, Detections.empty()).tolist() == [False] * 3
        assert same_objects(Detections.empty(), others).tolist() == []


class TestLooking:
    def test_an_upright_picture_and_an_empty_one_need_no_turn(self) -> None:
        assert orientations(UprightDetector(), drawn((100, 100)), drawn()) == [Orientation()] * 2

    @pytest.mark.parametrize("quarters", QUARTERS)
    @pytest.mark.parametrize("size_hw", [SIZE_HW, (480, 300), (900, 1200), (50, 300)])
    def test_a_turned_picture_needs_the_turn_that_makes_it_upright(
        self, quarters: int, size_hw: tuple[int, int]
    ) -> None:
        image = np.asarray(cv2.resize(drawn((100, 100)), size_hw[::-1]), np.uint8)

        assert orientations(UprightDetector(), turn(image, quarters)) == [Orientation((4 - quarters,), may_lie=True)]

    def test_one_object_that_lies_among_upright_ones_is_enough(self) -> None:
        image = drawn((20, 40), (80, 40), (140, 40))
        image[120:240, 200:320] = turn(drawn((40, 40), size_hw=(120, 120)), 1)

        assert orientations(UprightDetector(), image) == [Orientation((3,), may_lie=False)]

    def test_types_that_are_not_asked_for_are_evidence_but_not_missed(self) -> None:
        detector, image = UprightDetector(PERSON), drawn((20, 40), (80, 40))
        image[120:240, 200:320] = turn(drawn((40, 40), size_hw=(120, 120)), 1)

        assert orientations(detector, image) == [Orientation()]
        assert orientations(detector, turn(drawn((20, 40)), 2)) == [Orientation((2,), may_lie=True)]

    def test_pictures_of_a_few_pixels_are_not_looked_at(self) -> None:
        detector = UprightDetector()

        assert orientations(detector, drawn(size_hw=(15, 200)), drawn(size_hw=(1, 1))) == [Orientation()] * 2
        assert detector.seen == []

    def test_pictures_of_one_size_share_a_batch_in_their_own_order(self) -> None:
        detector = UprightDetector()
        images = [turn(drawn((100, 100)), 1), drawn(size_hw=(64, 64)), drawn((100, 100)), turn(drawn((100, 100)), 2)]

        seen = orientations(detector, *images)

        assert [each.turns for each in seen] == [(3,), (), (), (2,)]
        # one for the whole images, one for each size of copies
        assert detector.calls == 3

    def test_the_copies_fit_a_detector_of_fixed_size(self) -> None:
        detector = UprightDetector(tile_side=320)

        large = np.asarray(cv2.resize(drawn((100, 100)), (4000, 3000)), np.uint8)
        (orientation,) = orientations(detector, turn(large, 3))

        ((shape, side),) = detector.seen
        assert max(shape) == side <= 320
        assert orientation.turns == (1,)
