"""Read COCO files (cocodataset.org/#format-data), with three fields of our own: `labelled`, `source` and `ignore`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as rle
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.image_files import PictureFinder
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.records import (
    BrokenLabel,
    Label,
    Labels,
    PictureLabels,
    add_unknown,
    bounds,
    mask_contours,
    numbers,
    polygon,
    stated_size,
)
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.limits import Limits

__all__ = ["coco_file", "read_coco"]

Row = dict[str, Any]
#: types of an id: tools write all of these
_ID_TYPES = (int, float, str)


def coco_file(folder: Path) -> Path | None:
    """Find the COCO file of a folder: the only JSON file in it, in its `annotations`, or in its other sub-folders.

    Args:
        folder: of the labelled set.

    Returns:
        The file; None if there is no JSON file.

    Raises:
        ValueError: there are several JSON files in the first of these places that has any.
    """
    for pattern in ("*.json", "annotations/*.json", "*/*.json"):
        files = sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))
        if len(files) == 1:
            return files[0]
        if files:
            shown = ", ".join(str(file.relative_to(folder)) for file in files[:5]) + ", ..." * (len(files) > 5)
            raise ValueError(f"path is {str(folder)!r}, but must be one of the {len(files)} files in it: {shown}")
    return None


def read_coco(file: Path, problems: Problems, class_names: ClassNames | None = None) -> Labels:
    """Read a COCO file and find its images.

    Images are searched in this order: in the folder with the file's name, in the file's own folder, and in `images`
    next to the file. For a file in a folder `annotations`, they are also searched next to that folder. Last, the
    folders are searched for a file name that occurs only once. An object without a box gets the box of its polygons.

    Args:
        file: the JSON file.
        problems: problems are added to it.
        class_names: what class names mean; default: the known ones.

    Returns:
        The labels; none if the file cannot be read.

    Raises:
        InvalidDataset: there is a problem, and `problems` is strict.
    """
    try:
        rows = _rows(file)
    except BrokenLabel as error:
        problems.add(ProblemKind.LABEL_BROKEN, file.name, str(error))
        return Labels()
    categories = [row for row in rows["categories"] if isinstance(row.get("id"), _ID_TYPES)]
    names = {row["id"]: str(row.get("name")) for row in categories}
    pictures, duplicates = _pictures(rows["images"], file.name, problems)
    class_names = class_names or ClassNames()
    annotations = _Annotations(file.name, names, class_names, pictures, problems, broken=duplicates)
    for number, row in enumerate(rows["annotations"], start=1):
        annotations.add(row, number)
    annotations.add_problems()
    finder = PictureFinder(_folders(file), [str(row["file_name"]) for row in pictures.values()])
    entries = (
        _picture(row, finder, annotations.labels_of[key], problems)
        for key, row in pictures.items()
        if key not in annotations.broken
    )
    labelled_names = _labelled_names(rows["categories"], names, annotations.used)
    classes = Counter(dict.fromkeys(labelled_names, 0))
    classes.update(annotations.classes)
    return Labels(
        [entry for entry in entries if entry is not None], class_names.types(labelled_names), "COCO", classes,
        categories=names,
    )  # fmt: skip


def _rows(file: Path) -> dict[str, list[Row]]:
    rows: dict[str, list[Any]]
    try:
        rows = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BrokenLabel(f"it is not a JSON file: {error}") from error
    for name in ("images", "annotations", "categories"):
        if not isinstance(rows, dict) or not isinstance(rows.get(name), list):
            raise BrokenLabel(f"it is not a COCO file: it has no list of {name}")
    # images and annotations that are not objects are reported later, when they are read
    return rows | {"categories": [row for row in rows["categories"] if isinstance(row, dict)]}


def _folders(file: Path) -> list[Path]:
    """Where to search for the images, in order."""
    folders = [file.with_suffix(""), file.parent, file.parent / "images"]
    if file.absolute().parent.name == "annotations":
        above = file.absolute().parent.parent
        split = file.stem.removeprefix("instances_")
        folders += [above / split, above / "images" / split, above / "images", above]
    return folders


def _pictures(rows: list[Any], where: str, problems: Problems) -> tuple[dict[Any, Row], set[Any]]:
    """Images by id, in the order of the file; and the ids that several images have."""
    pictures: dict[Any, Row] = {}
    duplicates = set()
    counted = Counter(row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), _ID_TYPES))
    for number, row in enumerate(rows, start=1):
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("id"), _ID_TYPES)
            or not isinstance(row.get("file_name"), str)
        ):
            problems.add(ProblemKind.LABEL_BROKEN, f"{where}, picture {number}", "it has no id or no file_name")
            continue
        if counted[row["id"]] > 1:
            detail = f"the id {row['id']} is that of {counted[row['id']]} pictures"
            problems.add(ProblemKind.LABEL_BROKEN, row["file_name"], detail)
            duplicates.add(row["id"])
        pictures[row["id"]] = row
    return pictures, duplicates


def _labelled_names(categories: list[Row], names: Mapping[Any, str], used: Counter[Any]) -> list[str]:
    """The class names that objects are labelled with, without supercategories, which Roboflow lists as classes."""
    supercategories = {
        str(row.get("supercategory")) for row in categories if row.get("supercategory") != row.get("name")
    }
    return [name for key, name in names.items() if used[key] or name not in supercategories]


@dataclass
class _Annotations:
    """Sorts annotations by image, and collects their problems.

    Attributes:
        where: the name of the file.
        names: the class names by category id.
        class_names: what class names mean.
        pictures: the images by id.
        problems: problems are added to it.
        labels_of: the labels of each image by its id.
        broken: ids of images with a broken annotation, or of several images.
        used: how many annotations each category id has.
        classes: how many annotations each class name has.
        unmatched: how many annotations there are for ids that no image has.
    """

    where: str
    names: Mapping[Any, str]
    class_names: ClassNames
    pictures: Mapping[Any, Row]
    problems: Problems
    labels_of: defaultdict[Any, list[Label]] = field(default_factory=lambda: defaultdict(list))
    broken: set[Any] = field(default_factory=set)
    used: Counter[Any] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    unmatched: Counter[Any] = field(default_factory=Counter)

    def add(self, row: Any, number: int) -> None:
        """Add one annotation, the `number`-th of the file, counted from 1."""
        try:
            picture = _id(row, "image_id")
            where = f"annotation {row.get('id', number)}"
        except BrokenLabel as error:
            self.problems.add(ProblemKind.LABEL_BROKEN, f"{self.where}, annotation {number}", str(error))
            return
        if picture not in self.pictures:
            self.unmatched[picture] += 1
            return
        try:
            category = _id(row, "category_id")
            self.used[category] += 1
            name = self.names.get(category, f"category_id {category}")
            self.classes[name] += 1
            if known := self.class_names.parse(name):
                self.labels_of[picture].append(_label(row, known, where, self.pictures[picture]))
        except BrokenLabel as error:
            shown = self.pictures[picture]["file_name"]
            self.problems.add(ProblemKind.LABEL_BROKEN, f"{shown}, {where}", str(error))
            self.broken.add(picture)

    def add_problems(self) -> None:
        add_unknown(self.classes, self.class_names, self.where, self.problems)
        for picture, count in self.unmatched.items():
            detail = f"{count} annotations are for a picture with the id {picture}, which is not in the file"
            self.problems.add(ProblemKind.PICTURE_MISSING, self.where, detail)


def _id(row: Any, name: str) -> Any:
    if not isinstance(row, dict) or not isinstance(row.get(name), _ID_TYPES):
        raise BrokenLabel(f"it has no {name}")
    return row[name]


def _label(row: Row, known: tuple[ObjectType, bool], where: str, picture: Row) -> Label:
    object_type, ignored = known
    outline = _outline(row.get("segmentation"), picture)
    if outline and not row.get("bbox"):
        box = bounds(outline)
    else:
        box = numbers(row.get("bbox"), "bbox")
        if len(box) != 4:
            raise BrokenLabel(f"bbox has {len(box)} numbers, not 4")
        box[2:] += box[:2]
    return Label(object_type, box, bool(ignored or row.get("ignore") or row.get("iscrowd")), where, outline)


def _outline(segmentation: Any, picture: Row) -> tuple[NDArray[np.float64], ...] | None:
    if isinstance(segmentation, dict):
        return _mask_contours(segmentation, stated_size(picture.get("height"), picture.get("width"))) or None
    if not isinstance(segmentation, list | None):
        raise BrokenLabel("segmentation is neither polygons nor run lengths")
    return tuple(polygon(points) for points in segmentation or () if points != []) or None


def _mask_contours(runs: Row, size_hw: tuple[int, int] | None) -> tuple[NDArray[np.float64], ...]:
    """The outer contours of a mask, along the edges of its pixels; holes are filled."""
    if size_hw is None or runs.get("size") != list(size_hw):
        raise BrokenLabel(f"the size of its run lengths is {runs.get('size')}, not that of the picture")
    if size_hw[0] * size_hw[1] > Limits().megapixels * 1e6:
        raise BrokenLabel(f"its run lengths are for {size_hw[0] * size_hw[1]} pixels, more than a picture may have")
    try:
        uncompressed = isinstance(runs.get("counts"), list)
        pixels = rle.decode(rle.frPyObjects(runs, *size_hw) if uncompressed else runs)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise BrokenLabel(f"its run lengths cannot be decoded: {error}") from error
    return mask_contours(pixels)


def _picture(row: Row, finder: PictureFinder, labels: list[Label], problems: Problems) -> PictureLabels | None:
    name = row["file_name"]
    path = finder.find(name)
    if path is None:
        problems.add(ProblemKind.PICTURE_MISSING, name, f"there is no such file in or below {finder.folders[1]}")
        return None
    try:
        labelled = _labelled(row)
        size_hw = stated_size(row.get("height"), row.get("width"))
    except BrokenLabel as error:
        problems.add(ProblemKind.LABEL_BROKEN, name, str(error))
        return None
    source, number = row.get("source"), row["id"]
    return PictureLabels(
        path,
        name,
        labels,
        size_hw,
        id=number if isinstance(number, int) else None,
        source=source if isinstance(source, str) else None,
        labelled=labelled,
    )


def _labelled(row: Row) -> tuple[ObjectType, ...] | None:
    """The types that the field `labelled` of an image lists; None if there is no such field."""
    if (names := row.get("labelled")) is None:
        return None
    allowed = [object_type.value for object_type in OBJECT_TYPES]
    if not isinstance(names, list) or any(name not in allowed for name in names):
        raise BrokenLabel(f"labelled is {names}, but must be a list of some of {', '.join(allowed)}")
    return tuple(ObjectType(name) for name in names)
