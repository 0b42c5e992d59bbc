from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.sets import boxes, found, save_picture, save_turned, write

#: the same object each time, in a picture of 40 x 20
LINE, BOX = "0 0.25 0.5 0.1 0.2", [8, 8, 12, 12]


def dataset(folder: Path, label: str = LINE, *, names: str = "names: [face, car]", split: str = "") -> Path:
    write(folder / "data.yaml", names)
    save_picture(folder / "images" / split / "1.png")
    write(folder / "labels" / split / "1.txt", label)
    return folder


@pytest.mark.parametrize("names", ["names: [face, car]", "names: {0: face, 1: car}", "nc: 2\nnames:\n- face\n- car"])
def test_names_are_a_list_or_by_number(names: str, tmp_path: Path) -> None:
    image = LabelledSet.read(dataset(tmp_path, f"{LINE}\n1 0.5 0.5 1 1\n", names=names), strict=True).images[0]
    assert (boxes(image), boxes(image, "vehicle")) == ([BOX], [[0, 0, 40, 20]])
    assert image.labelled == (ObjectType.FACE, ObjectType.VEHICLE)
    assert image.source == tmp_path.name


@pytest.mark.parametrize("file", ["classes.txt", "obj.names", "labels/classes.txt"])
def test_names_are_lines_of_a_text_file(file: str, tmp_path: Path) -> None:
    dataset(tmp_path)
    (tmp_path / "data.yaml").unlink()
    write(tmp_path / file, "face\r\ncar\r\n")
    assert boxes(LabelledSet.read(tmp_path, strict=True).images[0]) == [BOX]


def test_a_name_that_yaml_takes_for_no_stays_a_name(tmp_path: Path) -> None:
    read = LabelledSet.read(dataset(tmp_path, f"{LINE}\n1 0.5 0.5 1 1\n", names="names: [face, no]"))
    assert "'no' is not a known object type; labels left out: 1" in read.problems.summary()


def test_labels_may_lie_beside_the_pictures(tmp_path: Path) -> None:
    write(tmp_path / "classes.txt", "face")
    save_picture(tmp_path / "1.JPG", format="JPEG")
    write(tmp_path / "1.txt", LINE)
    assert boxes(LabelledSet.read(tmp_path, strict=True).images[0]) == [BOX]


def test_a_picture_without_a_text_file_has_no_objects(tmp_path: Path) -> None:
    save_picture(dataset(tmp_path) / "images" / "2.png")
    images = LabelledSet.read(tmp_path, strict=True).images
    assert [(each.id, boxes(each)) for each in images] == [(1, [BOX]), (2, [])]
    assert images[1].labelled == (ObjectType.FACE, ObjectType.VEHICLE)


def test_a_set_without_any_text_file_is_no_set_without_objects(tmp_path: Path) -> None:
    (dataset(tmp_path) / "labels" / "1.txt").unlink()
    read = LabelledSet.read(tmp_path)
    assert (read.images, found(read)) == ((), [("empty-set", str(tmp_path))])


def test_the_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    save_turned(dataset(tmp_path) / "images" / "1.png")
    image = LabelledSet.read(tmp_path, strict=True).images[0]
    assert (image.size_hw, boxes(image)) == ((40, 20), [[4, 16, 6, 24]])


def test_polygons_are_outlines_and_give_the_box(tmp_path: Path) -> None:
    objects = LabelledSet.read(dataset(tmp_path, f"0 0.1 0.1 0.5 0.1 0.5 1.01\n{LINE}"), strict=True).images[0].objects
    face = objects[ObjectType.FACE]
    assert face.boxes[0].tolist() == [4, 2, 20, 20]
    outline, none = face.outlines
    assert outline is not None
    assert none is None
    assert [each.tolist() for each in outline] == [[[4, 2], [20, 2], [20, 20]]]


def test_key_points_are_no_polygon(tmp_path: Path) -> None:
    names = "names: [face]\nkpt_shape: [2, 2]"
    image = LabelledSet.read(dataset(tmp_path, f"{LINE} 0.1 0.1 0.9 0.9", names=names), strict=True).images[0]
    assert (boxes(image), image.objects[ObjectType.FACE].outlines) == ([BOX], ())


def test_splits_are_read_where_the_file_says(tmp_path: Path) -> None:
    names = "path: .\ntrain: images/train\nval: [images/val]\nnames: [face]"
    dataset(tmp_path, split="train", names=names)
    dataset(tmp_path, split="val", names=names)
    dataset(tmp_path, split="unused", names=names)
    for path in (tmp_path, tmp_path / "data.yaml"):
        read = LabelledSet.read(path, strict=True)
        assert [each.path.parent.name for each in read.images] == ["train", "val"]
        assert (read.name, [each.id for each in read.images]) == (tmp_path.name, [1, 2])


def test_one_split_is_read_by_itself(tmp_path: Path) -> None:
    dataset(tmp_path, split="train", names="train: images/train\nval: images/val\nnames: [face]")
    save_picture(tmp_path / "images" / "val" / "2.png")
    write(tmp_path / "labels" / "val" / "2.txt", LINE)
    read = LabelledSet.read(tmp_path / "images" / "val", strict=True)
    assert [(each.path.name, boxes(each)) for each in read.images] == [("2.png", [BOX])]


def test_roboflow_splits_lie_beside_their_file_whatever_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write(folder / "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: [Face]")
    for split in ("train", "valid"):
        save_picture(folder / split / "images" / "1.png")
        write(folder / split / "labels" / "1.txt", LINE)
    assert len(LabelledSet.read(folder, strict=True).images) == 2
    assert len(LabelledSet.read(folder / "valid", strict=True).images) == 1


def test_a_split_may_be_a_list_of_pictures(tmp_path: Path) -> None:
    dataset(tmp_path, names="train: train.txt\nnames: [face]")
    write(tmp_path / "train.txt", "./images/1.png\n./images/2.png\n")
    read = LabelledSet.read(tmp_path)
    assert [each.path.name for each in read.images] == ["1.png"]
    assert found(read) == [("picture-missing", "./images/2.png")]


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    read = LabelledSet.read(dataset(tmp_path, names="val: images\ntest: other\nnames: [face]"))
    assert found(read) == [("picture-missing", str(tmp_path / "data.yaml"))]
    assert len(read.images) == 1


def test_labels_without_a_picture_are_named(tmp_path: Path) -> None:
    gone = write(dataset(tmp_path) / "labels" / "gone.txt", LINE)
    write(tmp_path / "notes.txt", "taken in May")
    assert found(LabelledSet.read(tmp_path)) == [("picture-missing", str(gone))]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("face 0.5 0.5 0.1 0.1", "line 2: it is ['face', '0.5', '0.5', '0.1', '0.1'], not numbers"),
        ("0 0.5 0.5 0.1", "line 2: it is '0 0.5 0.5 0.1', not the number of a type and x, y, width, height"),
        ("0 nan 0.5 0.1 0.1", "not numbers"),
        ("0 inf 0.5 0.1 0.1", "not numbers"),
        ("-1 0.5 0.5 0.1 0.1", "not the number of a type"),
        ("0.5 0.5 0.5 0.1 0.1", "not the number of a type"),
        ("0 20 10 8 4", "line 2: it is '0 20 10 8 4', not fractions of the picture's size (0 to 1)"),
        ("0 0.5 0.5 0.1 0.1 0.93", "line 2: the polygon has 5 numbers"),
    ],
)
def test_a_broken_line_is_named_and_its_picture_left_out(line: str, detail: str, tmp_path: Path) -> None:
    dataset(tmp_path)
    save_picture(tmp_path / "images" / "2.png")
    write(tmp_path / "labels" / "2.txt", f"{LINE}\n{line}\n")
    read = LabelledSet.read(tmp_path)
    assert found(read) == [("label-broken", str(tmp_path.absolute() / "labels" / "2.txt").removeprefix(f"{tmp_path}/"))]
    assert detail in read.problems.summary()
    assert [each.path.name for each in read.images] == ["1.png"]


@pytest.mark.parametrize(
    ("line", "kind", "count"),
    [
        ("0 1.2 0.5 0.1 0.1", "box-outside", 0),
        ("0 0.5 0.5 0 0.1", "box-empty", 0),
        ("0 0.5 0.5 0.1 -0.1", "box-empty", 0),
        ("0 0 0.5 0.5 0.5", "box-clipped", 1),
        ("7 0.5 0.5 0.1 0.1", "type-unknown", 0),
    ],
)
def test_what_is_wrong_with_a_box_is_named(line: str, kind: str, count: int, tmp_path: Path) -> None:
    read = LabelledSet.read(dataset(tmp_path, line))
    assert [kind for kind, _ in found(read)] == [kind]
    assert len(boxes(read.images[0])) == count


@pytest.mark.parametrize("text", ["names: [face", "nc: 3", "names: {a: face}", "names: [[face]]", "- a", ""])
def test_a_file_without_names_is_named(text: str, tmp_path: Path) -> None:
    read = LabelledSet.read(dataset(tmp_path, names=text))
    assert found(read) == [("label-broken", str(tmp_path)), ("empty-set", str(tmp_path))]


def test_types_without_a_name_are_counted(tmp_path: Path) -> None:
    (dataset(tmp_path, f"{LINE}\n{LINE}") / "data.yaml").unlink()
    read = LabelledSet.read(tmp_path)
    assert [kind for kind, _ in found(read)] == ["type-unknown", "empty-set"]
    assert "'number 0, which has no name' is not a known object type; labels left out: 2" in read.problems.summary()


def test_pictures_behind_links_are_read_once(tmp_path: Path) -> None:
    dataset(tmp_path / "real")
    folder = tmp_path / "set"
    write(folder / "classes.txt", "face")
    for name in ("images", "labels"):
        (folder / name).symlink_to(tmp_path / "real" / name)
    (tmp_path / "real" / "images" / "up").symlink_to(folder)
    assert [boxes(each) for each in LabelledSet.read(folder).images] == [[BOX]]


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=80)
    | st.lists(st.floats() | st.integers() | st.text(max_size=3), max_size=9).map(
        lambda row: " ".join(map(str, row)).encode("utf-8", "surrogatepass")
    ),
    st.binary(max_size=80)
    | st.just(b"names: [face]\ntrain: \0\nval: " + b"a" * 300)
    | st.just(b"names: ['\\UFFFFFFFF']"),
)
def test_no_text_file_stops_the_run(label: bytes, names: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = dataset(Path(name))
        save_picture(folder / "images" / "2.png")
        (folder / "labels" / "2.txt").write_bytes(label)
        assert len(LabelledSet.read(folder).images) >= 1
        (folder / "data.yaml").write_bytes(names)
        assert len(LabelledSet.read(folder).problems) >= 1
