"""Files with tracks: MOT Challenge text, and the metadata of videos that were anonymised here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as NoSettings
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.records import BrokenLabel, add_unknown, numbers, stated_size
from anonymizer.pipeline.detections import ObjectType, Source

__all__ = ["PEDESTRIANS", "Row", "TrackLabels", "read_metadata", "read_mot"]

#: classes of MOT16 and later: 1 is a pedestrian who is not on a vehicle
PEDESTRIANS: Mapping[int, ObjectType | None] = MappingProxyType({1: ObjectType.PERSON})

#: columns of 2D MOT 2015, which has coordinates in the world where later ones have a class
_COLUMNS_2015 = 10
#: frame, track or class
_LARGEST = 10**7


@dataclass(frozen=True, slots=True)
class Row:
    """One object in one frame; box: x1, y1, x2, y2 in pixels from the upper left corner."""

    where: str
    frame: int
    track_id: int
    object_type: ObjectType
    box: tuple[float, float, float, float]
    filled: bool = False
    ignored: bool = False


@dataclass(frozen=True)
class TrackLabels:
    """What a file says; `times_s` and `size_hw` as in `LabelledTracks`."""

    rows: list[Row] = field(default_factory=list)
    times_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    size_hw: tuple[int, int] | None = None


def read_mot(file: Path, types: Mapping[int, ObjectType | None], problems: Problems) -> TrackLabels:
    """What a file in the format of motchallenge.net says; problems are added to those given.

    A line is `frame, id, left, top, width, height, confidence, class, visibility`; frames and pixels are counted from
    1. Confidence 0 means that the object is ignored. Without a class (no such column, -1 in it, or the ten columns of
    2D MOT 2015) all are of class 1.
    """
    times_s, size_hw = _sequence(file, problems)
    unknown: Counter[str] = Counter()
    rows = []
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
        where = f"{file}, line {number}"
        try:
            row = _mot_row(where, line, types, unknown) if line.strip() else None
        except BrokenLabel as error:
            problems.add(ProblemKind.LABEL_BROKEN, where, str(error))
            continue
        if row is not None and _fits(row, size_hw, problems):
            rows.append(row)
    add_unknown(unknown, str(file), problems)
    return TrackLabels(rows, times_s, size_hw)


def read_metadata(file: Path, stream: int, problems: Problems) -> TrackLabels:
    """What the metadata of a video says of one of its video tracks; problems are added to those given."""
    frames = list(_frames(file, stream, problems))
    rows: list[Row] = []
    # numbers of detections that belong to no track
    loose, unknown = count(-1, -1), Counter[str]()
    for number, frame in frames:
        for place, each in enumerate(frame["detections"]):
            where = f"{file}, frame {number}, detection {place}"
            try:
                row = _detection(where, number, each, loose, unknown)
            except BrokenLabel as error:
                problems.add(ProblemKind.LABEL_BROKEN, where, str(error))
                continue
            if row is not None and _fits(row, None, problems):
                rows.append(row)
    add_unknown(unknown, str(file), problems)
    return TrackLabels(rows, _times(frames), _size(file, frames, problems))


# --- MOT Challenge ---


def _mot_row(where: str, line: str, types: Mapping[int, ObjectType | None], unknown: Counter[str]) -> Row | None:
    columns = [each.strip() for each in line.split(",")]
    if len(columns) < 6:
        raise BrokenLabel(f"it has {len(columns)} columns, not 6 or more: frame, id, left, top, width, height")
    values = numbers(columns[:6], "the first six columns")
    frame, track_id = _whole(values[0], "the frame", least=1), _whole(values[1], "the id")
    confidence = numbers(columns[6:7] or [1], "the confidence")[0]
    has_class = 8 <= len(columns) != _COLUMNS_2015
    kind = _whole(numbers(columns[7:8], "the class")[0], "the class", least=-1) if has_class else -1
    kind = 1 if kind == -1 else kind
    if kind not in types:
        unknown[f"class {kind}"] += 1
    object_type = types.get(kind)
    if object_type is None:
        return None
    left, top, width, height = values[2:].tolist()
    box = (left - 1, top - 1, left - 1 + width, top - 1 + height)
    return Row(where, frame - 1, track_id, object_type, box, ignored=confidence == 0)


def _sequence(file: Path, problems: Problems) -> tuple[NDArray[np.float64], tuple[int, int] | None]:
    """Times and size as `seqinfo.ini` gives them."""
    found = next((each for folder in file.resolve().parents[:2] if (each := folder / "seqinfo.ini").exists()), None)
    if found is None:
        return np.empty(0), None
    settings = ConfigParser()
    try:
        settings.read_string(found.read_text(errors="replace"))
        if "Sequence" not in settings:
            raise BrokenLabel("there is no section [Sequence]")
        says = settings["Sequence"]
        size_hw = stated_size(says.get("imHeight"), says.get("imWidth"))
        length, rate = numbers([says.get("seqLength", "0"), says.get("frameRate", "0")], "seqLength, frameRate")
        if rate < 0:
            raise BrokenLabel(f"frameRate is {rate:g}, not above 0")
        frames = _whole(length, "seqLength")
    except (BrokenLabel, NoSettings) as error:
        problems.add(ProblemKind.LABEL_BROKEN, str(found), str(error).replace("\n", " "))
        return np.empty(0), None
    return (np.arange(frames) / rate if rate else np.empty(0)), size_hw


# --- metadata ---


def _frames(file: Path, stream: int, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of each frame of one video track that can be used, by rising number."""
    try:
        content = json.loads(file.read_bytes())
        if not isinstance(content, list):
            raise ValueError("it is no list of frames")
    except (ValueError, RecursionError) as error:
        problems.add(ProblemKind.LABEL_BROKEN, str(file), f"it is no metadata of a video: {error}")
        return
    streams = sorted({_stream(each) for each in content})
    wanted = streams[stream] if 0 <= stream < len(streams) else None
    before, before_s = -1, -np.inf
    for place, frame in enumerate(content):
        if _stream(frame) != wanted:
            continue
        try:
            number, time_s = _frame(frame)
            if number <= before or time_s <= before_s:
                raise BrokenLabel(
                    f"number and time are {number} and {time_s:g} s, not above {before} and {before_s:g} s"
                )
        except BrokenLabel as error:
            problems.add(ProblemKind.LABEL_BROKEN, f"{file}, entry {place}", str(error))
            continue
        before, before_s = number, time_s
        yield number, frame


def _stream(frame: object) -> int:
    found = frame.get("stream", 0) if isinstance(frame, dict) else 0
    return found if isinstance(found, int) else 0


def _frame(frame: Any) -> tuple[int, float]:
    """Its number and time in seconds."""
    if not isinstance(frame, dict) or not isinstance(frame.get("detections"), list):
        raise BrokenLabel("it is no frame with id, time and a list of detections")
    number, time_s = numbers([frame.get("id"), frame.get("time")], "id, time").tolist()
    return _whole(number, "the id"), time_s


def _detection(where: str, frame: int, said: Any, loose: Iterator[int], unknown: Counter[str]) -> Row | None:
    if not isinstance(said, dict):
        raise BrokenLabel("it is no detection")
    name = str(said.get("type_label"))
    if name not in list(ObjectType):
        unknown[name] += 1
        return None
    box = numbers(said.get("bbox"), "bbox")
    if len(box) != 4:
        raise BrokenLabel(f"bbox has {len(box)} numbers, not 4")
    track_id = said.get("track_id")
    track_id = next(loose) if track_id is None else _whole(numbers([track_id], "track_id")[0], "track_id")
    x1, y1, x2, y2 = box.tolist()
    filled = said.get("source") == Source.TRACKER.value
    return Row(where, frame, track_id, ObjectType(name), (x1, y1, x2, y2), filled=filled)


def _times(frames: list[tuple[int, dict[str, Any]]]) -> NDArray[np.float64]:
    """(n,) of each frame up to the last, counted from the first; those of frames that are missing lie between."""
    if not frames:
        return np.empty(0)
    known = [number for number, _ in frames]
    times_s = np.interp(np.arange(known[-1] + 1), known, [float(frame["time"]) for _, frame in frames])
    return np.asarray(times_s - times_s[0])


def _size(file: Path, frames: list[tuple[int, dict[str, Any]]], problems: Problems) -> tuple[int, int] | None:
    for number, frame in frames[:1]:
        try:
            size = numbers(frame.get("size", ()), "the size").tolist()
            if len(size) not in (0, 2):
                raise BrokenLabel(f"the size has {len(size)} numbers, not 2")
            return stated_size(*size) if size else None
        except BrokenLabel as error:
            problems.add(ProblemKind.LABEL_BROKEN, f"{file}, frame {number}", str(error))
    return None


# --- both ---


def _whole(value: float, what: str, *, least: int = 0) -> int:
    if value % 1 or not least <= value <= _LARGEST:
        raise BrokenLabel(f"{what} is {value:g}, not a whole number from {least} to {_LARGEST}")
    return int(value)


def _fits(row: Row, size_hw: tuple[int, int] | None, problems: Problems) -> bool:
    """Whether a box has pixels in the frame. Boxes may pass the border: of what is cut off there, the rest is known."""
    x1, y1, x2, y2 = row.box
    shown = f"the box (x {x1:g} to {x2:g}, y {y1:g} to {y2:g})"
    if x2 <= x1 or y2 <= y1:
        problems.add(ProblemKind.BOX_EMPTY, row.where, f"{shown} has no area")
        return False
    if x2 <= 0 or y2 <= 0 or (size_hw is not None and (x1 >= size_hw[1] or y1 >= size_hw[0])):
        problems.add(ProblemKind.BOX_OUTSIDE, row.where, f"{shown} lies outside the frame")
        return False
    return True
