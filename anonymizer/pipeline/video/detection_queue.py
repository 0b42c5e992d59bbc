"""The final detections of each frame, on their way from the first reading of a video to the second."""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from anonymizer.pipeline.detections import Detections

if TYPE_CHECKING:
    from anonymizer.pipeline.video.thread_stages import StageThreads

__all__ = ["DetectionQueue", "FrameDetections", "LaggingTracks"]

#: how many frames of a track the first reading may be ahead of the second, unless that waits for another track
MAX_LEAD = 4000
#: A track without a frame for so many seconds and so many frames of other tracks lags. Both count: times may jump, and
#: a file may hold some seconds of one track before the same seconds of another.
LAG_S, LAG_FRAMES = 30.0, 500
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
        same: whether the version that a review changes has the same objects there, redacted in the same way.
        faint: what stayed below its threshold, where a review may want it.
    """

    pts: int
    detections: Detections
    damaged: bool
    fingerprint: int
    same: bool = False
    faint: Detections = field(default_factory=Detections.empty)


class DetectionQueue:
    """The detections of one track, frame by frame: the first reading puts them, the second waits for them.

    Args:
        stages: the threads of both readings.
        keep: keep the detections of all frames, for further renderings. Those that are released go to a temporary file.
            Default: they are dropped.

    Attributes:
        review_counts: sums over all frames of what a person should review, see `metadata.review_counts`.
        next_track_id: the lowest track id that is above those of all frames so far.
    """

    def __init__(self, stages: StageThreads, *, keep: bool = False) -> None:
        self._stages = stages
        self._kept = _KeptFrames() if keep else None
        # one for all tracks: the second reading may wait for one track, while the first waits with another
        self._changed = stages.changed
        self._frames: dict[int, FrameDetections] = {}
        self._first = self._count = 0
        self._ended = False
        self._added: dict[int, Detections] = {}
        self.next_track_id = 0
        self.review_counts: Counter[str] = Counter()

    def put(self, frame: FrameDetections) -> None:
        """Add the next frame; wait while the second reading is too far behind.

        It does not wait while the second reading itself waits for a frame of another track: that frame may come later.

        Raises:
            StagesStopped: all stages shall end.
        """
        with self._changed:
            while self._count - self._first > MAX_LEAD and not self._stages.is_starving:
                self._wait()
            self._frames[self._count] = frame
            self._count += 1
            self.next_track_id = max(self.next_track_id, int(frame.detections.track_ids.max(initial=-1)) + 1)
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
            The detections, or None if the first reading ended before this frame, or it was released and is not kept.

        Raises:
            StagesStopped: all stages shall end.
        """
        with self._changed:
            if self._is_open(number):
                with self._stages.starving():
                    while self._is_open(number):
                        self._wait()
            if self._kept is not None and number < self._first:
                frame: FrameDetections | None = self._kept.get(number)
            else:
                frame = self._frames.get(number)
            more = self._added.get(number)
        if frame is None or more is None:
            return frame
        return replace(frame, detections=Detections.merge([frame.detections, more]), same=False)

    def add(self, number: int, more: Detections) -> None:
        """Add objects to a frame, for the next rendering; all frames must be kept.

        Args:
            number: of the frame, from 0.
            more: what has to be redacted besides.
        """
        with self._changed:
            known = self._added.get(number)
            self._added[number] = more if known is None else Detections.merge([known, more])

    def release(self, number: int) -> None:
        """Take the frames before this one out of memory. All of them must be final."""
        with self._changed:
            while self._first < number:
                frame = self._frames.pop(self._first, None)
                if self._kept is not None and frame is not None:
                    self._kept.append(frame)
                self._first += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Delete what is kept. No frame can be read any more."""
        if self._kept is not None:
            self._kept.close()

    def count(self) -> int:
        """Wait for the end and return the number of frames.

        Raises:
            StagesStopped: all stages shall end.
        """
        with self._changed:
            while not self._ended:
                self._wait()
            return self._count

    def _is_open(self, number: int) -> bool:
        """Whether a frame is not there but may still come."""
        return number not in self._frames and not self._ended and number >= self._first

    def _wait(self) -> None:
        with self._stages.waiting():
            self._changed.wait(_POLL_S)
        self._stages.check()


class _KeptFrames:
    """Frames in a temporary file without a name: a long video has too many for the memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._ends = array("Q", [0])

    def append(self, frame: FrameDetections) -> None:
        """Add the next frame."""
        self._file.seek(self._ends[-1])
        pickle.dump(frame, self._file, pickle.HIGHEST_PROTOCOL)
        self._ends.append(self._file.tell())

    def get(self, number: int) -> FrameDetections:
        """Read a frame by its number, from 0 up to that of the last one."""
        self._file.seek(self._ends[number])
        frame: FrameDetections = pickle.load(self._file)
        return frame

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


class LaggingTracks:
    """Tells which tracks of a file lag: the others have gone on for long without a frame of them.

    Args:
        tracks: stream indexes of the tracks.

    Examples:
        >>> lagging = LaggingTracks([0, 1])
        >>> lagging.add(1, 0.0)
        []
        >>> [number for number in range(1000) if lagging.add(0, number / 10)]
        [499]
    """

    def __init__(self, tracks: Iterable[int]) -> None:
        self._now_s: float | None = None
        # by track: the time that was reached at its last frame, and how many frames of others came since
        self._since: dict[int, tuple[float | None, int]] = dict.fromkeys(tracks, (None, 0))

    def add(self, track: int, time_s: float) -> list[int]:
        """Take the next frame of the file.

        Args:
            track: stream index of its track.
            time_s: when it is shown, in seconds.

        Returns:
            The tracks that lag from this frame on. Each is named once after each of its frames.
        """
        now_s = self._now_s = time_s if self._now_s is None else max(self._now_s, time_s)
        self._since[track] = (now_s, 0)
        lagging = []
        for other, (reached_s, frames) in list(self._since.items()):
            if other == track or reached_s is None or frames < 0:
                continue
            is_late = frames + 1 >= LAG_FRAMES and now_s - reached_s >= LAG_S
            self._since[other] = (reached_s, -1 if is_late else frames + 1)
            if is_late:
                lagging.append(other)
        return lagging
