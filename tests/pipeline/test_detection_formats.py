"""Detections to and from the formats of other libraries."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from anonymizer.pipeline.detections import Detections, Mask, ObjectType

supervision = pytest.importorskip("supervision")
pandas = pytest.importorskip("pandas")

SIZE_HW = (80, 90)
PIXELS = np.random.default_rng(0).random((5, 7)) > 0.5
PIXELS[0, 0] = PIXELS[-1, -1] = True


@pytest.fixture
def detections() -> Detections:
    return Detections(
        [[1, 2, 10, 12], [30, 4, 50, 60]], [0.75, 0.5], [0, 2], ["a", "b"],
        track_ids=np.array([4, -1]), masks=(None, Mask(30, 4, PIXELS)),
    )  # fmt: skip


def same(one: Detections, other: Detections, *names: str) -> None:
    for name in ("boxes", "scores", "types", *names):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_supervision_gives_back_what_it_got(detections: Detections) -> None:
    converted = detections.to_supervision()
    assert isinstance(converted, supervision.Detections)
    assert converted.class_id.tolist() == [0, 2]
    assert converted.data["class_name"].tolist() == ["face", "person"]
    assert converted.mask is None
    same(Detections.from_supervision(converted), detections, "models", "track_ids")


def test_supervision_has_masks_of_the_size_of_the_image(detections: Detections) -> None:
    converted = detections.to_supervision(SIZE_HW)
    assert converted.mask.shape == (2, *SIZE_HW)
    assert converted.mask[0].sum() == 9 * 10, "an object without a mask is its box"
    back = Detections.from_supervision(converted).masks[1]
    assert back is not None
    assert (back.x, back.y) == (30, 4)
    assert np.array_equal(back.pixels, PIXELS)


def test_classes_of_another_detector_are_named_or_refused() -> None:
    boxes = np.array([[0, 0, 5, 5], [1, 1, 4, 4]], np.float32)
    cars = supervision.Detections(boxes, class_id=np.array([2, 7]), data={"class_name": np.array(["car", "truck"])})
    with pytest.raises(ValueError, match="class 'car' is no object type, but must be one of face, license-plate"):
        Detections.from_supervision(cars)
    for names in ({"car": "vehicle", "truck": "vehicle"}, {2: "vehicle", 7: ObjectType.VEHICLE}):
        found = Detections.from_supervision(cars, names)
        assert found.count_by_type() == {ObjectType.VEHICLE: 2}
        assert found.scores.tolist() == [1, 1]
    with pytest.raises(ValueError, match="class 'truck' is not one of the given names: 'car'"):
        Detections.from_supervision(cars, {"car": "vehicle"})
    with pytest.raises(ValueError, match="no classes"):
        Detections.from_supervision(supervision.Detections(boxes))


def test_coco_gives_back_what_it_got(detections: Detections) -> None:
    rows = json.loads(json.dumps(detections.to_coco(7, SIZE_HW, first_id=5)))
    assert [row["id"] for row in rows] == [5, 6]
    assert rows[0]["bbox"] == [1, 2, 9, 10]
    assert rows[0]["image_id"] == 7
    assert (rows[1]["category_id"], rows[1]["category_name"]) == (3, "person")
    assert "segmentation" not in rows[0]
    assert rows[1]["area"] == PIXELS.sum()
    back = Detections.from_coco(rows)
    same(back, detections)
    assert back.masks[0] is None
    assert back.masks[1] is not None
    assert np.array_equal(back.masks[1].full(SIZE_HW), Mask(30, 4, PIXELS).full(SIZE_HW))
    assert "segmentation" not in detections.to_coco(7)[1]


def test_annotations_of_coco_are_read() -> None:
    rows = [
        {"bbox": [1, 2, 3, 4], "category_id": 3, "segmentation": [[1, 2, 4, 2, 4, 6, 1, 6]]},
        {"bbox": [0, 0, 2, 2], "category_id": 1, "segmentation": {"size": [3, 2], "counts": [1, 2, 3]}},
    ]
    found = Detections.from_coco(rows, {1: "license_plate", 3: "Vehicle"})
    assert [found.object_type(row) for row in range(2)] == [ObjectType.VEHICLE, ObjectType.LICENSE_PLATE]
    assert found.scores.tolist() == [1, 1]
    assert found.masks[0] is not None
    assert (found.masks[0].x, found.masks[0].y, found.masks[0].pixels.shape) == (1, 2, (4, 3))
    assert found.masks[1] is not None
    assert found.masks[1].full((3, 2)).ravel(order="F").tolist() == [False, True, True, False, False, False]
    with pytest.raises(ValueError, match="class 3 is not one of the given names: 1"):
        Detections.from_coco(rows, {1: "face"})


def test_pandas_has_a_row_for_each_object(detections: Detections) -> None:
    frame = detections.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["type"].tolist() == ["face", "person"]
    assert frame[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == detections.boxes.tolist()
    assert frame["track_id"].tolist() == [4, -1]
    assert frame["has_mask"].tolist() == [False, True]


def test_pandas_is_read_back_but_for_masks(detections: Detections) -> None:
    back = Detections.from_pandas(detections.to_pandas())
    for name in ("boxes", "scores", "types", "models", "sources", "track_ids"):
        np.testing.assert_array_equal(getattr(back, name), getattr(detections, name), err_msg=name)
    assert back.masks == (None, None)


def test_a_data_frame_needs_types_and_boxes_only() -> None:
    frame = pandas.DataFrame({"type": ["face"], "x1": [1], "y1": [2], "x2": [3], "y2": [4]})
    (face,) = Detections.from_pandas(frame)
    assert (face.object_type.value, face.score, face.box, face.track_id) == ("face", 1.0, (1, 2, 3, 4), None)
    with pytest.raises(ValueError, match="no column x2, y2"):
        Detections.from_pandas(frame[["type", "x1", "y1"]])
    with pytest.raises(ValueError, match="dog"):
        Detections.from_pandas(frame.assign(type="dog"))


def test_no_object_is_a_normal_value() -> None:
    none = Detections.empty()
    assert len(Detections.from_supervision(none.to_supervision(SIZE_HW))) == 0
    assert none.to_coco(1) == []
    assert len(Detections.from_coco([])) == 0
    assert len(none.to_pandas()) == 0
    assert len(Detections.from_pandas(none.to_pandas())) == 0


@pytest.mark.parametrize("package", ["supervision", "pandas"])
def test_a_package_that_is_not_there_is_named(
    detections: Detections, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"This needs the package {package}: run `pip install {package}`"):
        getattr(detections, f"to_{package}")()
