"""Read YOLO folders: a text file for each image, with coordinates as fractions of the image's size.

The format is described at docs.ultralytics.com/datasets/detect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.image_files import files_below, path_exists
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
)

__all__ = ["is_yolo", "read_yolo"]

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_NAMES = ("classes.txt", "obj.names", "_darknet.labels")
#: a box may reach a little over the border of the image; numbers beyond these limits are pixels, not fractions
_LEAST, _MOST = -1.0, 2.0


@dataclass(frozen=True)
class _Config:
    """The configuration of a set.

    Attributes:
        file: that it was read from; None if there is none.
        names: the class names by number.
        places: folders with images, or text files that list images; empty: all images below the set's folder.
        has_points: whether each box is followed by key points; otherwise longer lines are polygons.
    """

    file: Path | None = None
    names: dict[int, str] = field(default_factory=dict)
    places: tuple[Path, ...] = ()
    has_points: bool = False


def is_yolo(folder: Path) -> bool:
    """Tell whether a folder is a YOLO folder: it has a file with class names, or text files in a `labels` folder.

    Args:
        folder: of the labelled set.
    """
    if any((folder / name).is_file() for name in (*_YAML, *_NAMES)):
        return True
    places = {folder / "labels", _labels_for(folder)} - {folder}
    return any(place.is_dir() and any(place.rglob("*.txt")) for place in places)


def read_yolo(path: Path, problems: Problems, class_names: ClassNames | None = None) -> Labels:
    """Read a YOLO folder, or the folders and lists that a YAML file names.

    An image without a text file has no objects. If the folder has no class names, those of the two folders above it are
    used, so that one split of a set can be read alone.

    Args:
        path: the folder, or the YAML file.
        problems: problems are added to it.
        class_names: what class names mean; default: the known ones.

    Returns:
        The labels; none if no image has a text file.

    Raises:
        InvalidDataset: there is a problem, and `problems` is strict.
    """
    folder = path.parent if path.is_file() else path
    try:
        config = _yaml_config(path) if path.is_file() else _config(folder)
    except BrokenLabel as error:
        problems.add(ProblemKind.LABEL_BROKEN, str(path), str(error))
        return Labels()
    pictures = _pictures(config, folder, problems)
    class_names = class_names or ClassNames()
    reader = _Reader(folder, config, class_names, problems)
    labels = [entry for path in pictures if (entry := reader.read(path)) is not None]
    add_unknown(reader.classes, class_names, str(config.file or folder), problems)
    for place in [place for place in config.places if path_exists(place) and place.is_dir()] or [folder]:
        for file in _unmatched_labels(place, reader.used):
            problems.add(ProblemKind.PICTURE_MISSING, str(file), "there is no picture for these labels")
    # without text files, the images are not labelled, or the labels are somewhere else
    if not reader.used:
        return Labels(format="YOLO")
    classes = Counter(dict.fromkeys(config.names.values(), 0))
    classes.update(reader.classes)
    types = class_names.types(config.names.values())
    return Labels(labels, types, "YOLO", classes, tuple(reader.without), config.names)


def _config(folder: Path) -> _Config:
    for place in (folder, folder / "labels", *folder.absolute().parents[:2]):
        if files := [place / name for name in _YAML if (place / name).is_file()]:
            config = _yaml_config(files[0])
            # only the class names of a folder above are used
            return config if place == folder else _Config(config.file, config.names, (), config.has_points)
        if files := [place / name for name in _NAMES if (place / name).is_file()]:
            return _Config(files[0], dict(enumerate(_text(files[0]).strip().splitlines())))
    return _Config()


def _yaml_config(file: Path) -> _Config:
    try:
        # the base loader reads all values as text: `no` may be a class name
        rows: Any = yaml.load(_text(file), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BrokenLabel(f"it is not a YAML file: {' '.join(str(error).split())}") from error
    names = rows.get("names") if isinstance(rows, dict) else None
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(pairs, dict) or not all(
        str(number).isdecimal() and isinstance(name, str) for number, name in pairs.items()
    ):
        raise BrokenLabel("it has no names: a list, or a name for each number")
    places = tuple(_places(rows, file.parent))
    return _Config(file, {int(number): name for number, name in pairs.items()}, places, "kpt_shape" in rows)


def _places(rows: dict[str, Any], folder: Path) -> Iterator[Path]:
    """The places of the images of all splits.

    The YAML file may have been moved. So places relative to it come first, if they exist.
    """
    base = rows.get("path")
    for split in ("train", "val", "valid", "test"):
        values = rows.get(split)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str) and value:
                candidates = [folder / base / value] if isinstance(base, str) else []
                # Roboflow writes `../train/images` although the images are in `train/images`
                candidates += [folder / value.removeprefix("../"), folder / value]
                yield next((place for place in candidates if path_exists(place)), candidates[0])


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenLabel(f"it is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise BrokenLabel(f"it cannot be read: {error.strerror}") from error


def _pictures(config: _Config, folder: Path, problems: Problems) -> list[Path]:
    pictures: dict[Path, None] = {}
    for place in config.places:
        if path_exists(place) and place.is_dir():
            pictures |= dict.fromkeys(files_below(place))
        elif path_exists(place):
            pictures |= dict.fromkeys(_listed(place, problems))
        else:
            problems.add(ProblemKind.PICTURE_MISSING, str(config.file), f"it names {place}, which is not there")
    return list(pictures) or files_below(folder)


def _listed(file: Path, problems: Problems) -> Iterator[Path]:
    try:
        lines = _text(file).split("\n")
    except BrokenLabel as error:
        problems.add(ProblemKind.LABEL_BROKEN, str(file), str(error))
        return
    for line in filter(None, map(str.strip, lines)):
        if path_exists(path := file.parent / line):
            yield path
        else:
            problems.add(ProblemKind.PICTURE_MISSING, line, f"it is listed in {file}, but there is no such file")


def _labels_for(path: Path) -> Path:
    """The same path, with its last folder `images` replaced by `labels`."""
    parts = list(path.absolute().parts)
    for at in reversed(range(len(parts))):
        if parts[at].lower() == "images":
            return Path(*parts[:at], "labels", *parts[at + 1 :])
    return path


@dataclass
class _Reader:
    """Reads the labels of images, and collects what is wrong with them.

    Attributes:
        used: the text files that were read.
        classes: how many labels each class name has.
        without: the names of images without a text file.
    """

    folder: Path
    config: _Config
    class_names: ClassNames
    problems: Problems
    used: set[Path] = field(default_factory=set)
    classes: Counter[str] = field(default_factory=Counter)
    without: list[str] = field(default_factory=list)

    def read(self, picture: Path) -> PictureLabels | None:
        """Read the labels of an image; None if its text file is broken."""
        candidates = (_labels_for(picture).with_suffix(".txt"), picture.with_suffix(".txt"))
        file = next((path for path in candidates if path.is_file()), None)
        labels: list[Label] = []
        if file is None:
            self.without.append(self._shown(picture))
        else:
            self.used.add(file.absolute())
            try:
                labels = list(self._labels(file))
            except BrokenLabel as error:
                self.problems.add(ProblemKind.LABEL_BROKEN, self._shown(file), str(error))
                return None
        return PictureLabels(picture, self._shown(picture), labels, fractions=True)

    def _labels(self, file: Path) -> Iterator[Label]:
        for number, line in enumerate(_text(file).split("\n"), start=1):
            if not line.strip():
                continue
            try:
                yield from self._label(line, f"line {number}")
            except BrokenLabel as error:
                raise BrokenLabel(f"line {number}: {error}") from error

    def _label(self, line: str, where: str) -> Iterator[Label]:
        values = numbers(line.split(), "it")
        if self.config.has_points:
            values = values[:5]
        if len(values) < 5 or values[0] < 0 or values[0] % 1:
            raise BrokenLabel(
                f"it is {line.strip()[:60]!r}, not the number of a type and x, y, width, height or points"
            )
        if (values[1:] < _LEAST).any() or (values[1:] > _MOST).any():
            raise BrokenLabel(f"it is {line.strip()[:60]!r}, not fractions of the picture's size (0 to 1)")
        outline = None if len(values) == 5 else (polygon(values[1:]),)
        if outline:
            box = bounds(outline)
        else:
            centre, half = values[1:3], values[3:] / 2
            box = np.concatenate([centre - half, centre + half])
        name = self.config.names.get(int(values[0]), f"number {int(values[0])}, which has no name")
        self.classes[name] += 1
        if known := self.class_names.parse(name):
            yield Label(known[0], box, known[1], where, outline)

    def _shown(self, file: Path) -> str:
        return str(file.relative_to(self.folder) if file.is_relative_to(self.folder) else file)


def _unmatched_labels(folder: Path, used: set[Path]) -> Iterator[Path]:
    """Text files with labels for which there is no image."""
    places = {folder.absolute(), _labels_for(folder.absolute())}
    for file in sorted({file for place in places for file in files_below(place, [".txt"])} - used):
        try:
            first = numbers(_text(file).split("\n")[0].split(), "it")
        except BrokenLabel:
            continue
        if len(first) >= 5:
            yield file
