"""Which detectors, and which of their scales, run in which frame of a video.

Every frame is analysed at one scale of as many detectors as serve all object types. Where that leaves a doubt, all
detectors run. In some frames, here called turns, other detectors and other scales run in any case. Each scale has a
turn within half of the tracker's window, so that a gap between two of them is filled. All run in the first frame and
after a camera cut.

Turns are key frames, and there are others in between. In the frames between key frames detectors run too, unless it is
sure that these show the same as the key frames (package `key_frames`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations, count

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.scene_cuts import SceneSignature

__all__ = [
    "KEY_S",
    "SAME_SCALE_S",
    "DetectionSchedule",
    "DetectorShifts",
    "FramePlan",
    "Turn",
    "in_every_frame",
    "is_in_doubt",
    "scales_at_first",
    "scales_to_run",
    "video_scales",
]

#: The turns of one scale are so many seconds apart, at most: half of the time that the tracker waits for an object.
SAME_SCALE_S = 0.5
#: Turns are half of that apart, because a detector of several other scales runs only a part of them in each.
_TURN_S = SAME_SCALE_S / 2
#: and so many frames: in a file whose times stand still, no second ever passes
_TURN_FRAMES = 64
#: Key frames are so many seconds and so many frames apart, at most. With .33 s instead of .17, three of 400 objects of
#: the clip of a walking person were no longer covered.
KEY_S, _KEY_FRAMES = 0.17, 4
#: the longest of so many gaps between frames before is taken as the gap to the next frame
_GAPS = 8
#: share of a threshold from which a detection counts as a doubt, and the score from which it does not
DOUBT_SHARE, SURE = 0.5, 0.9
#: an object is small if its shorter side has less than so many times that of the smallest for which a detector was made
SMALL = 2.0
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
    are so rare that a scale would be late, all scales run in every frame. So they do in the first frame, and in the
    first of another scene: nothing is known there that could be followed.

    One thread may add frames while others ask and forget.

    Args:
        key_frames: whether there are frames between key frames; default: each frame is a key frame.

    Examples:
        >>> schedule = DetectionSchedule()
        >>> for number in range(6):
        ...     schedule.add(number, number / 10)
        >>> [number for number in range(6) if schedule.turn(number)]
        [0, 2, 4]
    """

    def __init__(self, *, key_frames: bool = False) -> None:
        self._turns: dict[int, Turn] = {}
        self._closer: dict[int, int] = {}
        self._key_frames = key_frames
        self._between: set[int] = set()
        self._last_key: tuple[int, float] | None = None
        self._numbers = count()
        self._last: tuple[int, float, Turn] | None = None
        self._last_s: float | None = None
        self._gaps_s: deque[float] = deque(maxlen=_GAPS)
        self._signature: SceneSignature | None = None

    def add(
        self, number: int, time_s: float, signature: SceneSignature | None = None, *, must_be_key: bool = False
    ) -> None:
        """Take the next frame, and decide whether it is a turn, and whether it is a key frame.

        Args:
            number: of the frame, from 0.
            time_s: when it is shown, in seconds.
            signature: of its image; default: it shows the scene of the frame before.
            must_be_key: whether it is a key frame in any case.
        """
        if self._last_s is not None:
            self._gaps_s.append(abs(time_s - self._last_s))
        self._last_s = time_s
        self._choose_turn(number, time_s, signature)
        if must_be_key or not self._key_frames or number in self._turns or self._is_key_due(number, time_s):
            self._last_key = number, time_s
        else:
            self._between.add(number)

    def _is_key_due(self, number: int, time_s: float) -> bool:
        """Whether the next frame would be too far from the last key frame to be the next one."""
        if self._last_key is None:
            return True
        last_number, last_s = self._last_key
        to_next_s = abs(time_s - last_s) + max(self._gaps_s, default=0.0)
        return number - last_number >= _KEY_FRAMES or to_next_s > KEY_S + _TOLERANCE_S

    def _choose_turn(self, number: int, time_s: float, signature: SceneSignature | None) -> None:
        before, self._signature = self._signature, signature
        is_cut = before is not None and signature is not None and not signature.shows_same_scene(before)
        turn = Turn.ALL
        if self._last is not None and not is_cut:
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

    def is_key(self, number: int) -> bool:
        """Whether a frame that was added is a key frame: detectors run in it in any case."""
        return number not in self._between

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
        self._between.discard(number)
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


def in_every_frame(
    detectors: Sequence[Detector], serves: Mapping[ObjectType, Collection[str]], object_types: Sequence[ObjectType]
) -> frozenset[str]:
    """Choose the detectors that run in every frame: as few as serve all object types. The others only have turns.

    Args:
        detectors: those that run.
        serves: by object type, the ids of the detectors that serve it.
        object_types: what is looked for.

    Returns:
        Ids of detectors. Of several choices, the one whose detectors were made for the fewest types.
    """
    types = {detector.id: {each for each in object_types if detector.id in serves[each]} for detector in detectors}
    for size in range(1, len(detectors)):
        fitting = [
            chosen
            for chosen in combinations(detectors, size)
            if set().union(*(types[detector.id] for detector in chosen)) == set(object_types)
        ]
        if fitting:
            least = min(fitting, key=lambda chosen: sum(len(detector.object_types) for detector in chosen))
            return frozenset(detector.id for detector in least)
    return frozenset(types)


def scales_to_run(detector: Detector, *, long_side: int, turn: Turn | None) -> tuple[int, ...]:
    """Get the scales of a detector that run in one frame in which there is doubt.

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
    return (main, *_share(others, turn))


def scales_at_first(detector: Detector, *, long_side: int, turn: Turn | None, every_frame: bool) -> tuple[int, ...]:
    """Get the scales of a detector that run in one frame before it is known whether there is doubt.

    Args:
        detector: the detector.
        long_side: of the frame, or of the pieces of a wide one, in pixels.
        turn: of the frame.
        every_frame: whether the detector runs in every frame, at one scale. Otherwise that scale runs with the largest:
            what both show, tells where a closer look is worth it.

    Returns:
        Scales, as long sides in pixels; none: the detector does not run.
    """
    main, *others = video_scales(detector, long_side)
    if turn is Turn.ALL:
        return (main, *others)
    runs = (main,) if every_frame or turn is Turn.LARGEST else ()
    return (*runs, *_share(others, turn)) if turn else runs


def _share(scales: Sequence[int], turn: Turn) -> tuple[int, ...]:
    """The scales that run in a turn: the largest, or the rest."""
    return tuple(scale for scale in scales if (scale == max(scales)) is (turn is Turn.LARGEST))


def is_in_doubt(found: Detections, options: Options, doubted: Collection[ObjectType], least_px: float) -> bool:
    """Whether a first look leaves it open what else the frame shows, so that all detectors have to run.

    Args:
        found: what the detectors of every frame found.
        options: give the thresholds.
        doubted: the object types that further detectors or scales would look for.
        least_px: shorter side in pixels of the smallest object that is no reason for doubt.

    Returns:
        True if an object of these types is not sure, or small; or if there is a person, whose face may be missed.
    """
    numbers = [object_type.number for object_type in doubted]
    weak = found[over_threshold(found, options, share=DOUBT_SHARE) & np.isin(found.types, numbers)]
    sides = (weak.boxes[:, 2:] - weak.boxes[:, :2]).min(axis=1, initial=np.inf)
    if ((weak.scores < SURE) | (sides < least_px)).any():
        return True
    persons = over_threshold(found, options) & (found.types == ObjectType.PERSON.number)
    return ObjectType.FACE in doubted and bool(persons.any())


class DetectorShifts:
    """Which detectors run at which scales, by the turn of a frame.

    Args:
        detectors: those that run.
        serves: by object type, the ids of the detectors that serve it.
        object_types: what is looked for.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        serves: Mapping[ObjectType, Collection[str]],
        object_types: Sequence[ObjectType],
    ) -> None:
        self._detectors = detectors
        self._types = {
            detector.id: {each for each in object_types if detector.id in serves[each]} for detector in detectors
        }
        self._always = in_every_frame(detectors, serves, object_types)

    def plan(self, turn: Turn | None, long_side: int) -> FramePlan:
        """Plan the looks at frames.

        Args:
            turn: of the frames.
            long_side: of the frames, or of the pieces of wide ones, in pixels.
        """
        first, after, doubted, least = {}, {}, set(), 0.0
        for detector in self._detectors:
            every = detector.id in self._always
            wanted = scales_to_run(detector, long_side=long_side, turn=turn)
            at_first = scales_at_first(detector, long_side=long_side, turn=turn, every_frame=every)
            # where no detector has turns only, none makes up for what another leaves out
            first[detector.id] = wanted if len(self._always) == len(self._detectors) else at_first
            after[detector.id] = tuple(scale for scale in wanted if scale not in first[detector.id])
            if after[detector.id]:
                doubted |= self._types[detector.id]
            if every:
                least = max(least, SMALL * detector.least_size / detector.video_scale(long_side))
        return FramePlan(first, after, frozenset(doubted), least)


@dataclass(frozen=True)
class FramePlan:
    """The looks at a frame.

    Attributes:
        first: by id of a detector, the scales that run in any case.
        further: likewise, the scales that run after these if there is a doubt.
        doubted: the object types that the further ones look for.
        least: shorter side of the smallest object without a doubt, as a share of the long side of the image.
    """

    first: Mapping[str, tuple[int, ...]]
    further: Mapping[str, tuple[int, ...]]
    doubted: frozenset[ObjectType]
    least: float

    def at_first(self, detector: Detector) -> tuple[int, ...]:
        """The scales of a detector that run in any case."""
        return self.first[detector.id]

    def after(self, detector: Detector) -> tuple[int, ...]:
        """The further scales of a detector."""
        return self.further[detector.id]

    def is_open(self, found: Detections, image: NDArray[np.uint8], options: Options) -> bool:
        """Whether the further scales have to run in an image in which this was found."""
        least_px = self.least * max(image.shape[:2])
        return bool(self.doubted) and is_in_doubt(found, options, self.doubted, least_px)
