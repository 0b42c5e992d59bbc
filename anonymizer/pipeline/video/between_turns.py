"""Small objects between two turns of the detectors: carried by template matching through the frames between them.

A turn is a frame in which further scales of the detectors run (`detection_schedule.py`). What only such a scale shows
is seen in turns alone. The tracker fills the time between where optical flow can follow the object, or where the
tracker knows that both sightings are of one object. For a small object that moves, it can do neither. Here, each small
object of a turn is followed to the next turn of the same scales, and back to the last one. Images are as large as the
detectors get them, where a small object has the most pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, Source
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.boxes import Box, centre_shift, ious
from anonymizer.pipeline.tracking.template_matching import follow_template
from anonymizer.pipeline.video.detection_schedule import Turn

__all__ = ["TurnFiller"]

Item = TypeVar("Item")

#: Objects are carried whose longer side is at most this share of the long side of the frame: 80 pixels of 1920.
#: Optical flow follows larger ones.
_SMALL = 1 / 24
#: IoU from which a detection in a frame between is the object that is carried
_SAME_IOU = 0.3
#: How far an object may move between two frames without a known velocity, in lengths of its longer side: so many, and
#: so many more a second. A face on a bicycle moves by 25 a second, one of a pedestrian by 7.
_REACH, _REACH_PER_S = 0.4, 15.0
#: … and at most, as a share of the long side of the frame
_MAX_REACH = 1 / 12


@dataclass(slots=True)
class _WaitingFrame(Generic[Item]):
    """A frame, what the detectors found in it, that and what was carried to it, and its grey image."""

    item: Item
    time_s: float
    detected: Detections
    found: Detections
    grey: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Carried:
    """An object on its way through the frames: its type, box in pixels of the frame, score, model and velocity."""

    object_type: int
    box: Box
    score: float
    model: str
    velocity: NDArray[np.float32]


class TurnFiller(Generic[Item]):
    """Adds detections of small objects in the frames between turns.

    Frames come out in the order in which they went in: when the next two turns are known, or a turn of all scales. A
    frame of all scales comes out at once, as it is.

    Args:
        size_hw: height and width of the upright frames in pixels.
        options: give the thresholds: what reaches its threshold is carried.
    """

    def __init__(self, size_hw: tuple[int, int], options: Options) -> None:
        self._size_hw, self._options = size_hw, options
        #: the last two turns. The scales of the first of them run again in the next one.
        self._turns: list[_WaitingFrame[Item]] = []
        self._waiting: list[_WaitingFrame[Item]] = []

    def push(
        self, item: Item, time_s: float, found: Detections, grey: NDArray[np.uint8], *, turn: Turn | None
    ) -> list[tuple[Item, Detections]]:
        """Take the next frame.

        Args:
            item: comes out with the frame's detections.
            time_s: when the frame is shown, in seconds.
            found: its detections, with boxes in pixels of the upright frame.
            grey: (h, w) uint8, the upright frame, of any size that is the same for all frames.
            turn: which further scales of the detectors ran.

        Returns:
            The items of the frames that are ready, oldest first, with the detections of each.
        """
        frame = _WaitingFrame(item, time_s, found, found, grey)
        if turn is None:
            self._waiting.append(frame)
            return []
        self._carry(frame, self._waiting[::-1])
        if turn is Turn.ALL:
            ready = [*self.finish(), (item, found)]
            self._turns = [frame]
            return ready
        if len(self._turns) == 2:
            self._carry(self._turns[0], self._waiting)
        # up to the last turn: nothing will be carried to these any more
        count = self._count_until(self._turns[-1]) if self._turns else 0
        ready = [(waiting.item, waiting.found) for waiting in self._waiting[:count]]
        self._waiting = [*self._waiting[count:], frame]
        self._turns = [*self._turns[-1:], frame]
        return ready

    def finish(self) -> list[tuple[Item, Detections]]:
        """Take out the frames that are left. More may follow, but nothing is carried to or from these any more."""
        for turn in self._turns:
            self._carry(turn, self._waiting[self._count_until(turn) :])
        ready = [(frame.item, frame.found) for frame in self._waiting]
        self._turns, self._waiting = [], []
        return ready

    def _count_until(self, turn: _WaitingFrame[Item]) -> int:
        """How many of the waiting frames there are up to a turn; 0 if that is out already."""
        return next((count for count, frame in enumerate(self._waiting, 1) if frame is turn), 0)

    def _carry(self, turn: _WaitingFrame[Item], frames: Sequence[_WaitingFrame[Item]]) -> None:
        """Follow the small objects of a turn from frame to frame, and add them where they are not detected."""
        active, before = self._small_objects(turn), turn
        for frame in frames:
            if not active:
                return
            above = frame.found[over_threshold(frame.found, self._options)]
            moved = [_move(carried, before, frame, above, max(self._size_hw)) for carried in active]
            added = [carried for carried, is_detected in filter(None, moved) if not is_detected]
            active = [carried for carried, _ in filter(None, moved)]
            if added:
                frame.found = Detections.merge([frame.found, _as_detections(added)])
            before = frame

    def _small_objects(self, turn: _WaitingFrame[Item]) -> list[_Carried]:
        found = turn.detected[over_threshold(turn.detected, self._options)]
        small = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0) <= _SMALL * max(self._size_hw)
        still = np.zeros(2, np.float32)
        return [
            _Carried(int(found.types[row]), found.boxes[row], float(found.scores[row]), str(found.models[row]), still)
            for row in np.flatnonzero(small)
        ]


def _move(
    carried: _Carried, before: _WaitingFrame[Item], frame: _WaitingFrame[Item], above: Detections, long_side: int
) -> tuple[_Carried, bool] | None:
    """Move an object to the next frame, to its detection there if it has one.

    Returns:
        The object there, and whether it is detected; None if it is lost.
    """
    seconds = np.float32(frame.time_s - before.time_s)
    shift = carried.velocity * seconds
    expected = carried.box + np.tile(shift, 2)
    box = _detected_at(expected, carried, above)
    is_detected = box is not None
    if box is None:
        side = float((carried.box[2:] - carried.box[:2]).max())
        reach = min(side * (_REACH + _REACH_PER_S * abs(float(seconds))), _MAX_REACH * long_side)
        # images may be smaller than frames
        scale = max(frame.grey.shape) / long_side
        found = follow_template(
            before.grey,
            frame.grey,
            carried.box * np.float32(scale),
            shift=shift * np.float32(scale),
            reach=reach * scale,
        )
        if found is None:
            return None
        box = found / np.float32(scale)
        detected = _detected_at(box, carried, above)
        is_detected, box = detected is not None, box if detected is None else detected
    velocity = centre_shift(carried.box, box) / seconds if seconds else carried.velocity
    return replace(carried, box=box, velocity=np.asarray(velocity, np.float32)), is_detected


def _detected_at(box: Box, carried: _Carried, above: Detections) -> Box | None:
    """The box of the detection that may be the object if that is at a box; None: there is none."""
    boxes = above.boxes[above.types == carried.object_type]
    overlaps = ious(box, boxes)
    return boxes[int(overlaps.argmax())] if overlaps.max(initial=0) >= _SAME_IOU else None


def _as_detections(objects: Sequence[_Carried]) -> Detections:
    return Detections(
        np.stack([carried.box for carried in objects]),
        np.array([carried.score for carried in objects], np.float32),
        np.array([carried.object_type for carried in objects], np.uint8),
        np.array([carried.model for carried in objects], np.str_),
        np.full(len(objects), Source.TRACKER.value, "U16"),
    )
