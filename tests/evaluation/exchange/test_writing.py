"""Detections go to other tools and come back as the same labels; the files have the form that the tools document."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.exchange.pictures import (
    BrokenMetadata,
    ExchangedObject,
    ExchangedPicture,
    of_labelled_set,
    read_metadata_files,
)
from anonymizer.evaluation.exchange.regions import regions_of, write_regions
from anonymizer.evaluation.exchange.writing import LabelFormat, write_labels
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.drawn import Shape, parse_regions
from tests.evaluation.sets import HEIGHT, WIDTH, boxes, coco, save_picture

FACE, PERSON = ObjectType.FACE, ObjectType.PERSON


def metadata(name: str, *rows: tuple[str, list[int], float]) -> str:
    found = [{"type_label": kind, "bbox": box, "score": score, "model": "own-3"} for kind, box, score in rows]
    return json.dumps({"id": name, "filename": name, "size": [HEIGHT, WIDTH], "detections": found})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """What `anonymizer run` wrote of two pictures, one in a folder below, and the originals in `photos`."""
    folder = tmp_path / "results"
    (folder / "day 2").mkdir(parents=True)
    (folder / "a.json").write_text(metadata("a.png", ("face", [2, 3, 12, 15], 0.9), ("person", [1, 1, 20, 19], 0.5)))
    (folder / "day 2" / "a.json").write_text(metadata("a.png"))
    (folder / "clip.json").write_text("[]")
    (folder / "a.receipt.json").write_text("{}")
    for name in ("a.png", "day 2/a.png"):
        save_picture(tmp_path / "photos" / name)
    return folder


@pytest.mark.parametrize("label_format", LabelFormat)
def test_what_was_found_comes_back_as_labels(results: Path, tmp_path: Path, label_format: LabelFormat) -> None:
    pictures = list(read_metadata_files(results, tmp_path / "photos"))
    assert [each.name for each in pictures] == ["a.png", "day 2/a.png"]
    file = write_labels(pictures, tmp_path / "out", label_format, copy_pictures=True)
    if label_format is LabelFormat.LABEL_STUDIO:
        # a person has accepted the predictions
        tasks = json.loads(file.read_text())
        assert [row["score"] for row in tasks[0]["predictions"][0]["result"]] == [0.9, 0.5]
        assert LabelledSet.read(file).images == (), "predictions are not labels"
        for task in tasks:
            task["annotations"] = [{"result": each["result"]} for each in task.pop("predictions", [{"result": []}])]
            task["data"]["image"] = task["data"]["image"].replace("a.png", "0a1b2c3d-a.png")
        # uploads have no folders, so two of the same name cannot be told apart
        file.write_text(json.dumps(tasks[:1]))
        (tmp_path / "out" / "images" / "day 2" / "a.png").unlink()
    read = LabelledSet.read(tmp_path / "out" if label_format is not LabelFormat.LABEL_STUDIO else file)
    assert list(read.problems) == []
    assert boxes(read.images[0], "face") == [[2, 3, 12, 15]]
    assert boxes(read.images[0], "person") == [[1, 1, 20, 19]]
    if label_format is not LabelFormat.LABEL_STUDIO:
        assert [image.path.relative_to(tmp_path / "out" / "images").as_posix() for image in read.images] == [
            "a.png",
            "day 2/a.png",
        ]
        assert boxes(read.images[1], "face") == []


def test_cvat_gets_what_its_importer_reads(results: Path, tmp_path: Path) -> None:
    root = ElementTree.parse(write_labels(read_metadata_files(results), tmp_path / "out", LabelFormat.CVAT)).getroot()
    assert root.findtext("version") == "1.1"
    assert [each.findtext("name") for each in root.findall("meta/task/labels/label")] == list(ObjectType)
    image = root.findall("image")[0]
    assert (image.get("name"), image.get("width"), image.get("height")) == ("a.png", str(WIDTH), str(HEIGHT))
    box = image.findall("box")[0]
    wanted = {"label": "face", "source": "auto", "occluded": "0", "z_order": "0"}
    assert {name: box.get(name) for name in wanted} == wanted
    assert [float(box.get(name, "")) for name in ("xtl", "ytl", "xbr", "ybr")] == [2, 3, 12, 15]


def test_labels_become_regions_that_the_api_reads(tmp_path: Path) -> None:
    outline = (np.array([[1, 1], [9, 2], [5, 8]], np.float32),)
    objects = (ExchangedObject(FACE, (2, 3, 12, 15)), ExchangedObject(PERSON, (1, 1, 9, 8), outline=outline))
    picture = ExchangedPicture("day 2/a.png", (HEIGHT, WIDTH), objects)
    box, polygon = parse_regions("regions", json.dumps(regions_of(picture)))
    assert (box.type, box.shape, box.box) == (FACE, Shape.BOX, (2, 3, 12, 15))
    assert (polygon.type, polygon.shape, polygon.box) == (PERSON, Shape.POLYGON, (1, 1, 9, 8))
    assert write_regions([picture], tmp_path) == 1
    assert json.loads((tmp_path / "day 2" / "a.png.regions.json").read_text()) == regions_of(picture)


def test_a_labelled_set_keeps_outlines_and_ignored_objects(tmp_path: Path) -> None:
    rows = [{"bbox": [2, 2, 8, 8], "ignore": 1}, {"segmentation": [[1, 1, 9, 2, 5, 8]], "category_id": 3}]
    pictures = list(of_labelled_set(LabelledSet.read(coco(tmp_path / "in", rows))))
    again = LabelledSet.read(write_labels(pictures, tmp_path / "out", LabelFormat.COCO, copy_pictures=True))
    assert again.images[0].objects[FACE].ignored.tolist() == [True]
    (outline,) = again.images[0].objects[PERSON].outlines
    assert outline is not None and outline[0].tolist() == [[1, 1], [9, 2], [5, 8]]


def test_what_cannot_be_written_or_read_is_said(results: Path, tmp_path: Path) -> None:
    picture = ExchangedPicture("../a.png", (HEIGHT, WIDTH), ())
    with pytest.raises(ValueError, match="leads out of the folder"):
        write_labels([picture], tmp_path / "out", LabelFormat.COCO)
    with pytest.raises(ValueError, match="two pictures have the name"):
        write_labels([*read_metadata_files(results)] * 2, tmp_path / "out", LabelFormat.COCO)
    with pytest.raises(FileNotFoundError, match=r"has no original a.png for"):
        list(read_metadata_files(results, results))
    (results / "b.json").write_text('{"filename": "b.png", "size": [1], "detections": []}')
    with pytest.raises(BrokenMetadata, match=r"b.json: it is not the metadata of an image"):
        list(read_metadata_files(results))
    with pytest.raises(BrokenMetadata, match="there is no metadata of an image"):
        list(read_metadata_files(tmp_path / "photos"))
