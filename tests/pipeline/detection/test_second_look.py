from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.pipeline.detection.merging import View
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detection.second_look import (
    CROP_PX,
    MAX_ZOOM,
    WANTED_PX,
    DetailRegion,
    find_regions,
    look_again,
    merge_regions,
)
from anonymizer.pipeline.detection.windows import closest_scale, own_scale_tiles
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.options.formats import Auto
from tests.fakes import FakeDetector, FakeStore

FACE, PLATE, PERSON, VEHICLE = ObjectType.FACE, ObjectType.LICENSE_PLATE, ObjectType.PERSON, ObjectType.VEHICLE
SIZE_HW = (4000, 6000)

Row = tuple[ObjectType, float, tuple[float, float, float, float]]


def objects(*rows: Row) -> Detections:
    types, scores, boxes = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(np.reshape(boxes, (-1, 4)), scores, [each.number for each in types], ["fake"] * len(rows))


def keep(detections: Detections, *, close: bool) -> Detections:
    return detections


class ColourDetector(FakeDetector):
    """Detects persons as blue boxes from 4 pixels on, and faces as red ones; what it sees must be large enough."""

    def __init__(self) -> None:
        super().__init__(tile_side=640)
        self.looked: list[tuple[tuple[int, ...], int]] = []

    def scales(self, long_side: int) -> tuple[int, ...]:
        return (640,)

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:  # type: ignore[override]
        self.looked += [(image.shape, side) for image in images]
        return [self._find(image, side / max(image.shape)) for image in images]

    def _find(self, image: Image, scale: float) -> Detections:
        rows: list[Row] = []
        for channel, object_type, least in ((2, PERSON, 4), (0, FACE, 16)):
            seen = (image[..., channel] > 180) & (image[..., 1] < 60)
            _, _, stats, _ = cv2.connectedComponentsWithStats(seen.astype(np.uint8))
            for x, y, width, height, _ in stats[1:].tolist():
                if width * scale >= least:
                    rows.append((object_type, 0.9, (x, y, x + width, y + height)))
        return objects(*rows)


def street() -> Image:
    """A person of 120 x 320 pixels with a face of 40 pixels, in an image of 6000 x 4000."""
    image = np.full((*SIZE_HW, 3), 100, np.uint8)
    image[1000:1320, 2000:2120] = (0, 0, 255)
    image[1010:1050, 2040:2080] = (255, 0, 0)
    return image


class TestRegions:
    def test_nothing_found_gives_none(self) -> None:
        assert find_regions(objects(), SIZE_HW, OBJECT_TYPES) == []

    def test_the_head_of_a_person_is_made_large_enough(self) -> None:
        (region,) = find_regions(objects((PERSON, 0.9, (1000, 1000, 1080, 1210))), SIZE_HW, [FACE])

        head = 210 / 7
        assert 40 <= head * region.zoom <= 80
        assert region.types == {FACE}
        assert (region.x1 <= 1000 - 10, region.x2 >= 1080 + 10, region.y1 < 1000) == (True, True, True)
        assert 1000 + 2 * head <= region.y2 <= 1105

    def test_someone_who_lies_is_looked_at_from_head_to_foot(self) -> None:
        (region,) = find_regions(objects((PERSON, 0.9, (1000, 1000, 1210, 1080))), SIZE_HW, [FACE])

        assert (region.x1 <= 1000, region.y1 <= 1000, region.x2 >= 1210, region.y2 >= 1080) == (True,) * 4

    def test_a_vehicle_is_looked_at_as_a_whole(self) -> None:
        (region,) = find_regions(objects((VEHICLE, 0.9, (1000, 1000, 1200, 1150))), SIZE_HW, [PLATE])

        assert (region.x1 <= 1000, region.y1 <= 1000, region.x2 >= 1200, region.y2 >= 1150) == (True,) * 4
        assert 40 <= 0.26 * 200 * region.zoom <= 80

    @pytest.mark.parametrize(("carrier", "carried"), [(PERSON, FACE), (VEHICLE, PLATE)])
    def test_sure_persons_and_vehicles_are_not_looked_at_for_anything_else(
        self, carrier: ObjectType, carried: ObjectType
    ) -> None:
        sure = objects((carrier, 0.9, (1000, 1000, 1080, 1210)))

        others = [each for each in OBJECT_TYPES if each is not carried]
        assert find_regions(sure, SIZE_HW, others) == []

    def test_where_a_sure_face_is_no_other_is_looked_for(self) -> None:
        person, face = (PERSON, 0.9, (1000, 1000, 1080, 1210)), (1020, 1005, 1050, 1040)

        assert find_regions(objects(person, (FACE, 0.8, face)), SIZE_HW, [FACE]) == []
        assert len(find_regions(objects(person, (FACE, 0.4, face)), SIZE_HW, [FACE])) == 2
        assert len(find_regions(objects(person, (FACE, 0.8, (3000, 1, 3030, 40))), SIZE_HW, [FACE])) == 1

    @pytest.mark.parametrize(("score", "count"), [(0.01, 0), (0.05, 1), (0.5, 1), (0.8, 0)])
    def test_unsure_objects_are_looked_at_with_their_surroundings_for_all_types(self, score: float, count: int) -> None:
        regions = find_regions(objects((PLATE, score, (1000, 1000, 1040, 1010))), SIZE_HW, [PLATE, PERSON])

        assert len(regions) == count
        for region in regions:
            assert region.types == {PLATE, PERSON}
            assert (region.x1, region.x2) == (980, 1060)

    def test_unsure_objects_of_types_that_help_nobody_are_left_out(self) -> None:
        unsure = objects((VEHICLE, 0.3, (1000, 1000, 1040, 1030)), (PLATE, 0.3, (1000, 1000, 1040, 1010)))

        assert find_regions(unsure, SIZE_HW, [FACE]) == []

    @given(st.floats(1, 3000), st.floats(1, 3000), st.floats(-50, 5990), st.floats(-50, 3990))
    def test_regions_lie_in_the_image_and_are_enlarged_twice_at_most(
        self, width: float, height: float, x: float, y: float
    ) -> None:
        box = (x, y, x + width, y + height)

        for region in find_regions(objects((PERSON, 0.5, box), (VEHICLE, 0.5, box)), SIZE_HW, OBJECT_TYPES):
            assert 0 <= region.x1 < region.x2 <= SIZE_HW[1]
            assert 0 <= region.y1 < region.y2 <= SIZE_HW[0]
            assert 0 < region.zoom <= MAX_ZOOM


class TestMerging:
    def test_overlapping_regions_of_like_zoom_become_one(self) -> None:
        left = DetailRegion(0, 0, 100, 100, 1.0, frozenset([FACE]))
        right = DetailRegion(20, 0, 120, 100, 1.1, frozenset([PLATE]))

        assert merge_regions([left, right], 640) == [DetailRegion(0, 0, 120, 100, 1.1, frozenset([FACE, PLATE]))]

    def test_regions_far_apart_or_of_other_zoom_stay(self) -> None:
        first = DetailRegion(0, 0, 100, 100, 1.0, frozenset([FACE]))

        for other in (
            DetailRegion(300, 0, 400, 100, 1.0, first.types),
            DetailRegion(10, 0, 110, 100, 2.0, first.types),
        ):
            assert sorted(merge_regions([first, other], 640), key=str) == sorted([first, other], key=str)

    @given(
        st.lists(
            st.builds(
                lambda x, y, w, h, zoom: DetailRegion(x, y, x + w, y + h, zoom, frozenset([FACE])),
                st.integers(0, 300), st.integers(0, 300), st.integers(1, 300), st.integers(1, 300), st.floats(0.1, 2),
            ),
            max_size=15,
        )
    )  # fmt: skip
    def test_every_region_stays_inside_one_that_fits_on_a_canvas(self, regions: list[DetailRegion]) -> None:
        merged = merge_regions(regions, 320)

        for each in merged:
            assert max(each.x2 - each.x1, each.y2 - each.y1) * each.zoom <= 320.001
        for each in regions:
            fits = min(each.zoom, 320 / max(each.x2 - each.x1, each.y2 - each.y1))
            assert any(
                other.x1 <= each.x1 and other.y1 <= each.y1 and other.x2 >= each.x2 and other.y2 >= each.y2
                and other.zoom >= fits - 1e-9
                for other in merged
            )  # fmt: skip


def plain(index: int, side: int) -> list[View]:
    """An image without fine detail."""
    return []


class TestLookingAgain:
    def test_a_face_is_found_at_its_place(self) -> None:
        detector, image = ColourDetector(), street()
        (first,) = detector.detect([image], 640)
        regions = find_regions(first, SIZE_HW, [FACE])
        detector.looked.clear()

        (parts,) = look_again([image], [regions], plain, detector, [FACE], [640 / 6000], keep)

        ((view, found),) = parts
        assert [each.object_type for each in found] == [FACE]
        assert np.abs(found.boxes[0] + [view.x1, view.y1] * 2 - [2040, 1010, 2080, 1050]).max() <= 1
        assert detector.looked == [((320, CROP_PX, 3), CROP_PX)]

    def test_regions_that_the_first_look_saw_as_large_are_left_out(self) -> None:
        detector, image = ColourDetector(), street()
        region = DetailRegion(1000, 1000, 1100, 1100, 0.5, frozenset([FACE]))

        assert look_again([image], [[region]], plain, detector, [FACE], [0.4], keep) == [[]]
        assert look_again([image], [[region]], plain, detector, [PLATE], [0.1], keep) == [[]]
        assert detector.looked == []

    def test_a_crowd_takes_no_longer_than_full_tiling(self) -> None:
        detector, image = ColourDetector(), np.zeros((1500, 2000, 3), np.uint8)
        types = frozenset([FACE])
        crowd = [
            DetailRegion(x, y, x + 200, y + 200, MAX_ZOOM, types)
            for x in range(0, 1800, 150)
            for y in range(0, 1300, 150)
        ]

        look_again([image], [crowd], plain, detector, [FACE], [640 / 2000], keep)

        assert len(detector.looked) == len(own_scale_tiles((1500, 2000), CROP_PX))

    def test_images_share_canvases_and_keep_their_own_objects(self) -> None:
        class Everything(ColourDetector):
            def _find(self, image: Image, scale: float) -> Detections:
                return objects((FACE, 0.9, (10, 10, 30, 30)), (FACE, 0.8, (130, 10, 150, 30)))

        images, regions = [street(), street()], [DetailRegion(0, 0, 100, 100, 1.0, frozenset([FACE]))]

        first, second = look_again(images, [regions, regions], plain, Everything(), [FACE], [0.1, 0.1], keep)

        assert [found.scores.tolist() for _, found in (*first, *second)] == [[pytest.approx(0.9)], [pytest.approx(0.8)]]

    def test_what_the_border_of_a_region_cuts_off_is_left_out_unless_it_is_the_border_of_the_image(self) -> None:
        class AtTheBorder(ColourDetector):
            def _find(self, image: Image, scale: float) -> Detections:
                return objects((FACE, 0.9, (60, 10, 100, 50)))

        types = frozenset([FACE])
        inside, at_border = DetailRegion(0, 0, 100, 100, 1.0, types), DetailRegion(5900, 0, 6000, 100, 1.0, types)

        (((_, cut),),) = look_again([street()], [[inside]], plain, AtTheBorder(), [FACE], [0.1], keep)
        (((_, whole),),) = look_again([street()], [[at_border]], plain, AtTheBorder(), [FACE], [0.1], keep)

        assert (len(cut), len(whole)) == (0, 1)

    def test_detailed_parts_are_seen_at_the_own_scale_where_the_first_look_was_far(self) -> None:
        detector, view = ColourDetector(), View(2000, 1000, 2200, 1100, 200)
        asked: list[tuple[int, int]] = []

        def details(index: int, side: int) -> list[View]:
            asked.append((index, side))
            return [view]

        ((part,),) = look_again([street()], [[]], details, detector, [FACE], [0.1], keep)
        assert look_again([street()], [[]], details, detector, [FACE], [0.9], keep) == [[]]

        assert part[0] == view
        assert np.abs(part[1].boxes + [2000, 1000] * 2 - [2040, 1010, 2080, 1050]).max() <= 1
        assert asked == [(0, CROP_PX)]

    def test_a_region_that_a_detailed_part_shows_is_not_seen_twice(self) -> None:
        types, view = frozenset([FACE]), View(2000, 1000, 2200, 1100, 200)
        shown, larger = (DetailRegion(2020, 1010, 2100, 1060, zoom, types) for zoom in (1.2, 2.0))
        for region, count in ((shown, 1), (larger, 2)):
            (parts,) = look_again([street()], [[region]], lambda *_: [view], ColourDetector(), [FACE], [0.1], keep)
            assert len(parts) == count

    def test_scores_are_calibrated_as_those_of_a_closer_look(self) -> None:
        asked = []

        def calibrate(detections: Detections, *, close: bool) -> Detections:
            asked.append(close)
            return detections

        region = DetailRegion(0, 0, 100, 100, 1.0, frozenset([FACE]))
        look_again([street()], [[region]], plain, ColourDetector(), [FACE], [0.1], calibrate)

        assert asked == [True]


class TestTheEngine:
    def test_auto_finds_a_face_that_whole_does_not_and_returns_only_what_was_asked_for(self) -> None:
        engine, image = Engine(store=FakeStore(ColourDetector())), street()

        (whole,) = engine.detect([image], [FACE], "whole")  # type: ignore[arg-type]
        (auto,) = engine.detect([image], [FACE], Auto())
        (both,) = engine.detect([image], [FACE, PERSON], Auto())

        assert len(whole) == 0
        assert auto.count_by_type() == {FACE: 1}
        assert both.count_by_type() == {FACE: 1, PERSON: 1}
        assert np.abs(auto.boxes[0] - [2040, 1010, 2080, 1050]).max() <= 1

    def test_a_detector_that_fails_in_the_second_look_gives_no_result(self) -> None:
        class Failing(ColourDetector):
            def detect(self, images: Sequence[Image], side: int) -> list[Detections]:  # type: ignore[override]
                if images[0].shape[1] == CROP_PX:
                    raise RuntimeError("broken")
                return super().detect(images, side)

        with pytest.raises(RuntimeError, match="broken"):
            Engine(store=FakeStore(Failing())).detect([street()], [FACE], Auto())

    def test_heads_have_the_wanted_size_on_the_canvas(self) -> None:
        detector = ColourDetector()
        (first,) = detector.detect([street()], 640)
        (region,) = find_regions(first, SIZE_HW, [FACE])

        assert region.zoom >= 1.3 * closest_scale(SIZE_HW, Auto(), detector)
        assert region.zoom * 320 / 7 == pytest.approx(WANTED_PX, rel=0.35)
