"""Read files with tracks: MOT Challenge files (motchallenge.net), and the metadata of videos anonymised here."""

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

from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.records import BrokenLabel, add_unknown, numbers, stated_size
from anonymizer.pipeline.detections import ObjectType, Source

__all__ = ["PEDESTRIANS", "Row", "TrackLabels", "read_metadata", "read_mot"]

#: object types by the classes of MOT16 and later: 1 is a pedestrian who is not on a vehicle
PEDESTRIANS: Mapping[int, ObjectType | None] = MappingProxyType({1: ObjectType.PERSON})

#: the number of columns of 2D MOT 2015, which has world coordinates in the columns of class and visibility
_COLUMNS_2015 = 10
#: the largest number of a frame, track or class
_LARGEST = 10**7


@dataclass(frozen=True, slots=True)
class Row:
    """One object in one frame.

    Attributes:
        where: which label it is, for messages.
        frame: counted from 0.
        track_id: the number of its track; below 0 for a detection that belongs to no track.
        object_type: the type.
        box: x1, y1, x2, y2 in pixels of the upright frame.
        filled: whether the tracker filled a gap here: no detector detected the object.
        ignored: whether the object is ignored: it may be covered or visible.
    """

    where: str
    frame: int
    track_id: int
    object_type: ObjectType
    box: tuple[float, float, float, float]
    filled: bool = False
    ignored: bool = False


@dataclass(frozen=True)
class TrackLabels:
    """The content of a file.

    Attributes:
        rows: one for each object in each frame.
        times_s: as in `LabelledTracks`.
        size_hw: as in `LabelledTracks`.
    """

    rows: list[Row] = field(default_factory=list)
    times_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    size_hw: tuple[int, int] | None = None


def read_mot(file: Path, types: Mapping[int, ObjectType | None], problems: Problems) -> TrackLabels:
    """Read a MOT Challenge file (Milan et al. 2016, "MOT16: A Benchmark for Multi-Object Tracking").

    A line is `frame, id, left, top, width, height, confidence, class, visibility`. Frames and pixels are counted from
    1. If the confidence is 0, the object is ignored. All objects have class 1 if the file has no classes. That is the
    case without this column, if it is -1, and with the ten columns of 2D MOT 2015.

    Args:
        file: the text file.
        types: the object type of each class; None: objects of this class are left out.
        problems: problems are added to it.

    Returns:
        The labels.

    Raises:
        InvalidDataset: there is a problem, and `problems` is strict.
        OSError: the file cannot be read.
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
    add_unknown(unknown, ClassNames(), str(file), problems)
    return TrackLabels(rows, times_s, size_hw)


def read_metadata(file: Path, stream: int, problems: Problems) -> TrackLabels:
    """Read the metadata of a video that was anonymised here.

    Args:
        file: the JSON file.
        stream: which of the file's video streams, counted from 0.
        problems: problems are added to it.

    Returns:
        The labels.

    Raises:
        InvalidDataset: there is a problem, and `problems` is strict.
        OSError: the file cannot be read.
    """
    frames = list(_frames(file, stream, problems))
    rows: list[Row] = []
    # detections that belong to no track get the numbers -1, -2, ...
    untracked_ids, unknown = count(-1, -1), Counter[str]()
    for number, frame in frames:
        for position, entry in enumerate(frame["detections"]):
            where = f"{file}, frame {number}, detection {position}"
            try:
                row = _detection(where, number, entry, untracked_ids, unknown)
            except BrokenLabel as error:
                problems.add(ProblemKind.LABEL_BROKEN, where, str(error))
                continue
            if row is not None and _fits(row, None, problems):
                rows.append(row)
    add_unknown(unknown, ClassNames(), str(file), problems)
    return TrackLabels(rows, _times(frames), _size(file, frames, problems))


# --- MOT Challenge ---


def _mot_row(where: str, line: str, types: Mapping[int, ObjectType | None], unknown: Counter[str]) -> Row | None:
    columns = [column.strip() for column in line.split(",")]
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
    """Times and size from the `seqinfo.ini` of a sequence."""
    info = next((path for folder in file.resolve().parents[:2] if (path := folder / "seqinfo.ini").exists()), None)
    if info is None:
        return np.empty(0), None
    settings = ConfigParser()
    try:
        settings.read_string(info.read_text(errors="replace"))
        if "Sequence" not in settings:
            raise BrokenLabel("there is no section [Sequence]")
        section = settings["Sequence"]
        size_hw = stated_size(section.get("imHeight"), section.get("imWidth"))
        length, rate = numbers([section.get("seqLength", "0"), section.get("frameRate", "0")], "seqLength, frameRate")
        if rate < 0:
            raise BrokenLabel(f"frameRate is {rate:g}, not above 0")
        frames = _whole(length, "seqLength")
    except (BrokenLabel, NoSettings) as error:
        problems.add(ProblemKind.LABEL_BROKEN, str(info), str(error).replace("\n", " "))
        return np.empty(0), None
    return (np.arange(frames) / rate if rate else np.empty(0)), size_hw


# --- metadata ---


def _frames(file: Path, stream: int, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the content of each valid frame of one video stream, in rising order."""
    try:
        content = json.loads(file.read_bytes())
        if not isinstance(content, list):
            raise ValueError("it is not a list of frames")
    except (ValueError, RecursionError) as error:
        problems.add(ProblemKind.LABEL_BROKEN, str(file), f"it is not the metadata of a video: {error}")
        return
    streams = sorted({_stream(frame) for frame in content})
    wanted = streams[stream] if 0 <= stream < len(streams) else None
    before, before_s = -1, -np.inf
    for position, frame in enumerate(content):
        if _stream(frame) != wanted:
            continue
        try:
            number, time_s = _frame(frame)
            if number <= before or time_s <= before_s:
                raise BrokenLabel(
                    f"number and time are {number} and {time_s:g} s, not above {before} and {before_s:g} s"
                )
        except BrokenLabel as error:
            problems.add(ProblemKind.LABEL_BROKEN, f"{file}, entry {position}", str(error))
            continue
        before, before_s = number, time_s
        yield number, frame


def _stream(frame: object) -> int:
    stream = frame.get("stream", 0) if isinstance(frame, dict) else 0
    return stream if isinstance(stream, int) else 0


def _frame(frame: Any) -> tuple[int, float]:
    """The number and the time in seconds of a frame."""
    if not isinstance(frame, dict) or not isinstance(frame.get("detections"), list):
        raise BrokenLabel("it is not a frame with id, time and a list of detections")
    number, time_s = numbers([frame.get("id"), frame.get("time")], "id, time").tolist()
    return _whole(number, "the id"), time_s


def _detection(where: str, frame: int, entry: Any, untracked_ids: Iterator[int], unknown: Counter[str]) -> Row | None:
    """One detection of the metadata; None if its type is unknown."""
    if not isinstance(entry, dict):
        raise BrokenLabel("it is not a detection")
    name = str(entry.get("type_label"))
    if name not in list(ObjectType):
        unknown[name] += 1
        return None
    box = numbers(entry.get("bbox"), "bbox")
    if len(box) != 4:
        raise BrokenLabel(f"bbox has {len(box)} numbers, not 4")
    track_id = entry.get("track_id")
    track_id = next(untracked_ids) if track_id is None else _whole(numbers([track_id], "track_id")[0], "track_id")
    x1, y1, x2, y2 = box.tolist()
    filled = entry.get("source") == Source.TRACKER.value
    return Row(where, frame, track_id, ObjectType(name), (x1, y1, x2, y2), filled=filled)


def _times(frames: list[tuple[int, dict[str, Any]]]) -> NDArray[np.float64]:
    """(n,) the time of each frame since the first one; the times of missing frames are interpolated."""
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
    """Tell whether a box has pixels in the frame. It may exceed the border, because labels include hidden parts."""
    x1, y1, x2, y2 = row.box
    shown = f"the box (x {x1:g} to {x2:g}, y {y1:g} to {y2:g})"
    if x2 <= x1 or y2 <= y1:
        problems.add(ProblemKind.BOX_EMPTY, row.where, f"{shown} has no area")
        return False
    if x2 <= 0 or y2 <= 0 or (size_hw is not None and (x1 >= size_hw[1] or y1 >= size_hw[0])):
        problems.add(ProblemKind.BOX_OUTSIDE, row.where, f"{shown} lies outside the frame")
        return False
    return True
