"""The masks that come out beside a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs.masks import binary_mask, instance_mask, rle, scaled
from anonymizer.pipeline.redaction.effects import redact
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
SIZE_HW = (40, 50)


def block(x: int, y: int, width: int, height: int, object_type: ObjectType = FACE, row: int = 0) -> RedactionRegion:
    return RedactionRegion(x, y, np.full((height, width), 255, np.uint8), object_type, float(min(width, height)), row)


class TestBinaryMask:
    def test_no_shape_gives_black(self) -> None:
        assert not binary_mask([], SIZE_HW).any()

    def test_any_strength_is_white(self) -> None:
        mask = binary_mask([RedactionRegion(1, 2, np.array([[0, 1, 255]], np.uint8), FACE, 1.0, 0)], SIZE_HW)
        assert mask[2, :5].tolist() == [0, 0, 255, 255, 0]
        assert mask.sum() == 2 * 255

    @given(boxes=st.lists(st.tuples(*[st.floats(-10, 60, width=32)] * 4), max_size=5), kind=st.integers(0, 3))
    @settings(max_examples=40, deadline=None)
    def test_it_is_what_blacken_changes(self, boxes: Any, kind: int) -> None:
        n = len(boxes)
        detections = Detections(
            np.array(boxes, np.float32).reshape(n, 4), np.ones(n), np.full(n, kind), np.full(n, "test")
        )
        options = Options(method=Method.BLACKEN)
        where = redaction_regions(detections, SIZE_HW, options)
        white = np.full(SIZE_HW, 255, np.uint8)
        np.testing.assert_array_equal(binary_mask(where, SIZE_HW), 255 - redact(white, where, options, seed=0))


class TestInstanceMask:
    def test_no_shape_gives_black(self) -> None:
        assert instance_mask([], SIZE_HW).shape == (*SIZE_HW, 3)
        assert not instance_mask([], SIZE_HW).any()

    @pytest.mark.parametrize(
        ("object_type", "flag", "legacy"), [(FACE, 32, 192), (PLATE, 64, 64), (PERSON, 128, 128), (VEHICLE, 16, 255)]
    )
    def test_green_is_the_number_and_blue_the_type(self, object_type: ObjectType, flag: int, legacy: int) -> None:
        parts = [block(0, 0, 5, 5, object_type), block(10, 10, 5, 5, object_type, row=1)]
        assert instance_mask(parts, SIZE_HW)[12, 12].tolist() == [0, 2, flag]
        assert instance_mask(parts, SIZE_HW, legacy=True)[2, 2].tolist() == [0, 1, legacy]

    def test_where_objects_overlap_the_later_number_stands_and_types_are_joined(self) -> None:
        parts = [block(0, 0, 20, 20, PERSON), block(10, 10, 20, 20, FACE, row=1)]
        assert instance_mask(parts, SIZE_HW)[15, 15].tolist() == [0, 2, 160]
        assert instance_mask(parts, SIZE_HW, legacy=True)[15, 15].tolist() == [0, 2, 192]

    def test_an_object_keeps_its_number_where_one_before_it_is_not_redacted(self) -> None:
        assert instance_mask([block(0, 0, 5, 5, row=3)], SIZE_HW)[2, 2, 1] == 4

    def test_after_255_it_counts_from_1_again(self) -> None:
        parts = [block(n % 50, n // 50, 1, 1, row=n) for n in range(257)]
        green = instance_mask(parts, SIZE_HW)[..., 1].ravel()[:257]
        assert green.tolist() == [*range(1, 256), 1, 2]


class TestScaled:
    @pytest.mark.parametrize(
        ("percent", "size_hw"), [(100, (40, 50)), (50, (20, 25)), (33, (13, 16)), (99, (40, 50)), (1, (1, 1))]
    )
    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_the_size(self, percent: int, size_hw: tuple[int, int], channels: tuple[int, ...]) -> None:
        assert scaled(np.zeros((*SIZE_HW, *channels), np.uint8), percent).shape == (*size_hw, *channels)

    @given(y=st.integers(0, 39), x=st.integers(0, 49), percent=st.integers(1, 100))
    @settings(max_examples=60, deadline=None)
    def test_one_white_pixel_stays(self, y: int, x: int, percent: int) -> None:
        mask = np.zeros(SIZE_HW, np.uint8)
        mask[y, x] = 255
        assert scaled(mask, percent).sum() == 255

    @pytest.mark.parametrize("percent", [7, 50, 83])
    def test_an_instance_mask_gets_no_new_values(self, percent: int) -> None:
        parts = [block(3 * n, 2 * n, 9, 9, OBJECT_TYPES[n % 4]) for n in range(12)]
        mask = instance_mask(parts, SIZE_HW)
        colours = {tuple(each) for each in mask.reshape(-1, 3)}
        assert {tuple(each) for each in scaled(mask, percent).reshape(-1, 3)} <= colours


class TestRle:
    @staticmethod
    def decoded(shape: RedactionRegion, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        code = rle(shape, size_hw)
        assert code["size"] == list(size_hw)
        return np.asarray(coco.decode(code)) > 0

    @given(
        size_hw=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        corner=st.tuples(st.integers(0, 29), st.integers(0, 29)),
        crop_hw=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        density=st.sampled_from([0.1, 0.5, 0.95, 1.0]),
        seed=st.integers(0, 1000),
    )
    @settings(max_examples=100, deadline=None)
    def test_coco_reads_it_back_and_would_write_the_same(
        self, size_hw: Any, corner: Any, crop_hw: Any, density: float, seed: int
    ) -> None:
        y, x = (min(at, side - 1) for at, side in zip(corner, size_hw, strict=True))
        height, width = min(crop_hw[0], size_hw[0] - y), min(crop_hw[1], size_hw[1] - x)
        alpha = (np.random.default_rng(seed).random((height, width)) < density) * np.uint8(7)
        shape = RedactionRegion(x, y, alpha, PERSON, 1.0, 0)
        whole = np.zeros(size_hw, np.uint8)
        whole[shape.crop] = alpha > 0
        np.testing.assert_array_equal(self.decoded(shape, size_hw), whole > 0)
        expected = coco.encode(np.asfortranarray(whole))["counts"]
        assert rle(shape, size_hw)["counts"] == (expected.decode() if isinstance(expected, bytes) else expected)

    def test_a_large_picture(self) -> None:
        size_hw = (6000, 4000)
        shape = block(1000, 2000, 3, 2)
        decoded = self.decoded(shape, size_hw)
        assert decoded.sum() == 6
        assert decoded[2000:2002, 1000:1003].all()
