"""The looks at one finished video, as the option `verify` asks for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.audit.delivered import MOST_LOOKS
from anonymizer.pipeline.audit.finished_frames import FRAMES, FrameFinds, follow_finds, look_at_frames
from anonymizer.pipeline.audit.frame_drawing import draw_frames
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType, Source
from anonymizer.pipeline.errors import VerificationFailed
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.options.drawn import DrawnRegion, Shape
from anonymizer.pipeline.options.verify import Verify
from anonymizer.pipeline.proof.verification import Verification, fail
from anonymizer.pipeline.review.edits import AddedObject, KeyFrame
from anonymizer.pipeline.tracking.boxes import union
from anonymizer.pipeline.video.detection_queue import DetectionQueue
from anonymizer.pipeline.video.plan import VideoJob

__all__ = ["Looks"]


class Looks:
    """The looks at one video, at the same frames each time: what the last one that is allowed finds fails the work."""

    def __init__(self) -> None:
        self._drawn: dict[int, frozenset[int]] = {}
        #: what the last look found, and the frames in which any of them found something, as stream index and number
        self._found: list[FrameFinds] = []
        self._frames: set[tuple[int, int]] = set()
        #: by type and track id, where each find is: by time in seconds its box
        self._added: dict[tuple[ObjectType, int], dict[float, NDArray[np.float32]]] = {}
        self._mode = Verify.TRUE
        self._count = 0

    def look(self, job: VideoJob, on_frame: Callable[[int], None]) -> bool:
        """Look at the frames that are drawn from the checksum of the first rendering.

        Args:
            job: the work; its files are finished.
            on_frame: called at each decoded frame with the number of frames so far.

        Returns:
            Whether something was found that has to be redacted.

        Raises:
            VerificationFailed: something was found, and `verify` is `strict` or this was the last look.
        """
        assert job.target is not None
        self._mode = job.options.verify
        if not self._drawn:
            self._drawn = draw_frames(job.target, job.output.info, FRAMES, FileSum.of_file(job.target).sha256)
        self._found = look_at_frames(job, self._drawn, on_frame)
        self._count += 1
        if self._found and (self._count == MOST_LOOKS or self._mode is Verify.STRICT):
            raise _failure(self._found)
        self._frames |= {(each.stream, each.number) for each in self._found}
        return bool(self._found)

    def follow(self, job: VideoJob, queues: Mapping[int, DetectionQueue], on_frame: Callable[[int], None]) -> None:
        """Add what was found to the detections, in all frames to which it can be followed.

        Args:
            job: the work.
            queues: by stream index, the detections of all frames.
            on_frame: called at each decoded frame with the number of frames so far.
        """
        review, bases = job.hooks.review, {track.index: track.time_base for track in job.tracks}
        first_id = max(queue.next_track_id for queue in queues.values()) if review is None else review.next_track_id
        first_id = max(first_id, *(track_id + 1 for _, track_id in self._added), 0)
        places: dict[tuple[int, int, int], Detections] = {}
        for stream, number, more in follow_finds(job.source, job.info, self._found, first_id, on_frame):
            for row in range(len(more)):
                key, one = (stream, number, int(more.track_ids[row])), more[[row]]
                known = places.get(key)
                # where it was seen, and where flow expected it
                places[key] = one if known is None else replace(one, boxes=union(known.boxes[0], one.boxes[0])[None])
        for (stream, number, track_id), one in places.items():
            queues[stream].add(number, one)
            if (frame := queues[stream].wait_for(number)) is not None:
                times = self._added.setdefault((one.object_type(0), track_id), {})
                times[float(frame.pts * bases[stream])] = one.boxes[0]

    def finds(self) -> tuple[AddedObject, ...]:
        """What was found and is redacted too, in the order of their track ids."""
        return tuple(
            _as_added(object_type, boxes)
            for (object_type, _), boxes in sorted(self._added.items(), key=lambda item: item[0][1])
        )

    def outcome(self, seconds: float) -> Verification:
        """What the looks showed, and how long they took."""
        counts = Counter(object_type for object_type, _ in self._added)
        return Verification(
            mode=self._mode,
            looks=self._count,
            frames=sum(len(numbers) for numbers in self._drawn.values()),
            regions=None,
            flat=None,
            most_left=None,
            added={object_type.value: counts[object_type] for object_type in OBJECT_TYPES if counts[object_type]},
            seconds=seconds,
        )

    def warnings(self) -> Iterator[str]:
        """A sentence if something was found."""
        if self._frames:
            yield (
                f"Objects were found in {len(self._frames)} frame(s) only when the finished video was looked at again; "
                "they are redacted too, as far as they could be followed."
            )


def _as_added(object_type: ObjectType, boxes: Mapping[float, NDArray[np.float32]]) -> AddedObject:
    keys = []
    for time_s, box in sorted(boxes.items()):
        x1, y1, x2, y2 = (float(side) for side in box)
        keys.append(KeyFrame(time_s, DrawnRegion(object_type, Shape.BOX, ((x1, y1), (x2, y2)))))
    return AddedObject(tuple(keys), keys[0].time_s, keys[-1].time_s, source=Source.VERIFICATION.value)


def _failure(found: Sequence[FrameFinds]) -> VerificationFailed:
    finds = Detections.merge(each.finds for each in found)
    return fail(finds, [f"at {found[0].time_s:.2f} s and in {len(found)} frame(s) in all:"])
