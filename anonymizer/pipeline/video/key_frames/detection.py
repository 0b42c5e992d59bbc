"""Detect in the frames of a video: in key frames first, then in the frames between that are not sure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.windows import VIDEO_WIDE, piece_side
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.video.detection_schedule import KEY_S, DetectionSchedule, DetectorShifts, Turn
from anonymizer.pipeline.video.frame_images import FrameImages, FrameRecord, merge_looks
from anonymizer.pipeline.video.key_frames.agreement import objects_between
from anonymizer.pipeline.video.plan import VideoJob
from anonymizer.pipeline.video.thread_stages import StageQueue, StageThreads

__all__ = ["AnalysedBatch", "FrameDetection", "KeyFrameDetection", "has_all_scales"]

#: frames, and what was detected in each of them
AnalysedBatch: TypeAlias = "tuple[Sequence[FrameImages], Sequence[Detections]]"


def has_all_scales(options: Options) -> bool:
    """Whether every frame is analysed as a picture is.

    That is so without tracking, too: nothing would carry detections to the frames between.
    """
    return not isinstance(options.video_format, Whole) or options.no_object_tracking


class FrameDetection:
    """Runs the detectors in frames. Several threads may use it.

    Args:
        job: what is detected, and how.
        schedules: by stream index, which scales run in which frame of a track.
    """

    def __init__(self, job: VideoJob, schedules: Mapping[int, DetectionSchedule]) -> None:
        self._engine, self._types, self._options = job.engine, job.object_types, job.options
        self._schedules = schedules
        self._shifts = DetectorShifts(job.detectors, job.engine.store.serves(), job.object_types)

    def detect(self, frames: Sequence[FrameImages]) -> list[Detections]:
        """Detect in frames.

        Args:
            frames: of any tracks of the job.

        Returns:
            All detections of each frame, with boxes in pixels of the upright frame at full size.

        Raises:
            ModelMissing, DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        looks = iter(self._looks([(frame.record, image) for frame in frames for image in frame.images]))
        return [merge_looks(list(islice(looks, len(frame.images)))) for frame in frames]

    def _looks(self, batch: Sequence[tuple[FrameRecord, NDArray[np.uint8]]]) -> list[Detections]:
        """The detections in each image of a frame, with boxes in pixels of the upright frame at full size."""
        form, types = self._options.video_format, self._types
        if has_all_scales(self._options):
            found = self._engine.detect([image for _, image in batch], types, form)
        else:
            by_scales: dict[tuple[Turn | None, int], list[int]] = {}
            for row, (frame, image) in enumerate(batch):
                key = self._schedules[frame.track.index].turn(frame.number), piece_side(image.shape[:2], VIDEO_WIDE)
                by_scales.setdefault(key, []).append(row)
            found = [Detections.empty()] * len(batch)
            for (turn, side), rows in by_scales.items():
                for row, detections in zip(rows, self._at_scales([batch[n] for n in rows], turn, side), strict=True):
                    found[row] = detections
        return [
            _at_full_size(detections, image.shape[:2], frame.track.size_hw)
            for detections, (frame, image) in zip(found, batch, strict=True)
        ]

    def _at_scales(
        self, batch: Sequence[tuple[FrameRecord, NDArray[np.uint8]]], turn: Turn | None, side: int
    ) -> list[Detections]:
        """The detections in images of one size that have the same turn."""
        plan, form, types = self._shifts.plan(turn, side), self._options.video_format, self._types
        images = [image for _, image in batch]
        numbers = [self._schedules[frame.track.index].closer_turn(frame.number) for frame, _ in batch]
        closer = [number for number in numbers if number is not None] or None
        found = self._engine.detect(images, types, form, scales=plan.at_first, closer_turns=closer)
        is_open = [plan.is_open(*each, self._options) for each in zip(found, images, strict=True)]
        rows = [row for row, more in enumerate(is_open) if more]
        if rows:
            images, known = [images[row] for row in rows], [found[row] for row in rows]
            more = self._engine.detect_more(images, known, types, form, scales=plan.after)
            for row, detections in zip(rows, more, strict=True):
                found[row] = detections
        return found


def _at_full_size(found: Detections, analysed_hw: tuple[int, ...], size_hw: tuple[int, int]) -> Detections:
    scale = np.array([size_hw[1] / analysed_hw[1], size_hw[0] / analysed_hw[0]] * 2, np.float32)
    # the second reading makes masks on the full frame, and only for what is redacted
    return replace(found, boxes=found.boxes * scale, masks=())


@dataclass(frozen=True, slots=True)
class _Known:
    """A key frame, and what was detected in it."""

    frame: FrameImages
    found: Detections


class KeyFrameDetection:
    """Detects in the batches of one track, in several threads that take them in rotation.

    A batch begins with a key frame. The frames after its last one lie before the first key frame of the next batch,
    which is another thread's. So each thread passes that frame on, and completes a batch after it has begun the next.

    Args:
        detection: runs the detectors.
        schedule: which frames are key frames.
        job: what is detected.
        stages: the threads of this reading.
        threads: how many of them detect.
    """

    def __init__(
        self,
        detection: FrameDetection,
        schedule: DetectionSchedule,
        job: VideoJob,
        stages: StageThreads,
        threads: int,
    ) -> None:
        self._detection, self._schedule = detection, schedule
        self._types, self._options = job.object_types, job.options
        #: by thread, the first key frame of each of its batches but the very first, for the thread before
        self._firsts: list[StageQueue[_Known]] = [StageQueue(stages, 2) for _ in range(threads)]

    def run(self, thread: int, batches: Iterable[Sequence[FrameImages]]) -> Iterator[AnalysedBatch]:
        """Detect in the batches of one thread.

        Args:
            thread: its number, from 0.
            batches: those it gets, each with one frame or more.

        Yields:
            The batches in their order, with the detections of all frames.

        Raises:
            ModelMissing, DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
            StagesStopped: all stages shall end.
        """
        following = iter(self._firsts[(thread + 1) % len(self._firsts)])
        waiting: tuple[Sequence[FrameImages], list[Detections | None]] | None = None
        for count, batch in enumerate(batches):
            found = self._in_key_frames(batch)
            if (thread or count) and found[0] is not None:
                self._firsts[thread].put(_Known(batch[0], found[0]))
            if waiting is not None:
                yield self._complete(*waiting, next(following, None))
            waiting = batch, found
        self._firsts[thread].close()
        if waiting is not None:
            yield self._complete(*waiting, next(following, None))

    def _in_key_frames(self, batch: Sequence[FrameImages]) -> list[Detections | None]:
        """The detections of the key frames of a batch."""
        rows = [row for row, frame in enumerate(batch) if self._schedule.is_key(frame.record.number)]
        found: list[Detections | None] = [None] * len(batch)
        for row, detections in zip(rows, self._detection.detect([batch[row] for row in rows]), strict=True):
            found[row] = detections
        return found

    def _complete(
        self, batch: Sequence[FrameImages], found: list[Detections | None], after: _Known | None
    ) -> AnalysedBatch:
        """Add the detections of the frames that are no key frames.

        Args:
            batch: the frames.
            found: of each, its detections if it is a key frame.
            after: the key frame after the batch; None: the video ends.
        """
        pairs = enumerate(zip(batch, found, strict=True))
        keys = [(row, _Known(frame, of_frame)) for row, (frame, of_frame) in pairs if of_frame is not None]
        ends = [*keys[1:], (len(batch), after)]
        for (row, key), (end, next_key) in zip(keys, ends, strict=True):
            if next_key is not None and end > row + 1:
                found[row + 1 : end] = self._between(key, batch[row + 1 : end], next_key)
        rows = [row for row, of_frame in enumerate(found) if of_frame is None]
        for row, detections in zip(rows, self._detection.detect([batch[row] for row in rows]), strict=True):
            found[row] = detections
        return batch, [of_frame for of_frame in found if of_frame is not None]

    def _between(self, first: _Known, frames: Sequence[FrameImages], last: _Known) -> list[Detections | None]:
        around = [first.frame, *frames, last.frame]
        times_s = [frame.record.time_s for frame in around]
        if not times_s[0] <= times_s[-1] <= times_s[0] + KEY_S:
            return [None] * len(frames)
        return objects_between(
            [frame.small for frame in around],
            times_s,
            first.found,
            last.found,
            size_hw=first.frame.record.track.size_hw,
            object_types=self._types,
            options=self._options,
        )
