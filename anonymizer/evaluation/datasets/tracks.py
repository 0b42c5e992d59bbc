"""Known tracks: where each object of a video is, frame by frame, for a delivered mask to be held against.

They come from MOT Challenge files, or from the metadata of a video that was anonymised here and reviewed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.mot import PEDESTRIANS, Row, TrackLabels, read_metadata, read_mot
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["LabelledTracks", "Track", "consecutive", "frame_seconds"]


@dataclass(frozen=True, eq=False)
class Track:
    """One object in all the frames that it is in.

    Attributes:
        id: its number; -1 and below: one detection that belongs to no track.
        frames: (n,) int64, rising, counted from 0.
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels of the upright frame; they may pass its border.
        filled: (n,) bool, where no detector saw it and the tracker filled the gap.
        ignored: (n,) bool, where it is neither to be covered nor to be left visible.
    """

    id: int
    object_type: ObjectType
    frames: NDArray[np.int64]
    boxes: NDArray[np.float32]
    filled: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    @property
    def words(self) -> str:
        """What to call it: "person 3"."""
        return f"{self.object_type.words} {self.id}" if self.id >= 0 else f"{self.object_type.words}, no track"

    def at(self, rows: NDArray[np.bool_] | slice) -> Track:
        """The same track in some of its frames."""
        return replace(
            self,
            frames=self.frames[rows],
            boxes=self.boxes[rows],
            filled=self.filled[rows],
            ignored=self.ignored[rows],
        )


@dataclass(frozen=True)
class LabelledTracks:
    """All tracks of one video.

    Attributes:
        tracks: in the order of their first frames.
        labelled: the types of which every object in every frame is labelled.
        times_s: (frames,) float64, when each frame is shown, counted from the first; empty where that is not known.
        size_hw: of the upright frame in pixels; None where that is not known.
        problems: what was wrong with the file; the labels that it concerns are left out.
    """

    tracks: tuple[Track, ...]
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
        """From a MOT Challenge file, or a sequence's folder with `gt/gt.txt`.

        `seqinfo.ini` in one of the two folders above the file gives the frame rate, the length and the size.

        Args:
            types: what each number of the class column means; None: left out without a word.
            labelled: types of which every object is labelled; those of `types` without.
            strict: the first problem raises.

        Raises:
            BadSet: there is a problem, and `strict`.
            OSError: the file cannot be read.
        """
        path, problems = Path(path), Problems(strict)
        file = path / "gt" / "gt.txt" if path.is_dir() else path
        labels = read_mot(file, types, problems)
        if not labels.rows:
            problems.add(ProblemKind.EMPTY_SET, str(path), "there is no object of a known type")
        known = [each for each in types.values() if each] if labelled is None else labelled
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
        """From the metadata of a video that was anonymised here: a list of frames with their detections, as JSON.

        What belongs to no track becomes a track of one frame, with a number below 0.

        Args:
            labelled: types of which every object is there; those that occur without.
            stream: which of the file's video tracks, counted from 0.
            strict: the first problem raises.

        Raises:
            BadSet: there is a problem, and `strict`.
            OSError: the file cannot be read.
        """
        path, problems = Path(path), Problems(strict)
        labels = read_metadata(path, stream, problems)
        if not len(labels.times_s):
            problems.add(ProblemKind.EMPTY_SET, str(path), "there is no frame")
        known = [each.object_type for each in labels.rows] if labelled is None else labelled
        return cls._of(labels, known, path.stem, problems)

    @classmethod
    def _of(cls, labels: TrackLabels, labelled: Iterable[ObjectType], name: str, problems: Problems) -> LabelledTracks:
        known = {ObjectType(each) for each in labelled}
        return cls(
            tuple(sorted(_tracks(labels.rows, problems), key=lambda each: int(each.frames[0]))),
            tuple(each for each in OBJECT_TYPES if each in known),
            labels.times_s,
            labels.size_hw,
            name,
            problems,
        )

    @property
    def frames(self) -> int:
        """How many frames there are, as far as that is known."""
        return max([len(self.times_s), *(int(each.frames[-1]) + 1 for each in self.tracks)])

    def of_type(self, *object_types: ObjectType) -> LabelledTracks:
        """The tracks of some types."""
        return replace(self, tracks=tuple(each for each in self.tracks if each.object_type in object_types))

    def table(self) -> str:
        """A line of text for each track: when it is there, in how many frames it was seen, and what was filled."""
        lines = [f"{'':22}{'from':>9}{'to':>9}{'frames':>8}{'seen':>6}{'in gaps':>9}{'longest gap':>13}{'around':>8}"]
        tracked = [each for each in self.tracks if each.id >= 0]
        for track in tracked:
            inner = _seen(track).filled if not track.filled.all() else track.filled[:0]
            gaps = consecutive(np.flatnonzero(inner))
            times = [f"{self.times_s[at]:7.2f} s" if at < len(self.times_s) else "" for at in track.frames[[0, -1]]]
            lines.append(
                f"{track.words:22}{times[0]:>9}{times[1]:>9}{len(track.frames):8}{int((~track.filled).sum()):6}"
                f"{int(inner.sum()):9}{max(map(len, gaps), default=0):13}{int(track.filled.sum() - inner.sum()):8}"
            )
        if loose := len(self.tracks) - len(tracked):
            lines.append(f"Detections that belong to no track: {loose}.")
        return "\n".join(lines)

    def between_sightings(self) -> LabelledTracks:
        """Without what a tracker covered before an object was first and after it was last seen.

        There it is not known whether the object was in the picture; tracks that no detector saw are dropped.
        """
        return replace(self, tracks=tuple(_seen(each) for each in self.tracks if not each.filled.all()))


def frame_seconds(times_s: NDArray[np.float64], *, only_s: float = 0.0) -> NDArray[np.float64]:
    """(n,) how long each frame is shown, from when each begins; the last one as long as the median one.

    Args:
        only_s: how long the only frame of a video is shown.
    """
    steps = np.diff(times_s)
    return np.append(steps, np.median(steps) if len(steps) else only_s)[: len(times_s)]


def consecutive(frames: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Runs of frames that follow each other, of rising numbers."""
    return np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if len(frames) else []


def _tracks(rows: Iterable[Row], problems: Problems) -> Iterator[Track]:
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
        yield Track(
            track_id,
            object_type,
            np.array([each.frame for each in kept], np.int64),
            np.array([each.box for each in kept], np.float32).reshape(-1, 4),
            np.array([each.filled for each in kept], bool),
            np.array([each.ignored for each in kept], bool),
        )


def _seen(track: Track) -> Track:
    seen = np.flatnonzero(~track.filled)
    return track.at(slice(int(seen[0]), int(seen[-1]) + 1))
