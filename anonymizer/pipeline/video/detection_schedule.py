"""Which scales of the detectors run in which frame of a video.

Every frame is analysed at one scale of each detector. In some frames, here called turns, all other scales run too.
Turns follow each other within half of the tracker's window, so that a gap between two of them is filled.
"""

from __future__ import annotations

from collections import deque

from anonymizer.pipeline.detection.protocol import Detector

__all__ = ["TURN_S", "DetectionSchedule", "scales_to_run", "video_scales"]

#: Turns are so many seconds apart, at most: half of the time that the tracker waits for an object to be seen again.
TURN_S = 0.5
#: and so many frames: in a file whose times stand still, no second ever passes
_TURN_FRAMES = 32
#: the longest of so many gaps between frames before is taken as the gap to the next frame
_GAPS = 8
#: seconds by which times may be off that are sums of frame durations
_TOLERANCE_S = 1e-6


class DetectionSchedule:
    """Chooses the turns of one video track, by the times of its frames.

    The average rate of a file says nothing about this: recordings of browsers claim 1000 frames a second. Where frames
    are so rare that a turn would be late, every frame is a turn. The first frame is one.

    One thread may add frames while others ask and forget.

    Example:
        >>> schedule = DetectionSchedule()
        >>> for number in range(11):
        ...     schedule.add(number, number / 10)
        >>> [number for number in range(11) if schedule.is_turn(number)]
        [0, 5, 10]
    """

    def __init__(self) -> None:
        self._turns: set[int] = set()
        self._last_turn: tuple[int, float] | None = None
        self._last_s: float | None = None
        self._gaps_s: deque[float] = deque(maxlen=_GAPS)

    def add(self, number: int, time_s: float) -> None:
        """Take the next frame, and decide whether it is a turn.

        Args:
            number: of the frame, from 0.
            time_s: when it is shown, in seconds.
        """
        if self._last_s is not None:
            self._gaps_s.append(abs(time_s - self._last_s))
        self._last_s = time_s
        if self._last_turn is not None:
            frames, seconds = number - self._last_turn[0], abs(time_s - self._last_turn[1])
            next_s = seconds + max(self._gaps_s, default=0.0)
            if frames < _TURN_FRAMES and next_s <= TURN_S + _TOLERANCE_S:
                return
        self._last_turn = number, time_s
        self._turns.add(number)

    def is_turn(self, number: int) -> bool:
        """Whether all scales run in a frame that was added."""
        return number in self._turns

    def forget(self, number: int) -> None:
        """Forget a frame that nobody will ask for again."""
        self._turns.discard(number)


def video_scales(detector: Detector, long_side: int) -> list[int]:
    """Get the scales at which a detector analyses the frames of a video.

    Args:
        detector: the detector.
        long_side: of the frames, or of the pieces of wide ones, in pixels.

    Returns:
        The scale at which it analyses every frame, then the others, as long sides in pixels.
    """
    main = detector.video_scale(long_side)
    return [main, *(scale for scale in detector.scales(long_side) if scale != main)]


def scales_to_run(detector: Detector, *, long_side: int, is_turn: bool) -> tuple[int, ...]:
    """Get the scales of a detector that run in one frame.

    Args:
        detector: the detector.
        long_side: of the frame, or of the pieces of a wide one, in pixels.
        is_turn: whether the frame is a turn.

    Returns:
        At least one scale, as the long side in pixels.
    """
    scales = video_scales(detector, long_side)
    return tuple(scales if is_turn else scales[:1])
