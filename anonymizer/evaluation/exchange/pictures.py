"""What is exchanged with other tools: images with boxes, from metadata of results or from a labelled set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.datasets.image_files import PictureFinder
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = [
    "BrokenMetadata",
    "ExchangedObject",
    "ExchangedPicture",
    "of_labelled_set",
    "of_metadata",
    "read_metadata_files",
]


class BrokenMetadata(ValueError):
    """A file is not the metadata of an image. The message says which file, and what is wrong."""


@dataclass(frozen=True, slots=True)
class ExchangedObject:
    """One object.

    Attributes:
        object_type: the type.
        box: x1, y1, x2, y2 in pixels of the upright image.
        score: 0..1; None for a label.
        ignored: whether the label is ignored: neither a hit nor a miss.
        outline: polygons, each (k, 2) x, y in pixels; None if only the box is known.
        model: the id of the model that detected the object; empty for a label.
    """

    object_type: ObjectType
    box: tuple[float, float, float, float]
    score: float | None = None
    ignored: bool = False
    outline: tuple[NDArray[np.float32], ...] | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class ExchangedPicture:
    """One image and its objects.

    Attributes:
        name: the name of the image in the label file, with slashes between folders.
        size_hw: height and width of the upright image in pixels.
        objects: the objects.
        path: the image file; None if it is not known.
        labelled: the types of which every object is labelled.
        is_detected: whether the objects are detections, which nobody has checked.
    """

    name: str
    size_hw: tuple[int, int]
    objects: tuple[ExchangedObject, ...]
    path: Path | None = None
    labelled: tuple[ObjectType, ...] = OBJECT_TYPES
    is_detected: bool = False


def of_metadata(
    metadata: Any,
    *,
    name: str | None = None,
    path: Path | None = None,
    labelled: Iterable[ObjectType] = OBJECT_TYPES,
    is_checked: bool = False,
) -> ExchangedPicture:
    """Read the metadata of one image, as the API and `anonymizer run` give it.

    Only boxes are taken. The masks in the metadata are what was redacted, which is larger than the object.

    Args:
        metadata: the JSON values.
        name: of the image; default: as in the metadata.
        path: the image file; default: not known.
        labelled: the types that were looked for.
        is_checked: whether a person has checked the objects: then they are labels, without scores.

    Raises:
        BrokenMetadata: these are not the values of one image.
    """
    try:
        height, width = (int(side) for side in metadata["size"])
        objects = tuple(
            ExchangedObject(
                ObjectType(row["type_label"]),
                _box(row["bbox"]),
                None if is_checked else float(row["score"]),
                model=str(row.get("model", "")),
            )
            for row in metadata["detections"]
        )
        shown = name or str(metadata["filename"])
        return ExchangedPicture(shown, (height, width), objects, path, tuple(labelled), not is_checked)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenMetadata(f"it is not the metadata of an image ({type(error).__name__}: {error})") from error


def read_metadata_files(folder: Path, pictures: Path | None = None) -> Iterator[ExchangedPicture]:
    """Read the metadata files of a folder and its sub-folders.

    Args:
        folder: with files such as `photo.json`, which `anonymizer run` writes. A file may also be given.
        pictures: the folder with the originals; default: images are not searched.

    Yields:
        The images in the order of the files. Videos are left out (`read_video_metadata` reads them).

    Raises:
        BrokenMetadata: a file is no metadata, or there is none at all.
        FileNotFoundError: the folder does not exist, or has no original for a file.
    """
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist.")
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.json"))
    base = folder.parent if folder.is_file() else folder
    read = [(file, _json(file)) for file in files if not file.name.endswith(".receipt.json")]
    images = [(file, rows) for file, rows in read if not isinstance(rows, list)]
    if not read:
        raise BrokenMetadata(f"{folder}: there is no metadata of an image or a video")
    names = [_name(file, rows, base) for file, rows in images]
    finder = None if pictures is None else PictureFinder([pictures], names)
    for (file, rows), name in zip(images, names, strict=True):
        path = finder.find(name) if finder else None
        if finder and path is None:
            raise FileNotFoundError(f"{pictures} has no original {name} for {file}.")
        try:
            yield of_metadata(rows, name=name, path=path)
        except BrokenMetadata as error:
            raise BrokenMetadata(f"{file}: {error}") from error


def of_labelled_set(labelled: LabelledSet) -> Iterator[ExchangedPicture]:
    """Convert a labelled set, with its outlines.

    Args:
        labelled: the set. Images of which the size is not known are left out.

    Yields:
        The images, with names that no other image has.
    """
    folder = _common_folder([image.path for image in labelled.images])
    for image in labelled.images:
        if image.size_hw is None:
            continue
        objects = []
        for object_type, of_type in image.objects.items():
            outlines = of_type.outlines or (None,) * len(of_type.boxes)
            for box, ignored, outline in zip(of_type.boxes, of_type.ignored, outlines, strict=True):
                objects.append(ExchangedObject(object_type, _box(box), None, bool(ignored), outline))
        name = image.path.relative_to(folder).as_posix()
        yield ExchangedPicture(name, image.size_hw, tuple(objects), image.path, image.labelled)


def _common_folder(paths: list[Path]) -> Path:
    parents = [set(path.parents) for path in paths]
    common = set.intersection(*parents) if parents else {Path()}
    return max(common, key=lambda place: len(place.parts), default=Path("/"))


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BrokenMetadata(f"{file}: it is not a JSON file ({error})") from error


def _name(file: Path, rows: Any, base: Path) -> str:
    """The name of an image, with the sub-folder that its metadata lies in."""
    name = rows.get("filename") if isinstance(rows, dict) else None
    if not isinstance(name, str):
        raise BrokenMetadata(f"{file}: it is not the metadata of an image")
    return (file.relative_to(base).parent / Path(name).name).as_posix()


def _box(values: Any) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2
