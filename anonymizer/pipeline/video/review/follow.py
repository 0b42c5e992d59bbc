"""Follow an object that a person drew in one frame, forth and back in time, to the next cut or until it is lost.

What is found says how far it reaches, and why not further: nobody else would notice that an object was lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.review.edits import AddedObject, Follow
from anonymizer.pipeline.tracking.motion import MotionState, Observation, predict
from anonymizer.pipeline.tracking.optical_flow import Grey, is_even
from anonymizer.pipeline.tracking.scene_cuts import SceneSignature
from anonymizer.pipeline.video.frame_images import rgb_image
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import DecodedFrame

__all__ = ["MOST_FRAMES_BACK", "FollowEnd", "FollowedPath", "follow_objects"]

#: how far back an object is followed at most, in frames: their small images are kept in memory
MOST_FRAMES_BACK = 1000
#: seconds that an object goes on without optical flow before it counts as lost
_LOST_S = 0.5
#: long side in pixels of the images in which it is followed
_FLOW_SIDE = 480
#: share of its sides by which a box that is followed is enlarged on each side, because flow drifts
_DRIFT = 0.1

Boxes = dict[int, NDArray[np.float32]]


class FollowEnd(StrEnum):
    """Why an object is followed no further in one direction of time."""

    KEY_FRAME = "key_frame"
    VIDEO = "video"
    CUT = "cut"
    LOST = "lost"
    LEFT = "left"
    LIMIT = "limit"


@dataclass(slots=True)
class FollowedPath:
    """Where an object was followed to.

    Attributes:
        boxes: by number of the frame, what is redacted. Where the object was lost, this goes on for half a second.
        frames: by number of the frame, its time in seconds, in the frames in which it was surely followed.
        begins, ends: why not to earlier frames, and why not to later ones.
        even_frames: how many frames show so even a surface there that a movement could not be seen.
    """

    boxes: Boxes = field(default_factory=dict)
    frames: dict[int, float] = field(default_factory=dict)
    begins: FollowEnd = FollowEnd.KEY_FRAME
    ends: FollowEnd = FollowEnd.KEY_FRAME
    even_frames: int = 0


def follow_objects(
    source: Path,
    info: MediaInfo,
    wanted: Mapping[int, AddedObject],
    on_frame: Callable[[int], None] = lambda _: None,
) -> dict[int, FollowedPath]:
    """Follow objects through the first video track of a source.

    Args:
        source: path of the source.
        info: its format.
        wanted: by any number, objects with `follow` and one key frame.
        on_frame: called at each decoded frame with the number of frames so far. An error that it raises ends the work.

    Returns:
        By the same number, where each of them was followed to, in pixels of the upright frame.

    Raises:
        AnonymizerError: the file cannot be read.
    """
    found = {number: FollowedPath() for number in wanted}
    with VideoReader(source, info, threads=0) as reader:
        first = reader.tracks[0].index
        paths = _FollowedObjects(found, dict(wanted))
        for count, frame in enumerate(reader.frames(tolerate_damage=True), 1):
            on_frame(count)
            if frame.track.index == first:
                paths.go_on(frame)
            if paths.is_finished:
                break
        paths.end()
    return found


@dataclass(slots=True)
class _FollowedObject:
    """One object on its way in one direction of time."""

    path: FollowedPath
    state: MotionState
    is_back: bool = False
    lost_s: float | None = None

    def end(self, why: FollowEnd) -> None:
        """Say why it is followed no further. An object that was lost before stays lost."""
        why = FollowEnd.LOST if self.lost_s is not None else why
        if self.is_back:
            self.path.begins = why
        else:
            self.path.ends = why

    def goes_on(self, size_hw: tuple[int, int]) -> bool:
        if not self.state.confirmed and self.lost_s is None:
            self.lost_s = self.state.unobserved_s
        lost = 0.0 if self.lost_s is None else self.state.unobserved_s - self.lost_s
        if not self.state.is_visible(size_hw):
            self.end(FollowEnd.LEFT)
            return False
        if lost > _LOST_S:
            self.end(FollowEnd.LOST)
            return False
        return True

    def box(self) -> NDArray[np.float32]:
        """The box, a little larger."""
        x1, y1, x2, y2 = self.state.box
        across, down = (x2 - x1) * _DRIFT, (y2 - y1) * _DRIFT
        return np.array([x1 - across, y1 - down, x2 + across, y2 + down], np.float32)


@dataclass(slots=True)
class _Still:
    """A frame as it is followed in: its number, its time in seconds, and a small grey image."""

    number: int
    time_s: float
    grey: Grey


@dataclass(slots=True)
class _FollowedObjects:
    """All objects of a track, and its last frames back to the last cut."""

    found: dict[int, FollowedPath]
    waiting: dict[int, AddedObject]
    _before: deque[_Still] = field(default_factory=lambda: deque(maxlen=MOST_FRAMES_BACK + 1))
    _ahead: list[_FollowedObject] = field(default_factory=list)
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter)
    _scene: SceneSignature | None = None
    _scene_start: int = 0
    _size_hw: tuple[int, int] = (1, 1)
    _scale: tuple[float, float] = (1.0, 1.0)

    @property
    def is_finished(self) -> bool:
        """Whether no frame is needed any more."""
        return not self.waiting and not self._ahead

    def go_on(self, frame: DecodedFrame) -> None:
        """Take the next frame: move what is followed to it, and begin what was drawn in the one before."""
        still = self._still(frame)
        # the frame at a time is the one that is shown then: the last that begins no later
        due = [number for number, each in self.waiting.items() if each.keys[0].time_s < still.time_s - 1e-4]
        if self._before:
            for number in due:
                self._begin(number)
        scene = SceneSignature.of(still.grey)
        if self._scene is not None and not scene.shows_same_scene(self._scene):
            self._before.clear()
            self._end_all(FollowEnd.CUT)
            self._scene_start = still.number
        self._scene = scene
        if self._ahead:
            self._step(self._ahead, self._before[-1].grey, still)
        self._before.append(still)

    def end(self) -> None:
        """Begin what was drawn in the last frame, or after it."""
        if self._before:
            for number in list(self.waiting):
                self._begin(number)
        self._end_all(FollowEnd.VIDEO)

    def _end_all(self, why: FollowEnd) -> None:
        for one in self._ahead:
            one.end(why)
        self._ahead.clear()

    def _begin(self, number: int) -> None:
        added, at, path = self.waiting.pop(number), self._before[-1], self.found[number]
        box = np.array(added.keys[0].region.box, np.float32)
        path.boxes[at.number], path.frames[at.number] = box, at.time_s
        seen = Observation(at.number, at.time_s, box, 1.0, "")

        def start(*, is_back: bool) -> _FollowedObject:
            return _FollowedObject(path, MotionState.from_observation(seen, np.zeros(2, np.float32)), is_back)

        if added.follow is not Follow.BACKWARD:
            self._ahead.append(start(is_back=False))
        if added.follow is not Follow.FORWARD:
            self._go_back(start(is_back=True))

    def _go_back(self, one: _FollowedObject) -> None:
        moving, now = [one], self._before[-1].grey
        for earlier in list(self._before)[-2::-1]:
            self._step(moving, now, earlier)
            if not moving:
                return
            now = earlier.grey
        if self._before[0].number > self._scene_start:
            one.end(FollowEnd.LIMIT)
        else:
            one.end(FollowEnd.CUT if self._scene_start else FollowEnd.VIDEO)

    def _step(self, moving: list[_FollowedObject], before: Grey, after: _Still) -> None:
        scale = np.array([*self._scale, *self._scale], np.float32)
        for one in moving:
            # the state may be followed well and be wrong: an even surface looks the same wherever it is
            one.path.even_frames += is_even(before, one.state.box * scale)
        predict([one.state for one in moving], before, after.grey, after.time_s, self._scale)
        moving[:] = [one for one in moving if one.goes_on(self._size_hw)]
        for one in moving:
            one.path.boxes[after.number] = one.box()
            if one.lost_s is None:
                one.path.frames[after.number] = after.time_s

    def _still(self, frame: DecodedFrame) -> _Still:
        track = frame.track
        shrink = min(_FLOW_SIDE / max(track.size_wh), 1.0)
        width, height = (max(round(side * shrink), 1) for side in track.size_wh)
        image = upright(rgb_image(frame.picture, (width, height), self._reformatter), track.orientation)
        grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)
        self._size_hw = track.size_hw
        self._scale = grey.shape[1] / track.size_hw[1], grey.shape[0] / track.size_hw[0]
        return _Still(frame.number, frame.time_s, grey)
