from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.sets import boxes, found, save_picture, voc, write

FACE = ("face", (1, 2, 11, 7))


def test_types_are_those_that_any_picture_names(tmp_path: Path) -> None:
    voc(tmp_path, [FACE])
    voc(tmp_path, [("bus", (0, 0, 5, 5)), ("bicycle", (0, 0, 5, 5))], name="2")
    save_picture(tmp_path / "JPEGImages" / "without.png")
    first, second = LabelledSet.read(tmp_path, strict=True).images
    assert first.labelled == second.labelled == (ObjectType.FACE, ObjectType.VEHICLE)
    assert (boxes(first), boxes(second, "vehicle")) == ([[1, 2, 11, 7]], [[0, 0, 5, 5]] * 2)
    assert second.objects[ObjectType.VEHICLE].ignored.tolist() == [False, True]
    assert first.source == tmp_path.name


@pytest.mark.parametrize(
    ("more", "ignored"),
    [("", False), ("<difficult>0</difficult>", False), ("<difficult> 1 </difficult>", True)],
)
def test_difficult_objects_are_ignored(more: str, ignored: bool, tmp_path: Path) -> None:
    image = LabelledSet.read(voc(tmp_path, [FACE], more=more), strict=True).images[0]
    assert image.objects[ObjectType.FACE].ignored.tolist() == [ignored]


def test_boxes_of_parts_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>face</name><bndbox><xmin>0</xmin></bndbox></part>"
    image = LabelledSet.read(voc(tmp_path, [("person", FACE[1])], more=part), strict=True).images[0]
    assert (boxes(image, "person"), boxes(image)) == ([[1, 2, 11, 7]], [])


@pytest.mark.parametrize("place", ["images", "Annotations", "elsewhere", "."])
def test_pictures_are_found_where_tools_leave_them(place: str, tmp_path: Path) -> None:
    picture = voc(tmp_path, [FACE]) / "JPEGImages" / "1.png"
    (tmp_path / place).mkdir(exist_ok=True)
    moved = picture.rename(tmp_path / place / "1.png")
    assert LabelledSet.read(tmp_path, strict=True).images[0].path == moved


def test_the_masks_of_the_same_name_are_not_taken_for_the_picture(tmp_path: Path) -> None:
    voc(tmp_path, [FACE])
    save_picture(tmp_path / "SegmentationClass" / "1.png", (3, 3))
    assert LabelledSet.read(tmp_path, strict=True).images[0].path.parent.name == "JPEGImages"


def test_a_picture_of_another_name_is_the_one_that_is_stated(tmp_path: Path) -> None:
    voc(tmp_path, [FACE])
    (tmp_path / "Annotations" / "1.xml").rename(tmp_path / "Annotations" / "label-1.xml")
    assert LabelledSet.read(tmp_path, strict=True).images[0].path.name == "1.png"


def test_splits_with_the_labels_beside_the_pictures_are_read(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        voc(tmp_path / split, [FACE])
        (tmp_path / split / "Annotations" / "1.xml").rename(tmp_path / split / "1.xml")
        (tmp_path / split / "JPEGImages" / "1.png").rename(tmp_path / split / "1.png")
    images = LabelledSet.read(tmp_path, strict=True).images
    assert [(each.id, each.path.parent.name) for each in images] == [(1, "train"), (2, "valid")]


def test_labels_without_a_picture_are_named(tmp_path: Path) -> None:
    voc(tmp_path, [FACE])
    (voc(tmp_path, [FACE], name="2") / "JPEGImages" / "2.png").unlink()
    read = LabelledSet.read(tmp_path)
    assert found(read) == [("picture-missing", "Annotations/2.xml")]
    assert len(read.images) == 1


def test_another_size_leaves_the_picture_out(tmp_path: Path) -> None:
    save_picture(voc(tmp_path, [FACE]) / "JPEGImages" / "1.png", (20, 40))
    assert found(LabelledSet.read(tmp_path)) == [("size-differs", "JPEGImages/1.png"), ("empty-set", str(tmp_path))]


def test_unknown_types_are_counted(tmp_path: Path) -> None:
    read = LabelledSet.read(voc(tmp_path, [FACE, ("head", FACE[1]), ("head", FACE[1])]))
    assert found(read) == [("type-unknown", str(tmp_path))]
    assert "'head' is not a known object type; labels left out: 2" in read.problems.summary()


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><filename>&b;</filename></annotation>'


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "it cannot be parsed as XML: no element found: line 1, column 0"),
        ("<annotation>\n<object></annotation>", "mismatched tag: line 2"),
        (BOMB, "it cannot be parsed as XML: DTDForbidden"),
        (OUTSIDE, "it cannot be parsed as XML: DTDForbidden"),
        ("<html></html>", "it begins with 'html', not 'annotation'"),
        ("<annotation><object><name>face</name></object></annotation>", "object 1: bndbox is [None, None, None, None]"),
        ("<annotation><size><width>x</width><height>4</height></size></annotation>", "the size (height, width)"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "it cannot be parsed as XML: unknown encoding"),
    ],
)
def test_a_broken_file_is_named_and_its_picture_left_out(text: str, detail: str, tmp_path: Path) -> None:
    voc(tmp_path, [FACE])
    voc(tmp_path, [FACE], name="2")
    write(tmp_path / "Annotations" / "2.xml", text)
    read = LabelledSet.read(tmp_path)
    assert found(read) == [("label-broken", "Annotations/2.xml")]
    assert detail in read.problems.summary()
    assert [each.path.name for each in read.images] == ["1.png"]


TAGS = st.sampled_from("object name bndbox xmin ymin xmax ymax size width height filename difficult".split())
TREES = st.recursive(
    st.text(alphabet="0123456789.-einfa ", max_size=6) | st.just("face"),
    lambda inner: st.tuples(TAGS, st.lists(inner, max_size=6)).map(lambda t: f"<{t[0]}>{''.join(t[1])}</{t[0]}>"),
)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100) | TREES.map(lambda inside: f"<annotation>{inside}</annotation>".encode()))
def test_no_xml_file_stops_the_run(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = voc(Path(name), [FACE])
        voc(folder, [], name="2")
        (folder / "Annotations" / "2.xml").write_bytes(text)
        assert len(LabelledSet.read(folder).images) >= 1
