"""Where pixels change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, Mask, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.options.regions import Region
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
SIZE_HW = (80, 120)


def found(*boxes: Sequence[float], object_type: ObjectType = PERSON, masks: tuple[Mask | None, ...] = ()) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.ones(n, np.float32),
        np.full(n, object_type.number, np.uint8),
        np.full(n, "test"),
        masks=masks,
    )


def whole(region: RedactionRegion, size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.uint8]:
    """The alpha in its place in the image."""
    out = np.zeros(size_hw, np.uint8)
    out[region.crop] = region.alpha
    return out


def one(detections: Detections, **options: Any) -> NDArray[np.uint8]:
    (region,) = redaction_regions(detections, SIZE_HW, Options(**options))
    return whole(region)


def filled(x1: int, y1: int, x2: int, y2: int) -> NDArray[np.uint8]:
    out = np.zeros(SIZE_HW, np.uint8)
    out[y1:y2, x1:x2] = 255
    return out


class TestBoxes:
    def test_no_object_has_no_region(self) -> None:
        assert redaction_regions(Detections.empty(), SIZE_HW, Options()) == []

    @pytest.mark.parametrize(
        ("box", "covered"),
        [
            pytest.param((10, 20, 30, 60), (10, 20, 30, 60), id="whole pixels"),
            pytest.param((10.9, 20.1, 29.1, 59.9), (10, 20, 30, 60), id="rounded outward"),
            pytest.param((-15, 20, 30, 60), (0, 20, 30, 60), id="passes the left border"),
            pytest.param((100, 50, 130, 95), (100, 50, 120, 80), id="passes the corner"),
            pytest.param((-9, -9, 999, 999), (0, 0, 120, 80), id="larger than the image"),
            pytest.param((-1e30, -np.inf, np.inf, 1e30), (0, 0, 120, 80), id="without end"),
            pytest.param((40, 20, 40, 60), (40, 20, 41, 60), id="no width"),
            pytest.param((119, 79, 120, 80), (119, 79, 120, 80), id="the last pixel"),
        ],
    )
    def test_without_margin_it_is_the_box_inside_the_image(self, box: Any, covered: Any) -> None:
        np.testing.assert_array_equal(one(found(box), margin=0), filled(*covered))

    @pytest.mark.parametrize("box", [(-20, 10, 0, 30), (120, 10, 150, 30), (10, -9, 20, -1), (10, 80, 20, 99)])
    def test_an_object_outside_of_the_image_has_no_region_and_the_others_keep_their_row(self, box: Any) -> None:
        (region,) = redaction_regions(found(box, (10, 10, 20, 30)), SIZE_HW, Options())
        assert region.row == 1

    def test_the_margin_is_a_share_of_the_shorter_side_all_around(self) -> None:
        alpha = one(found((40, 20, 80, 50)), margin=0.1, bbox=True)
        np.testing.assert_array_equal(alpha, filled(37, 17, 83, 53))

    def test_corners_are_rounded_outside_of_the_box_only(self) -> None:
        alpha = one(found((40, 20, 80, 50)), margin=0.2)
        assert (alpha[20:50, 40:80] == 255).all()
        assert alpha[14, 60] == alpha[30, 34] == 255
        assert alpha[13, 60] == alpha[30, 33] == 0
        assert alpha[14, 34] == 0

    @given(
        box=st.tuples(*[st.floats(-50, 150, width=32)] * 4),
        margin=st.floats(0, 1),
        object_type=st.sampled_from([PLATE, PERSON, VEHICLE]),
        bbox=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_it_covers_what_the_box_covers(
        self, box: tuple[float, ...], margin: float, object_type: ObjectType, bbox: bool
    ) -> None:
        x1, x2 = sorted((box[0], box[2]))
        y1, y2 = sorted((box[1], box[3]))
        inside = filled(*(max(int(np.floor(v)), 0) for v in (x1, y1)), *(max(int(np.ceil(v)), 0) for v in (x2, y2)))
        detections = found((x1, y1, x2, y2), object_type=object_type)
        alpha = sum(
            map(whole, redaction_regions(detections, SIZE_HW, Options(margin=margin, bbox=bbox))), np.zeros(SIZE_HW)
        )
        assert (alpha[inside > 0] == 255).all()

    def test_a_box_of_no_numbers_is_an_error_and_never_skipped(self) -> None:
        with pytest.raises(ValueError, match="NaN"):
            redaction_regions(found((np.nan, 10, 20, 30)), SIZE_HW, Options())


class TestSoftEdge:
    def test_it_falls_outward_from_the_margin_to_the_stated_share(self) -> None:
        row = one(found((40, 20, 80, 60), object_type=PLATE), margin=0.1)[40]
        assert (row[36:84] == 255).all()
        assert (np.diff(row[83:92].astype(int)) < 0).all()
        assert (row[91:] == 0).all()

    def test_it_is_symmetric(self) -> None:
        for object_type in (FACE, PLATE):
            alpha = one(found((40, 20, 80, 60), object_type=object_type))
            np.testing.assert_array_equal(alpha, alpha[:, ::-1])
            np.testing.assert_array_equal(alpha, alpha[::-1])

    @pytest.mark.parametrize("object_type", [PERSON, VEHICLE])
    def test_persons_and_vehicles_have_none(self, object_type: ObjectType) -> None:
        assert set(np.unique(one(found((40, 20, 80, 60), object_type=object_type)))) == {0, 255}

    @pytest.mark.parametrize("object_type", [FACE, PLATE])
    def test_a_margin_beyond_it_stays_at_full_strength(self, object_type: ObjectType) -> None:
        alpha = one(found((40, 20, 80, 60), object_type=object_type), margin=0.5)
        assert set(np.unique(alpha)) == {0, 255}


class TestFaces:
    def test_it_is_an_ellipse_that_leaves_the_far_corners(self) -> None:
        alpha = one(found((40, 20, 70, 60), object_type=FACE), margin=0, face_anonymization_gradient_start=0)
        assert (alpha[40, 40:70] == 255).all()
        assert (alpha[20:60, 55] == 255).all()
        assert alpha[20, 40] == alpha[59, 69] == 0

    @pytest.mark.parametrize(
        ("box", "corners"),
        [
            pytest.param((0, 20, 30, 60), [(20, 0), (59, 0)], id="left"),
            pytest.param((2, 20, 32, 60), [(20, 2), (59, 2)], id="two pixels from the left"),
            pytest.param((90, 20, 120, 60), [(20, 119), (59, 119)], id="right"),
            pytest.param((50, -10, 80, 30), [(0, 50), (0, 79)], id="top"),
            pytest.param((50, 50, 80, 90), [(79, 50), (79, 79)], id="bottom"),
            pytest.param((0, 0, 30, 40), [(0, 0), (39, 0), (0, 29)], id="top left"),
            pytest.param((0, 20, 120, 60), [(20, 0), (59, 0), (20, 119), (59, 119)], id="both sides"),
        ],
    )
    def test_one_cut_off_by_the_border_is_covered_to_its_corners_there(
        self, box: Any, corners: list[tuple[int, int]]
    ) -> None:
        alpha = one(found(box, object_type=FACE), margin=0)
        assert all(alpha[corner] == 255 for corner in corners)

    @pytest.mark.parametrize("degrees", [0, 15, 30, 45, 60])
    def test_a_tilted_face_is_covered(self, degrees: int) -> None:
        y, x = np.mgrid[-40:40, -60:60] + 0.5
        turn = np.deg2rad(degrees)
        face = ((x * np.cos(turn) + y * np.sin(turn)) / 20) ** 2 + (
            (y * np.cos(turn) - x * np.sin(turn)) / 30
        ) ** 2 <= 1
        rows, columns = np.nonzero(face)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (one(found(box, object_type=FACE))[face] == 255).all()

    def test_bbox_makes_it_a_box(self) -> None:
        alpha = one(found((40, 20, 70, 60), object_type=FACE), margin=0, bbox=True)
        assert (alpha[20:60, 40:70] == 255).all()


class TestSegmentation:
    def test_it_is_the_shape(self) -> None:
        pixels = np.tri(30, 20, dtype=bool)
        alpha = one(found((40, 20, 60, 50), masks=(Mask(40, 20, pixels),)), margin=0)
        np.testing.assert_array_equal(alpha[20:50, 40:60] > 0, pixels)
        assert alpha.sum() == pixels.sum() * 255

    def test_it_grows_in_all_directions_and_closes_small_holes(self) -> None:
        pixels = np.ones((30, 20), bool)
        pixels[14:16, 9:11] = False
        alpha = one(found((40, 20, 60, 50), masks=(Mask(40, 20, pixels),)), margin=0.1)
        assert (alpha[20:50, 40:60] == 255).all()
        assert alpha[18, 50] == alpha[30, 38] == alpha[51, 50] == alpha[30, 61] == 255
        assert alpha[17, 50] == alpha[30, 37] == 0

    def test_bbox_prefers_the_box(self) -> None:
        mask = Mask(45, 30, np.ones((2, 2), bool))
        np.testing.assert_array_equal(
            one(found((40, 20, 60, 50), masks=(mask,)), margin=0, bbox=True), filled(40, 20, 60, 50)
        )

    @pytest.mark.parametrize(
        "mask",
        [
            pytest.param(Mask(40, 20, np.zeros((30, 20), bool)), id="empty"),
            pytest.param(Mask(40, 20, np.zeros((0, 0), bool)), id="no pixels"),
            pytest.param(Mask(-50, 20, np.ones((30, 20), bool)), id="left of the image"),
            pytest.param(Mask(40, 200, np.ones((30, 20), bool)), id="below the image"),
        ],
    )
    def test_one_without_a_pixel_in_the_image_leaves_the_box(self, mask: Mask) -> None:
        np.testing.assert_array_equal(one(found((40, 20, 60, 50), masks=(mask,)), margin=0), filled(40, 20, 60, 50))

    def test_one_that_passes_the_border_is_clipped(self) -> None:
        mask = Mask(-5, -5, np.ones((200, 30), bool))
        np.testing.assert_array_equal(one(found((0, 0, 25, 80), masks=(mask,)), margin=0), filled(0, 0, 25, 80))


class TestIgnores:
    def test_nothing_changes_inside_of_them(self) -> None:
        ignores = (Region(50, 0, 10, 40), Region(0, 0, 5, 5), Region(75, 55, 500, 500))
        alpha = one(found((40, 20, 80, 60)), margin=0, ignores=ignores)
        expected = filled(40, 20, 80, 60)
        expected[:40, 50:60] = 0
        expected[55:, 75:] = 0
        np.testing.assert_array_equal(alpha, expected)

    def test_an_object_inside_of_one_has_no_region(self) -> None:
        assert redaction_regions(found((40, 20, 50, 30)), SIZE_HW, Options(ignores=(Region(30, 10, 40, 40),))) == []


def test_the_shorter_side_is_that_of_the_box_before_it_grew() -> None:
    (region,) = redaction_regions(found((-10, 20, 30.5, 50.25)), SIZE_HW, Options(margin=0.5))
    assert region.short_side == 30.25
    assert region.object_type is PERSON


def test_the_default_shape_covers_persons_and_vehicles_to_their_outline(data: Path) -> None:
    """Real outlines (val, street-masks): what is in the box's corners of an object is covered too."""
    labels = json.loads((data / "val.json").read_text())
    sizes = {
        each["id"]: (each["height"], each["width"]) for each in labels["images"] if each["source"] == "street-masks"
    }
    types = {3: ObjectType.PERSON, 4: ObjectType.VEHICLE}
    covered = total = 0
    for each in labels["annotations"]:
        if each["image_id"] not in sizes or not each.get("segmentation"):
            continue
        size_hw = sizes[each["image_id"]]
        x, y, width, height = each["bbox"]
        box = np.array([[x, y, x + width, y + height]], np.float32)
        found = Detections(box, [1.0], [types[each["category_id"]].number], ["truth"])
        (region,) = redaction_regions(found, size_hw, Options())
        outline = np.zeros(size_hw, np.uint8)
        polygons = [np.rint(np.reshape(part, (-1, 2))).astype(np.int32) for part in each["segmentation"]]
        cv2.fillPoly(outline, polygons, 1)
        total += int(outline.sum())
        covered += int(outline[region.crop][region.alpha == 255].sum())
    assert total > 100_000
    assert covered / total > 0.9999
