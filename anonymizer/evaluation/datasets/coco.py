"""COCO files (cocodataset.org/#format-data), and what ours say besides: `labelled`, `source`, `ignore`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from faster_coco_eval.core import mask as rle
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.class_names import known_type, types_named
from anonymizer.evaluation.datasets.image_files import Pictures
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.records import (
    BrokenLabel,
    Label,
    Labels,
    PictureLabels,
    add_unknown,
    bounds,
    numbers,
    polygon,
    stated_size,
)
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.limits import Limits

__all__ = ["coco_file", "read_coco"]

Row = dict[str, Any]
#: what an id may be; tools write all of these
_ID = (int, float, str)


def coco_file(folder: Path) -> Path | None:
    """The only JSON file in a folder, else in its `annotations`, else in its sub-folders; None where there is none.

    Raises:
        ValueError: there are several.
    """
    for pattern in ("*.json", "annotations/*.json", "*/*.json"):
        files = sorted(each for each in folder.glob(pattern) if not each.name.startswith("."))
        if len(files) == 1:
            return files[0]
        if files:
            shown = ", ".join(str(each.relative_to(folder)) for each in files[:5]) + ", ..." * (len(files) > 5)
            raise ValueError(f"path is {str(folder)!r}, but must be one of the {len(files)} files in it: {shown}")
    return None


def read_coco(file: Path, problems: Problems) -> Labels:
    """What a COCO file says, and where its pictures lie; problems are added to those given.

    Pictures are looked for in the folder of the same name, in the file's own folder and in `images` beside it; for a
    file in `annotations` also beside that; then by the last part of their name in all folders below, where only one
    has it. An object without a box is as large as its polygons.
    """
    try:
        rows = _rows(file)
    except BrokenLabel as error:
        problems.add(ProblemKind.LABEL_BROKEN, file.name, str(error))
        return Labels()
    names = {each["id"]: str(each.get("name")) for each in rows["categories"] if isinstance(each.get("id"), _ID)}
    pictures, doubled = _pictures(rows["images"], file.name, problems)
    found = _Annotations(file.name, names, pictures, problems, broken=doubled)
    for number, row in enumerate(rows["annotations"], start=1):
        found.add(row, number)
    found.add_problems()
    asked = [str(row["file_name"]) for row in pictures.values()]
    places = Pictures(_folders(file), asked)
    entries = (
        _picture(row, places, found.of_picture[key], problems)
        for key, row in pictures.items()
        if key not in found.broken
    )
    types = types_named(_counting(rows["categories"], names, found.used))
    return Labels([each for each in entries if each is not None], types)


def _rows(file: Path) -> dict[str, list[Row]]:
    rows: dict[str, list[Any]]
    try:
        rows = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BrokenLabel(f"it is no JSON file: {error}") from error
    for name in ("images", "annotations", "categories"):
        if not isinstance(rows, dict) or not isinstance(rows.get(name), list):
            raise BrokenLabel(f"it is no COCO file: it has no list of {name}")
    # what else is no object is said where it is read
    return rows | {"categories": [each for each in rows["categories"] if isinstance(each, dict)]}


def _folders(file: Path) -> list[Path]:
    folders = [file.with_suffix(""), file.parent, file.parent / "images"]
    if file.absolute().parent.name == "annotations":
        above = file.absolute().parent.parent
        split = file.stem.removeprefix("instances_")
        folders += [above / split, above / "images" / split, above / "images", above]
    return folders


def _pictures(rows: list[Any], where: str, problems: Problems) -> tuple[dict[Any, Row], set[Any]]:
    """Pictures by id, in their order in the file; and the ids by which they cannot be told apart."""
    found: dict[Any, Row] = {}
    doubled = set()
    counted = Counter(row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), _ID))
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not isinstance(row.get("id"), _ID) or not isinstance(row.get("file_name"), str):
            problems.add(ProblemKind.LABEL_BROKEN, f"{where}, picture {number}", "it has no id or no file_name")
            continue
        if counted[row["id"]] > 1:
            detail = f"the id {row['id']} is that of {counted[row['id']]} pictures"
            problems.add(ProblemKind.LABEL_BROKEN, row["file_name"], detail)
            doubled.add(row["id"])
        found[row["id"]] = row
    return found, doubled


def _counting(categories: list[Row], names: Mapping[Any, str], used: Counter[Any]) -> list[str]:
    """The names of which every object is labelled: not a mere heading of others, which Roboflow writes."""
    headings = {str(each.get("supercategory")) for each in categories if each.get("supercategory") != each.get("name")}
    return [name for key, name in names.items() if used[key] or name not in headings]


@dataclass
class _Annotations:
    """Sorts annotations by picture, and collects what is wrong with them."""

    where: str
    names: Mapping[Any, str]
    pictures: Mapping[Any, Row]
    problems: Problems
    of_picture: defaultdict[Any, list[Label]] = field(default_factory=lambda: defaultdict(list))
    broken: set[Any] = field(default_factory=set)
    used: Counter[Any] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    homeless: Counter[Any] = field(default_factory=Counter)

    def add(self, row: Any, number: int) -> None:
        """Take one in; `number` counts from 1."""
        try:
            picture = _id(row, "image_id")
            where = f"annotation {row.get('id', number)}"
        except BrokenLabel as error:
            self.problems.add(ProblemKind.LABEL_BROKEN, f"{self.where}, annotation {number}", str(error))
            return
        if picture not in self.pictures:
            self.homeless[picture] += 1
            return
        try:
            category = _id(row, "category_id")
            self.used[category] += 1
            known = known_type(self.names[category]) if category in self.names else None
            if known is None:
                self.unknown[self.names.get(category, f"category_id {category}")] += 1
            else:
                self.of_picture[picture].append(_label(row, known, where, self.pictures[picture]))
        except BrokenLabel as error:
            name = self.pictures[picture]["file_name"]
            self.problems.add(ProblemKind.LABEL_BROKEN, f"{name}, {where}", str(error))
            self.broken.add(picture)

    def add_problems(self) -> None:
        add_unknown(self.unknown, self.where, self.problems)
        for picture, count in self.homeless.items():
            detail = f"{count} annotations are for a picture with the id {picture}, which is not in the file"
            self.problems.add(ProblemKind.PICTURE_MISSING, self.where, detail)


def _id(row: Any, name: str) -> Any:
    if not isinstance(row, dict) or not isinstance(row.get(name), _ID):
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
        return _traced(segmentation, stated_size(picture.get("height"), picture.get("width"))) or None
    if not isinstance(segmentation, list | None):
        raise BrokenLabel("segmentation is neither polygons nor run lengths")
    return tuple(polygon(each) for each in segmentation or () if each != []) or None


def _traced(runs: Row, size_hw: tuple[int, int] | None) -> tuple[NDArray[np.float64], ...]:
    """The outer borders of a mask, between pixels; holes are filled."""
    if size_hw is None or runs.get("size") != list(size_hw):
        raise BrokenLabel(f"the size of its run lengths is {runs.get('size')}, not that of the picture")
    if size_hw[0] * size_hw[1] > Limits().megapixels * 1e6:
        raise BrokenLabel(f"its run lengths are for {size_hw[0] * size_hw[1]} pixels, more than a picture may have")
    try:
        whole = isinstance(runs.get("counts"), list)
        pixels = rle.decode(rle.frPyObjects(runs, *size_hw) if whole else runs)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise BrokenLabel(f"its run lengths cannot be decoded: {error}") from error
    if not pixels.any():
        return ()
    x, y, width, height = cv2.boundingRect(pixels)
    # twice as large, the outermost pixels of a border lie on either side of the line that is wanted
    large = np.repeat(np.repeat(pixels[y : y + height, x : x + width], 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(((each.reshape(-1, 2) + 1) // 2 + (x, y)).astype(np.float64) for each in contours)


def _picture(row: Row, places: Pictures, labels: list[Label], problems: Problems) -> PictureLabels | None:
    name = row["file_name"]
    path = places.find(name)
    if path is None:
        problems.add(ProblemKind.PICTURE_MISSING, name, f"there is no such file in or below {places.folders[1]}")
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
    """What a picture says of itself; None where it says nothing."""
    if (names := row.get("labelled")) is None:
        return None
    allowed = [each.value for each in OBJECT_TYPES]
    if not isinstance(names, list) or any(each not in allowed for each in names):
        raise BrokenLabel(f"labelled is {names}, but must be a list of some of {', '.join(allowed)}")
    return tuple(ObjectType(each) for each in names)
