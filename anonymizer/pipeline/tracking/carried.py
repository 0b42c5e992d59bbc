"""Objects across a camera cut. What looks like a cut may be a truck in front of the camera, or a long flash."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from anonymizer.pipeline.tracking.boxes import Box, union
from anonymizer.pipeline.tracking.motion import DAMPING_S, MotionState, predict
from anonymizer.pipeline.tracking.scene_path import ScenePath
from anonymizer.pipeline.tracking.state import Frame, Track

__all__ = ["CarriedTracks", "coast"]


def coast(state: MotionState, time_s: float) -> None:
    """Move a state to another time with its velocity alone, in place: the images of both times do not belong together.

    Args:
        state: its box becomes the union of where the object was and where it may be.
        time_s: the other time in seconds, before or after.
    """
    seconds = time_s - state.time_s
    moved: Box = state.box + np.tile(state.velocity * np.float32(seconds), 2)
    state.box = union(state.box, moved)
    fading = np.float32(math.exp(-abs(seconds) / DAMPING_S))
    state.velocity, state.own_velocity = state.velocity * fading, state.own_velocity * fading
    state.time_s, state.confirmed = time_s, False


class CarriedTracks:
    """Tracks that a camera cut ended. Each is covered on until a time after its last observation.

    They take no detections. Covering too much for a moment is cheap; an object that was never away must not be bare.

    Args:
        window_s: of the tracker.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        #: with each track, where its object was at the cut
        self._tracks: list[tuple[Track, MotionState, Box]] = []

    def __len__(self) -> int:
        return len(self._tracks)

    def add(self, tracks: Iterable[Track], size_hw: tuple[int, int], path: ScenePath) -> None:
        """Carry tracks over a cut, unless they have left the frame of this size in pixels.

        Args:
            tracks: those that the cut ended.
            size_hw: height and width of the frames in pixels.
            path: how the scene moved before the cut.
        """
        for track in tracks:
            state = track.predict_from_last(path) if track.motion is None else track.motion
            if state.is_visible(size_hw):
                self._tracks.append((track, state, state.box))

    def cover(self, frame: Frame, previous: Frame | None, scale_xy: tuple[float, float]) -> None:
        """Cover the tracks in the next frame, at the place of the cut and where optical flow leads from there.

        Args:
            frame: gets the detections to add.
            previous: the frame before it; None: there is none, and no track either.
            scale_xy: size of the small image divided by the size of the frame, along x and y.
        """
        self._tracks = [each for each in self._tracks if frame.is_extension_of(each[0].last, self._window_s)]
        states = [state for _, state, _ in self._tracks]
        if previous is None or not states:
            return
        if previous.scene == frame.scene:
            predict(states, previous.image, frame.image, frame.time_s, scale_xy)
        else:
            for state in states:
                coast(state, frame.time_s)
        for track, state, held in self._tracks:
            core = union(held, state.box)
            frame.added[track.id] = track.added_detection(core, frame.time_s - track.last.time_s, track.last)
