"""Labelled tracks: where each object of a video is in each frame, to check the masks of an anonymised video.

They come from MOT Challenge files, or from the metadata of a video that was anonymised here and reviewed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anonymizer._html import html_table
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.mot import PEDESTRIANS, Row, TrackLabels, read_metadata, read_mot
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["LabelledTracks", "ObjectTrack", "consecutive", "frame_seconds"]

#: tracks that a notebook shows
_SHOWN = 30


@dataclass(frozen=True, eq=False)
class ObjectTrack:
    """One object in all its frames.

    Attributes:
        id: its number; -1 and below: one detection that belongs to no track.
        object_type: the type.
        frames: (n,) int64, rising, counted from 0.
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels of the upright frame; they may exceed its border.
        filled: (n,) bool, whether the tracker filled a gap in this frame: no detector detected the object.
        ignored: (n,) bool, whether the object is ignored in this frame: it may be covered or visible.
    """

    id: int
    object_type: ObjectType
    frames: NDArray[np.int64]
    boxes: NDArray[np.float32]
    filled: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    @property
    def words(self) -> str:
        """The name in a sentence: "person 3"."""
        return f"{self.object_type.words} {self.id}" if self.id >= 0 else f"{self.object_type.words}, no track"

    def at(self, rows: NDArray[np.bool_] | slice) -> ObjectTrack:
        """Get the track in some of its frames.

        Args:
            rows: (n,) bool, or a slice of the n frames.
        """
        return replace(
            self,
            frames=self.frames[rows],
            boxes=self.boxes[rows],
            filled=self.filled[rows],
            ignored=self.ignored[rows],
        )

    def __repr__(self) -> str:
        if not len(self.frames):
            return f"ObjectTrack({self.words}, no frames)"
        return f"ObjectTrack({self.words}, {len(self.frames)} frames from {self.frames[0]} to {self.frames[-1]})"


@dataclass(frozen=True)
class LabelledTracks:
    """All tracks of one video.

    Attributes:
        tracks: in the order of their first frames.
        labelled: the types of which every object in every frame is labelled.
        times_s: (frames,) float64, the time of each frame in seconds since the first one; empty if unknown.
        size_hw: height and width of the upright frame in pixels; None if unknown.
        name: the name of the file that it was read from.
        problems: what was wrong with the file. Labels with a problem are left out.
    """

    tracks: tuple[ObjectTrack, ...]
    labelled: tuple[ObjectType, ...] = ()
    times_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    size_hw: tuple[int, int] | None = None
    name: str = ""
    problems: Problems = field(default_factory=Problems, compare=False)

    @classmethod
    def read_mot(
        cls,
        path: Path | str,
        *,
        types: Mapping[int, ObjectType | None] = PEDESTRIANS,
        labelled: Sequence[ObjectType] | None = None,
        strict: bool = False,
    ) -> LabelledTracks:
        """Read a MOT Challenge file (motchallenge.net), or the folder of a sequence with `gt/gt.txt`.

        The frame rate, the length and the size come from `seqinfo.ini` in one of the two folders above the file.

        Args:
            path: the file or folder.
            types: the object type of each class number; None: objects of this class are left out. Default: class 1 are
                persons.
            labelled: the types of which every object is labelled; default: those of `types`.
            strict: raise an error for the first problem; default: collect all problems in `problems`.

        Returns:
            The tracks.

        Raises:
            InvalidDataset: there is a problem, and `strict` is set.
            OSError: the file cannot be read.
        """
        path, problems = Path(path), Problems(strict)
        file = path / "gt" / "gt.txt" if path.is_dir() else path
        labels = read_mot(file, types, problems)
        if not labels.rows:
            problems.add(ProblemKind.EMPTY_SET, str(path), "there is no object of a known type")
        known = [object_type for object_type in types.values() if object_type] if labelled is None else labelled
        return cls._of(labels, known, path.stem, problems)

    @classmethod
    def read_metadata(
        cls,
        path: Path | str,
        *,
        labelled: Sequence[ObjectType] | None = None,
        stream: int = 0,
        strict: bool = False,
    ) -> LabelledTracks:
        """Read the metadata of a video that was anonymised here: a JSON list of frames with their detections.

        A detection that belongs to no track becomes a track of one frame, with a number below 0.

        Args:
            path: the metadata file.
            labelled: the types of which every object is labelled; default: those that occur.
            stream: which of the file's video streams, counted from 0.
            strict: raise an error for the first problem; default: collect all problems in `problems`.

        Returns:
            The tracks.

        Raises:
            InvalidDataset: there is a problem, and `strict` is set.
            OSError: the file cannot be read.
        """
        path, problems = Path(path), Problems(strict)
        labels = read_metadata(path, stream, problems)
        if not len(labels.times_s):
            problems.add(ProblemKind.EMPTY_SET, str(path), "there is no frame")
        known = [row.object_type for row in labels.rows] if labelled is None else labelled
        return cls._of(labels, known, path.stem, problems)

    @classmethod
    def _of(cls, labels: TrackLabels, labelled: Iterable[ObjectType], name: str, problems: Problems) -> LabelledTracks:
        known = {ObjectType(name) for name in labelled}
        return cls(
            tuple(sorted(_tracks(labels.rows, problems), key=lambda track: int(track.frames[0]))),
            tuple(object_type for object_type in OBJECT_TYPES if object_type in known),
            labels.times_s,
            labels.size_hw,
            name,
            problems,
        )

    @property
    def frames(self) -> int:
        """The number of frames; if it is unknown, the number of frames up to the last label."""
        return max([len(self.times_s), *(int(track.frames[-1]) + 1 for track in self.tracks)])

    def of_type(self, *object_types: ObjectType) -> LabelledTracks:
        """Get the tracks of some types.

        Args:
            object_types: the types.
        """
        return replace(self, tracks=tuple(track for track in self.tracks if track.object_type in object_types))

    def table(self) -> str:
        """Format the tracks as a plain text table.

        Returns:
            One line for each track, with its start, its end and the number of its frames. "seen" counts the frames in
            which the object was detected. "in gaps" counts the frames that the tracker filled between detections, and
            "around" those that it filled before the first and after the last detection.
        """
        lines = [f"{'':22}{'from':>9}{'to':>9}{'frames':>8}{'seen':>6}{'in gaps':>9}{'longest gap':>13}{'around':>8}"]
        lines += [
            f"{row[0]:22}{row[1]:>9}{row[2]:>9}{row[3]:8}{row[4]:6}{row[5]:9}{row[6]:13}{row[7]:8}"
            for row in self._rows()
        ]
        if note := self._untracked_note():
            lines.append(note)
        return "\n".join(lines)

    def __repr__(self) -> str:
        tracked = sum(track.id >= 0 for track in self.tracks)
        types = ", ".join(dict.fromkeys(track.object_type.value for track in self.tracks)) or "no objects"
        return f"LabelledTracks({self.name[-60:]!r}, {tracked} tracks in {self.frames} frames: {types})"

    def _repr_html_(self) -> str:
        columns = ("track", "from", "to", "frames", "seen", "filled in gaps", "longest gap", "filled around")
        rows = list(self._rows())
        more = f"... {len(rows) - _SHOWN} more tracks. " if len(rows) > _SHOWN else ""
        return html_table(columns, rows[:_SHOWN], title=repr(self), note=more + self._untracked_note())

    def _rows(self) -> Iterator[tuple[str, str, str, int, int, int, int, int]]:
        for track in self.tracks:
            if track.id < 0:
                continue
            inner = _between_detections(track).filled if not track.filled.all() else track.filled[:0]
            gaps = consecutive(np.flatnonzero(inner))
            first, last = (
                f"{self.times_s[at]:7.2f} s" if at < len(self.times_s) else "" for at in track.frames[[0, -1]]
            )
            filled_inside, filled = int(inner.sum()), int(track.filled.sum())
            yield (
                track.words,
                first,
                last,
                len(track.frames),
                len(track.frames) - filled,
                filled_inside,
                max(map(len, gaps), default=0),
                filled - filled_inside,
            )

    def _untracked_note(self) -> str:
        count = sum(track.id < 0 for track in self.tracks)
        return f"Detections that belong to no track: {count}." if count else ""

    def between_sightings(self) -> LabelledTracks:
        """Shorten each track to the frames between its first and its last detection.

        Outside them, only the tracker covered the object, and it is unknown whether the object is in the frame. Tracks
        without a detection are left out.
        """
        return replace(
            self, tracks=tuple(_between_detections(track) for track in self.tracks if not track.filled.all())
        )


def frame_seconds(times_s: NDArray[np.float64], *, only_s: float = 0.0) -> NDArray[np.float64]:
    """Compute how long each frame is shown. The last frame is assumed to be shown for the median duration.

    Args:
        times_s: (n,) float64, the time of each frame in seconds.
        only_s: how many seconds the only frame of a video is shown.

    Returns:
        (n,) float64, seconds.
    """
    steps = np.diff(times_s)
    return np.append(steps, np.median(steps) if len(steps) else only_s)[: len(times_s)]


def consecutive(frames: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split frame numbers into runs of consecutive numbers.

    Args:
        frames: (n,) rising numbers.

    Returns:
        The runs; none without frames.
    """
    return np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if len(frames) else []


def _tracks(rows: Iterable[Row], problems: Problems) -> Iterator[ObjectTrack]:
    of_track: defaultdict[tuple[int, ObjectType], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        frames = of_track[row.track_id, row.object_type]
        if row.frame in frames:
            what = f"{row.object_type.words} {row.track_id} is there twice in this frame: the first counts"
            problems.add(ProblemKind.LABEL_BROKEN, row.where, what)
        else:
            frames[row.frame] = row
    for (track_id, object_type), frames in of_track.items():
        kept = [frames[number] for number in sorted(frames)]
        yield ObjectTrack(
            track_id,
            object_type,
            np.array([row.frame for row in kept], np.int64),
            np.array([row.box for row in kept], np.float32).reshape(-1, 4),
            np.array([row.filled for row in kept], bool),
            np.array([row.ignored for row in kept], bool),
        )


def _between_detections(track: ObjectTrack) -> ObjectTrack:
    detected = np.flatnonzero(~track.filled)
    return track.at(slice(int(detected[0]), int(detected[-1]) + 1))
