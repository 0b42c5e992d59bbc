from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faster_coco_eval.core import mask as rle
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.sets import HEIGHT, WIDTH, boxes, coco, found, save_picture, write

GOOD = {"bbox": [1, 2, 10, 5]}


def changed(file: Path, **parts: Any) -> Path:
    return write(file, json.dumps(json.loads(file.read_text()) | parts))


def test_ids_sources_and_what_is_labelled_come_from_the_file(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": 7, "source": "street", "labelled": ["vehicle", "face"]},
        {"id": 3},
        {"id": 5, "labelled": []},
    ]
    images = LabelledSet.read(coco(tmp_path, names=["person"], pictures=rows)).images
    assert [(each.id, each.source) for each in images] == [(7, "street"), (3, "set"), (5, "set")]
    assert [each.labelled for each in images] == [
        (ObjectType.VEHICLE, ObjectType.FACE),
        (ObjectType.PERSON,),
        (),
    ]


def test_ids_that_are_no_whole_numbers_are_numbered(tmp_path: Path) -> None:
    file = coco(tmp_path, [GOOD | {"image_id": "b"}], pictures=[{"id": "a"}, {"id": "b"}])
    images = LabelledSet.read(file, strict=True).images
    assert [(each.id, len(boxes(each))) for each in images] == [(1, 0), (2, 1)]


@pytest.mark.parametrize("mark", [{"ignore": 1}, {"iscrowd": 1}, {"category_id": 2}])
def test_difficult_objects_are_ignored(mark: dict[str, Any], tmp_path: Path) -> None:
    read = LabelledSet.read(coco(tmp_path, [GOOD | mark, GOOD], names=["car", "bicycle"]), strict=True)
    assert sorted(read.images[0].objects[ObjectType.VEHICLE].ignored.tolist()) == [False, True]


def test_a_type_of_which_only_ignored_objects_have_a_name_is_not_labelled_completely(tmp_path: Path) -> None:
    assert LabelledSet.read(coco(tmp_path, names=["face", "bicycle"])).images[0].labelled == (ObjectType.FACE,)


def test_a_heading_of_other_types_says_nothing(tmp_path: Path) -> None:
    heading = {"id": 0, "name": "vehicles", "supercategory": "none"}
    categories = [heading, {"id": 1, "name": "licence", "supercategory": "vehicles"}]
    file = changed(coco(tmp_path, [GOOD]), categories=categories)
    assert LabelledSet.read(file, strict=True).images[0].labelled == (ObjectType.LICENSE_PLATE,)


def test_polygons_are_outlines(tmp_path: Path) -> None:
    triangle, beyond = [1, 2, 10, 2, 10, 9], [12, 2, 99, 2, 30, 9]
    annotations = [{"bbox": [1, 2, 39, 7], "segmentation": [triangle, beyond]}, GOOD | {"segmentation": []}]
    objects = LabelledSet.read(coco(tmp_path, annotations), strict=True).images[0].objects
    outline, none = objects[ObjectType.FACE].outlines
    assert outline is not None
    assert [each.tolist() for each in outline] == [
        [[1, 2], [10, 2], [10, 9]],
        [[12, 2], [WIDTH, 2], [30, 9]],
    ]
    assert none is None
    assert objects[ObjectType.PERSON].outlines == ()


def test_a_polygon_without_a_box_gives_the_box(tmp_path: Path) -> None:
    file = coco(tmp_path, [{"segmentation": [[1, 2, 10, 2, 10, 9], [20, 3, 22, 3, 22, 4]]}])
    assert boxes(LabelledSet.read(file, strict=True).images[0]) == [[1, 2, 22, 9]]


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_become_outlines_along_the_borders_of_pixels(compressed: bool, tmp_path: Path) -> None:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[3:9, 5:12] = 1
    pixels[12, 20] = 1
    packed = rle.encode(np.asfortranarray(pixels))
    flat = pixels.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    counts = packed["counts"].decode() if compressed else runs
    file = coco(tmp_path, [{"bbox": [5, 3, 16, 10], "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}])
    outline = LabelledSet.read(file, strict=True).images[0].objects[ObjectType.FACE].outlines[0]
    assert outline is not None
    corners = sorted([each.min(axis=0).tolist(), each.max(axis=0).tolist()] for each in outline)
    assert corners == [[[5, 3], [12, 9]], [[20, 12], [21, 13]]]
    assert sorted(cv2.contourArea(each) for each in outline) == [1, 42]


def test_run_lengths_of_nothing_are_no_outline(tmp_path: Path) -> None:
    file = coco(tmp_path, [GOOD | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}}])
    assert LabelledSet.read(file, strict=True).images[0].objects[ObjectType.FACE].outlines == ()


def test_run_lengths_of_more_pixels_than_memory_are_not_decoded(tmp_path: Path) -> None:
    size = [10**8, 10**8]
    annotation = GOOD | {"segmentation": {"size": size, "counts": [10**16]}}
    read = LabelledSet.read(coco(tmp_path, [annotation], pictures=[{"height": size[0], "width": size[1]}]))
    assert found(read)[0] == ("label-broken", "1.png, annotation 1")
    assert "10000000000000000 pixels, more than a picture may have" in read.problems.summary()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("set", "a/1.png"),
        ("", "1.png"),
        ("images", "1.png"),
        ("deep/below", "1.png"),
        ("set/a", "a\\1.png"),
        ("images", "/home/someone/set/1.png"),
    ],
)
def test_pictures_are_found_where_tools_leave_them(folder: str, name: str, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / folder / ("a/1.png" if name == "a/1.png" else "1.png"))
    file = coco(tmp_path, [GOOD], pictures=[{"file_name": name}], save=False)
    assert LabelledSet.read(file, strict=True).images[0].path.samefile(picture)


@pytest.mark.parametrize("place", ["val2017", "images/val2017", "images"])
def test_a_file_in_annotations_has_its_pictures_beside_that(place: str, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / place / "1.png")
    save_picture(tmp_path / "train2017" / "1.png")
    file = coco(tmp_path, [GOOD], save=False)
    (tmp_path / "annotations").mkdir()
    moved = file.rename(tmp_path / "annotations" / "instances_val2017.json")
    assert LabelledSet.read(moved, strict=True).images[0].path == picture
    assert LabelledSet.read(tmp_path, strict=True).images[0].path == picture


def test_a_name_that_two_pictures_have_is_not_guessed(tmp_path: Path) -> None:
    save_picture(tmp_path / "a" / "1.png")
    save_picture(tmp_path / "b" / "1.png")
    read = LabelledSet.read(coco(tmp_path, [GOOD], save=False))
    assert found(read) == [("picture-missing", "1.png"), ("empty-set", str(tmp_path / "set.json"))]


def test_two_names_never_mean_the_same_picture(tmp_path: Path) -> None:
    save_picture(tmp_path / "c" / "1.png")
    rows = [{"file_name": "a/1.png"}, {"file_name": "b/1.png"}]
    read = LabelledSet.read(coco(tmp_path, [GOOD], pictures=rows, save=False))
    assert [where for kind, where in found(read) if kind == "picture-missing"] == ["a/1.png", "b/1.png"]


def test_a_folder_of_one_file_is_that_file(tmp_path: Path) -> None:
    file = coco(tmp_path, [GOOD])
    (tmp_path / "set" / "1.png").rename(tmp_path / "1.png")
    file.rename(tmp_path / "_annotations.coco.json")
    read = LabelledSet.read(tmp_path, strict=True)
    assert (len(read.images), read.name, read.images[0].source) == (1, tmp_path.name, tmp_path.name)


def test_a_folder_of_several_files_names_them(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write(tmp_path / split / "_annotations.coco.json", "{}")
    with pytest.raises(ValueError, match=r"one of the 2 files in it: train/_annotations\.coco\.json, valid/_ann"):
        LabelledSet.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "it is not a JSON file: Expecting value: line 1 column 1"),
        ('{"images": [],\n "annotations": [}', "it is not a JSON file: Expecting value: line 2 column 18"),
        ("[" * 100_000, "it is not a JSON file: maximum recursion depth"),
        ("[1, 2]", "it has no list of images"),
        ('{"images": [], "categories": []}', "it has no list of annotations"),
    ],
)
def test_a_file_that_is_no_coco_file_is_named(text: str, detail: str, tmp_path: Path) -> None:
    read = LabelledSet.read(write(tmp_path / "set.json", text))
    assert [kind for kind, _ in found(read)] == ["label-broken", "empty-set"]
    assert detail in read.problems.summary()


@pytest.mark.parametrize(
    ("annotation", "detail"),
    [
        ({}, "bbox is None, not numbers"),
        ({"bbox": [1, 2, 3]}, "bbox has 3 numbers, not 4"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox is [1, 2, nan, 4], not numbers"),
        ({"bbox": [1, 2, float("inf"), 4]}, "bbox is [1, 2, inf, 4], not numbers"),
        ({"bbox": [1e308, 2, 1e308, 4]}, "not numbers below 1e9"),
        ({"bbox": [10**400, 2, 3, 4]}, "not numbers below 1e9"),
        (GOOD | {"category_id": None}, "it has no category_id"),
        (GOOD | {"segmentation": "polygon"}, "segmentation is neither polygons nor run lengths"),
        (GOOD | {"segmentation": [[1, 2, 3, 4]]}, "the polygon has 4 numbers"),
        (GOOD | {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "the polygon has 7 numbers"),
        (GOOD | {"segmentation": {"size": [9, 9], "counts": [81]}}, "run lengths is [9, 9], not that of the picture"),
        (GOOD | {"segmentation": {"size": [20, 40], "counts": [7]}}, "its run lengths cannot be decoded"),
        (GOOD | {"segmentation": {"size": [20, 40], "counts": [-7, "x"]}}, "its run lengths cannot be decoded"),
        (GOOD | {"segmentation": {"size": [20, 40], "counts": "~~é"}}, "its run lengths cannot be decoded"),
        (GOOD | {"segmentation": {"size": [20, 40]}}, "its run lengths cannot be decoded"),
    ],
)
def test_a_picture_with_a_broken_label_is_left_out_and_named(
    annotation: dict[str, Any], detail: str, tmp_path: Path
) -> None:
    read = LabelledSet.read(coco(tmp_path, [GOOD, annotation | {"image_id": 2}], pictures=[{}, {}]))
    assert found(read) == [("label-broken", "2.png, annotation 2")]
    assert detail in read.problems.summary()
    assert [each.id for each in read.images] == [1]


@pytest.mark.parametrize(
    ("picture", "where"),
    [
        ({"id": None}, "set.json, picture 2"),
        ({"file_name": ["2.png"]}, "set.json, picture 2"),
        ({"labelled": ["dog"]}, "2.png"),
        ({"labelled": "face"}, "2.png"),
        ({"width": "wide"}, "2.png"),
        ({"width": 40.5}, "2.png"),
    ],
)
def test_a_picture_that_is_not_described_is_left_out_and_named(
    picture: dict[str, Any], where: str, tmp_path: Path
) -> None:
    read = LabelledSet.read(coco(tmp_path, [GOOD], pictures=[{}, picture]))
    assert found(read) == [("label-broken", where)]
    assert [each.id for each in read.images] == [1]


def test_pictures_of_the_same_id_are_left_out_and_named(tmp_path: Path) -> None:
    read = LabelledSet.read(coco(tmp_path, [GOOD], pictures=[{}, {}, {"id": 1}]))
    assert found(read) == [("label-broken", "1.png"), ("label-broken", "3.png")]
    assert [each.id for each in read.images] == [2]


def test_labels_for_a_picture_that_is_not_in_the_file_are_counted(tmp_path: Path) -> None:
    read = LabelledSet.read(coco(tmp_path, [GOOD, GOOD | {"image_id": 9}, GOOD | {"image_id": 9}]))
    assert found(read) == [("picture-missing", "set.json")]
    assert "2 annotations are for a picture with the id 9" in read.problems.summary()


def test_unknown_types_are_counted_once_each(tmp_path: Path) -> None:
    kinds = [2, 2, 2, 3, 77]
    read = LabelledSet.read(coco(tmp_path, [GOOD | {"category_id": n} for n in kinds], names=["face", "dog", "head"]))
    details = [each.detail for each in read.problems]
    assert found(read) == [("type-unknown", "set.json")] * 3
    assert [each.split(" is not a known object type; ") for each in details] == [
        ["'dog'", "labels left out: 3"],
        ["'head'", "labels left out: 1"],
        ["'category_id 77'", "labels left out: 1"],
    ]


def test_a_size_that_is_not_stated_is_not_checked(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"width": None}, {"width": 0, "height": 0}]
    images = LabelledSet.read(coco(tmp_path, pictures=rows), strict=True).images
    assert [each.size_hw for each in images] == [(HEIGHT, WIDTH)] * 2


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("set/1.png")
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner), max_leaves=5
)
FIELDS = (
    "id image_id category_id bbox segmentation iscrowd ignore file_name width height labelled source name supercategory"
).split()
CHANGES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2)


@settings(max_examples=100, deadline=None)
@given(CHANGES, CHANGES, CHANGES, VALUES, st.sampled_from(["images", "annotations", "categories"]))
def test_no_nonsense_in_a_file_stops_the_run(
    picture: dict[str, Any], annotation: dict[str, Any], category: dict[str, Any], value: Any, place: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = coco(Path(name), [GOOD])
        rows = json.loads(file.read_text())
        rows["images"].append(rows["images"][0] | picture)
        rows["annotations"].append(rows["annotations"][0] | annotation)
        rows["categories"].append(rows["categories"][0] | category)
        rows[place].append(value)
        read = LabelledSet.read(write(file, json.dumps(rows)))
        assert read.images or "empty-set" in read.problems.counts()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_no_file_of_other_bytes_stops_the_run(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "set.json"
        file.write_bytes(data)
        assert {"label-broken", "empty-set"} <= set(LabelledSet.read(file).problems.counts())
