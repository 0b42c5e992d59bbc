"""Leaks of a redacted video: how often objects with known tracks stay visible, and for how long.

An object is uncovered in a frame if more than a tenth of its pixels lies outside the mask. Consecutive frames in which
one track is uncovered are one leak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer._html import html_table
from anonymizer.evaluation.datasets.tracks import ObjectTrack
from anonymizer.pipeline.detections import ObjectType

__all__ = ["Leak", "LeakFigures", "TrackLeaks", "VideoLeaks"]

_COLUMNS = ("", "tracks", "leaking", "object-frames", "uncovered", "leaks", "a minute", "longest")


@dataclass(frozen=True, slots=True)
class Leak:
    """Consecutive frames in which one track is uncovered.

    Attributes:
        track: the track.
        first: number of the first frame, counted from 0.
        last: number of the last frame.
        start_s: start in seconds from the first frame of the video.
        seconds: how long the frames are shown.
    """

    track: ObjectTrack
    first: int
    last: int
    start_s: float
    seconds: float

    @property
    def frames(self) -> int:
        """The number of frames."""
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.track.words}: {self.frames} frames, {self.seconds:.2f} s, from {self.start_s:.2f} s on"


@dataclass(frozen=True)
class TrackLeaks:
    """One track compared with the masks.

    Attributes:
        track: the track, with n frames.
        visible: (n,) float32, for each frame the share of the object's pixels that lies outside the mask, 0..1. It is
            not a number if the object is ignored or outside the frame, or if there is no mask.
        uncovered: (n,) bool, whether too much of the object is visible.
        leaks: the leaks in the order of time.
    """

    track: ObjectTrack
    visible: NDArray[np.float32]
    uncovered: NDArray[np.bool_]
    leaks: tuple[Leak, ...]

    @property
    def object_frames(self) -> int:
        """The number of frames in which the object was compared with a mask."""
        return int(np.isfinite(self.visible).sum())

    @property
    def longest(self) -> Leak | None:
        """The leak that lasts longest; None if there is none."""
        return max(self.leaks, key=lambda leak: (leak.seconds, leak.frames), default=None)


@dataclass(frozen=True, slots=True)
class LeakFigures:
    """The figures of several tracks together.

    Attributes:
        tracks: the number of tracks.
        tracks_with_leaks: the number of tracks that leak at least once.
        object_frames: pairs of an object and a frame in which it was compared with a mask.
        uncovered: object-frames in which the object is uncovered.
        leaks: the number of leaks.
        leaks_per_minute: leaks in a minute of video; not a number if there are no frames.
        longest_frames: frames of the longest leak; 0 if there is none.
        longest_s: seconds of the longest leak; 0 if there is none.
    """

    tracks: int
    tracks_with_leaks: int
    object_frames: int
    uncovered: int
    leaks: int
    leaks_per_minute: float
    longest_frames: int
    longest_s: float

    @property
    def uncovered_share(self) -> float:
        """Share of the object-frames that is uncovered, 0..1; not a number if there are none."""
        return self.uncovered / self.object_frames if self.object_frames else float("nan")


@dataclass(frozen=True, repr=False)
class VideoLeaks:
    """All tracks of a video compared with its masks. A notebook shows it as a table.

    Attributes:
        tracks: the tracks and their leaks.
        times_s: (frames,) float64, seconds from the first frame until each frame is shown.
        seconds: how long the frames with a mask are shown together.
        over_redaction: (frames,) float32, the share of each frame that is covered although redacting exactly the
            labelled objects would not cover it. It is not a number if the frame has no mask. None if not every object
            is labelled.
        without_mask: object-frames without a mask. They are not counted.
        object_types: the types that were evaluated.
    """

    tracks: tuple[TrackLeaks, ...]
    times_s: NDArray[np.float64]
    seconds: float
    over_redaction: NDArray[np.float32] | None
    without_mask: int
    object_types: tuple[ObjectType, ...]

    def figures(self, object_type: ObjectType | None = None) -> LeakFigures:
        """Compute the figures.

        Args:
            object_type: only tracks of this type; default: all tracks.
        """
        chosen = [each for each in self.tracks if object_type in (None, each.track.object_type)]
        leaks = [leak for track in chosen for leak in track.leaks]
        return LeakFigures(
            tracks=len(chosen),
            tracks_with_leaks=sum(bool(track.leaks) for track in chosen),
            object_frames=sum(track.object_frames for track in chosen),
            uncovered=sum(int(track.uncovered.sum()) for track in chosen),
            leaks=len(leaks),
            leaks_per_minute=60 * len(leaks) / self.seconds if self.seconds else float("nan"),
            longest_frames=max((leak.frames for leak in leaks), default=0),
            longest_s=max((leak.seconds for leak in leaks), default=0.0),
        )

    @property
    def longest(self) -> Leak | None:
        """The leak that lasts longest; None if there is none."""
        leaks = [track.longest for track in self.tracks if track.longest is not None]
        return max(leaks, key=lambda leak: (leak.seconds, leak.frames), default=None)

    def table(self) -> str:
        """Format the figures of each type, and of all types together, as lines of text."""
        widths = (15, 7, 8, 14, 16, 7, 9, 19)
        lines = []
        for cells in (_COLUMNS, *self._rows()):
            name, *others = cells
            lines.append(name.ljust(15) + "".join(c.rjust(w) for c, w in zip(others, widths[1:], strict=True)))
        return "\n".join([*lines, *self._notes()])

    def track_table(self, limit: int | None = None) -> str:
        """Format one line of text for each track that leaks, the longest leak first.

        Args:
            limit: the most tracks that are listed; default: all.
        """
        leaking = sorted((track for track in self.tracks if track.leaks), key=_longest_first)
        lines = [f"{'':22}{'frames':>7}{'uncovered':>10}{'leaks':>7}{'longest':>19}{'from':>10}"]
        for each in leaking[:limit]:
            leak = each.longest
            assert leak is not None
            longest = f"{leak.frames} frames, {leak.seconds:.2f} s"
            lines.append(
                f"{each.track.words:22}{each.object_frames:7}{int(each.uncovered.sum()):10}{len(each.leaks):7}{longest:>19}"
                f"{leak.start_s:8.2f} s"
            )
        return "\n".join(lines) if leaking else "No track leaks."

    def __repr__(self) -> str:
        figures = self.figures()
        types = ", ".join(object_type.value for object_type in self.object_types)
        return (
            f"VideoLeaks({types}: {figures.tracks_with_leaks} of {figures.tracks} tracks leak, {figures.leaks} leaks, "
            f"{figures.leaks_per_minute:.1f} a minute, the longest {figures.longest_s:.2f} s)"
        )

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, self._rows(), title=repr(self), note=" ".join(self._notes()))

    def _rows(self) -> list[tuple[str, ...]]:
        named = [(each.words, self.figures(each)) for each in self.object_types]
        return [(name, *_cells(figures)) for name, figures in [*named, ("all", self.figures())]]

    def _notes(self) -> list[str]:
        notes = []
        if self.over_redaction is not None and np.isfinite(self.over_redaction).any():
            mean, most = np.nanmean(self.over_redaction), np.nanmax(self.over_redaction)
            notes.append(f"Covered without need: {mean:.2%} of a frame on average, {most:.2%} at most.")
        if self.without_mask:
            notes.append(f"Not evaluated because their frames have no mask: {self.without_mask} object-frames.")
        return notes


def _cells(figures: LeakFigures) -> tuple[str, ...]:
    share = f"{figures.uncovered} ({figures.uncovered_share:.1%})" if figures.object_frames else "-"
    longest = f"{figures.longest_frames} frames, {figures.longest_s:.2f} s" if figures.leaks else "-"
    counts = (figures.tracks, figures.tracks_with_leaks, figures.object_frames)
    return (*map(str, counts), share, str(figures.leaks), f"{figures.leaks_per_minute:.1f}", longest)


def _longest_first(track: TrackLeaks) -> tuple[float, int]:
    leak = track.longest
    return (-leak.seconds, track.track.id) if leak else (0.0, track.track.id)
