from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.pipeline.detection import batching
from anonymizer.pipeline.detection.batching import in_batches
from anonymizer.pipeline.detection.merging import AGREEMENT, MAX_OBJECTS, merge_views
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detection.windows import (
    VIDEO_WIDE,
    View,
    closest_scale,
    detect_windows,
    piece_side,
    plan_views,
    with_scales,
)
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, Mask, ObjectType
from anonymizer.pipeline.devices import resolve_device
from anonymizer.pipeline.errors import DetectorFailed, InvalidParameter, OutOfMemory, TooManyObjects
from anonymizer.pipeline.options.formats import Auto, Format, Pano, Thorough, Tiles, Whole

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
FORMATS = [Whole(), Auto(), Thorough(), Pano(2048), Tiles(3, 2, 0.2, 0.1)]


def objects(*boxes: Sequence[float], scores: Sequence[float] | None = None, kind: ObjectType = PLATE) -> Detections:
    n = len(boxes)
    values = np.full(n, 0.9) if scores is None else np.array(scores)
    return Detections(np.reshape(boxes, (n, 4)), values, np.full(n, kind.number), np.full(n, "fake"))


def bright(image: Image) -> Detections:
    """One object round all bright pixels."""
    y, x = np.nonzero(image.max(2) > 128)
    return objects((x.min(), y.min(), x.max() + 1, y.max() + 1)) if len(x) else Detections.empty()


class FakeDetector:
    """Finds with a function; keeps what it was given."""

    id = "fake"
    object_types = OBJECT_TYPES
    min_score = 0.1
    least_size = 8.0
    tile_side = 64
    device = "cpu"

    def __init__(self, run: Callable[[Image], Detections] = bright, least_whole: int = 0) -> None:
        self.run, self.least_whole = run, least_whole
        self.batches: list[int] = []
        self.looked: list[tuple[tuple[int, ...], int]] = []

    def scales(self, long_side: int) -> tuple[int, ...]:
        return (32, 128)

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        self.looked += [(image.shape, side) for image in images]
        return in_batches(self.id, self._run, images, pixels=side * side, device=self.device)

    def _run(self, images: Sequence[Image]) -> list[Detections]:
        self.batches.append(len(images))
        return [self.run(each) if max(each.shape) > self.least_whole else Detections.empty() for each in images]

    def warm_up(self) -> None:
        pass


def plain(height: int, width: int, *spots: tuple[int, int, int, int]) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in spots:
        image[y1:y2, x1:x2] = 255
    return image


def covered(size_hw: tuple[int, int], views: Sequence[View]) -> np.ndarray:
    seen = np.zeros(size_hw, int)
    for view in views:
        seen[view.y1 : view.y2, view.x1 : view.x2] += 1
    return seen


@pytest.mark.parametrize("how", FORMATS, ids=str)
def test_nothing_found_is_empty(how: Format) -> None:
    (found,) = detect_windows([plain(150, 300)], how, FakeDetector(), [PLATE])

    assert len(found) == 0


@pytest.mark.parametrize("how", FORMATS, ids=str)
@pytest.mark.parametrize("size_hw", [(1, 1), (40, 30), (150, 300), (90, 180)])
def test_the_whole_is_always_looked_at_at_each_scale(how: Format, size_hw: tuple[int, int]) -> None:
    views = plan_views(size_hw, how, FakeDetector())

    assert views[:2] == [View(0, 0, size_hw[1], size_hw[0], side) for side in (32, 128)]


@pytest.mark.parametrize("how", FORMATS, ids=str)
def test_a_plate_in_a_tile_is_mapped_back(how: Format) -> None:
    (found,) = detect_windows([plain(150, 300, (217, 93, 231, 99))], how, FakeDetector(), [PLATE])

    assert found.boxes.tolist() == [[217, 93, 231, 99]]


def test_types_that_were_not_asked_for_are_left_out() -> None:
    (found,) = detect_windows([plain(50, 50, (7, 9, 20, 20))], Whole(), FakeDetector(), [FACE])

    assert len(found) == 0


def test_each_picture_gets_its_own_objects() -> None:
    spots = [(3, 4, 9, 9), (200, 100, 230, 120), (10, 80, 30, 90)]

    found = detect_windows([plain(150, 300, each) for each in spots], Thorough(), FakeDetector(), [PLATE])

    assert [each.boxes.tolist() for each in found] == [[list(each)] for each in spots]


def test_no_picture_gives_no_result() -> None:
    assert detect_windows([], Thorough(), FakeDetector(), [PLATE]) == []


@given(st.integers(1, 700), st.integers(1, 700))
def test_thorough_tiles_cover_every_pixel_and_overlap(height: int, width: int) -> None:
    whole = plan_views((height, width), Whole(), FakeDetector())
    views = plan_views((height, width), Thorough(), FakeDetector())

    assert views[: len(whole)] == whole
    views = views[len(whole) :]
    if closest_scale((height, width), Whole(), FakeDetector()) >= 1:
        assert not views
        return
    assert (covered((height, width), views) > 0).all()
    tiles = [each for each in views if each.x2 - each.x1 <= 64 and each.y2 - each.y1 <= 64]
    for starts, length in (({each.x1 for each in tiles}, width), ({each.y1 for each in tiles}, height)):
        steps = np.diff(sorted(starts))
        assert (steps <= math.ceil(0.8 * 64)).all()
        assert max(starts) + 64 >= length


def test_thorough_looks_at_tiles_in_the_pictures_own_scale() -> None:
    tiles = plan_views((300, 500), Thorough(), FakeDetector())[2:]

    assert {(each.x2 - each.x1, each.y2 - each.y1, each.side) for each in tiles} == {(64, 64, 64)}


def test_thorough_leaves_no_wide_step_between_the_tiles_and_the_whole() -> None:
    views = plan_views((2100, 4096), Thorough(), FakeDetector())

    scales = sorted({each.side / max(each.x2 - each.x1, each.y2 - each.y1) for each in views})
    assert max(np.diff(np.log2(scales))) <= 2.6


@given(st.integers(1, 300), st.integers(1, 3000), st.booleans(), st.sampled_from([Whole(), Auto(), Thorough()]))
def test_a_wide_picture_is_looked_at_in_pieces_that_overlap(short: int, more: int, upright: bool, how: Format) -> None:
    long = 2 * short + more
    size_hw = (long, short) if upright else (short, long)

    views = plan_views(size_hw, how, FakeDetector())

    assert views[0] == View(0, 0, size_hw[1], size_hw[0], 32)
    least, pieces = max(short, 64), [each for each in views[1:] if each.side != 32]
    if isinstance(how, Thorough):
        pieces = [each for each in pieces if each.side == 128]
    ends = sorted({(each.y1, each.y2) if upright else (each.x1, each.x2) for each in pieces})
    assert all(end - start <= max(1.5 * least + 1, long / 2) or (start, end) == (0, long) for start, end in ends)
    assert (ends[0][0], max(end for _, end in ends)) == (0, long)
    for (start, end), (following, _) in itertools.pairwise(ends):
        assert end - following >= 0.5 * least - 1 or start == following
    assert (covered(size_hw, pieces) > 0).all()


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_no_picture_is_seen_smaller_in_pieces_than_as_a_whole(height: int, width: int) -> None:
    class Real(FakeDetector):
        def scales(self, long_side: int) -> tuple[int, ...]:
            return (256, 416, 640) if long_side <= 800 else (256, 416, 640, 1280)

    closest = closest_scale((height, width), Whole(), Real())

    assert closest >= max(Real().scales(max(height, width))) / max(height, width)


def test_given_tiles_and_panoramas_have_no_pieces() -> None:
    for how in (Tiles(2, 1, 0.1, 0.1), Pano(512)):
        views = plan_views((100, 900), how, FakeDetector())
        assert views[:2] == [View(0, 0, 900, 100, side) for side in (32, 128)]


def test_frames_of_a_video_are_in_pieces_only_beyond_three_to_one() -> None:
    detector = with_scales(FakeDetector(), (64,))  # type: ignore[arg-type]

    assert plan_views((100, 250), Whole(), detector) == [View(0, 0, 250, 100, 64)]
    assert len(plan_views((100, 350), Whole(), detector)) > 2
    assert (piece_side((100, 250), VIDEO_WIDE), piece_side((100, 350), VIDEO_WIDE)) == (250, 150)


def test_the_first_look_of_auto_at_a_large_picture_is_larger_where_it_finds_carriers() -> None:
    faces_only = FakeDetector()
    faces_only.object_types = (FACE,)  # type: ignore[assignment]

    assert [view.side for view in plan_views((400, 600), Auto(), FakeDetector())] == [32, 300]
    assert [view.side for view in plan_views((400, 600), Auto(), faces_only)] == [32, 128]
    assert [view.side for view in plan_views((4000, 6000), Auto(), FakeDetector())] == [32, 1920]
    assert [view.side for view in plan_views((150, 200), Auto(), FakeDetector())] == [32, 128]


def test_scores_in_enlarged_views_are_calibrated_apart() -> None:
    def calibrate(detections: Detections, *, close: bool) -> Detections:
        return replace(detections, scores=np.full(len(detections), 0.6 if close else 0.4))

    image = plain(150, 300, (217, 93, 231, 99))
    (tiled,) = detect_windows([image], Thorough(), FakeDetector(), [PLATE], calibrate)
    (whole,) = detect_windows([image], Whole(), FakeDetector(), [PLATE], calibrate)
    (first,) = detect_windows([image], Auto(), FakeDetector(), [PLATE], calibrate)

    assert [found.scores.tolist() for found in (tiled, whole, first)] == [
        [pytest.approx(score)] for score in (0.6, 0.4, 0.4)
    ]


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.builds(Tiles, st.integers(1, 32), st.integers(1, 32), st.floats(0, 0.9), st.floats(0, 0.9)),
)
def test_a_grid_of_tiles_covers_every_pixel(size_hw: tuple[int, int], tiles: Tiles) -> None:
    views = plan_views(size_hw, tiles, FakeDetector())[2:]

    assert (covered(size_hw, views) > 0).all()


def test_a_grid_has_as_many_tiles_as_were_asked_for() -> None:
    views = plan_views((200, 400), Tiles(4, 3, 0.2, 0.1), FakeDetector())[2:]

    assert len({(each.x1, each.y1) for each in views}) == 12


@given(st.integers(1, 300), st.integers(1, 600), st.integers(512, 2048))
def test_a_panorama_is_covered_across_its_seam(height: int, width: int, looked_at: int) -> None:
    views = plan_views((height, width), Pano(looked_at), FakeDetector())[2:]

    across = [each for each in views if each.x2 > width]
    rows = np.zeros(height, bool)
    for each in across:
        rows[each.y1 : each.y2] = True
    assert rows.all() or width == 1
    assert all(each.crop(np.zeros((height, width, 3), np.uint8)).shape[1] == each.x2 - each.x1 for each in views)


def test_a_box_across_the_seam_of_a_panorama_is_split_in_two() -> None:
    detector = FakeDetector(lambda image: bright(image) if image.shape[1] < 400 else Detections.empty())

    (found,) = detect_windows([plain(200, 400, (0, 90, 6, 100), (392, 90, 400, 100))], Pano(1600), detector, [PLATE])

    assert sorted(found.boxes.tolist()) == [[0, 90, 6, 100], [392, 90, 400, 100]]


def test_a_box_cut_by_a_tile_is_merged_into_the_whole_one_and_raises_its_score() -> None:
    whole, left = View(0, 0, 200, 100, 200), View(0, 0, 100, 100, 100)
    parts = [(whole, objects((60, 20, 180, 60), scores=[0.4])), (left, objects((62, 20, 100, 60), scores=[0.8]))]

    found = merge_views(parts, (100, 200))

    assert found.boxes.tolist() == [[60, 20, 180, 60]]
    assert found.scores.tolist() == pytest.approx([0.8 + AGREEMENT * 0.2 * 0.4])


def test_the_same_object_seen_twice_is_one_with_a_higher_score() -> None:
    view = View(0, 0, 100, 100, 100)
    parts = [(view, objects((10, 10, 30, 30), scores=[0.3])), (view, objects((11, 10, 31, 30), scores=[0.7]))]

    found = merge_views(parts, (100, 100))

    assert found.scores.tolist() == pytest.approx([0.7 + AGREEMENT * 0.3 * 0.3])


def test_a_small_object_inside_a_large_one_stays() -> None:
    view = View(0, 0, 100, 100, 100)
    parts = [(view, objects((10, 10, 90, 90))), (view, objects((40, 40, 50, 50)))]

    assert len(merge_views(parts, (100, 100))) == 2


def test_objects_of_two_types_in_one_place_stay() -> None:
    view = View(0, 0, 100, 100, 100)
    parts = [(view, objects((10, 10, 30, 30))), (view, objects((10, 10, 30, 30), kind=FACE))]

    assert len(merge_views(parts, (100, 100))) == 2


def test_a_faint_box_does_not_hide_what_a_cut_box_saw() -> None:
    left, right = View(0, 0, 100, 100, 100), View(60, 0, 200, 100, 140)
    sure_but_cut, faint = objects((0, 10, 100, 50), scores=[0.9]), objects((0, 10, 60, 50), scores=[0.06])
    whole = View(0, 0, 200, 100, 200)

    found = merge_views([(whole, faint), (left, sure_but_cut), (right, Detections.empty())], (100, 200))

    covered = [each for each, score in zip(found.boxes.tolist(), found.scores, strict=True) if score > 0.5]
    assert covered == [[0, 10, 100, 50]]


def test_a_large_faint_box_does_not_take_the_score_of_a_small_sure_one() -> None:
    whole, tile = View(0, 0, 200, 100, 200), View(0, 0, 100, 100, 100)
    faint, sure_but_cut = objects((0, 0, 200, 100), scores=[0.1]), objects((80, 10, 100, 30), scores=[0.9])

    found = merge_views([(whole, faint), (tile, sure_but_cut)], (100, 200))

    assert found.scores.tolist() == pytest.approx([0.9, 0.1])
    assert found.boxes[0].tolist() == [80, 10, 100, 30]


def test_neighbours_that_one_window_told_apart_stay_two() -> None:
    whole = View(0, 0, 200, 100, 200)
    neighbours = objects((0, 0, 100, 50), (29, 0, 129, 50), scores=[0.9, 0.8])

    found = merge_views([(whole, neighbours), (View(0, 0, 200, 100, 100), Detections.empty())], (100, 200))

    assert len(found) == 2


def test_a_panorama_is_looked_at_across_its_seam_as_a_whole_too() -> None:
    across = [view for view in plan_views((200, 400), Pano(4096), FakeDetector()) if view.x2 > 400]

    assert {(view.x1, view.x2, view.side) for view in across} >= {(200, 600, 32), (200, 600, 128)}


def test_a_panorama_is_not_enlarged_more_than_twice() -> None:
    counts = [len(plan_views((200, 400), Pano(width), FakeDetector())) for width in (32768, 800)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("device", ["meta", "mps", "gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(DetectorFailed if device == "cuda:99" else InvalidParameter, match=f"device is '{device}'"):
        resolve_device(device)


def crowd(count: int) -> Detections:
    numbers = np.arange(count)
    x, y = numbers % 100 * 10, numbers // 100 * 10
    return objects(*np.stack([x, y, x + 8, y + 8], 1))


def test_none_of_1500_objects_is_lost() -> None:
    detector = FakeDetector(lambda image: crowd(1500))

    (found,) = detect_windows([plain(600, 1000)], Whole(), detector, [PLATE])

    assert sorted(found.boxes.tolist()) == sorted(crowd(1500).boxes.tolist())


def test_more_objects_than_the_limit_are_an_error() -> None:
    detector = FakeDetector(lambda image: crowd(MAX_OBJECTS + 1))

    with pytest.raises(TooManyObjects, match=str(MAX_OBJECTS + 1)):
        detect_windows([plain(600, 1000)], Whole(), detector, [PLATE])


def test_a_detector_that_raises_gives_no_result() -> None:
    def run(image: Image) -> Detections:
        raise RuntimeError("broken")

    with pytest.raises(DetectorFailed, match="fake"):
        detect_windows([plain(20, 20)], Whole(), FakeDetector(run), [PLATE])


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batching.BATCH_PIXELS, "cpu", 2_000_000)
    detector = FakeDetector()
    run = detector._run

    def tight(images: Sequence[Image]) -> list[Detections]:
        found = run(images)
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError
        return found

    detector._run = tight  # type: ignore[method-assign]
    spots = [(n, 2 * n, n + 10, 2 * n + 5) for n in range(7)]

    found = detector.detect([plain(32, 32, each) for each in spots], 32)

    assert detector.batches == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert [each.boxes.tolist() for each in found] == [[list(each)] for each in spots]


def test_one_picture_that_does_not_fit_is_out_of_memory() -> None:
    def run(image: Image) -> Detections:
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(OutOfMemory, match="fake"):
        detect_windows([plain(20, 20)] * 3, Whole(), FakeDetector(run), [PLATE])


def test_a_detector_that_leaves_out_a_picture_gives_no_result() -> None:
    detector = FakeDetector()
    detector._run = lambda images: []  # type: ignore[method-assign]

    with pytest.raises(DetectorFailed, match="fake"):
        detect_windows([plain(20, 20)], Whole(), detector, [PLATE])


def masked(*boxes: Sequence[int]) -> Detections:
    """Objects, each with a mask that fills its box."""
    masks = tuple(Mask(x1, y1, np.ones((y2 - y1, x2 - x1), bool)) for x1, y1, x2, y2 in boxes)
    return replace(objects(*boxes), masks=masks)


def test_masks_of_a_window_come_to_lie_in_the_picture() -> None:
    found = merge_views([(View(30, 10, 94, 74, 64), masked((5, 6, 20, 30)))], (200, 300))

    assert [(each.x, each.y, each.pixels.shape) for each in found.masks if each] == [(35, 16, (24, 15))]


def test_an_object_that_another_window_adds_to_has_no_mask() -> None:
    whole, left = View(0, 0, 180, 100, 100), View(0, 0, 100, 100, 100)
    part = masked((40, 20, 100, 60))

    grown = merge_views([(whole, masked((42, 20, 108, 60))), (left, part)], (100, 180))
    same = merge_views([(whole, masked((38, 20, 112, 60))), (left, part)], (100, 180))

    assert (grown.boxes.tolist(), grown.masks) == ([[40, 20, 108, 60]], (None,))
    assert same.boxes.tolist() == [[38, 20, 112, 60]]
    assert same.masks[0] is not None
