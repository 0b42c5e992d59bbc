"""How the scene moved through the last frames, and the velocity of objects against it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.tracking.boxes import Box
from anonymizer.pipeline.tracking.global_motion import GlobalMotion, estimate_global_motion
from anonymizer.pipeline.tracking.motion import MotionState, Observation, estimate_velocity
from anonymizer.pipeline.tracking.optical_flow import Grey

__all__ = ["ScenePath"]

#: in so many of the last frames the scene may have moved, by so many pixels of the small image at least
_RECENT, _MOVED = 10, 2.0


class ScenePath:
    """The motion of the scene into each of the last frames. Each is estimated once, when it is asked for.

    Args:
        max_frames: frames whose motion is remembered at most.
    """

    def __init__(self, max_frames: int) -> None:
        self._max_frames = max_frames
        self._scale_xy = (1.0, 1.0)
        #: by number of the second of both frames; in order of the estimates
        self._motions: dict[int, GlobalMotion | None] = {}

    def __len__(self) -> int:
        return len(self._motions)

    def motion(self, number: int, before: Grey, after: Grey, scale_xy: tuple[float, float]) -> GlobalMotion | None:
        """The motion of the scene from one frame to the next.

        Args:
            number: of the second frame.
            before, after: (h, w) uint8 small grey images of the first and of the second frame.
            scale_xy: size of the small image divided by the size of the frame, along x and y.

        Returns:
            The motion in pixels of the images; None if it is not known.
        """
        self._scale_xy = scale_xy
        if number not in self._motions:
            self._motions[number] = estimate_global_motion(before, after)
            if len(self._motions) > self._max_frames:
                del self._motions[next(iter(self._motions))]
        return self._motions[number]

    @property
    def moves(self) -> bool:
        """Whether the scene has moved between two of the last frames whose motion is known."""
        last = islice(reversed(self._motions.values()), _RECENT)
        return any(motion is not None and np.abs(motion.matrix[:, 2]).max() >= _MOVED for motion in last)

    def state_at(self, observation: Observation, observations: Sequence[Observation]) -> MotionState:
        """The state of an object at an observation, with its velocity in the frame and against the scene.

        Args:
            observation: where the prediction begins.
            observations: near it, in order; the velocities are those from the first to the last of them.
        """
        velocity = estimate_velocity(observations)
        start = self._carry(observations[0], observations[-1].frame_number)
        own = velocity if start is None else estimate_velocity(observations, start)
        return MotionState.from_observation(observation, velocity, own)

    def matrix(self, number: int) -> NDArray[np.float32] | None:
        """The known motion into a frame as a (2, 3) float32 matrix for pixels of the frame; None: not known."""
        motion = self._motions.get(number)
        if motion is None:
            return None
        scale = np.array(self._scale_xy, np.float32)
        matrix = motion.matrix.copy()
        matrix[:, :2] *= scale[None] / scale[:, None]
        matrix[:, 2] /= scale
        return matrix

    def _carry(self, observation: Observation, number: int) -> Box | None:
        """Where an observed box is in a later frame if it moves with the scene; None if that is not known."""
        scale = np.tile(np.array(self._scale_xy, np.float32), 2)
        boxes = observation.box[None] * scale
        for step in range(observation.frame_number + 1, number + 1):
            motion = self._motions.get(step)
            if motion is None:
                return None
            boxes, holds = motion.move_boxes(boxes)
            if not holds[0]:
                return None
        return np.asarray(boxes[0] / scale, np.float32)
