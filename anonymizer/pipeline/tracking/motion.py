"""Where an object is in frames in which no detector saw it: predicted by motion, or between two observations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.tracking.boxes import Box, area, centre_shift, is_displaced, union
from anonymizer.pipeline.tracking.global_motion import GlobalMotion
from anonymizer.pipeline.tracking.optical_flow import Grey, follow_boxes
from anonymizer.pipeline.tracking.template_matching import follow_template

__all__ = ["MotionState", "Observation", "estimate_velocity", "interpolate", "predict"]

#: seconds in which a velocity that flow does not confirm falls to about a third (1/e)
DAMPING_S = 0.25
#: a path that leaves the straight line by more than this share of a box's sides is not linear
MAX_BEND = 0.04
#: an object with less than this share of its box inside the frame is taken to have left it
_MIN_VISIBLE = 0.1
#: An object moves with the scene if it is not faster against the scene than against the frame, or by no more than this
#: share of its longer side per second. Boxes of detectors are not steadier than that.
_SCENE_TOLERANCE = 0.5
#: An object that flow loses is searched for so far from where it is expected, in long sides of the picture per second
#: and at most. It needs a side of so many pixels of the small image: smaller ones look like too much else.
_SEARCH_PER_S, _MAX_SEARCH, _MIN_SEARCHED_SIDE = 0.8, 0.1, 12.0
#: share of the side of such a box that is left out where the border of the frame cuts it off
_MAX_CUT = 0.3
#: An object goes on behind the border of the frame if its box ends so near to it, as a share of its side. When it moves
#: into the frame, its box grows, up to so many times the side that was observed.
_AT_BORDER, _MAX_HIDDEN = 0.05, 2.0


@dataclass(frozen=True, slots=True)
class Observation:
    """One detection of an object in one frame.

    Attributes:
        frame_number: number of the frame, from 0 up.
        time_s: time of the frame in seconds.
        box: (4,) float32, in pixels of the frame.
        score: of the detection, 0..1.
        model: id of the detector.
    """

    frame_number: int
    time_s: float
    box: Box
    score: float
    model: str


@dataclass(slots=True)
class MotionState:
    """Where an object is taken to be in a frame in which it was not observed. `predict` moves it to the next frame.

    Attributes:
        box: (4,) float32, the predicted box in pixels of the frame.
        time_s: time of the frame that the box is predicted for.
        velocity: (2,) float32, pixels per second along x and y.
        own_velocity: (2,) float32, likewise, but against the scene, which moves in the frame when the camera does.
        observed: the observation that the prediction started from.
        confirmed: whether optical flow or the motion of the scene confirmed every step since then.
        alternative: (4,) float32, where the object is if it has moved with the scene since the last confirmed step.
            None: all steps are confirmed, or the motion of the scene is not known.
    """

    box: Box
    time_s: float
    velocity: NDArray[np.float32]
    own_velocity: NDArray[np.float32]
    observed: Observation
    confirmed: bool = True
    alternative: Box | None = None

    @classmethod
    def from_observation(
        cls,
        observation: Observation,
        velocity: NDArray[np.float32],
        own_velocity: NDArray[np.float32] | None = None,
    ) -> MotionState:
        """Start a prediction at an observation.

        Args:
            observation: where and when the object was observed.
            velocity: (2,) float32, the velocity of the object there, in pixels per second along x and y.
            own_velocity: (2,) float32, its velocity against the scene; default: the same, the camera stands still.

        Returns:
            The state in the frame of the observation.
        """
        own = velocity if own_velocity is None else own_velocity
        return cls(observation.box, observation.time_s, velocity, own, observation)

    def observe(self, observation: Observation) -> None:
        """Go on from an observation in the frame that the box is predicted for."""
        self.box, self.observed, self.alternative = observation.box, observation, None

    @property
    def moves_with_scene(self) -> bool:
        """Whether the velocities tell that the object stays where it is in the scene rather than in the frame."""
        tolerance = _SCENE_TOLERANCE * float((self.box[2:] - self.box[:2]).max())
        return bool(np.linalg.norm(self.own_velocity) <= np.linalg.norm(self.velocity) + tolerance)

    @property
    def core(self) -> Box:
        """Where the object may be: the box, and the alternative if there is one."""
        return self.box if self.alternative is None else union(self.box, self.alternative)

    @property
    def unobserved_s(self) -> float:
        """Seconds between the observation and the frame."""
        return abs(self.time_s - self.observed.time_s)

    def is_visible(self, size_hw: tuple[int, int]) -> bool:
        """Whether more than a tenth of the box, or of the alternative, is inside a frame of this size in pixels."""
        return any(box is not None and _is_inside(box, size_hw) for box in (self.box, self.alternative))


def _is_inside(box: Box, size_hw: tuple[int, int]) -> bool:
    height, width = size_hw
    return area(np.clip(box, 0, [width, height, width, height])) > _MIN_VISIBLE * area(box)


def predict(
    states: Sequence[MotionState],
    before: Grey,
    after: Grey,
    time_s: float,
    scale_xy: tuple[float, float],
    motion: GlobalMotion | None = None,
    *,
    scene_moves: bool = False,
) -> None:
    """Move states from one frame to a neighbouring one, in place. Both directions of time work.

    Where optical flow follows a box, it gives the new box, and corrects the velocity. Where it does not, the pixels of
    a box that is not too small are searched for. Elsewhere the box moves as the scene around it does, if that is known
    and the object moves with it. Its own velocity comes on top of that, and fades. If not even that is known, the box
    moves on with its velocity, which fades. Where the motion of the scene is known all the same, the alternative moves
    with it. Where it is not, but was near these frames, the alternative stays: the box may go on in a direction that
    the camera has left.

    A box that ends at the border of the frame goes on behind it. As it moves into the frame, it grows.

    Args:
        states: objects to move; all are valid for the first frame.
        before, after: (h, w) uint8 small grey images of the first and of the second frame.
        time_s: time of the second frame in seconds.
        scale_xy: size of the small image divided by the size of the frame, along x and y.
        motion: of the scene, from the first image to the second; default: unknown.
        scene_moves: whether it moves in frames near these.
    """
    if not states:
        return
    scale = np.array([*scale_xy, *scale_xy], np.float32)
    starts = np.stack([state.box for state in states])
    seconds = np.array([time_s - state.time_s for state in states], np.float32)
    carried, holds = starts, np.zeros(len(states), bool)
    others = np.stack([state.box if state.alternative is None else state.alternative for state in states])
    expected = None
    if motion is not None:
        moved, holds = motion.move_boxes(starts * scale)
        carried = np.asarray(moved / scale, np.float32)
        own = np.tile(np.stack([state.own_velocity for state in states]) * seconds[:, None], 2)
        others = np.asarray(motion.move_boxes(others * scale)[0] / scale + own, np.float32)
        expected = np.where(holds[:, None], (carried + own) * scale, starts * scale)
    boxes, followed = follow_boxes(before, after, starts * scale, expected)
    likely = starts * scale if expected is None else expected
    for lost in np.flatnonzero(~followed):
        found = _search(before, after, starts[lost] * scale, likely[lost], abs(float(seconds[lost])))
        if found is not None:
            boxes[lost], followed[lost] = found, True
    limits = np.array([before.shape[1] / scale_xy[0], before.shape[0] / scale_xy[1]], np.float32)
    for row, (state, box) in enumerate(zip(states, boxes / scale, strict=True)):
        alternative = state.box if state.alternative is None else state.alternative
        scene_shift = centre_shift(starts[row], carried[row]) if holds[row] else None
        state.time_s = time_s
        if followed[row]:
            _follow(state, box, float(seconds[row]), scene_shift)
        elif scene_shift is not None and state.moves_with_scene:
            _move_with_scene(state, carried[row], float(seconds[row]), scene_shift)
        else:
            _move_on(state, float(seconds[row]))
        state.box = _up_to_border(state.box, starts[row], state.observed.box, limits)
        if state.confirmed:
            state.alternative = None
        elif motion is not None or scene_moves:
            state.alternative = _up_to_border(others[row], alternative, state.observed.box, limits)


def _search(before: Grey, after: Grey, box: Box, expected: Box, seconds: float) -> Box | None:
    """Search for what flow lost: a large shift, or an object of which the border of the frame cuts off a part."""
    if min(box[2:] - box[:2]) < _MIN_SEARCHED_SIDE:
        return None
    reach = min(_SEARCH_PER_S * seconds, _MAX_SEARCH) * max(before.shape)
    # what lies at the border of the frame may have left it
    size_wh = np.array(before.shape[::-1], np.float32)
    cut = np.minimum(reach, _MAX_CUT * (box[2:] - box[:2]))
    low, high = np.where(box[:2] < 1, np.maximum(box[:2], 0) + cut, box[:2]), box[2:]
    high = np.where(high > size_wh - 1, np.minimum(high, size_wh) - cut, high)
    inner = np.concatenate([low, high]).astype(np.float32)
    if min(high - low) < _MIN_SEARCHED_SIDE:
        return None
    found = follow_template(before, after, inner, shift=centre_shift(box, expected), reach=reach)
    return None if found is None else box + np.tile(centre_shift(inner, found), 2)


def _up_to_border(box: Box, before: Box, observed: Box, size_wh: NDArray[np.float32]) -> Box:
    """A box that has moved from where it was before, with what may have come into the frame of this size behind it."""
    near, most = _AT_BORDER * (before[2:] - before[:2]), _MAX_HIDDEN * (observed[2:] - observed[:2])
    low, high = box[:2], box[2:]
    first = np.where(before[:2] <= near, np.minimum(low, np.maximum(0, high - most)), low)
    last = np.where(before[2:] >= size_wh - near, np.maximum(high, np.minimum(size_wh, low + most)), high)
    return np.concatenate([first, last]).astype(np.float32)


def _follow(state: MotionState, box: Box, seconds: float, scene_shift: NDArray[np.float32] | None) -> None:
    """Move a state to the box that optical flow found."""
    if seconds:
        shift = centre_shift(state.box, box)
        state.velocity = np.asarray((state.velocity + shift / np.float32(seconds)) / 2, np.float32)
        if scene_shift is not None:
            own = (shift - scene_shift) / np.float32(seconds)
            state.own_velocity = np.asarray((state.own_velocity + own) / 2, np.float32)
    state.box = box


def _move_with_scene(state: MotionState, carried: Box, seconds: float, scene_shift: NDArray[np.float32]) -> None:
    """Move a state as the scene moves, and by its own velocity, which fades."""
    own = state.own_velocity
    state.box = carried + np.tile(own * np.float32(seconds), 2)
    if seconds:
        state.velocity = np.asarray(scene_shift / np.float32(seconds) + own, np.float32)
    state.own_velocity = own * np.float32(math.exp(-abs(seconds) / DAMPING_S))


def _move_on(state: MotionState, seconds: float) -> None:
    """Move a state with its velocity alone, which fades. Nothing confirms that."""
    fading = np.float32(math.exp(-abs(seconds) / DAMPING_S))
    state.confirmed = False
    state.box = state.box + np.tile(state.velocity * np.float32(seconds), 2)
    state.velocity, state.own_velocity = state.velocity * fading, state.own_velocity * fading


def estimate_velocity(observations: Sequence[Observation], start: Box | None = None) -> NDArray[np.float32]:
    """Velocity of an object's centre from the first to the last of at least one observation.

    Args:
        observations: of the object, in order.
        start: (4,) float32, where the first box would be if it had moved with the scene; default: the first box.

    Returns:
        (2,) float32, pixels per second along x and y; 0 where no time passes between them.
    """
    first, last = observations[0], observations[-1]
    seconds = last.time_s - first.time_s
    if seconds <= 0:
        return np.zeros(2, np.float32)
    return np.asarray(centre_shift(first.box if start is None else start, last.box) / seconds, np.float32)


def _visible(box: Box, size_hw: tuple[int, int] | None) -> Box:
    """The part of a box inside a frame; the box itself if none of it is, or if the size is not known."""
    if size_hw is None:
        return box
    height, width = size_hw
    inside: Box = np.clip(box, 0, np.array([width, height, width, height], np.float32))
    return inside if (inside[:2] < inside[2:]).all() else box


def _keep_cut_sides(moved: Box, box: Box, size_hw: tuple[int, int]) -> Box:
    """A box that was corrected, without taking sides away from the border of the frame that cuts them off."""
    size_wh = np.array(size_hw[::-1], np.float32)
    low = np.where(box[:2] <= 0, np.minimum(moved[:2], box[:2]), moved[:2])
    high = np.where(box[2:] >= size_wh, np.maximum(moved[2:], box[2:]), moved[2:])
    return np.concatenate([low, high])


def interpolate(
    first: Observation,
    last: Observation,
    frame_number: int,
    time_s: float,
    forward: Mapping[int, Box],
    backward: Mapping[int, Box],
    loose: Sequence[Box] = (),
    size_hw: tuple[int, int] | None = None,
) -> Box:
    """Where an object may be in a frame between two observations.

    The straight line between both boxes is the start. Optical flow from either end corrects it. Where flow and the line
    differ, or flow arrived somewhere else (another object may have taken the track), the box covers all of them. So it
    does where flow from neither end reached the other one.

    Args:
        first, last: the observations before and after the frame.
        frame_number: number of the frame.
        time_s: time of the frame in seconds.
        forward, backward: boxes that flow predicted from the first and from the last observation, by frame number.
        loose: where the object is in the frame if it moved with the scene where flow lost it. They count where flow did
            not arrive at either end.
        size_hw: height and width of the frame in pixels; default: not known. The object may go on behind its border.

    Returns:
        (4,) float32, in pixels of the frame.
    """
    seconds = last.time_s - first.time_s
    share = np.float32((time_s - first.time_s) / seconds if seconds > 0 else 0.5)
    straight: Box = np.asarray(first.box + share * (last.box - first.box), np.float32)
    corrected, elsewhere, partial = [], [], list(loose)
    for path, end, end_number, weight in (
        (forward, last.box, last.frame_number, share),
        (backward, first.box, first.frame_number, np.float32(1) - share),
    ):
        if frame_number not in path:
            continue
        if end_number not in path:
            partial.append(path[frame_number])
        elif is_displaced(end, path[end_number]):
            elsewhere.append(path[frame_number])
        else:
            # the distance by which flow misses the observation is spread over the path
            box = path[frame_number]
            moved = box + weight * (end - _visible(path[end_number], size_hw))
            corrected.append(moved if size_hw is None else _keep_cut_sides(moved, box, size_hw))
    sides = np.tile(straight[2:] - straight[:2], 2)
    bent = [box for box in corrected if (np.abs(box - straight) > MAX_BEND * sides).any()]
    return union(straight, *bent, *elsewhere, *(() if corrected else partial))
