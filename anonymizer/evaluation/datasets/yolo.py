"""YOLO folders: a text file for each picture, in fractions of its size (docs.ultralytics.com/datasets/detect)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from anonymizer.evaluation.datasets.class_names import known_type, types_named
from anonymizer.evaluation.datasets.image_files import files_below, is_there
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
#: a fraction beyond these is no slip of a box over the border: the numbers are pixels
_LEAST, _MOST = -1.0, 2.0


@dataclass(frozen=True)
class _Config:
    """What a set says of itself.

    Attributes:
        file: that says it; None where there is none.
        names: of the types by their number.
        places: folders with pictures, or lists of pictures; empty is everything below the set's folder.
        has_points: key points follow each box, so that longer lines are no polygons.
    """

    file: Path | None = None
    names: dict[int, str] = field(default_factory=dict)
    places: tuple[Path, ...] = ()
    has_points: bool = False


def is_yolo(folder: Path) -> bool:
    """Whether a folder says how its types are named, as YOLO's do, or has labels where they would be."""
    if any((folder / each).is_file() for each in (*_YAML, *_NAMES)):
        return True
    places = {folder / "labels", _labels_for(folder)} - {folder}
    return any(place.is_dir() and any(place.rglob("*.txt")) for place in places)


def read_yolo(path: Path, problems: Problems) -> Labels:
    """What a folder says, or a YAML file and the places that it names; problems are added to those given.

    A picture without a text file has no objects. Where a folder does not name its types, the two folders above it may:
    so a split of a set can be read by itself.
    """
    folder = path.parent if path.is_file() else path
    try:
        config = _yaml_config(path) if path.is_file() else _config(folder)
    except BrokenLabel as error:
        problems.add(ProblemKind.LABEL_BROKEN, str(path), str(error))
        return Labels()
    pictures = _pictures(config, folder, problems)
    reader = _Reader(folder, config, problems)
    labels = [each for path in pictures if (each := reader.read(path)) is not None]
    add_unknown(reader.unknown, str(config.file or folder), problems)
    for place in [each for each in config.places if is_there(each) and each.is_dir()] or [folder]:
        for file in _homeless(place, reader.used):
            problems.add(ProblemKind.PICTURE_MISSING, str(file), "there is no picture for these labels")
    # else nobody labelled these pictures, or the labels lie elsewhere
    return Labels(labels, types_named(config.names.values())) if reader.used else Labels()


def _config(folder: Path) -> _Config:
    for place in (folder, folder / "labels", *folder.absolute().parents[:2]):
        if files := [place / each for each in _YAML if (place / each).is_file()]:
            config = _yaml_config(files[0])
            # of a folder above only the names hold
            return config if place == folder else _Config(config.file, config.names, (), config.has_points)
        if files := [place / each for each in _NAMES if (place / each).is_file()]:
            return _Config(files[0], dict(enumerate(_text(files[0]).strip().splitlines())))
    return _Config()


def _yaml_config(file: Path) -> _Config:
    try:
        # all values as text: a name may be `no`
        rows: Any = yaml.load(_text(file), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BrokenLabel(f"it is no YAML file: {' '.join(str(error).split())}") from error
    names = rows.get("names") if isinstance(rows, dict) else None
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(pairs, dict) or not all(
        str(n).isdecimal() and isinstance(each, str) for n, each in pairs.items()
    ):
        raise BrokenLabel("it has no names: a list, or a name for each number")
    places = tuple(_places(rows, file.parent))
    return _Config(file, {int(n): each for n, each in pairs.items()}, places, "kpt_shape" in rows)


def _places(rows: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Where the pictures of all splits are said to lie: beside the file in the first place, wherever it was made."""
    base = rows.get("path")
    for split in ("train", "val", "valid", "test"):
        values = rows.get(split)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str) and value:
                choices = [folder / base / value] if isinstance(base, str) else []
                # Roboflow writes `../train/images` for what lies in `train/images`
                choices += [folder / value.removeprefix("../"), folder / value]
                yield next((each for each in choices if is_there(each)), choices[0])


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenLabel(f"it is no UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise BrokenLabel(f"it cannot be read: {error.strerror}") from error


def _pictures(config: _Config, folder: Path, problems: Problems) -> list[Path]:
    found: dict[Path, None] = {}
    for place in config.places:
        if is_there(place) and place.is_dir():
            found |= dict.fromkeys(files_below(place))
        elif is_there(place):
            found |= dict.fromkeys(_listed(place, problems))
        else:
            problems.add(ProblemKind.PICTURE_MISSING, str(config.file), f"it names {place}, which is not there")
    return list(found) or files_below(folder)


def _listed(file: Path, problems: Problems) -> Iterator[Path]:
    try:
        lines = _text(file).split("\n")
    except BrokenLabel as error:
        problems.add(ProblemKind.LABEL_BROKEN, str(file), str(error))
        return
    for line in filter(None, map(str.strip, lines)):
        if is_there(path := file.parent / line):
            yield path
        else:
            problems.add(ProblemKind.PICTURE_MISSING, line, f"it is listed in {file}, but there is no such file")


def _labels_for(path: Path) -> Path:
    """The same place with its last `images` as `labels`."""
    parts = list(path.absolute().parts)
    for at in reversed(range(len(parts))):
        if parts[at].lower() == "images":
            return Path(*parts[:at], "labels", *parts[at + 1 :])
    return path


@dataclass
class _Reader:
    folder: Path
    config: _Config
    problems: Problems
    used: set[Path] = field(default_factory=set)
    unknown: Counter[str] = field(default_factory=Counter)

    def read(self, picture: Path) -> PictureLabels | None:
        """None where its text file is broken."""
        choices = (_labels_for(picture).with_suffix(".txt"), picture.with_suffix(".txt"))
        file = next((each for each in choices if each.is_file()), None)
        labels: list[Label] = []
        if file is not None:
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
        if known := known_type(name):
            yield Label(known[0], box, known[1], where, outline)
        else:
            self.unknown[name] += 1

    def _shown(self, file: Path) -> str:
        return str(file.relative_to(self.folder) if file.is_relative_to(self.folder) else file)


def _homeless(folder: Path, used: set[Path]) -> Iterator[Path]:
    """Text files with labels that belong to no picture."""
    places = {folder.absolute(), _labels_for(folder.absolute())}
    for file in sorted({each for place in places for each in files_below(place, [".txt"])} - used):
        try:
            first = numbers(_text(file).split("\n")[0].split(), "it")
        except BrokenLabel:
            continue
        if len(first) >= 5:
            yield file
