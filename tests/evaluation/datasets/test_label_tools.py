"""Labels of CVAT and Label Studio, as these tools write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.sets import boxes, coco, found, save_picture, write

HEAD = "<version>1.1</version><meta><job><labels><label><name>{}</name></label></labels></job></meta>"


def cvat(folder: Path, shapes: str, *, declared: str = "face", more: str = "") -> Path:
    save_picture(folder / "images" / "1.png")
    inside = f'{HEAD.format(declared)}<image id="0" name="1.png" width="40" height="20">{shapes}</image>{more}'
    return write(folder / "annotations.xml", f"<annotations>{inside}</annotations>")


def studio(folder: Path, *results: dict[str, Any], **task: Any) -> Path:
    save_picture(folder / "1.png")
    sized = [{"original_width": 40, "original_height": 20, "type": "rectanglelabels", **row} for row in results]
    whole = {"data": {"image": "/data/upload/3/0a1b2c3d-1.png"}, "annotations": [{"result": sized}]} | task
    return write(folder / "export.json", json.dumps([whole]))


def rectangle(x: float, y: float, width: float, height: float, name: str = "face", **more: Any) -> dict[str, Any]:
    return {"value": {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": [name]} | more}


def test_all_shapes_of_cvat_are_read_in_pixels(tmp_path: Path) -> None:
    shapes = """
      <box label="face" occluded="0" xtl="2" ytl="4" xbr="10" ybr="12" z_order="0"/>
      <box label="face" xtl="10" ytl="4" xbr="20" ybr="8" rotation="90"/>
      <polygon label="face" points="1.0,1.0;9.0,2.0;5.0,8.0"/>
      <ellipse label="face" cx="20" cy="10" rx="8" ry="4"/>
      <mask label="face" rle="1, 2, 1" left="30" top="5" width="2" height="2"/>
      <box label="face" xtl="2" ytl="4" xbr="10" ybr="12"><attribute name="ignore">true</attribute></box>
      <points label="face" points="1,1"/>
    """
    read = LabelledSet.read(cvat(tmp_path, shapes).parent)
    assert boxes(read.images[0]) == [
        [2, 4, 10, 12], [13, 1, 17, 11], [1, 1, 9, 8], [12, 6, 28, 14], [30, 5, 32, 7], [2, 4, 10, 12]
    ]  # fmt: skip
    objects = read.images[0].objects[ObjectType.FACE]
    assert objects.ignored.tolist() == [False] * 5 + [True]
    assert [outline is None for outline in objects.outlines] == [True, False, False, False, False, True]
    # the pixels right of and below the corner: two contours that touch in a corner
    mask = objects.outlines[4]
    assert mask is not None and {tuple(point) for part in mask for point in part.tolist()} >= {(32, 5), (30, 7)}
    assert found(read) == [("type-unknown", "annotations.xml")]
    assert read.images[0].labelled == (ObjectType.FACE,)


@pytest.mark.parametrize(
    ("shapes", "more", "where", "detail"),
    [
        ('<box label="face" xtl="a" ytl="1" xbr="2" ybr="2"/>', "", "1.png", "box 1: xtl, ytl, xbr, ybr is"),
        (
            '<mask label="face" rle="5" left="0" top="0" width="2" height="2"/>',
            "",
            "1.png",
            "mask 1: its runs have 5",
        ),
        ("", '<track id="0" label="face"/>', "annotations.xml", "it has 1 tracks of a video; export the task as"),
        ("", '<image id="1" name="2.png" width="1" height="1"/>', "2.png", "there is no such file in or below"),
    ],
)
def test_what_is_wrong_with_a_cvat_file_is_named(
    tmp_path: Path, shapes: str, more: str, where: str, detail: str
) -> None:
    problems = {each.where: each.detail for each in LabelledSet.read(cvat(tmp_path, shapes, more=more)).problems}
    assert problems[where].startswith(detail)


def test_rectangles_polygons_and_ellipses_of_label_studio_are_read_in_percent(tmp_path: Path) -> None:
    polygon = {"value": {"points": [[25, 50], [50, 50], [50, 100]], "polygonlabels": ["face"]}}
    ellipse = {"value": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["face"]}}
    brush = {"value": {"format": "rle", "brushlabels": ["face"]}}
    turned = rectangle(50, 0, 25, 20, rotation=90)
    read = LabelledSet.read(studio(tmp_path, rectangle(5, 20, 20, 40), turned, polygon, ellipse, brush))
    # turned clockwise around its left top corner at (20, 0): 10 wide and 4 high become 4 wide and 10 high
    assert boxes(read.images[0]) == [[2, 4, 10, 12], [16, 0, 20, 10], [10, 10, 20, 20], [16, 6, 24, 14]]
    assert found(read) == [("type-unknown", "export.json")]


def test_of_several_annotations_of_a_task_the_last_counts(tmp_path: Path) -> None:
    versions = [
        {"updated_at": "2026-11-02", "result": [rectangle(0, 0, 50, 50)]},
        {"updated_at": "2026-11-01", "result": [rectangle(0, 0, 10, 10)]},
        {"updated_at": "2026-11-03", "was_cancelled": True, "result": []},
    ]
    assert boxes(LabelledSet.read(studio(tmp_path, annotations=versions)).images[0]) == [[0, 0, 20, 10]]
    read = LabelledSet.read(studio(tmp_path, annotations=[], predictions=versions))
    assert read.images == () and read.read_labels.unlabelled == ("0a1b2c3d-1.png",)


def test_the_short_export_of_label_studio_is_read(tmp_path: Path) -> None:
    save_picture(tmp_path / "1.png")
    value = rectangle(5, 20, 20, 40)["value"] | {"original_width": 40, "original_height": 20}
    file = write(tmp_path / "min.json", json.dumps([{"image": "s3://bucket/1.png", "id": 1, "label": [value]}]))
    assert boxes(LabelledSet.read(file).images[0]) == [[2, 4, 10, 12]]


def test_a_map_reads_the_names_of_others_and_leaves_classes_out(tmp_path: Path) -> None:
    rows = [{"bbox": [2, 2, 8, 8]}, {"bbox": [3, 3, 8, 8], "category_id": 2}, {"bbox": [4, 4, 8, 8], "category_id": 3}]
    file = coco(tmp_path, rows, names=("visage", "hund", "baum"))
    read = LabelledSet.read(file, names={"Visage": "face", "hund": "none"})
    assert boxes(read.images[0]) == [[2, 2, 10, 10]]
    assert [each.detail for each in read.problems] == ["'baum' is not a known object type; labels left out: 1"]
    said = read.summary()
    assert [line.split(maxsplit=2) for line in said.splitlines()[2:5]] == [
        ["visage", "1", "face"], ["hund", "1", "none"], ["baum", "1", "unknown, left out"]
    ]  # fmt: skip
    assert "--map baum=TYPE" in said
    assert "Fully labelled: face 1 in 1 images." in said
    with pytest.raises(ValueError, match="must be face, license-plate, person, vehicle or none"):
        LabelledSet.read(file, names={"visage": "head"})


def test_pictures_without_a_label_file_are_said(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        save_picture(tmp_path / "images" / f"{name}.png")
    write(tmp_path / "labels" / "1.txt", "0 0.5 0.5 0.2 0.2")
    write(tmp_path / "labels" / "2.txt", "")
    write(tmp_path / "data.yaml", "names: [face]")
    said = LabelledSet.read(tmp_path).summary()
    assert "YOLO labels, 3 images, 2 of them without objects." in said
    assert "1 images have no label file, so they count as images without objects: images/3.png" in said
    assert np.isclose(boxes(LabelledSet.read(tmp_path).images[0]), [16, 8, 24, 12]).all()
