"""What happens to the pixels of a region."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.options.regions import Region
from anonymizer.pipeline.outputs.masks import binary_mask
from anonymizer.pipeline.redaction.effects import DEFAULT_CELLS, MAX_CELLS, MIN_CELL_PX, cell_px, fade, grids, redact
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
METHODS = (Method.BLUR, Method.PIXELATE, Method.BLACKEN)
LAYOUTS = ((), (3,), (4,))


def found(boxes: Any, types: Any = PERSON) -> Detections:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    numbers = np.full(n, types.number) if isinstance(types, ObjectType) else np.array(types, np.uint8)
    return Detections(boxes, np.ones(n, np.float32), numbers, np.full(n, "test"))


def picture(height: int, width: int, *, channels: tuple[int, ...] = (3,), dtype: Any = np.uint8, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, (height, width, *channels), dtype, endpoint=True
    )


def pattern(size: int, seed: int) -> NDArray[np.uint8]:
    """16 x 16 random cells in the middle of a grey picture twice as large."""
    cells = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
    out = np.full((2 * size, 2 * size), 128, np.uint8)
    half = slice(size // 2, size // 2 + size)
    out[half, half] = cv2.resize(cells, (size, size), interpolation=cv2.INTER_NEAREST)
    return out


def correlation(size: int, object_type: ObjectType, seed: int = 0, **options: Any) -> float:
    before = pattern(size, seed)
    start, stop = size // 2, size // 2 + size
    asked = Options(**options)
    regions = redaction_regions(found([start, start, stop, stop], object_type), before.shape, asked)
    after = redact(before, regions, asked, seed=seed)
    pair = [each[start:stop, start:stop].astype(float).ravel() for each in (before, after)]
    return 0.0 if pair[1].std() == 0 else abs(float(np.corrcoef(*pair)[0, 1]))


class TestOutsideOfTheMask:
    @given(
        size_hw=st.tuples(st.integers(1, 60), st.integers(1, 60)),
        channels=st.sampled_from(LAYOUTS),
        dtype=st.sampled_from([np.uint8, np.uint16]),
        boxes=st.lists(st.tuples(*[st.floats(-20, 80, width=32)] * 4), max_size=4),
        types=st.lists(st.integers(0, 3), min_size=4, max_size=4),
        method=st.sampled_from(list(Method)),
        bbox=st.booleans(),
        margin=st.floats(0, 1),
        seed=st.integers(0, 2**64 - 1),
    )
    @settings(max_examples=100, deadline=None)
    def test_every_pixel_is_that_of_the_input(
        self,
        size_hw: Any,
        channels: Any,
        dtype: Any,
        boxes: Any,
        types: Any,
        method: Any,
        bbox: Any,
        margin: Any,
        seed: Any,
    ) -> None:
        before = picture(*size_hw, channels=channels, dtype=dtype, seed=seed)
        kept = before.copy()
        options = Options(method=method, bbox=bbox, margin=margin, ignores=(Region(5, 5, 9, 7),))
        regions = redaction_regions(found(boxes, types[: len(boxes)]), size_hw, options)
        after = redact(before, regions, options, seed=seed)
        mask = binary_mask(regions, size_hw) > 0
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        np.testing.assert_array_equal(before, kept)
        np.testing.assert_array_equal(after[~mask], before[~mask])
        np.testing.assert_array_equal(after[5:12, 5:14], before[5:12, 5:14])
        np.testing.assert_array_equal(after, redact(before, regions, options, seed=seed))
        if method is Method.DETECT:
            np.testing.assert_array_equal(after, before)
        if method is Method.BLACKEN:
            black = [0, 0, 0, np.iinfo(dtype).max] if channels == (4,) else 0
            assert (after[mask] == black).all()

    @pytest.mark.parametrize("method", Method)
    def test_no_region_gives_an_equal_copy(self, method: Method) -> None:
        before = picture(20, 30)
        after = redact(before, [], Options(method=method), seed=0)
        np.testing.assert_array_equal(after, before)
        assert not np.shares_memory(after, before)

    def test_a_view_that_may_not_be_written_is_fine(self) -> None:
        before = picture(40, 60)[::2, ::-1]
        before.flags.writeable = False
        options = Options(method=Method.BLACKEN, bbox=True, margin=0)
        after = redact(before, redaction_regions(found([5, 5, 10, 15]), (20, 60), options), options, seed=0)
        assert not after[5:15, 5:10].any()


class TestStrength:
    @pytest.mark.parametrize("size", [48, 96, 192, 384, 768])
    @pytest.mark.parametrize("object_type", [FACE, PLATE, PERSON])
    @pytest.mark.parametrize("method", METHODS)
    def test_little_is_left_at_any_size(self, method: Method, object_type: ObjectType, size: int) -> None:
        assert np.mean([correlation(size, object_type, seed, method=method) for seed in range(5)]) <= 0.15

    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    def test_no_setting_goes_under_the_floor(self, method: Method) -> None:
        weakest = {"method": method, "kernel_size_person": 0.0001, "margin": 0}
        values = [correlation(192, PERSON, seed, **weakest) for seed in range(10)]
        assert np.mean(values) <= MAX_CELLS[PERSON] / 16

    @pytest.mark.parametrize(
        ("kernel_size", "short_side", "expected"),
        [
            pytest.param(None, 300, 300 / DEFAULT_CELLS[PERSON], id="default"),
            pytest.param(None, 3000, 3000 / DEFAULT_CELLS[PERSON], id="default, ten times as large"),
            pytest.param(0.5, 300, 150, id="share"),
            pytest.param(1, 300, 300, id="one cell"),
            pytest.param(0.01, 300, 300 / MAX_CELLS[PERSON], id="share under the floor"),
            pytest.param(150, 300, 150, id="pixels"),
            pytest.param(10, 300, 300 / MAX_CELLS[PERSON], id="pixels under the floor"),
            pytest.param(None, 5, MIN_CELL_PX, id="tiny object"),
        ],
    )
    def test_the_side_of_a_cell(self, kernel_size: float | None, short_side: float, expected: float) -> None:
        region = RedactionRegion(0, 0, np.full((9, 9), 255, np.uint8), PERSON, short_side, 0)
        assert cell_px(region, Options(kernel_size_person=kernel_size)) == pytest.approx(expected)

    def test_pixelate_leaves_no_more_than_its_cells(self) -> None:
        options = Options(method=Method.PIXELATE, margin=0)
        after = redact(picture(90, 150), redaction_regions(found([0, 0, 150, 90]), (90, 150), options), options, seed=0)
        assert len(np.unique(after.reshape(-1, 3), axis=0)) <= 3 * 5

    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    def test_cells_are_means_and_not_samples(self, method: Method) -> None:
        before = (np.indices((96, 96)).sum(0) % 2 * 255).astype(np.uint8)
        options = Options(method=method, margin=0)
        after = redact(before, redaction_regions(found([0, 0, 96, 96]), (96, 96), options), options, seed=0)
        assert after.min() > 50
        assert after.max() < 205

    @pytest.mark.parametrize("size", [(4, 4), (1, 20), (6, 3)])
    def test_a_tiny_object_is_averaged_too(self, size: tuple[int, int]) -> None:
        options = Options(method=Method.PIXELATE, margin=0)
        before = picture(30, 30)
        box = [5, 5, 5 + size[0], 5 + size[1]]
        after = redact(before, redaction_regions(found(box), (30, 30), options), options, seed=0)[
            box[1] : box[3], box[0] : box[2]
        ]
        assert len(np.unique(after.reshape(-1, 3), axis=0)) <= size[0] * size[1] / MIN_CELL_PX

    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    def test_overlapping_objects_are_not_weaker(self, method: Method) -> None:
        options = Options(method=method)
        boxes = [[96, 96, 288, 288], [150, 150, 250, 250], [96, 96, 288, 288]]
        values = []
        for seed in range(5):
            before = pattern(192, seed)
            after = redact(before, redaction_regions(found(boxes), before.shape, options), options, seed=seed)
            inside = (slice(96, 288),) * 2
            values.append(np.corrcoef(before[inside].ravel(), after[inside].ravel())[0, 1])
        assert np.mean(values) <= 0.20


class TestNoise:
    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_another_seed_gives_another_result(self, method: Method, dtype: Any) -> None:
        options = Options(method=method)
        before = picture(60, 60, dtype=dtype)
        regions = redaction_regions(found([10, 10, 50, 50]), (60, 60), options)
        assert (redact(before, regions, options, seed=1) != redact(before, regions, options, seed=2)).any()

    def test_black_stays_dark_and_white_bright(self) -> None:
        options = Options(method=Method.PIXELATE, margin=0)
        regions = redaction_regions(found([0, 0, 60, 60]), (60, 60), options)
        assert redact(np.zeros((60, 60), np.uint8), regions, options, seed=0).max() < 100
        assert redact(np.full((60, 60), 255, np.uint8), regions, options, seed=0).min() > 155


class TestSoftEdge:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("channels", LAYOUTS)
    def test_it_fades_from_the_cells_inside_to_those_of_the_edge(self, dtype: Any, channels: Any) -> None:
        unit = np.iinfo(dtype).max // 255
        alpha = np.array([[0, 1, 51, 102, 204, 255]], np.uint8)
        inside, edge = (np.full((1, 6, *channels), value * unit, dtype) for value in (200, 100))
        mixed = fade(inside, edge, alpha).reshape(1, 6, -1) / unit
        assert mixed == pytest.approx(np.broadcast_to(100 + 100 * (alpha / 255)[..., None], mixed.shape), abs=1)
        assert (edge == 100 * unit).all()

    def test_its_cells_are_smaller_than_those_inside_but_never_under_the_floor(self) -> None:
        alpha = np.full((120, 120), 255, np.uint8)
        hard = RedactionRegion(0, 0, alpha, FACE, 100, 0)
        alpha = alpha.copy()
        alpha[0] = 9
        soft = RedactionRegion(0, 0, alpha, FACE, 100, 0)
        assert grids(hard, Options()) == [(3, 3)]
        assert grids(soft, Options()) == [(3, 3), (4, 4)]
        assert grids(soft, Options(kernel_size_face=0.01)) == [(4, 4), (4, 4)]

    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    def test_no_pixel_of_the_original_shines_through(self, method: Method) -> None:
        options = Options(method=method, face_anonymization_gradient_start=0.5)
        (region,) = redaction_regions(found([80, 80, 160, 160], FACE), (240, 240), options)
        ring = np.zeros((240, 240), bool)
        ring[region.crop] = (region.alpha > 0) & (region.alpha < 255)
        assert ring.sum() > 2000
        values = []
        for seed in range(8):
            before = np.random.default_rng(seed).integers(0, 256, (240, 240), np.uint8)
            after = redact(before, [region], options, seed=seed)
            values.append(np.corrcoef(before[ring], after[ring])[0, 1])
        assert abs(np.mean(values)) < 0.05


class TestPlates:
    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    @pytest.mark.parametrize("channels", LAYOUTS)
    def test_they_are_filled_with_the_colour_of_their_surroundings(self, method: Method, channels: Any) -> None:
        options, results = Options(method=method), []
        (region,) = redaction_regions(found([40, 40, 100, 60], PLATE), (120, 140), options)
        for plate in (0, 255):
            before = np.full((120, 140, *channels), 90, np.uint8)
            before[40:60, 40:100] = plate
            before[45:55, 50:90:8] = 255 - plate
            results.append(redact(before, [region], options, seed=plate))
        # whatever the plate shows, the result is the same
        np.testing.assert_array_equal(*results)
        assert (results[0] == 90).all()

    def test_a_plate_that_fills_the_image_is_grey(self) -> None:
        options = Options(method=Method.BLUR)
        regions = redaction_regions(found([0, 0, 60, 20], PLATE), (20, 60), options)
        after = redact(np.full((20, 60, 3), 255, np.uint8), regions, options, seed=0)
        assert (after == 127).all()

    @pytest.mark.parametrize("kernel_size", [None, 0.01, 3])
    def test_of_the_plate_itself_one_value_stays_at_most(self, kernel_size: float | None) -> None:
        options = Options(method=Method.PIXELATE, plate_fill="plate", kernel_size_license_plate=kernel_size, margin=0)
        regions = redaction_regions(found([40, 40, 100, 60], PLATE), (120, 140), options)
        after = redact(picture(120, 140), regions, options, seed=0)[40:60, 40:100]
        assert len(np.unique(after.reshape(-1, 3), axis=0)) == 1


class TestObjectsInObjects:
    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    @pytest.mark.parametrize("first", [0, 1])
    def test_the_larger_cells_are_seen_where_two_objects_overlap(self, method: Method, first: int) -> None:
        before = picture(240, 240)
        options = Options(method=method, bbox=True, margin=0)
        boxes, types = [[20, 20, 220, 220], [80, 40, 120, 80]], [PERSON.number, FACE.number]
        order = [first, 1 - first]
        both = redact(
            before,
            redaction_regions(found([boxes[row] for row in order], [types[row] for row in order]), (240, 240), options),
            options,
            seed=4,
        )
        alone = redact(before, redaction_regions(found([boxes[0]], PERSON), (240, 240), options), options, seed=4)
        np.testing.assert_array_equal(both, alone)

    def test_without_one_object_the_noise_of_the_others_stays_as_it_is(self) -> None:
        before, options = picture(120, 240), Options(method=Method.PIXELATE)
        boxes = [[10, 10, 60, 60], [100, 20, 150, 90], [180, 30, 220, 70]]
        all_three = redact(before, redaction_regions(found(boxes), (120, 240), options), options, seed=2)
        fewer = redact(before, redaction_regions(found(boxes[1:]), (120, 240), options), options, seed=2)
        np.testing.assert_array_equal(all_three[:, 80:], fewer[:, 80:])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param(
            np.indices((50, 20)).reshape(2, -1).T.repeat(2, 0).reshape(-1, 4) * 60 + [0, 0, 24, 24], id="1000"
        ),
        pytest.param([[0, 0, 4000, 3000]], id="one of 4000 x 3000"),
    ],
)
def test_many_small_objects_and_a_large_one_are_cheap(method: Method, boxes: Any) -> None:
    boxes = np.array(boxes, np.float32)
    boxes = np.hstack([boxes[:, :2], boxes[:, :2] + 24]) if len(boxes) > 1 else boxes
    options = Options(method=method)
    before = np.zeros((3000, 4000, 3), np.uint8)
    started = time.perf_counter()
    redact(before, redaction_regions(found(boxes, FACE), (3000, 4000), options), options, seed=0)
    assert time.perf_counter() - started < 3
