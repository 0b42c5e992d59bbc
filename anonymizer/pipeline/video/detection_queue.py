"""The final detections of each frame, on their way from the first reading of a video to the second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from anonymizer.pipeline.detections import Detections
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
        # one for all tracks: the second reading may wait for one track, while the first waits with another
        self._changed = stages.changed
        self._frames: dict[int, FrameDetections] = {}
        self._first = self._count = 0
        self._ended = False
        self.review_counts: Counter[str] = Counter()

    def put(self, frame: FrameDetections) -> None:
        """Add the next frame; wait while the second reading is too far behind.

        It does not wait while the second reading itself waits for a frame of another track: that frame may come later.

        Raises:
            Stopped: all stages shall end.
        """
        with self._changed:
            while self._count - self._first > MAX_LEAD and not self._keep and not self._stages.is_starving:
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
            if self._is_open(number):
                with self._stages.starving():
                    while self._is_open(number):
                        self._wait()
            return self._frames.get(number)

    def release(self, number: int) -> None:
        """Drop the frames before this one, unless all are kept."""
        if self._keep:
            return
        with self._changed:
            while self._first < number:
                self._frames.pop(self._first, None)
                self._first += 1
            self._changed.notify_all()

    def add(self, number: int, more: Detections) -> None:
        """Add objects to a frame, for the next rendering; all frames must be kept.

        Args:
            number: of the frame, from 0. Nothing happens if there is no such frame.
            more: what has to be redacted besides.
        """
        with self._changed:
            frame = self._frames.get(number)
            if frame is not None:
                self._frames[number] = replace(frame, detections=Detections.merge([frame.detections, more]))

    def next_track_id(self) -> int:
        """The lowest track id that is above those of all kept frames."""
        with self._changed:
            ids = [int(frame.detections.track_ids.max(initial=-1)) for frame in self._frames.values()]
        return max(ids, default=-1) + 1

    def count(self) -> int:
        """Wait for the end and return the number of frames.

        Raises:
            Stopped: all stages shall end.
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


class LaggingTracks:
    """Tells which tracks of a file lag: the others have gone on for long without a frame of them.

    Args:
        tracks: stream indexes of the tracks.

    Example:
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
