"""Write labelled sets of tiny images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.pipeline.detections import ObjectType

#: the default size of images
WIDTH, HEIGHT = 40, 20


def save_picture(path: Path, size_wh: tuple[int, int] = (WIDTH, HEIGHT), **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_wh, (90, 120, 150)).save(path, **options)
    return path


def save_turned(path: Path, size_wh: tuple[int, int] = (WIDTH, HEIGHT), **options: Any) -> Path:
    """Save an image with an EXIF orientation: its upright height is the width in `size_wh`."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return save_picture(path, size_wh, exif=exif, **options)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def coco(
    folder: Path,
    annotations: Iterable[dict[str, Any]] = (),
    *,
    names: Sequence[str] = ("face", "license-plate", "person", "vehicle"),
    pictures: Sequence[dict[str, Any]] = ({},),
    save: bool = True,
) -> Path:
    """Write `set.json` with its images `1.png`, ... in `set/`.

    Args:
        annotations: without stated ids, they are of category 1 and in image 1.
        names: of the categories, which are numbered from 1.
        pictures: the images; fields that are not stated are as they should be.
        save: write the images as well.
    """
    rows = [
        {"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} | each
        for n, each in enumerate(pictures, start=1)
    ]
    for row in rows if save else ():
        if isinstance(row["file_name"], str):
            save_picture(folder / "set" / row["file_name"])
    whole = {
        "images": rows,
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1} | each for n, each in enumerate(annotations, start=1)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
    }
    return write(folder / "set.json", json.dumps(whole))


def voc(folder: Path, objects: Iterable[tuple[str, Sequence[float]]], *, name: str = "1", more: str = "") -> Path:
    """Write `Annotations/NAME.xml` and its image in `JPEGImages`; `more` is added to each object."""
    inside = "".join(
        f"<object><name>{kind}</name>{more}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for kind, (x1, y1, x2, y2) in objects
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    text = f"<annotation><filename>{name}.png</filename>{size}{inside}</annotation>"
    write(folder / "Annotations" / f"{name}.xml", text)
    save_picture(folder / "JPEGImages" / f"{name}.png")
    return folder


def found(read: LabelledSet) -> list[tuple[str, str]]:
    """Kind and place of every problem."""
    return [(problem.kind.value, problem.where) for problem in read.problems]


def boxes(image: LabelledImage, kind: str = "face") -> list[list[float]]:
    return [[round(value, 3) for value in box] for box in image.objects[ObjectType(kind)].boxes.tolist()]
