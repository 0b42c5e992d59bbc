"""The dropout test: how much of what detectors lose for a few frames does tracking cover, and at what cost?

The detections of a clip at its thresholds are taken as the true objects. Then all detections of some frames are
dropped. The test counts the share of the objects that is left uncovered, with and without tracking. An object is
uncovered if more than a tenth of its box lies outside the boxes to redact. The cost is the share of the redacted area
that lies outside all objects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer._html import html_table
from anonymizer.evaluation.metrics.leak_coverage import VISIBLE
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.association import TrackerFactory, byte_track
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.io.reader import VideoReader, check_video

__all__ = [
    "PICTURE_SIDE",
    "Drop",
    "DropoutCounts",
    "Recording",
    "bursts",
    "covered_share",
    "dropout_test",
    "record_detections",
    "share_of_frames",
    "small_grey",
    "union_area",
]

#: long side in pixels of the images in which the tracker sees motion and cuts
PICTURE_SIDE = 640
_BATCH = 4

Boxes = NDArray[np.float32]
#: Returns (n,) bool: which of n frames lose all detections.
Drop = Callable[[int, np.random.Generator], NDArray[np.bool_]]


@dataclass(frozen=True, repr=False)
class Recording:
    """The detections in a clip.

    Attributes:
        size_hw: height and width of a frame in pixels.
        frames: for each frame its time in seconds, all detections with any score, and a small grey image, (h, w) uint8.
    """

    size_hw: tuple[int, int]
    frames: list[tuple[float, Detections, NDArray[np.uint8]]]

    def __repr__(self) -> str:
        height, width = self.size_hw
        detections = sum(len(of_frame) for _, of_frame, _ in self.frames)
        return f"Recording({len(self.frames)} frames of {width} x {height} pixels, {detections} detections)"


@dataclass(repr=False)
class DropoutCounts:
    """The counts of a dropout test over all frames and draws. A notebook shows them as a table.

    Attributes:
        objects: objects in all frames together.
        uncovered_without: objects in frames that lost their detections. They are uncovered without tracking.
        uncovered_with: objects that stay uncovered with tracking.
        redacted: pixels that are redacted with tracking.
        wasted: redacted pixels that lie outside all objects.
        seconds: processor time of tracking.
        frames: frames in all draws together.
        tracks: tracks in all draws together.
        draws: how often the dropped frames were chosen.
    """

    objects: int = 0
    uncovered_without: int = 0
    uncovered_with: int = 0
    redacted: float = 0.0
    wasted: float = 0.0
    seconds: float = 0.0
    frames: int = 0
    tracks: int = 0
    draws: int = 0

    @property
    def without(self) -> float:
        """Share of the objects that is uncovered without tracking; 0 if there are no objects."""
        return self.uncovered_without / max(self.objects, 1)

    @property
    def tracked(self) -> float:
        """Share of the objects that is uncovered with tracking; 0 if there are no objects."""
        return self.uncovered_with / max(self.objects, 1)

    @property
    def price(self) -> float:
        """Share of the redacted area that lies outside all objects; 0 if nothing is redacted."""
        return self.wasted / max(self.redacted, 1.0)

    def __repr__(self) -> str:
        return (
            f"DropoutCounts({self.objects} objects, uncovered: {self.without:.1%} without tracking, "
            f"{self.tracked:.1%} with tracking, price: {self.price:.1%})"
        )

    def _repr_html_(self) -> str:
        columns = ("objects", "uncovered without tracking", "uncovered with tracking", "price")
        row = (self.objects, f"{self.without:.1%}", f"{self.tracked:.1%}", f"{self.price:.1%}")
        note = f"{self.frames} frames in {self.draws} draws. Price: share of the redacted area without an object."
        return html_table(columns, [row], note=note)


def record_detections(
    anonymizer: Anonymizer, path: Path | str, *, object_types: Sequence[ObjectType] | None = None
) -> Recording:
    """Run the detectors on every frame of a video's first track, at the scale that is used for videos.

    Args:
        anonymizer: its detectors are used.
        path: the video file.
        object_types: the types to detect; default: all installed types.

    Returns:
        The detections of all frames.

    Raises:
        BrokenMedia, TooLarge, UnsupportedMedia: the video cannot be read.
        ModelMissing, DetectorFailed, OutOfMemory: a detector cannot be loaded or run.
    """
    path, options = Path(path), Options()
    types = tuple(object_types) if object_types else tuple(anonymizer.store.serves())
    with VideoReader(path, check_video(path, limits=anonymizer.limits), threads=1) as reader:
        track = reader.tracks[0]
        scales = partial(_video_scale, long_side=max(track.size_hw))
        pictures = (
            (frame.time_s, np.ascontiguousarray(upright(frame.picture.to_ndarray(format="rgb24"), track.orientation)))
            for frame in reader.frames()
            if frame.track.index == track.index
        )
        frames: list[tuple[float, Detections, NDArray[np.uint8]]] = []
        while batch := list(islice(pictures, _BATCH)):
            detections = anonymizer.engine.detect([rgb for _, rgb in batch], types, options.video_format, scales=scales)
            frames += [(at, of_frame, small_grey(rgb)) for (at, rgb), of_frame in zip(batch, detections, strict=True)]
        return Recording(track.size_hw, frames)


def _video_scale(detector: Detector, *, long_side: int) -> tuple[int, ...]:
    return (detector.video_scale(long_side),)


def small_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert a frame to the small grey image that the tracker needs.

    Args:
        rgb: (h, w, 3) uint8 RGB.

    Returns:
        (h, w) uint8, at most `PICTURE_SIDE` pixels on the long side.
    """
    share = min(PICTURE_SIDE / max(rgb.shape), 1.0)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)


def share_of_frames(share: float) -> Drop:
    """Drop each frame independently with the same probability.

    Args:
        share: the probability, 0..1.
    """
    return lambda count, chance: chance.random(count) < share


def bursts(share: float, longest: int = 10, shortest: int = 1) -> Drop:
    """Drop runs of consecutive frames.

    Args:
        share: runs are added until at least this share of the frames is dropped, 0..1.
        longest: the most frames in a run, default: 10.
        shortest: the fewest frames in a run, default: 1. The lengths from this to `longest` are equally likely.
    """

    def drop(count: int, chance: np.random.Generator) -> NDArray[np.bool_]:
        dropped = np.zeros(count, bool)
        while count and dropped.mean() < share:
            start, length = chance.integers(count), chance.integers(shortest, longest + 1)
            dropped[start : start + length] = True
        return dropped

    return drop


def dropout_test(
    recording: Recording,
    drop: Drop,
    *,
    options: Options | None = None,
    draws: int = 3,
    tracker: TrackerFactory = byte_track,
) -> DropoutCounts:
    """Drop the detections of some frames, and count which objects tracking covers anyway.

    Args:
        recording: the detections of a clip (`record_detections`).
        drop: chooses the frames, for example `share_of_frames(0.2)` or `bursts(0.2)`.
        options: thresholds and tracking options; default: `Options()`.
        draws: how often frames are chosen; default: 3. The same number gives the same frames each time.
        tracker: makes the tracker; default: `byte_track`.

    Returns:
        The counts over all draws.

    Examples:
        >>> recording = record_detections(Anonymizer(), "clip.mp4")  # doctest: +SKIP
        >>> dropout_test(recording, share_of_frames(0.2)).tracked  # doctest: +SKIP
    """
    options, counts = options or Options(), DropoutCounts()
    true_objects = [found[over_threshold(found, options)] for _, found, _ in recording.frames]
    for seed in range(draws):
        dropped = drop(len(recording.frames), np.random.default_rng(seed))
        started = time.process_time()
        results = list(_tracked(recording, dropped, options, tracker))
        counts.seconds += time.process_time() - started
        counts.draws += 1
        counts.frames += len(results)
        counts.tracks += len(np.unique(np.concatenate([np.empty(0, int), *(each.track_ids for each in results)])))
        for objects, result, was_dropped in zip(true_objects, results, dropped, strict=True):
            _count(counts, objects, result, recording.size_hw, dropped=bool(was_dropped))
    return counts


def _tracked(
    recording: Recording, dropped: NDArray[np.bool_], options: Options, tracker: TrackerFactory
) -> Iterator[Detections]:
    tracking = Tracker(recording.size_hw, options, OBJECT_TYPES, make_tracker=tracker)
    for (at, found, grey), was_dropped in zip(recording.frames, dropped, strict=True):
        yield from tracking.push(at, Detections.empty() if was_dropped else found, grey)
    yield from tracking.finish()


def _count(
    counts: DropoutCounts, objects: Detections, result: Detections, size_hw: tuple[int, int], *, dropped: bool
) -> None:
    """Count one frame of one draw."""
    real, boxes = _inside(objects.boxes, size_hw), _inside(result.boxes, size_hw)
    counts.objects += len(real)
    counts.uncovered_without += len(real) if dropped else 0
    for box, object_type in zip(real, objects.types, strict=True):
        # a person's outline may not cover the face in it: only boxes of the same type are sure to
        own = boxes[result.types == object_type]
        counts.uncovered_with += covered_share(box, own) < 1 - VISIBLE
    counts.redacted += union_area(boxes)
    counts.wasted += union_area(np.concatenate([boxes, real])) - union_area(real)


def _inside(boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    height, width = size_hw
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def union_area(boxes: Boxes) -> float:
    """Compute the area that boxes cover together.

    Args:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels. They may overlap.
    """
    if not len(boxes):
        return 0.0
    x, y = np.unique(boxes[:, ::2]), np.unique(boxes[:, 1::2])
    inside = np.zeros((len(y) - 1, len(x) - 1), bool)
    for x1, y1, x2, y2 in boxes:
        inside |= ((y[:-1] >= y1) & (y[1:] <= y2))[:, None] & ((x[:-1] >= x1) & (x[1:] <= x2))
    return float((np.diff(y)[:, None] * np.diff(x) * inside).sum())


def covered_share(box: Boxes, boxes: Boxes) -> float:
    """Compute the share of a box that other boxes cover together.

    Args:
        box: (4,) float32, x1, y1, x2, y2 in pixels.
        boxes: (n, 4) float32, the other boxes.

    Returns:
        A share, 0..1.
    """
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    parts = np.concatenate([low, high], 1)[(low < high).all(axis=1)]
    return union_area(parts) / max(union_area(box[None]), 1e-6)
