"""Where an object is in frames in which no detector saw it: predicted by optical flow, or between two observations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.tracking.boxes import Box, area, centre_shift, is_displaced, union
from anonymizer.pipeline.tracking.optical_flow import Grey, follow_boxes

__all__ = ["MotionState", "Observation", "estimate_velocity", "interpolate", "predict"]

#: seconds in which a velocity that flow does not confirm falls to about a third (1/e)
DAMPING_S = 0.25
#: a path that leaves the straight line by more than this share of a box's sides is not linear
MAX_BEND = 0.1
#: an object with less than this share of its box inside the frame is taken to have left it
_MIN_VISIBLE = 0.1


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
        observed_s: time of the observation that the prediction started from.
        confirmed: whether optical flow confirmed every step since then.
    """

    box: Box
    time_s: float
    velocity: NDArray[np.float32]
    observed_s: float
    confirmed: bool = True

    @classmethod
    def from_observation(cls, observation: Observation, velocity: NDArray[np.float32]) -> MotionState:
        """Start a prediction at an observation.

        Args:
            observation: where and when the object was observed.
            velocity: (2,) float32, the velocity of the object there, in pixels per second along x and y.

        Returns:
            The state in the frame of the observation.
        """
        return cls(observation.box, observation.time_s, velocity, observation.time_s)

    @property
    def unobserved_s(self) -> float:
        """Seconds between the observation and the frame."""
        return abs(self.time_s - self.observed_s)

    def is_visible(self, size_hw: tuple[int, int]) -> bool:
        """Whether more than a tenth of the box lies inside a frame of this size in pixels."""
        height, width = size_hw
        inside = np.clip(self.box, 0, [width, height, width, height])
        return area(inside) > _MIN_VISIBLE * area(self.box)


def predict(
    states: Sequence[MotionState], before: Grey, after: Grey, time_s: float, scale_xy: tuple[float, float]
) -> None:
    """Move states from one frame to a neighbouring one, in place. Both directions of time work.

    Where optical flow follows a box, it gives the new box, and corrects the velocity. Elsewhere the box moves on with
    its velocity, which fades.

    Args:
        states: objects to move; all are valid for the first frame.
        before, after: (h, w) uint8 small grey images of the first and of the second frame.
        time_s: time of the second frame in seconds.
        scale_xy: size of the small image divided by the size of the frame, along x and y.
    """
    if not states:
        return
    scale = np.array([*scale_xy, *scale_xy], np.float32)
    boxes, followed = follow_boxes(before, after, np.stack([state.box for state in states]) * scale)
    for state, box, reliable in zip(states, boxes / scale, followed, strict=True):
        seconds = time_s - state.time_s
        state.time_s = time_s
        if reliable:
            if seconds:
                flow_velocity = centre_shift(state.box, box) / np.float32(seconds)
                state.velocity = np.asarray((state.velocity + flow_velocity) / 2, np.float32)
            state.box = box
            continue
        state.confirmed = False
        state.box = state.box + np.tile(state.velocity * np.float32(seconds), 2)
        state.velocity = state.velocity * np.float32(math.exp(-abs(seconds) / DAMPING_S))


def estimate_velocity(observations: Sequence[Observation]) -> NDArray[np.float32]:
    """Velocity of an object's centre from the first to the last of at least one observation.

    Returns:
        (2,) float32, pixels per second along x and y; 0 where no time passes between them.
    """
    first, last = observations[0], observations[-1]
    seconds = last.time_s - first.time_s
    if seconds <= 0:
        return np.zeros(2, np.float32)
    return np.asarray(centre_shift(first.box, last.box) / seconds, np.float32)


def interpolate(
    first: Observation,
    last: Observation,
    frame_number: int,
    time_s: float,
    forward: Mapping[int, Box],
    backward: Mapping[int, Box],
) -> Box:
    """Where an object may be in a frame between two observations.

    The straight line between both boxes is the start. Optical flow from either end corrects it. Where flow and the line
    differ, or flow arrived somewhere else (another object may have taken the track), the box covers all of them.

    Args:
        first, last: the observations before and after the frame.
        frame_number: number of the frame.
        time_s: time of the frame in seconds.
        forward, backward: boxes that flow predicted from the first and from the last observation, by frame number.

    Returns:
        (4,) float32, in pixels of the frame.
    """
    seconds = last.time_s - first.time_s
    share = np.float32((time_s - first.time_s) / seconds if seconds > 0 else 0.5)
    straight: Box = np.asarray(first.box + share * (last.box - first.box), np.float32)
    corrected, elsewhere = [], []
    for path, end, end_number, weight in (
        (forward, last.box, last.frame_number, share),
        (backward, first.box, first.frame_number, np.float32(1) - share),
    ):
        if frame_number not in path or end_number not in path:
            continue
        if is_displaced(end, path[end_number]):
            elsewhere.append(path[frame_number])
        else:
            # the distance by which flow misses the observation is spread over the path
            corrected.append(path[frame_number] + weight * (end - path[end_number]))
    box = straight
    if corrected:
        flow = np.asarray(np.mean(corrected, axis=0), np.float32)
        sides = np.tile(straight[2:] - straight[:2], 2)
        if (np.abs(flow - straight) > MAX_BEND * sides).any():
            box = union(straight, flow)
    return union(box, *elsewhere)
