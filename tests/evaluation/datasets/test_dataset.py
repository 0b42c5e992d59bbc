"""What holds for sets of every format: problems, sizes, names of types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anonymizer.evaluation.datasets.class_names import parse_class_name
from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.datasets.issues import InvalidDataset, ProblemKind
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.images.io import load_picture
from tests.evaluation.sets import HEIGHT, WIDTH, boxes, coco, found, save_picture, save_turned, voc, write

GOOD = {"bbox": [1, 2, 10, 5]}


def yolo(folder: Path, line: str) -> Path:
    write(folder / "classes.txt", "face\n")
    save_picture(folder / "images" / "1.png")
    write(folder / "labels" / "1.txt", line)
    return folder


def broken_picture(folder: Path) -> Path:
    file = coco(folder, [GOOD], pictures=[{}, {}])
    (folder / "set" / "2.png").write_bytes(b"no picture")
    return file


def other_size(folder: Path) -> Path:
    return coco(folder, [GOOD], pictures=[{}, {"width": 41}])


def missing_picture(folder: Path) -> Path:
    file = coco(folder, [GOOD], pictures=[{}, {}])
    (folder / "set" / "2.png").unlink()
    return file


def empty_folder(folder: Path) -> Path:
    save_picture(folder / "holiday.jpg")
    return folder


@pytest.mark.parametrize(
    ("make", "kind", "where", "detail", "left"),
    [
        (empty_folder, "empty-set", "{folder}", "there are no labels of COCO, YOLO, Pascal VOC, "
            "CVAT or Label Studio", []),
        (lambda f: coco(f, pictures=[]), "empty-set", "{folder}/set.json", "there is no picture with labels", []),
        (missing_picture, "picture-missing", "2.png", "there is no such file in or below {folder}", [1]),
        (broken_picture, "picture-broken", "2.png", "The file is text, which is not supported", [1]),
        (other_size, "size-differs", "2.png", "the labels are for 41 x 20 pixels, but it has 40 x 20", [1]),
        (
            lambda f: coco(f, [GOOD, GOOD | {"category_id": 2}], names=["face", "dog"]),
            "type-unknown", "set.json", "'dog' is not a known object type; labels left out: 1", [1],
        ),
        (lambda f: coco(f, [GOOD, {"bbox": [40, 0, 5, 5]}]), "box-outside", "1.png, annotation 2", "lies outside", [1]),
        (lambda f: coco(f, [GOOD, {"bbox": [3, 3, 0, 5]}]), "box-empty", "1.png, annotation 2", "has no area", [1]),
        (
            lambda f: coco(f, [{"bbox": [1, 2, 10, 99]}]),
            "box-clipped", "1.png, annotation 1", "(x 1 to 11, y 2 to 101) lies partly outside", [1],
        ),
        (
            lambda f: coco(f, [GOOD, GOOD | {"image_id": 2, "bbox": ["wide"]}], pictures=[{}, {}]),
            "label-broken", "2.png, annotation 2", "bbox is ['wide'], not numbers", [1],
        ),
    ],
)  # fmt: skip
def test_each_problem_is_said_by_name_and_stops_nothing_unless_strict(
    make: Any, kind: str, where: str, detail: str, left: list[int], tmp_path: Path
) -> None:
    path = make(tmp_path)
    read = LabelledSet.read(path)
    assert found(read) == [(kind, where.format(folder=tmp_path))]
    assert detail.format(folder=tmp_path) in str(next(iter(read.problems)))
    assert read.problems.counts() == {ProblemKind(kind): 1}
    assert [each.id for each in read.images] == left
    assert all(boxes(each) for each in read.images if each.id == 1)
    with pytest.raises(InvalidDataset, match=kind) as raised:
        LabelledSet.read(path, strict=True)
    assert raised.value.problem.kind == kind


def test_a_good_set_is_read_strictly(tmp_path: Path) -> None:
    read = LabelledSet.read(coco(tmp_path, [GOOD]), strict=True)
    assert (read.name, len(read.images), len(read.problems)) == ("set", 1, 0)


def test_one_corrupt_picture_in_the_middle_of_a_thousand_is_named(tmp_path: Path) -> None:
    file = coco(tmp_path, ({"image_id": n, "bbox": [1, 2, 10, 5]} for n in range(1, 1001)), pictures=[{}] * 1000)
    (tmp_path / "set" / "500.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    read = LabelledSet.read(file)
    assert found(read) == [("picture-broken", "500.png")]
    assert [each.id for each in read.images] == [n for n in range(1, 1001) if n != 500]
    assert all(boxes(each) == [[1, 2, 11, 7]] for each in read.images)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.json does not exist"):
        LabelledSet.read(tmp_path / "nothing.json")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a folder, a COCO or Label Studio file \(.json\), a CVAT"):
        LabelledSet.read(save_picture(tmp_path / "1.png"))


def test_a_set_without_a_known_type_is_empty(tmp_path: Path) -> None:
    read = LabelledSet.read(coco(tmp_path, [GOOD], names=["dog"]))
    assert [kind for kind, _ in found(read)] == ["type-unknown", "empty-set"]
    assert read.images[0].labelled == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda f: coco(f, [{"bbox": [4, 4, 8, 8]}, {"bbox": [-0.9, 0, 10, 20.9]}]),
        lambda f: yolo(f, "0 0.2 0.4 0.2 0.4\n0 0.1 0.5 0.25 1.05\n"),
        lambda f: voc(f, [("face", (4, 4, 12, 12)), ("face", (-1, 0, 9, 21))]),
    ],
    ids=["coco", "yolo", "voc"],
)
def test_every_format_gives_the_same_boxes_inside_the_picture(make: Any, tmp_path: Path) -> None:
    read = LabelledSet.read(make(tmp_path))
    assert len(read.problems) == 0
    image = read.images[0]
    assert boxes(image)[0] == [4, 4, 12, 12]
    np.testing.assert_allclose(boxes(image)[1], [0, 0, 9, 20], atol=0.2)
    assert (image.size_hw, ObjectType.FACE in image.labelled) == ((HEIGHT, WIDTH), True)
    assert image.objects[ObjectType.FACE].boxes.dtype == np.float32
    assert set(image.objects) == set(OBJECT_TYPES)


def test_what_is_labelled_completely_can_be_said_for_the_whole_set(tmp_path: Path) -> None:
    file = coco(tmp_path, [GOOD], names=["face", "person"], pictures=[{}, {"labelled": ["face"]}])
    assert [each.labelled for each in LabelledSet.read(file).images] == [
        (ObjectType.FACE, ObjectType.PERSON),
        (ObjectType.FACE,),
    ]
    chosen = LabelledSet.read(file, labelled=[ObjectType.VEHICLE])
    assert [each.labelled for each in chosen.images] == [(ObjectType.VEHICLE,)] * 2
    assert boxes(chosen.images[0]) == [[1, 2, 11, 7]]


def test_a_subset_keeps_name_and_problems(tmp_path: Path) -> None:
    read = LabelledSet.read(other_size(tmp_path))
    part = read.subset([])
    assert (part.images, part.name, found(part)) == ((), "set", [("size-differs", "2.png")])


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "avif"])
def test_sizes_are_those_of_the_upright_picture(kind: str, tmp_path: Path) -> None:
    save_turned(tmp_path / "set" / f"1.{kind}")
    row = {"file_name": f"1.{kind}", "width": HEIGHT, "height": WIDTH}
    file = coco(tmp_path, [{"bbox": [5, 30, 10, 5]}], pictures=[row], save=False)
    image = LabelledSet.read(file, strict=True).images[0]
    assert boxes(image) == [[5, 30, 15, 35]]
    assert image.size_hw == image.pixels().shape[:2] == load_picture(image.path).size_hw


def test_a_turned_png_is_known_though_its_exif_lies_behind_the_pixels(tmp_path: Path) -> None:
    data = save_turned(tmp_path / "set" / "1.png").read_bytes()
    start = data.index(b"eXIf") - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
    (tmp_path / "set" / "1.png").write_bytes(data.replace(chunk, b"").replace(data[-12:], chunk + data[-12:]))
    file = coco(tmp_path, pictures=[{"width": HEIGHT, "height": WIDTH}], save=False)
    image = LabelledSet.read(file, strict=True).images[0]
    assert image.size_hw == image.pixels().shape[:2]


def test_labels_for_the_picture_as_it_is_stored_are_refused(tmp_path: Path) -> None:
    save_turned(tmp_path / "set" / "1.jpg")
    read = LabelledSet.read(coco(tmp_path, [GOOD], pictures=[{"file_name": "1.jpg"}], save=False))
    assert found(read)[0] == ("size-differs", "1.jpg")
    assert "for 40 x 20 pixels, but it has 20 x 40: EXIF rotates it" in read.problems.summary()


def test_a_heic_picture_is_read(tmp_path: Path) -> None:
    import pillow_heif

    (tmp_path / "set").mkdir()
    pillow_heif.from_pillow(Image.new("RGB", (64, 32))).save(tmp_path / "set" / "1.heic")
    row = {"file_name": "1.heic", "width": 64, "height": 32}
    image = LabelledSet.read(coco(tmp_path, pictures=[row], save=False), strict=True).images[0]
    assert image.size_hw == image.pixels().shape[:2] == (32, 64)


def test_pixels_are_what_the_service_looks_at(tmp_path: Path) -> None:
    save_turned(tmp_path / "set" / "1.jpg", quality=50)
    file = coco(
        tmp_path,
        pictures=[{"file_name": "1.jpg", "width": HEIGHT, "height": WIDTH}, {"file_name": "2.png"}],
        save=False,
    )
    save_picture(tmp_path / "set" / "2.png")
    turned, cut = LabelledSet.read(file).images
    np.testing.assert_array_equal(turned.pixels(), load_picture(turned.path).rgb())
    cut.path.write_bytes(cut.path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"2\.png cannot be read: The PNG picture is broken"):
        cut.pixels()


def test_a_picture_with_more_pixels_than_the_service_takes_is_named(tmp_path: Path) -> None:
    picture = coco(tmp_path, [GOOD]).parent / "set" / "1.png"
    data = bytearray(picture.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    picture.write_bytes(data)
    read = LabelledSet.read(tmp_path / "set.json")
    assert found(read)[0][0] == "picture-broken"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("face", ("face", False)),
        ("Human_Face", ("face", False)),
        ("faces", ("face", False)),
        ("head", None),
        ("", None),
        ("licence-plate", ("license-plate", False)),
        ("LicensePlate", ("license-plate", False)),
        ("Vehicle registration plate", ("license-plate", False)),
        ("LP", ("license-plate", False)),
        ("Pedestrian", ("person", False)),
        ("cyclist", ("person", True)),
        ("buses", ("vehicle", False)),
        ("Motorcycle", ("vehicle", False)),
        ("bicycle", ("vehicle", True)),
        ("trains", ("vehicle", True)),
        ("boat", None),
    ],
)
def test_common_names_are_understood(name: str, expected: tuple[str, bool] | None) -> None:
    assert parse_class_name(name) == expected


@pytest.mark.parametrize("name", list(ObjectType))
def test_the_names_of_this_project_mean_themselves(name: ObjectType) -> None:
    assert parse_class_name(name) == (name, False)


@pytest.mark.parametrize("name", ["val", "train"])
def test_the_real_sets_are_read_whole_and_without_problems(name: str, data: Path) -> None:
    rows = json.loads((data / f"{name}.json").read_text())
    read = LabelledSet.read(data / f"{name}.json", strict=True)
    assert [each.id for each in read.images] == [each["id"] for each in rows["images"]]
    assert [each.source for each in read.images] == [each["source"] for each in rows["images"]]
    assert [list(each.labelled) for each in read.images] == [each["labelled"] for each in rows["images"]]
    objects = [each for image in read.images for each in image.objects.values()]
    assert sum(len(each.boxes) for each in objects) == len(rows["annotations"])
    ignored = sum(bool(each["ignore"] or each["iscrowd"]) for each in rows["annotations"])
    assert sum(int(each.ignored.sum()) for each in objects) == ignored
    outlined = sum(bool(each.get("segmentation")) for each in rows["annotations"])
    assert sum(outline is not None for each in objects for outline in each.outlines) == outlined
