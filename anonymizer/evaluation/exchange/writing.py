"""Write images with boxes as labels in the formats of other tools."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np
import yaml

from anonymizer.evaluation.exchange.pictures import ExchangedObject, ExchangedPicture
from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.outputs.overlay import COLOURS

__all__ = ["LabelFormat", "cvat_labels", "write_labels"]

#: where Label Studio serves local files, if it is set up to do so
LOCAL_FILES = "/data/local-files/?d="


class LabelFormat(StrEnum):
    """The formats that labels are written in."""

    COCO = "coco"
    YOLO = "yolo"
    CVAT = "cvat"
    LABEL_STUDIO = "label-studio"


def write_labels(
    pictures: Iterable[ExchangedPicture],
    folder: Path,
    label_format: LabelFormat,
    *,
    copy_pictures: bool = False,
    url_prefix: str = LOCAL_FILES,
) -> Path:
    """Write labels into a folder, which `LabelledSet.read` reads if it has the pictures too.

    Detections keep their scores in COCO and Label Studio. CVAT and YOLO have no place for them.

    Args:
        pictures: the images with their objects.
        folder: it is created if it is missing.
        label_format: the format.
        copy_pictures: copy the images to `images/`; they must have a path.
        url_prefix: for Label Studio, what stands before the name of an image.

    Returns:
        The file that a tool imports: `labels.json`, `data.yaml`, `annotations.xml` or `tasks.json`.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: two images have the same name, or a name leads out of the folder.
    """
    listed = list(pictures)
    _check_names(listed)
    folder.mkdir(parents=True, exist_ok=True)
    for picture in listed if copy_pictures else ():
        if picture.path is None:
            raise ValueError(f"the file of {picture.name} is not known")
        target = folder / "images" / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture.path, target)
    writers: dict[LabelFormat, Callable[[Sequence[ExchangedPicture], Path], Path]] = {
        LabelFormat.COCO: _write_coco,
        LabelFormat.YOLO: _write_yolo,
        LabelFormat.CVAT: _write_cvat,
        LabelFormat.LABEL_STUDIO: lambda each, place: _write_label_studio(each, place, url_prefix),
    }
    return writers[label_format](listed, folder)


def _check_names(pictures: Sequence[ExchangedPicture]) -> None:
    names: set[str] = set()
    for picture in pictures:
        parts = PurePosixPath(picture.name)
        if parts.is_absolute() or ".." in parts.parts or not parts.name:
            raise ValueError(f"the name {picture.name!r} leads out of the folder")
        if picture.name in names:
            raise ValueError(f"two pictures have the name {picture.name!r}")
        names.add(picture.name)


def _write_coco(pictures: Sequence[ExchangedPicture], folder: Path) -> Path:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, start=1):
        height, width = picture.size_hw
        labelled = [str(each) for each in picture.labelled]
        images.append({"id": number, "file_name": picture.name, "width": width, "height": height, "labelled": labelled})
        for each in picture.objects:
            x1, y1, x2, y2 = each.box
            row: dict[str, Any] = {
                "id": len(annotations) + 1, "image_id": number, "category_id": each.object_type.number + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0,
            }  # fmt: skip
            row |= {"ignore": 1} if each.ignored else {}
            row |= {} if each.score is None else {"score": each.score}
            row |= (
                {"segmentation": [np.asarray(p, float).ravel().tolist() for p in each.outline]} if each.outline else {}
            )
            annotations.append(row)
    categories = [{"id": each.number + 1, "name": str(each)} for each in OBJECT_TYPES]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    return _write_json(folder / "labels.json", whole)


def _write_yolo(pictures: Sequence[ExchangedPicture], folder: Path) -> Path:
    for picture in pictures:
        height, width = picture.size_hw
        lines = []
        # YOLO has no ignored objects: without a label, a detection of one would count as false
        for each in picture.objects:
            x1, y1, x2, y2 = each.box
            values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            lines.append(f"{each.object_type.number} {' '.join(f'{value:.6f}' for value in values)}\n")
        file = (folder / "labels" / picture.name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines))
    names = {each.number: str(each) for each in OBJECT_TYPES}
    config = folder / "data.yaml"
    config.write_text(
        yaml.safe_dump({"path": ".", "train": "images", "val": "images", "names": names}, sort_keys=False)
    )
    return config


def _write_cvat(pictures: Sequence[ExchangedPicture], folder: Path) -> Path:
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    cvat_labels(SubElement(SubElement(root, "meta"), "task"))
    for number, picture in enumerate(pictures):
        height, width = picture.size_hw
        image = SubElement(
            root, "image", {"id": str(number), "name": picture.name, "width": str(width), "height": str(height)}
        )
        for each in picture.objects:
            for tag, place in _cvat_shapes(each):
                head = {"label": str(each.object_type), "source": "manual" if each.score is None else "auto"}
                SubElement(image, tag, head | {"occluded": "0"} | place | {"z_order": "0"})
    indent(root)
    file = folder / "annotations.xml"
    ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    return file


def cvat_labels(task: Element) -> None:
    """Add the object types, each with its colour, to the description of a task of CVAT.

    Args:
        task: the element `task`; it is changed.
    """
    labels = SubElement(task, "labels")
    for object_type in OBJECT_TYPES:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = str(object_type)
        SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*COLOURS[object_type])
        SubElement(label, "attributes")


def _cvat_shapes(each: ExchangedObject) -> Iterator[tuple[str, dict[str, str]]]:
    # an object of several polygons would become several objects
    if each.outline is not None and len(each.outline) == 1:
        yield "polygon", {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in each.outline[0])}
    else:
        yield "box", {name: f"{side:.2f}" for name, side in zip(("xtl", "ytl", "xbr", "ybr"), each.box, strict=True)}


def _write_label_studio(pictures: Sequence[ExchangedPicture], folder: Path, url_prefix: str) -> Path:
    tasks = []
    for picture in pictures:
        results = [_studio_result(each, picture, number) for number, each in enumerate(picture.objects)]
        task: dict[str, Any] = {"data": {"image": url_prefix + quote(picture.name)}}
        if picture.is_detected:
            models = "+".join(sorted({each.model for each in picture.objects if each.model}))
            scores = [each.score for each in picture.objects if each.score is not None]
            task["predictions"] = [{"model_version": models, "score": min(scores, default=0.0), "result": results}]
        else:
            task["annotations"] = [{"result": results}]
        tasks.append(task)
    config = "".join(
        f'    <Label value="{each}" background="#{"".join(f"{part:02x}" for part in COLOURS[each])}"/>\n'
        for each in OBJECT_TYPES
    )
    (folder / "labeling-config.xml").write_text(
        f'<View>\n  <Image name="image" value="$image"/>\n'
        f'  <RectangleLabels name="label" toName="image">\n{config}  </RectangleLabels>\n</View>\n'
    )
    return _write_json(folder / "tasks.json", tasks)


def _studio_result(each: ExchangedObject, picture: ExchangedPicture, number: int) -> dict[str, Any]:
    height, width = picture.size_hw
    x1, y1, x2, y2 = each.box
    result: dict[str, Any] = {
        "id": f"object-{number}", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
        "original_width": width, "original_height": height, "image_rotation": 0,
        "value": {
            "x": 100 * x1 / width, "y": 100 * y1 / height, "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height, "rotation": 0, "rectanglelabels": [str(each.object_type)],
        },
    }  # fmt: skip
    return result if each.score is None else result | {"score": each.score}


def _write_json(file: Path, value: object) -> Path:
    file.write_text(json.dumps(value, indent=1) + "\n")
    return file
