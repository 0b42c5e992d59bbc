"""The final detections of each frame, on their way from the first reading of a video to the second."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.video.thread_stages import StageThreads

__all__ = ["DetectionQueue", "FrameDetections"]

#: how many frames the first reading may be ahead of the second
MAX_LEAD = 4000
#: seconds that a stage waits before it checks again whether all stages shall end
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """What has to be redacted in one frame.

    Attributes:
        pts: when the frame is shown, in the time base of its track.
        detections: boxes in pixels of the upright frame at full size.
        damaged: whether the frame could not be read whole; then all of it is blackened.
        fingerprint: of the pixels that were analysed, as `fingerprint` of `io.codecs.fingerprints` gives it.
    """

    pts: int
    detections: Detections
    damaged: bool
    fingerprint: int


class DetectionQueue:
    """The detections of one track, frame by frame: the first reading puts them, the second waits for them.

    Args:
        stages: the threads of both readings.
        keep: keep the detections of all frames, for further renderings. Default: drop those that are released.

    Attributes:
        review_counts: sums over all frames of what a person should review, see `metadata.review_counts`.
    """

    def __init__(self, stages: StageThreads, *, keep: bool = False) -> None:
        self._stages, self._keep = stages, keep
        self._changed = threading.Condition()
        self._frames: dict[int, FrameDetections] = {}
        self._first = self._count = 0
        self._ended = False
        self.review_counts: Counter[str] = Counter()

    def put(self, frame: FrameDetections) -> None:
        """Add the next frame; wait while the second reading is too far behind.

        Raises:
            Stopped: all stages shall end.
        """
        with self._changed:
            while self._count - self._first > MAX_LEAD and not self._keep:
                self._wait()
            self._frames[self._count] = frame
            self._count += 1
            self._changed.notify_all()

    def end(self) -> None:
        """Tell that there are no more frames."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, number: int) -> FrameDetections | None:
        """Wait until the detections of a frame are final.

        Args:
            number: of the frame, from 0.

        Returns:
            The detections, or None if the first reading ended before this frame or the frame was released.

        Raises:
            Stopped: all stages shall end.
        """
        with self._changed:
            while number not in self._frames:
                if self._ended or number < self._first:
                    return None
                self._wait()
            return self._frames[number]

    def release(self, number: int) -> None:
        """Drop the frames before this one, unless all are kept."""
        if self._keep:
            return
        with self._changed:
            while self._first < number:
                self._frames.pop(self._first, None)
                self._first += 1
            self._changed.notify_all()

    def count(self) -> int:
        """Wait for the end and return the number of frames.

        Raises:
            Stopped: all stages shall end.
        """
        with self._changed:
            while not self._ended:
                self._wait()
            return self._count

    def _wait(self) -> None:
        with self._stages.waiting():
            self._changed.wait(_POLL_S)
        self._stages.check()
