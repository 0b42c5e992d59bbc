"""Read exports of Label Studio: JSON and JSON-MIN (labelstud.io/guide/export), with boxes, polygons and ellipses."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
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
    ellipse,
    numbers,
    polygon,
    stated_size,
    turned_box,
)

__all__ = ["is_label_studio", "read_label_studio"]

Row = Mapping[str, Any]

#: kinds of labels that surround an object
_SHAPES = ("rectanglelabels", "polygonlabels", "ellipselabels")
_OTHER_SHAPES = ("brushlabels", "keypointlabels")
#: what Label Studio puts before the name of an uploaded file
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")


def is_label_studio(file: Path) -> bool:
    """Tell whether a JSON file is an export of Label Studio: a list of objects, where COCO has an object of lists.

    Args:
        file: the JSON file.
    """
    try:
        with file.open("rb") as content:
            return b"".join(content.read(4096).removeprefix(b"\xef\xbb\xbf").split()).startswith(b"[{")
    except OSError:
        return False


def read_label_studio(file: Path, problems: Problems, class_names: ClassNames | None = None) -> Labels:
    """Read an export of Label Studio and find its images.

    An image is searched by the last part of its address, with and without the eight digits that Label Studio puts
    before the names of uploads. If a task was annotated several times, the annotation that was changed last counts.
    Tasks that nobody annotated are left out: predictions are not labels.

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
        tasks = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        problems.add(ProblemKind.LABEL_BROKEN, file.name, f"it is not a JSON file: {error}")
        return Labels(format="Label Studio")
    tasks = [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    named = [(task, _image_name(task)) for task in tasks]
    reader = _StudioReader(class_names or ClassNames(), _finder(file, [name for _, name in named]), problems)
    pictures = [entry for task, name in named if (entry := reader.read(task, name)) is not None]
    reader.add_problems(file.name)
    return Labels(
        pictures, reader.class_names.types(reader.classes), "Label Studio", reader.classes, tuple(reader.without)
    )


def _finder(file: Path, names: list[str]) -> PictureFinder:
    both = [*names, *(_UPLOAD.sub("", name) for name in names if _UPLOAD.match(name))]
    return PictureFinder([file.parent, file.parent / "images"], both)


def _image_name(task: Row) -> str:
    """The last part of the address of a task's image."""
    data = task.get("data", task)
    values = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    address = data.get("image") if isinstance(data, dict) and isinstance(data.get("image"), str) else None
    text = unquote(address or (values[0] if values else ""))
    # /data/local-files/?d=folder/name.jpg
    return (text.split("?d=")[-1] if "?d=" in text else urlsplit(text).path).replace("\\", "/").rsplit("/", 1)[-1]


@dataclass
class _StudioReader:
    """Reads the tasks of a file, and counts their class names.

    Attributes:
        classes: how many labels each class name has.
        other_shapes: how many labels do not surround an object with points.
        without: the names of images that nobody annotated.
    """

    class_names: ClassNames
    finder: PictureFinder
    problems: Problems
    classes: Counter[str] = field(default_factory=Counter)
    other_shapes: Counter[str] = field(default_factory=Counter)
    without: list[str] = field(default_factory=list)

    def read(self, task: Row, name: str) -> PictureLabels | None:
        """Read the labels of a task; None if it has none, its image is missing, or its labels are broken."""
        results = _results(task)
        if results is None:
            self.without.append(name)
            return None
        path = self.finder.find(name) or self.finder.find(_UPLOAD.sub("", name))
        if path is None:
            self.problems.add(
                ProblemKind.PICTURE_MISSING, name, f"there is no such file in or below {self.finder.folders[0]}"
            )
            return None
        try:
            labels = list(self._labels(results))
            sized = next((row for row in results if isinstance(row, dict) and row.get("original_width")), {})
            size_hw = stated_size(sized.get("original_height"), sized.get("original_width"))
        except BrokenLabel as error:
            self.problems.add(ProblemKind.LABEL_BROKEN, name, str(error))
            return None
        return PictureLabels(path, name, labels, size_hw, fractions=True)

    def add_problems(self, where: str) -> None:
        """Add the unknown class names, and the labels that do not surround an object with points."""
        add_unknown(self.classes, self.class_names, where, self.problems)
        for shape, count in self.other_shapes.items():
            detail = f"labels of the kind {shape!r} cannot be read; labels left out: {count}"
            self.problems.add(ProblemKind.TYPE_UNKNOWN, where, detail)

    def _labels(self, results: list[Any]) -> Iterator[Label]:
        for number, row in enumerate(results, start=1):
            # JSON-MIN has no `value`
            value = row.get("value", row) if isinstance(row, dict) else None
            if not isinstance(value, dict):
                raise BrokenLabel(f"result {number} is no object")
            self.other_shapes.update(kind for kind in _OTHER_SHAPES if kind in value)
            for kind in _SHAPES:
                for name in value.get(kind) or ():
                    yield from self._label(row | value, kind, str(name), f"result {number}")

    def _label(self, value: Row, kind: str, name: str, where: str) -> Iterator[Label]:
        self.classes[name] += 1
        if known := self.class_names.parse(name):
            try:
                outline = _outline(value, kind)
                box = bounds(outline) if outline else _box(value)
            except BrokenLabel as error:
                raise BrokenLabel(f"{where}: {error}") from error
            yield Label(known[0], box, known[1], where, outline)


def _results(task: Row) -> list[Any] | None:
    """The labels of a task; None if nobody annotated it."""
    if "annotations" not in task and "data" not in task:
        # JSON-MIN: the labels stand under the name of the control, which is often `label`
        rows = [value for value in task.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        return rows[0] if rows else None
    done = [each for each in task.get("annotations") or () if isinstance(each, dict) and not each.get("was_cancelled")]
    if not done:
        return None
    results = max(done, key=lambda each: str(each.get("updated_at", ""))).get("result")
    return results if isinstance(results, list) else []


def _box(value: Row) -> NDArray[np.float64]:
    """(4,) the box as fractions of the image's size, before it is turned; percent in the file."""
    x, y, width, height = numbers([value.get(name) for name in ("x", "y", "width", "height")], "the box") / 100
    return np.array([x, y, x + width, y + height])


def _outline(value: Row, kind: str) -> tuple[NDArray[np.float64], ...] | None:
    """The outline as fractions of the image's size; None for an upright box."""
    degrees = float(numbers([value.get("rotation") or 0], "rotation")[0])
    if kind == "polygonlabels":
        return (polygon([number for point in value.get("points") or () for number in point]) / 100,)
    if kind == "rectanglelabels" and not degrees:
        return None
    size_wh = np.ones(2)
    if degrees:
        # it is turned in pixels, not in fractions
        size_hw = stated_size(value.get("original_height"), value.get("original_width"))
        if size_hw is None:
            raise BrokenLabel("it is turned, but the size of the picture is not given")
        size_wh = np.array(size_hw[::-1], np.float64)
    if kind == "ellipselabels":
        values = numbers([value.get(name) for name in ("x", "y", "radiusX", "radiusY")], "the ellipse") / 100
        return tuple(each / size_wh for each in ellipse(values[:2] * size_wh, values[2:] * size_wh, degrees))
    box = (_box(value).reshape(2, 2) * size_wh).ravel()
    # around its left top corner
    return tuple(each / size_wh for each in turned_box(box, box[:2], degrees))
