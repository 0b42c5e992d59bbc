"""Figures of tracks, for notebooks and print: when each object is in a video, and what tracking adds.

Object types have their own colours and are named. Everything else is distinguished by hatches, lines and markers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.tracks import LabelledTracks, ObjectTrack, consecutive, frame_seconds
from anonymizer.evaluation.reporting.plot_panels import colour, new_figure, width_in
from anonymizer.evaluation.video.dropout_test import DropoutCounts
from anonymizer.evaluation.video.leaks import VideoLeaks
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["dropout_plot", "objects_over_time", "timeline"]

#: heights in inches: of a row, of everything around the rows, and of the whole figure at most
_ROW, _AROUND, _HIGHEST = 0.24, 1.15, 9.0
#: If there are more rows than this, only some of them are named.
_NAMED = 34
_HATCH = "//////"
_EDGE: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.5}


def timeline(tracks: LabelledTracks, leaks: VideoLeaks | None = None) -> Figure:
    """Plot when each object is in the video, one row for each track.

    A bar is solid in frames in which a detector detected the object, and hatched in frames that the tracker filled in.
    A black mark below it shows frames in which the object is uncovered. Detections without a track share one row for
    each object type.

    Args:
        tracks: the tracks to show.
        leaks: the leaks of the same tracks; default: none are shown.

    Returns:
        The figure. A notebook shows it if it is the last line of a cell.

    Raises:
        ValueError: the times of the frames are not known.
    """
    starts_s, ends_s = _times(tracks, leaks)
    rows = _rows(tracks.tracks)
    figure = new_figure(min(_AROUND + _ROW * max(len(rows), 3), _HIGHEST), 1.25 * width_in())
    axes = figure.subplots()
    for position, (name, of_row) in enumerate(rows):
        for filled in (True, False):
            spans = _spans([track.frames[track.filled == filled] for track in of_row], starts_s, ends_s)
            axes.broken_barh(spans, (position - 0.36, 0.62), **_bar(of_row[0].object_type, filled=filled))
        of_name = [each for each in leaks.tracks if each.track.words == name] if leaks else []
        uncovered = _spans([each.track.frames[each.uncovered] for each in of_name], starts_s, ends_s)
        axes.broken_barh(uncovered, (position + 0.28, 0.16), facecolor="black", edgecolor="black")
    step = -(-len(rows) // _NAMED) or 1
    axes.set_yticks(range(0, len(rows), step), [name for name, _ in rows[::step]], fontsize=8)
    axes.set(
        xlabel="Time (s)", xlim=(0, max(float(ends_s[-1]), 0.01) if len(ends_s) else 1), ylim=(len(rows) - 0.4, -0.6)
    )
    axes.grid(visible=True, axis="x", alpha=0.3)
    if not rows:
        _write_no_objects(axes)
    _timeline_legend(figure, tracks, leaks)
    return figure


def objects_over_time(tracks: LabelledTracks) -> Figure:
    """Plot how many objects of each type are in each frame.

    Args:
        tracks: the tracks to count.

    Raises:
        ValueError: the times of the frames are not known.
    """
    starts_s, ends_s = _times(tracks, None)
    types = _types(tracks)
    figure = new_figure(1.2 * max(len(types), 1) + 0.8, 1.25 * width_in())
    panels = figure.subplots(max(len(types), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, object_type in zip(panels, types, strict=False):
        frames = np.concatenate([track.frames for track in tracks.of_type(object_type).tracks])
        counts = np.bincount(frames, minlength=len(starts_s))
        edges = np.append(starts_s, ends_s[-1:])
        axes.stairs(counts, edges, fill=True, facecolor=colour(object_type), edgecolor="black", linewidth=0.8)
        axes.set_title(object_type.words, fontsize=9, loc="left", pad=3)
        axes.set_ylim(0, counts.max() + 0.5)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=True, alpha=0.3)
    if not types:
        _write_no_objects(panels[0])
    figure.supylabel("Objects in the frame", fontsize=10)
    panels[-1].set(xlabel="Time (s)", xlim=(0, max(float(ends_s[-1]), 0.01) if len(ends_s) else 1))
    return figure


def dropout_plot(counts: Mapping[float, DropoutCounts]) -> Figure:
    """Plot the share of uncovered objects with and without tracking against the share of dropped frames.

    Args:
        counts: results of `dropout_test`, by the share of frames, 0..1, whose detections were dropped.
    """
    figure = new_figure(3.4)
    axes = figure.subplots()
    shares = [100 * share for share in counts]
    without = [100 * each.without for each in counts.values()]
    tracked = [100 * each.tracked for each in counts.values()]
    axes.plot(shares, without, "--", marker="s", color="0.35", label="without tracking")
    axes.plot(shares, tracked, "-", marker="o", color="black", label="with tracking")
    for x, values in zip(shares, zip(without, tracked, strict=True), strict=True):
        for y in dict.fromkeys(values):
            axes.annotate(f"{y:.1f}", (x, y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.set(xlabel="Frames that lose all detections (%)", ylabel="Objects left uncovered (%)")
    axes.set_ylim(bottom=0, top=max([1.0, *without, *tracked]) * 1.2)
    axes.margins(x=0.08)
    axes.grid(visible=True, alpha=0.3)
    if any(each.objects for each in counts.values()):
        axes.legend(fontsize="small", loc="upper left")
    else:
        _write_no_objects(axes)
    return figure


def _times(tracks: LabelledTracks, leaks: VideoLeaks | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each frame begins and ends, in seconds from the first frame."""
    times_s = tracks.times_s if len(tracks.times_s) or leaks is None else leaks.times_s
    if len(times_s) < tracks.frames:
        raise ValueError(f"times_s has {len(times_s)} times, but the tracks have {tracks.frames} frames.")
    return times_s, times_s + frame_seconds(times_s)


def _rows(tracks: Sequence[ObjectTrack]) -> list[tuple[str, list[ObjectTrack]]]:
    """The name and the tracks of each row, ordered by type and then by first frame."""
    rows: defaultdict[str, list[ObjectTrack]] = defaultdict(list)
    for track in sorted(tracks, key=lambda track: (track.object_type.number, track.id < 0, int(track.frames[0]))):
        rows[track.words].append(track)
    return list(rows.items())


def _spans(
    frames: Sequence[NDArray[np.int64]], starts_s: NDArray[np.float64], ends_s: NDArray[np.float64]
) -> list[tuple[float, float]]:
    """Start and length in seconds of each run of frames."""
    runs = consecutive(np.unique(np.concatenate([*frames, np.empty(0, np.int64)])))
    return [(float(starts_s[run[0]]), float(ends_s[run[-1]] - starts_s[run[0]])) for run in runs]


def _bar(object_type: ObjectType, *, filled: bool) -> dict[str, Any]:
    red, green, blue = colour(object_type)
    if filled:
        return {"facecolor": (red, green, blue, 0.25), "hatch": _HATCH, **_EDGE}
    return {"facecolor": (red, green, blue), **_EDGE}


def _timeline_legend(figure: Figure, tracks: LabelledTracks, leaks: VideoLeaks | None) -> None:
    handles = [Patch(label=object_type.words, **_bar(object_type, filled=False)) for object_type in _types(tracks)]
    if any(track.filled.any() for track in tracks.tracks):
        handles.append(Patch(facecolor="white", hatch=_HATCH, label="filled by the tracker", **_EDGE))
    if leaks is not None and any(each.leaks for each in leaks.tracks):
        handles.append(Patch(facecolor="black", label="uncovered"))
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize="small")


def _types(tracks: LabelledTracks) -> list[ObjectType]:
    present = {track.object_type for track in tracks.tracks}
    return [object_type for object_type in OBJECT_TYPES if object_type in present]


def _write_no_objects(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no objects", transform=axes.transAxes, ha="center", va="center")
