"""Which scales of the detectors run in which frame of a video.

Every frame is analysed at one scale of each detector. In some frames, here called turns, other scales run too. Each
scale has a turn within half of the tracker's window, so that a gap between two of them is filled.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from itertools import count

from anonymizer.pipeline.detection.protocol import Detector

__all__ = ["SAME_SCALE_S", "DetectionSchedule", "Turn", "scales_to_run", "video_scales"]

#: The turns of one scale are so many seconds apart, at most: half of the time that the tracker waits for an object.
SAME_SCALE_S = 0.5
#: Turns are half of that apart, because a detector of several other scales runs only a part of them in each.
_TURN_S = SAME_SCALE_S / 2
#: and so many frames: in a file whose times stand still, no second ever passes
_TURN_FRAMES = 64
#: the longest of so many gaps between frames before is taken as the gap to the next frame
_GAPS = 8
#: seconds by which times may be off that are sums of frame durations
_TOLERANCE_S = 1e-6


class Turn(Enum):
    """Which of the other scales run in a frame: the largest one, the rest, or all."""

    LARGEST = 0
    REST = 1
    ALL = 2


class DetectionSchedule:
    """Chooses the turns of one video track, by the times of its frames.

    The average rate of a file says nothing about this: recordings of browsers claim 1000 frames a second. Where frames
    are so rare that a scale would be late, all scales run in every frame. So they do in the first frame.

    One thread may add frames while others ask and forget.

    Examples:
        >>> schedule = DetectionSchedule()
        >>> for number in range(6):
        ...     schedule.add(number, number / 10)
        >>> [number for number in range(6) if schedule.turn(number)]
        [0, 2, 4]
    """

    def __init__(self) -> None:
        self._turns: dict[int, Turn] = {}
        self._closer: dict[int, int] = {}
        self._numbers = count()
        self._last: tuple[int, float, Turn] | None = None
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
        turn = Turn.ALL
        if self._last is not None:
            last_number, last_s, last_turn = self._last
            seconds, gap_s = abs(time_s - last_s), max(self._gaps_s, default=0.0)
            if number - last_number < _TURN_FRAMES and seconds + gap_s <= _TURN_S + _TOLERANCE_S:
                return
            if max(seconds, gap_s) <= _TURN_S + _TOLERANCE_S:
                turn = Turn.LARGEST if last_turn is Turn.REST else Turn.REST
        self._last = number, time_s, turn
        self._turns[number] = turn
        if turn is not Turn.REST:
            self._closer[number] = next(self._numbers)

    def turn(self, number: int) -> Turn | None:
        """Get the turn of a frame that was added; None: only the scale of every frame runs."""
        return self._turns.get(number)

    def closer_turn(self, number: int) -> int | None:
        """Get which share of the regions is looked at closer in a frame that was added.

        Args:
            number: of the frame.

        Returns:
            A number that counts up from one such frame to the next; None: no region is.
        """
        # where the largest scale runs, most is known of what needs no closer look
        return self._closer.get(number)

    def forget(self, number: int) -> None:
        """Forget a frame that nobody will ask for again."""
        self._turns.pop(number, None)
        self._closer.pop(number, None)


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


def scales_to_run(detector: Detector, *, long_side: int, turn: Turn | None) -> tuple[int, ...]:
    """Get the scales of a detector that run in one frame.

    Args:
        detector: the detector. If it has one other scale, that runs in each turn.
        long_side: of the frame, or of the pieces of a wide one, in pixels.
        turn: of the frame.

    Returns:
        At least one scale, as the long side in pixels.
    """
    main, *others = video_scales(detector, long_side)
    if turn is None:
        return (main,)
    if turn is Turn.ALL or len(others) < 2:
        return (main, *others)
    largest = max(others)
    return (main, *(scale for scale in others if (scale == largest) is (turn is Turn.LARGEST)))
