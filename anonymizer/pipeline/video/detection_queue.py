"""The final detections of each frame, on their way from the first reading of a video to the second."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.video.thread_stages import Run

__all__ = ["DetectionQueue", "FrameDetections"]

#: the second reading may be so far behind
LEAD = 4000


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """What is to be redacted in one frame."""

    pts: int
    detections: Detections
    damaged: bool


class DetectionQueue:
    """What the first reading found, frame by frame, for the second to wait for. One for each track.

    Args:
        keep: for further renderings.

    Attributes:
        coverage: sums over the frames, of what a reviewer would want to look at.
    """

    def __init__(self, run: Run, *, keep: bool = False) -> None:
        self._run, self._keep = run, keep
        self._changed = threading.Condition()
        self._found: dict[int, FrameDetections] = {}
        self._first = self._count = 0
        self._ended = False
        self.review_counts: Counter[str] = Counter()

    def put(self, found: FrameDetections) -> None:
        """The next frame's; waits where the second reading is far behind. Raises Stopped."""
        with self._changed:
            while self._count - self._first > LEAD and not self._keep:
                self._wait()
            self._found[self._count] = found
            self._count += 1
            self._changed.notify_all()

    def end(self) -> None:
        """There are no more frames."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def at(self, number: int) -> FrameDetections | None:
        """A frame's; waits until it is final. None: the first reading ended before it. Raises Stopped."""
        with self._changed:
            while number not in self._found:
                if self._ended or number < self._first:
                    return None
                self._wait()
            return self._found[number]

    def release(self, number: int) -> None:
        """Frames before this one are not asked for any more, but where all are kept."""
        if self._keep:
            return
        with self._changed:
            while self._first < number:
                self._found.pop(self._first, None)
                self._first += 1
            self._changed.notify_all()

    def count(self) -> int:
        """How many frames there are, once all are known. Raises Stopped."""
        with self._changed:
            while not self._ended:
                self._wait()
            return self._count

    def _wait(self) -> None:
        with self._run.waiting():
            self._changed.wait(0.1)
        self._run.check()
