"""The flicker test: how much of what detectors lose for a frame or two is covered all the same, and what that costs.

What is found in a clip at its thresholds is the truth. Then all that was found in some frames is dropped, and counted:
the share of the truth that is left uncovered (more than a tenth of a box outside the boxes to redact), with tracking
and without, and the price: the share of the area to redact that lies outside the truth.
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

from anonymizer.evaluation.metrics.leak_coverage import VISIBLE
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.association import TrackerMaker, byte_track
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.io.reader import VideoReader, check_video

__all__ = [
    "PICTURE_SIDE",
    "Drop",
    "DropoutCounts",
    "Recording",
    "bursts",
    "dropout_test",
    "share_of_frames",
    "small_grey",
    "record_detections",
]

#: long side of the pictures in which the tracker sees motion and cuts
PICTURE_SIDE = 320
_BATCH = 4

Boxes = NDArray[np.float32]
#: (n,) bool: which of n frames lose all that was found in them
Drop = Callable[[int, np.random.Generator], NDArray[np.bool_]]


@dataclass(frozen=True)
class Recording:
    """What detectors saw in a clip.

    Attributes:
        frames: of each its time in seconds, all that was found whatever the score, and a small grey picture, uint8.
    """

    size_hw: tuple[int, int]
    frames: list[tuple[float, Detections, NDArray[np.uint8]]]


@dataclass
class DropoutCounts:
    """Over all frames and draws.

    Attributes:
        truth: objects that there were, in all frames together.
        bare: of these, those in frames that lost all that was found: uncovered without tracking.
        left: of these, those that stay uncovered with tracking.
        redacted, wasted: pixels to redact with tracking, and those of them outside of all objects.
        seconds: of one core that tracking took.
        tracks: that there were, in all draws together.
    """

    truth: int = 0
    bare: int = 0
    left: int = 0
    redacted: float = 0.0
    wasted: float = 0.0
    seconds: float = 0.0
    frames: int = 0
    tracks: int = 0
    draws: int = 0

    @property
    def without(self) -> float:
        """Share of the objects that is uncovered without tracking; 0 where there is no object."""
        return self.bare / max(self.truth, 1)

    @property
    def tracked(self) -> float:
        """Share of the objects that is uncovered with tracking; 0 where there is no object."""
        return self.left / max(self.truth, 1)

    @property
    def price(self) -> float:
        """Share of the redacted area that lies outside of all objects; 0 where nothing is redacted."""
        return self.wasted / max(self.redacted, 1.0)


def record_detections(
    anonymizer: Anonymizer, path: Path | str, *, object_types: Sequence[ObjectType] | None = None
) -> Recording:
    """Look at every frame of a video's first track once, in the scale in which a video's frames are looked at.

    Args:
        object_types: what to look for; every installed type without.

    Raises:
        BrokenMedia, TooLarge, UnsupportedMedia: the video cannot be read.
        ModelMissing, DetectorFailed, OutOfMemory: there is no result.
    """
    path, options = Path(path), Options()
    types = tuple(object_types) if object_types else tuple(anonymizer.store.serves())
    with VideoReader(path, check_video(path, limits=anonymizer.limits), threads=1) as reader:
        track = reader.tracks[0]
        sides = partial(_video_side, long_side=max(track.size_hw))
        pictures = (
            (frame.time_s, np.ascontiguousarray(upright(frame.picture.to_ndarray(format="rgb24"), track.orientation)))
            for frame in reader.frames()
            if frame.track.index == track.index
        )
        frames: list[tuple[float, Detections, NDArray[np.uint8]]] = []
        while batch := list(islice(pictures, _BATCH)):
            found = anonymizer.engine.detect([rgb for _, rgb in batch], types, options.format, sides=sides)
            frames += [(at, of_frame, small_grey(rgb)) for (at, rgb), of_frame in zip(batch, found, strict=True)]
        return Recording(track.size_hw, frames)


def _video_side(detector: Detector, *, long_side: int) -> tuple[int, ...]:
    return (detector.video_side(long_side),)


def small_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w) uint8 of (h, w, 3) RGB, as the tracker takes it."""
    share = min(PICTURE_SIDE / max(rgb.shape), 1.0)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)


def share_of_frames(share: float) -> Drop:
    """Each frame with a chance of its own, 0..1."""
    return lambda count, chance: chance.random(count) < share


def bursts(share: float, longest: int = 10) -> Drop:
    """Runs of frames of any length up to the longest, until so many are dropped."""

    def drop(count: int, chance: np.random.Generator) -> NDArray[np.bool_]:
        dropped = np.zeros(count, bool)
        while count and dropped.mean() < share:
            start, length = chance.integers(count), chance.integers(1, longest + 1)
            dropped[start : start + length] = True
        return dropped

    return drop


def dropout_test(
    recording: Recording,
    drop: Drop,
    *,
    options: Options | None = None,
    draws: int = 3,
    tracker: TrackerMaker = byte_track,
) -> DropoutCounts:
    """Drop what was found in some frames, and see what of it tracking covers all the same.

    Args:
        options: for thresholds.
        draws: how often frames are chosen anew; the same ones each time for the same number.
    """
    options, tally = options or Options(), DropoutCounts()
    truth = [found[over_threshold(found, options)] for _, found, _ in recording.frames]
    for seed in range(draws):
        dropped = drop(len(recording.frames), np.random.default_rng(seed))
        started = time.process_time()
        results = list(_tracked(recording, dropped, options, tracker))
        tally.seconds += time.process_time() - started
        tally.draws += 1
        tally.frames += len(results)
        tally.tracks += len(np.unique(np.concatenate([np.empty(0, int), *(each.track_ids for each in results)])))
        for objects, result, gone in zip(truth, results, dropped, strict=True):
            _count(tally, objects, result, recording.size_hw, gone=bool(gone))
    return tally


def _tracked(
    recording: Recording, dropped: NDArray[np.bool_], options: Options, tracker: TrackerMaker
) -> Iterator[Detections]:
    tracking = Tracker(recording.size_hw, options, OBJECT_TYPES, tracker=tracker)
    for (at, found, grey), gone in zip(recording.frames, dropped, strict=True):
        yield from tracking.push(at, Detections.empty() if gone else found, grey)
    yield from tracking.finish()


def _count(
    tally: DropoutCounts, objects: Detections, result: Detections, size_hw: tuple[int, int], *, gone: bool
) -> None:
    """One frame of one draw."""
    real, boxes = _inside(objects.boxes, size_hw), _inside(result.boxes, size_hw)
    tally.truth += len(real)
    tally.bare += len(real) if gone else 0
    for box, object_type in zip(real, objects.types, strict=True):
        # a person's outline covers the face in it or does not: only a type's own boxes are sure to
        own = boxes[result.types == object_type]
        tally.left += covered_share(box, own) < 1 - VISIBLE
    tally.redacted += union_area(boxes)
    tally.wasted += union_area(np.concatenate([boxes, real])) - union_area(real)


def _inside(boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    height, width = size_hw
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def union_area(boxes: Boxes) -> float:
    """Area that (n, 4) boxes cover together."""
    if not len(boxes):
        return 0.0
    x, y = np.unique(boxes[:, ::2]), np.unique(boxes[:, 1::2])
    inside = np.zeros((len(y) - 1, len(x) - 1), bool)
    for x1, y1, x2, y2 in boxes:
        inside |= ((y[:-1] >= y1) & (y[1:] <= y2))[:, None] & ((x[:-1] >= x1) & (x[1:] <= x2))
    return float((np.diff(y)[:, None] * np.diff(x) * inside).sum())


def covered_share(box: Boxes, boxes: Boxes) -> float:
    """Share of a (4,) box that lies within (n, 4) boxes together."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    parts = np.concatenate([low, high], 1)[(low < high).all(axis=1)]
    return union_area(parts) / max(union_area(box[None]), 1e-6)
