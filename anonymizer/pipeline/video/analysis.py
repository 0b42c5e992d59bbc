"""The first reading of a video: what is in each frame, and who is who from frame to frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.options.options import DamagedFrames, Options
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.detection_queue import DetectionQueue, FrameDetections
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import Frame, VideoTrack
from anonymizer.pipeline.video.thread_stages import Pipe, Run

__all__ = ["look", "looks_smaller"]

#: frames that detectors take at once
BATCH = {"cpu": 4, "cuda": 32}
#: one of the other scales has its turn after so long, and so many frames at least
OTHER_SCALES_S, OTHER_SCALES_FRAMES = 0.25, 5
#: frames are looked at much smaller than they are from this ratio on
MUCH_SMALLER = 2.0
#: long side of the pictures that tell motion and cuts
_SMALL = 320


#: a frame and its small picture, (h, w, 3) uint8 RGB, upright
_Look: TypeAlias = "tuple[Frame, NDArray[np.uint8]]"
_Batch: TypeAlias = "list[_Look]"
_Seen: TypeAlias = "tuple[_Batch, list[Detections]]"


@dataclass(slots=True)
class _Track:
    """One track, as it is looked at."""

    track: VideoTrack
    tracking: Tracker
    findings: DetectionQueue
    size_wh: tuple[int, int]
    waiting: deque[tuple[int, bool]] = field(default_factory=deque)
    reformatter: VideoReformatter = field(default_factory=VideoReformatter)


def _looked_at_wh(track: VideoTrack, options: Options, detectors: Sequence[Detector]) -> tuple[int, int]:
    """Width and height that a track's stored frames are scaled to for the detectors, with square pixels.

    No larger than the largest scale that a detector looks at; with a `format` that looks closer, the frame's own.
    """
    width, height = track.size_wh
    aspect = float(track.pixel_aspect)
    wide, high = (width * aspect, height) if aspect <= 1 else (width, height / aspect)
    if isinstance(options.format, Whole):
        long_side = round(max(wide, high))
        largest = max((side for each in detectors for side in _sides(each, long_side)), default=long_side)
        shrink = min(1.0, largest / long_side)
        wide, high = wide * shrink, high * shrink
    return max(1, round(wide)), max(1, round(high))


def looks_smaller(track: VideoTrack, options: Options, detectors: Sequence[Detector]) -> Iterator[str]:
    """A warning for each detector that sees every frame only made much smaller."""
    if not isinstance(options.format, Whole):
        return
    long_side = max(track.size_wh)
    for each in detectors:
        main = max(each.sides(long_side)) if options.no_object_tracking else each.video_side(long_side)
        least = each.least_size
        if long_side > MUCH_SMALLER * main:
            yield (
                f"The frames have {long_side} pixels on their long side and {each.id} looks at each in {main}: objects "
                f"under {least * long_side / main:.0f} pixels may be missed. format=auto looks closer and takes longer."
            )


def _sides(detector: Detector, long_side: int) -> list[int]:
    """The scale of every frame first, then those that have their turns."""
    main = detector.video_side(long_side)
    return [main, *(each for each in detector.sides(long_side) if each != main)]


def look(
    engine: Engine,
    path: Path,
    info: MediaInfo,
    run: Run,
    video_tracks: Sequence[VideoTrack],
    findings: dict[int, DetectionQueue],
    object_types: Sequence[ObjectType],
    options: Options,
    *,
    threads: int,
) -> None:
    """Start the first reading: a thread that decodes, some that find, and one that follows what was found.

    Args:
        threads: of the decoder; on a CPU as many find, each in batches of its own. Two that work on one batch wait for
            each other after every layer, and for longer where another stage has a core: 30 frames a second instead of
            38 with YuNet on two cores.
    """
    detectors = engine.store.detectors(object_types)
    device = engine.store.device.split(":")[0]
    finders = threads if device == "cpu" else 1
    # frames that are looked at in tiles are many pictures each; who stops the work waits for a batch at most
    size = BATCH[device] if isinstance(options.format, Whole) else 1
    # batches go round, and come back in the same order
    frames: list[Pipe[_Batch]] = [Pipe(run, 2) for _ in range(finders)]
    seen: list[Pipe[_Seen]] = [Pipe(run, 2) for _ in range(finders)]
    tracks = {
        each.index: _Track(
            each,
            Tracker(each.size_hw, options, object_types),
            findings[each.index],
            _looked_at_wh(each, options, detectors),
        )
        for each in video_tracks
    }

    def read() -> None:
        tolerant = options.damaged_frames is DamagedFrames.BLACKEN
        with VideoReader(path, info, threads=threads) as reader:
            batches = _batches(_whole(reader.frames(tolerant=tolerant), tracks, tolerant=tolerant), size)
            for batch, pipe in zip(batches, cycle(frames), strict=False):
                pipe.put(batch)
        for each in frames:
            each.close()

    def find(number: int) -> None:
        for batch in frames[number]:
            looked = [(tracks[frame.track.index], frame, image) for frame, image in batch]
            seen[number].put((batch, _detect(engine, looked, detectors, object_types, options)))
        seen[number].close()

    def follow() -> None:
        for batch, found in _in_turns(seen):
            for (frame, image), each in zip(batch, found, strict=True):
                _follow(tracks[frame.track.index], frame, image, each, detectors, options)
        for track in tracks.values():
            for detections in track.tracking.finish():
                _settle(track, detections)
            track.findings.end()

    run.start("read-to-look", read)
    for number in range(finders):
        # a batch with large models may take seconds
        run.start("look", partial(find, number), may_be_left=True)
    run.start("follow", follow)


def _whole(frames: Iterable[Frame], tracks: Mapping[int, _Track], *, tolerant: bool) -> Iterator[_Look]:
    """Frames with the pictures that are looked at.

    Raises:
        BrokenMedia: one is damaged, and that is not tolerated.
    """
    for frame in frames:
        if frame.damaged and not tolerant:
            raise BrokenMedia(
                f"Frame {frame.number} of the video (at {frame.time_s:.2f} s) cannot be read whole; "
                "damaged-frames=blacken blackens such frames."
            )
        yield frame, _picture(frame, tracks[frame.track.index])


def _in_turns(pipes: Sequence[Pipe[_Seen]]) -> Iterator[_Seen]:
    """One of each pipe in turn, until one has no more: then none has."""
    for pipe in cycle([iter(each) for each in pipes]):
        item = next(pipe, None)
        if item is None:
            return
        yield item


def _picture(frame: Frame, each: _Track) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB, small, upright."""
    width, height = each.size_wh
    small = each.reformatter.reformat(frame.picture, width, height, "rgb24", interpolation="AREA")
    return upright(small.to_ndarray(), each.track.orientation)


def _batches(frames: Iterable[_Look], size: int) -> Iterator[_Batch]:
    waiting = iter(frames)
    while batch := list(islice(waiting, size)):
        yield batch


def _detect(
    engine: Engine,
    batch: Sequence[tuple[_Track, Frame, NDArray[np.uint8]]],
    detectors: Sequence[Detector],
    object_types: Sequence[ObjectType],
    options: Options,
) -> list[Detections]:
    """What each frame holds, boxes in pixels of the upright frame at full size."""
    if not isinstance(options.format, Whole) or options.no_object_tracking:
        # without tracks, nothing carries what a scale sees in its turn to the frames between
        found = engine.detect([image for _, _, image in batch], object_types, options.format)
    else:
        by_turn: dict[tuple[int, ...], list[int]] = {}
        for row, (each, frame, image) in enumerate(batch):
            by_turn.setdefault((_turn(each.track, frame.number), max(image.shape[:2])), []).append(row)
        found = [Detections.empty()] * len(batch)
        for (turn, long_side), rows in by_turn.items():
            sides = partial(_chosen, long_side=long_side, turn=turn)
            of_rows = engine.detect([batch[row][2] for row in rows], object_types, options.format, sides=sides)
            for row, detections in zip(rows, of_rows, strict=True):
                found[row] = detections
    return [
        _at_full_size(detections, image.shape[:2], each.track.size_hw)
        for detections, (each, _, image) in zip(found, batch, strict=True)
    ]


def _turn(track: VideoTrack, number: int) -> int:
    """Which of the other scales a frame is looked at in too, counted on; -1: none."""
    every = max(OTHER_SCALES_FRAMES, round(OTHER_SCALES_S * float(track.frame_rate)))
    return -1 if number % every else number // every


def _chosen(detector: Detector, long_side: int, turn: int) -> tuple[int, ...]:
    main, *others = _sides(detector, long_side)
    return (main,) if turn < 0 or not others else (main, others[turn % len(others)])


def _at_full_size(found: Detections, looked_hw: tuple[int, ...], size_hw: tuple[int, int]) -> Detections:
    scale = np.array([size_hw[1] / looked_hw[1], size_hw[0] / looked_hw[0]] * 2, np.float32)
    # masks are made on the frame itself, of what is redacted
    return replace(found, boxes=found.boxes * scale, masks=())


def _follow(
    track: _Track,
    frame: Frame,
    image: NDArray[np.uint8],
    found: Detections,
    detectors: Sequence[Detector],
    options: Options,
) -> None:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = _SMALL / max(grey.shape)
    if scale < 1:
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    shrink = max(image.shape[:2]) / max(track.track.size_hw)
    least = {each.id: each.least_size / shrink for each in detectors}
    track.findings.review_counts.update(metadata.review_counts(found, track.track.size_hw, options, least))
    track.waiting.append((frame.picture.pts or 0, frame.damaged))
    for detections in track.tracking.push(frame.time_s, found, np.asarray(grey, np.uint8)):
        _settle(track, detections)


def _settle(track: _Track, detections: Detections) -> None:
    pts, damaged = track.waiting.popleft()
    track.findings.put(FrameDetections(pts, detections, damaged))
