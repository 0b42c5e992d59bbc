"""Read the detections of any model: COCO results, a list of boxes with scores in one JSON file."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections

__all__ = ["BrokenResults", "read_detections"]


class BrokenResults(ValueError):
    """A file of detections cannot be used. The message says why."""


def read_detections(
    file: Path | str, labelled: LabelledSet, *, names: Mapping[str, str] | None = None
) -> dict[int, Detections]:
    """Read COCO results: rows with `image_id`, `category_id`, `bbox` (x, y, width, height in pixels) and `score`.

    An image is found by its id in the label file. Where ids are texts, it is found by its file name, with or without
    the ending. The class is `category_name` if a row has it. Otherwise the number means what it means in the file of
    detections, or in the label file.

    Args:
        file: a JSON file: the list of rows, or an object with `annotations` and, optionally, `images` and `categories`.
        labelled: the labelled set.
        names: by class name, the object type, or `none` to leave the class out; default: only the known names.

    Returns:
        Detections by the index of the image in `labelled.images`. Rows of other images are left out, and so are classes
        that are no object type.

    Raises:
        OSError: the file cannot be read.
        BrokenResults: it is no such file, a row is broken, a number has no name, or no row is for an image of the set.
    """
    file = Path(file)
    rows, own_images, own_names = _rows(file)
    class_names = ClassNames(names)
    categories = own_names or {str(key): name for key, name in labelled.read_labels.categories.items()}
    found: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    places, unmatched = _Places(labelled, own_images), Counter[str]()
    for number, row in enumerate(rows, start=1):
        index = places.index(row.get("image_id")) if isinstance(row, dict) else None
        if not isinstance(row, dict) or "image_id" not in row:
            raise BrokenResults(f"{file}: row {number} has no image_id")
        if index is None:
            unmatched[str(row["image_id"])] += 1
            continue
        name = row.get("category_name") or categories.get(str(row.get("category_id")))
        if name is None:
            known = ", ".join(f"{key} {value}" for key, value in categories.items()) or "none"
            raise BrokenResults(f"{file}: row {number} has category_id {row.get('category_id')}; names are: {known}")
        parsed = class_names.parse(str(name))
        if parsed is not None and not parsed[1]:
            found[index].append(row | {"category_id": parsed[0].number})
    if rows and not found:
        raise BrokenResults(
            f"{file}: no row is for an object type in an image of {labelled.name}; rows of other images: "
            f"{unmatched.total()} of {len(rows)}"
        )
    return {index: _detections(file, of_image) for index, of_image in found.items()}


def _detections(file: Path, rows: list[dict[str, Any]]) -> Detections:
    try:
        return Detections.from_coco(rows, {each.number: each.value for each in OBJECT_TYPES})
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BrokenResults(f"{file}: a row of image {rows[0]['image_id']} is broken: {error!r}") from error


def _rows(file: Path) -> tuple[list[Any], dict[str, str], dict[str, str]]:
    """The rows; and the file names by id and class names by number that the file itself states."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BrokenResults(f"{file} is not a JSON file: {error}") from error
    rows = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise BrokenResults(f"{file} is no list of detections, and has no list of annotations")
    whole = content if isinstance(content, dict) else {}
    images = {str(row["id"]): str(row["file_name"]) for row in _listed(whole, "images") if "file_name" in row}
    names = {str(row["id"]): str(row["name"]) for row in _listed(whole, "categories") if "name" in row}
    return rows, images, names


def _listed(whole: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = whole.get(name)
    return [row for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []


class _Places:
    """Finds the index of an image by its id, or by its name where the file of detections states it."""

    def __init__(self, labelled: LabelledSet, own_images: Mapping[str, str]) -> None:
        self._own = own_images
        self._by_id = {str(image.id): index for index, image in enumerate(labelled.images)}
        self._by_name: dict[str, int | None] = {}
        for index, image in enumerate(labelled.images):
            for name in {image.path.name, image.path.stem}:
                # a name that two images have tells nothing
                self._by_name[name] = None if name in self._by_name else index

    def index(self, image_id: object) -> int | None:
        """The index of the image; None if the set has no such image."""
        if (name := self._own.get(str(image_id))) is not None:
            return self._by_name.get(PurePosixPath(name.replace("\\", "/")).name)
        if isinstance(image_id, int) and str(image_id) in self._by_id:
            return self._by_id[str(image_id)]
        return self._by_name.get(PurePosixPath(str(image_id).replace("\\", "/")).name)
