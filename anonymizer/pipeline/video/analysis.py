"""The first reading of a video: detect objects in every frame and track them from frame to frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import TypeAlias

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer.pipeline.detection import downscaling
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detection.windows import VIDEO_WIDE, WIDE, piece_side
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.options.drawn import DrawnRegion
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.options.options import DamagedFrames, Options
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.redaction.drawn import drawn_objects
from anonymizer.pipeline.tracking.scene_cuts import SceneSignature
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.between_turns import TurnFiller
from anonymizer.pipeline.video.detection_queue import DetectionQueue, FrameDetections, LaggingTracks
from anonymizer.pipeline.video.detection_schedule import DetectionSchedule, Turn, video_scales
from anonymizer.pipeline.video.frame_images import FrameImages, FrameRecord, rgb_image, split_fields
from anonymizer.pipeline.video.io.codecs.fingerprints import overwrite
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import DecodedFrame, VideoTrack
from anonymizer.pipeline.video.key_frames.detection import (
    AnalysedBatch,
    FrameDetection,
    KeyFrameDetection,
    has_all_scales,
)
from anonymizer.pipeline.video.plan import VideoJob
from anonymizer.pipeline.video.review.candidates import faint_finds
from anonymizer.pipeline.video.thread_stages import StageQueue, StageThreads

__all__ = ["downscale_warnings", "start_analysis"]

#: frames that the detectors take at once
BATCH = {"cpu": 4, "cuda": 32}
#: How much larger a frame may be than the copy that is always analysed, before there is a warning. More is allowed than
#: for pictures where larger scales take turns.
MUCH_SMALLER = 2.0
#: long side in pixels of the grey frames in which the tracker measures motion and scene cuts
_TRACKING_SIDE = 640

#: what the tracker gets of a frame beside its detections: the time in seconds, and the small grey image
_TrackingFrame: TypeAlias = "tuple[float, NDArray[np.uint8]]"
_Batch: TypeAlias = "list[FrameImages]"


@dataclass(slots=True)
class _TrackAnalysis:
    """The state of the analysis of one track.

    Attributes:
        regions: that the caller drew.
        pending: pts, `damaged` and fingerprint of the frames whose detections are not final yet.
        faint: what the detectors found in them below the thresholds; None: no review will want it.
        reformatter: one for all frames, because each new one sets up its scaling again.
        field_reformatter: likewise, for all fields.
    """

    track: VideoTrack
    tracker: Tracker
    queue: DetectionQueue
    filler: TurnFiller[_TrackingFrame]
    analysis_size_wh: tuple[int, int]
    regions: tuple[DrawnRegion, ...]
    options: Options
    faint: deque[Detections] | None
    schedule: DetectionSchedule = field(default_factory=DetectionSchedule)
    pending: deque[tuple[int, bool, int]] = field(default_factory=deque)
    reformatter: VideoReformatter = field(default_factory=VideoReformatter)
    field_reformatter: VideoReformatter = field(default_factory=VideoReformatter)


def start_analysis(job: VideoJob, stages: StageThreads, queues: Mapping[int, DetectionQueue]) -> None:
    """Start the threads of the first reading: one decodes, some detect, and one tracks.

    On a CPU as many threads detect as the job may use, each with batches of its own. Two threads that share one batch
    wait for each other after every layer, and longer where another stage has a core. With YuNet on two cores that gives
    30 frames a second instead of 38.

    Args:
        job: what is analysed, and for what.
        stages: the threads are started in it.
        queues: by stream index, where the final detections of each frame are put.
    """
    engine, options, detectors = job.engine, job.options, job.detectors
    device = engine.store.device.split(":")[0]
    detect_threads = job.threads if device == "cpu" else 1
    # In tiles, one frame is many images. A small batch lets the work stop soon: nothing interrupts a batch.
    size = BATCH[device] if isinstance(options.video_format, Whole) else 1
    # frames of several tracks would have key frames of their own in each batch
    key_frames = len(job.tracks) == 1 and not has_all_scales(options)
    # Turns are key frames and take long. Batches that begin with each key frame would give all turns to one thread.
    size = size + 1 if key_frames and device == "cpu" else size
    # batches are given to the threads in rotation, and are collected in the same order
    decoded: list[StageQueue[_Batch]] = [StageQueue(stages, 2) for _ in range(detect_threads)]
    analysed: list[StageQueue[AnalysedBatch]] = [StageQueue(stages, 2) for _ in range(detect_threads)]
    tracks = {
        track.index: _TrackAnalysis(
            track,
            Tracker(track.size_hw, options, job.object_types),
            queues[track.index],
            TurnFiller(track.size_hw, options),
            _analysis_size_wh(track, options, detectors),
            options.regions,
            options,
            deque() if job.hooks.keep else None,
            DetectionSchedule(key_frames=key_frames),
        )
        for track in job.tracks
    }
    detection = FrameDetection(job, {index: track.schedule for index, track in tracks.items()})
    between = KeyFrameDetection(detection, tracks[job.tracks[0].index].schedule, job, stages, detect_threads)

    def decode() -> None:
        tolerate_damage = options.damaged_frames is DamagedFrames.BLACKEN
        with VideoReader(job.source, job.info, threads=job.threads) as reader:
            frames = reader.frames(tolerate_damage=tolerate_damage)
            batches = _batches(_with_images(frames, tracks, tolerate_damage=tolerate_damage), tracks, size)
            for batch, queue in zip(batches, cycle(decoded), strict=False):
                queue.put(batch)
        for queue in decoded:
            queue.close()

    def detect(number: int) -> None:
        batches = decoded[number]
        alone = ((batch, detection.detect(batch)) for batch in batches)
        for done in between.run(number, batches) if key_frames else alone:
            analysed[number].put(done)
        analysed[number].close()

    def track_objects() -> None:
        lagging = LaggingTracks(tracks)
        for batch, of_frames in _round_robin(analysed):
            for frame, detections in zip(batch, of_frames, strict=True):
                _track_frame(tracks[frame.record.track.index], frame, detections, detectors, options)
                # the second reading may wait for the last frames of a track that ended long before the others
                for index in lagging.add(frame.record.track.index, frame.record.time_s):
                    _finish_frames(tracks[index])
        for track in tracks.values():
            _finish_frames(track)
            track.queue.end()

    stages.start("decode-to-detect", decode)
    for number in range(detect_threads):
        # a batch may take seconds with large models
        stages.start("detect", partial(detect, number), may_be_left=True)
    stages.start("track", track_objects)


def downscale_warnings(track: VideoTrack, options: Options, detectors: Sequence[Detector]) -> Iterator[str]:
    """Say for which detectors the frames are made so much smaller that small objects may be missed.

    Args:
        track: whose frames are analysed.
        options: of the work. Where they analyse each frame as a picture is, the rule is that of pictures.
        detectors: those that run.

    Returns:
        A sentence for each such detector.
    """
    if has_all_scales(options):
        yield from downscaling.downscale_warnings("frame", track.size_hw, options.video_format, detectors)
        return
    long_side, side = max(track.size_wh), piece_side(track.size_hw, VIDEO_WIDE)
    for detector in detectors:
        main = detector.video_scale(side)
        if side > MUCH_SMALLER * main:
            yield (
                f"The frames have {long_side} pixels on their long side and {detector.id} analyses each in "
                f"{round(main * long_side / side)}: objects under {detector.least_size * side / main:.0f} pixels may "
                "be missed. format=auto analyses more closely and takes longer."
            )


def _wide(options: Options) -> float:
    """How many times as long as its short side a frame may be before it is analysed in pieces."""
    return WIDE if options.no_object_tracking else VIDEO_WIDE


def _analysis_size_wh(track: VideoTrack, options: Options, detectors: Sequence[Detector]) -> tuple[int, int]:
    """Width and height in pixels that a track's stored frames are scaled to for the detectors, with square pixels.

    With the format `whole`, frames, or the pieces of very wide ones, are not larger than the largest scale of the
    detectors. Other formats need the frames at full size.
    """
    width, height = track.size_wh
    aspect = float(track.pixel_aspect)
    wide, high = (width * aspect, height) if aspect <= 1 else (width, height / aspect)
    if isinstance(options.video_format, Whole):
        side = piece_side((round(high), round(wide)), _wide(options))
        scales = (scale for detector in detectors for scale in video_scales(detector, side))
        shrink = min(1.0, max(scales, default=side) / side)
        wide, high = wide * shrink, high * shrink
    return max(1, round(wide)), max(1, round(high))


def _with_images(
    frames: Iterable[DecodedFrame], tracks: Mapping[int, _TrackAnalysis], *, tolerate_damage: bool
) -> Iterator[FrameImages]:
    """Frames together with the images that are analysed.

    Raises:
        BrokenMedia: a frame is damaged, and that is not tolerated.
    """
    for frame in frames:
        if frame.damaged and not tolerate_damage:
            raise BrokenMedia(
                f"Frame {frame.number} of the video (at {frame.time_s:.2f} s) cannot be read whole; "
                "damaged-frames=blacken blackens such frames."
            )
        images = _analysis_images(frame, tracks[frame.track.index])
        grey, small = _grey_images(images[0])
        # what is black in places, or woven of two fields, cannot be compared with its neighbours
        alone = frame.damaged or len(images) > 1
        schedule = tracks[frame.track.index].schedule
        schedule.add(frame.number, frame.time_s, SceneSignature.of(small), must_be_key=alone)
        record = FrameRecord.of(frame)
        # nothing else of the frame is needed: many of 4K or 8K would fill the memory while detectors run
        overwrite(frame.picture, frame.track.codec)
        yield FrameImages(record, images, grey, small)


def _analysis_images(frame: DecodedFrame, track: _TrackAnalysis) -> list[NDArray[np.uint8]]:
    """The frame as the detectors get it, and its fields if it is interlaced: (h, w, 3) uint8 RGB, small, upright."""
    size_wh, picture = track.analysis_size_wh, frame.picture
    images = [rgb_image(picture, size_wh, track.reformatter)]
    if picture.interlaced_frame or track.track.interlaced:
        images += [
            rgb_image(lines, size_wh, track.field_reformatter, interpolation="BILINEAR")
            for lines in split_fields(picture)
        ]
    return [upright(image, track.track.orientation) for image in images]


def _grey_images(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The grey image of an RGB image, and that at the size for tracking."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    scale = _TRACKING_SIDE / max(grey.shape)
    if scale >= 1:
        return grey, grey
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return grey, np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _batches(frames: Iterable[FrameImages], tracks: Mapping[int, _TrackAnalysis], size: int) -> Iterator[_Batch]:
    """Batches of so many frames or a few more: each begins with a key frame."""
    batch: _Batch = []
    for frame in frames:
        if len(batch) >= size and tracks[frame.record.track.index].schedule.is_key(frame.record.number):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def _round_robin(queues: Sequence[StageQueue[AnalysedBatch]]) -> Iterator[AnalysedBatch]:
    """One item of each queue in rotation. When one queue is at its end, all are."""
    for queue in cycle([iter(queue) for queue in queues]):
        item = next(queue, None)
        if item is None:
            return
        yield item


def _track_frame(
    track: _TrackAnalysis,
    frame: FrameImages,
    found: Detections,
    detectors: Sequence[Detector],
    options: Options,
) -> None:
    """Give a frame's detections to the tracker, once they are complete, and queue those of frames that are final."""
    record = frame.record
    shrink = max(frame.grey.shape) / max(track.track.size_hw)
    least = {detector.id: detector.least_size / shrink for detector in detectors}
    track.queue.review_counts.update(metadata.review_counts(found, track.track.size_hw, options, least))
    track.pending.append((record.pts, record.damaged, record.fingerprint))
    turn = Turn.ALL if has_all_scales(options) else track.schedule.turn(record.number)
    track.schedule.forget(record.number)
    _push(track, track.filler.push((record.time_s, frame.small), record.time_s, found, frame.grey, turn=turn))


def _push(track: _TrackAnalysis, frames: Iterable[tuple[_TrackingFrame, Detections]]) -> None:
    """Give frames to the tracker, and queue the detections of those that are final now."""
    for (time_s, small), found in frames:
        if track.faint is not None:
            track.faint.append(faint_finds(found, track.options))
        for detections in track.tracker.push(time_s, found, small):
            _queue_detections(track, detections)


def _finish_frames(track: _TrackAnalysis) -> None:
    """Queue the detections of all frames so far. More frames may follow."""
    _push(track, track.filler.finish())
    for detections in track.tracker.finish():
        _queue_detections(track, detections)


def _queue_detections(track: _TrackAnalysis, detections: Detections) -> None:
    pts, damaged, pixels = track.pending.popleft()
    faint = Detections.empty() if track.faint is None else track.faint.popleft()
    if track.regions:
        drawn = drawn_objects(track.regions, track.track.size_hw, float(pts * track.track.time_base))
        detections = Detections.merge([detections, drawn])
    track.queue.put(FrameDetections(pts, detections, damaged, pixels, faint=faint))
