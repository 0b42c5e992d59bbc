"""What a delivered video leaves visible of objects whose tracks are known: leaks, how often, and how long they last.

An object is uncovered in a frame where more than a tenth of its pixels lies outside the mask; frames in a row in which
one track is uncovered are one leak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.tracks import Track
from anonymizer.pipeline.detections import ObjectType

__all__ = ["Leak", "LeakFigures", "TrackLeaks", "VideoLeaks"]


@dataclass(frozen=True, slots=True)
class Leak:
    """One track, uncovered in frames in a row; start_s counts from the first frame of the video."""

    track: Track
    first: int
    last: int
    start_s: float
    seconds: float

    @property
    def frames(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.track.words}: {self.frames} frames, {self.seconds:.2f} s, from {self.start_s:.2f} s on"


@dataclass(frozen=True)
class TrackLeaks:
    """One track held against the masks.

    Attributes:
        visible: (n,) float32, for each of the track's frames the share of the object's pixels that lies outside the
            mask; not a number where that was not judged: it is ignored, outside the frame, or there is no mask.
        uncovered: (n,) bool, where too much of it is visible.
        leaks: in their order.
    """

    track: Track
    visible: NDArray[np.float32]
    uncovered: NDArray[np.bool_]
    leaks: tuple[Leak, ...]

    @property
    def object_frames(self) -> int:
        """Frames in which it was judged."""
        return int(np.isfinite(self.visible).sum())

    @property
    def longest(self) -> Leak | None:
        return max(self.leaks, key=lambda each: (each.seconds, each.frames), default=None)


@dataclass(frozen=True, slots=True)
class LeakFigures:
    """Some tracks together; the longest leak by seconds and by frames, 0 where there is none."""

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
        """Of the object-frames; not a number where there are none."""
        return self.uncovered / self.object_frames if self.object_frames else float("nan")


@dataclass(frozen=True)
class VideoLeaks:
    """All tracks of a video held against its masks.

    Attributes:
        times_s: (frames,) when each frame is shown, counted from the first.
        seconds: how long the frames with a mask are shown, together.
        over_redaction: (frames,) float32, the share of each frame that is covered outside of what redacting exactly the
            labelled objects would cover; not a number where there is no mask. None where not every object is labelled.
        without_mask: object-frames for which there is no mask: these are not judged.
        object_types: that were judged.
    """

    tracks: tuple[TrackLeaks, ...]
    times_s: NDArray[np.float64]
    seconds: float
    over_redaction: NDArray[np.float32] | None
    without_mask: int
    object_types: tuple[ObjectType, ...]

    def figures(self, object_type: ObjectType | None = None) -> LeakFigures:
        """Of one type, or of all together."""
        chosen = [each for each in self.tracks if object_type in (None, each.track.object_type)]
        leaks = [leak for each in chosen for leak in each.leaks]
        return LeakFigures(
            tracks=len(chosen),
            tracks_with_leaks=sum(bool(each.leaks) for each in chosen),
            object_frames=sum(each.object_frames for each in chosen),
            uncovered=sum(int(each.uncovered.sum()) for each in chosen),
            leaks=len(leaks),
            leaks_per_minute=60 * len(leaks) / self.seconds if self.seconds else float("nan"),
            longest_frames=max((each.frames for each in leaks), default=0),
            longest_s=max((each.seconds for each in leaks), default=0.0),
        )

    @property
    def longest(self) -> Leak | None:
        """The one that lasts longest; None: there is none."""
        found = [each.longest for each in self.tracks if each.longest is not None]
        return max(found, key=lambda each: (each.seconds, each.frames), default=None)

    def table(self) -> str:
        """Figures by type as lines of text."""
        head = f"{'':15}{'tracks':>7}{'leaking':>8}{'object-frames':>14}{'uncovered':>16}{'leaks':>7}{'a minute':>9}"
        lines = [f"{head}{'longest':>19}"]
        rows = [(each.words, self.figures(each)) for each in self.object_types]
        for name, row in [*rows, ("all", self.figures())]:
            share = f"{row.uncovered} ({row.uncovered_share:.1%})" if row.object_frames else "-"
            longest = f"{row.longest_frames} frames, {row.longest_s:.2f} s" if row.leaks else "-"
            lines.append(
                f"{name:15}{row.tracks:7}{row.tracks_with_leaks:8}{row.object_frames:14}{share:>16}{row.leaks:7}"
                f"{row.leaks_per_minute:9.1f}{longest:>19}"
            )
        if self.over_redaction is not None and np.isfinite(self.over_redaction).any():
            mean, most = np.nanmean(self.over_redaction), np.nanmax(self.over_redaction)
            lines.append(f"Covered without need: {mean:.2%} of a frame on average, {most:.2%} at most.")
        if self.without_mask:
            lines.append(f"Not judged, as there is no mask for their frames: {self.without_mask} object-frames.")
        return "\n".join(lines)

    def track_table(self, limit: int | None = None) -> str:
        """A line of text for each track that leaks, the longest leak first."""
        leaking = sorted((each for each in self.tracks if each.leaks), key=_longest_first)
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


def _longest_first(each: TrackLeaks) -> tuple[float, int]:
    leak = each.longest
    return (-leak.seconds, each.track.id) if leak else (0.0, each.track.id)
