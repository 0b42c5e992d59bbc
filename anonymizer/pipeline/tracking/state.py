"""What the tracker remembers: frames that are not final yet, and the tracks that are alive."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.tracking.boxes import Box, enlarge, ious
from anonymizer.pipeline.tracking.motion import MotionState, Observation, interpolate
from anonymizer.pipeline.tracking.scene_cuts import SceneSignature
from anonymizer.pipeline.tracking.scene_path import ScenePath

__all__ = [
    "EXTENSION_FRAMES",
    "EXTENSION_S",
    "MATCH_IOU",
    "TIME_TOLERANCE_S",
    "VELOCITY_WINDOW_S",
    "WINDOW_S",
    "AddedDetection",
    "Frame",
    "Track",
    "is_extension",
]

#: seconds that a frame waits before it is final
WINDOW_S = 1.0
#: An object is covered so many seconds before its first (lead-in) and after its last observation (lead-out), …
EXTENSION_S = 0.5
#: … or so many frames if these take longer, but never longer than the window. A detector that fails in some frames
#: fails for longer where there are few in a second.
EXTENSION_FRAMES = 10
#: seconds of observations that the velocity of an object is estimated from
VELOCITY_WINDOW_S = 0.25
#: IoU from which a predicted box and a detection are taken to be the same object
MATCH_IOU = 0.3
#: seconds by which times may be off that are sums of frame durations
TIME_TOLERANCE_S = 1e-6
#: observations that a track keeps at most, at its start and at its end
_MAX_OBSERVATIONS = 64


def is_extension(frames: ArrayLike, seconds: ArrayLike, window_s: float = WINDOW_S) -> NDArray[np.bool_]:
    """Whether an object is still covered, so far before its first or after its last observation.

    Args:
        frames: the distance as a number of frames; one or many.
        seconds: the same in seconds.
        window_s: seconds that a frame waits before it is final.
    """
    frames, seconds = np.asarray(frames), np.asarray(seconds) - TIME_TOLERANCE_S
    return np.asarray((seconds <= EXTENSION_S) | ((frames <= EXTENSION_FRAMES) & (seconds <= window_s)))


@dataclass(frozen=True, slots=True)
class AddedDetection:
    """A detection that tracking adds in a frame in which no detector saw the object.

    Attributes:
        object_type: index into `OBJECT_TYPES`.
        core: (4,) float32, where the object is taken to be, in pixels of the frame.
        box: (4,) float32, what to redact: the core, enlarged with the time since the object was observed.
        score: of the nearest observation, 0..1.
        model: id of the detector that observed the object last.
    """

    object_type: int
    core: Box
    box: Box
    score: float
    model: str

    def as_detections(self) -> Detections:
        """The one detection, with its enlarged box and without a mask."""
        return Detections(
            self.box[None],
            np.array([self.score], np.float32),
            np.array([self.object_type], np.uint8),
            np.array([self.model], np.str_),
        )


@dataclass(slots=True)
class Frame:
    """A frame whose detections may still change.

    Attributes:
        number: from 0 up.
        time_s: time of the frame in seconds.
        detections: the n detections that tracking may use, weak ones too.
        above_threshold: (n,) bool, which of them reach their thresholds. These are redacted in any case.
        track_ids: (n,) int64, the track of each detection; -1 for none.
        image: (h, w) uint8 small grey image.
        signature: of the image, to tell camera cuts.
        scene: number of camera cuts before the frame.
        added: detections that tracking adds, by track id.
    """

    number: int
    time_s: float
    detections: Detections
    above_threshold: NDArray[np.bool_]
    track_ids: NDArray[np.int64]
    image: NDArray[np.uint8]
    signature: SceneSignature
    scene: int = 0
    added: dict[int, AddedDetection] = field(default_factory=dict)

    def is_extension_of(self, observed: Frame | Observation, window_s: float) -> bool:
        """Whether an object that was observed in another frame, before or after, is covered in this one too.

        Args:
            observed: the other frame, or the observation.
            window_s: seconds that a frame waits before it is final.
        """
        number = observed.number if isinstance(observed, Frame) else observed.frame_number
        return bool(is_extension(abs(self.number - number), abs(self.time_s - observed.time_s), window_s))

    def observation(self, row: int) -> Observation:
        """One of the detections as an observation of its object."""
        found = self.detections
        return Observation(self.number, self.time_s, found.boxes[row], float(found.scores[row]), str(found.models[row]))

    def find_weak_detection(self, box: Box, object_type: int) -> int | None:
        """Find the detection below its threshold that confirms a predicted box.

        Args:
            box: (4,) float32, the predicted box in pixels of the frame.
            object_type: index into `OBJECT_TYPES`.

        Returns:
            The row of the detection without a track that overlaps the box most; None if none has an IoU of
            `MATCH_IOU`.
        """
        rows = np.flatnonzero((self.detections.types == object_type) & (self.track_ids < 0) & ~self.above_threshold)
        if not len(rows):
            return None
        overlaps = ious(box, self.detections.boxes[rows])
        best = int(overlaps.argmax())
        return int(rows[best]) if overlaps[best] >= MATCH_IOU else None

    def person_boxes(self) -> dict[int, Box]:
        """Boxes of the tracked persons, detected or added, by track id."""
        person = ObjectType.PERSON.number
        boxes = {track_id: added.box for track_id, added in self.added.items() if added.object_type == person}
        rows = np.flatnonzero((self.track_ids > 0) & (self.detections.types == person))
        return boxes | {int(self.track_ids[row]): self.detections.boxes[row] for row in rows}


@dataclass(slots=True)
class Track:
    """One object, followed over frames.

    Attributes:
        id: from 1 up.
        object_type: index into `OBJECT_TYPES`.
        early: the first observations, from which its velocity at the start is estimated.
        recent: the last observations, from which its velocity now is estimated.
        motion: the prediction since it was last observed; None while it is observed.
        flow_path: boxes that optical flow or the motion of the scene confirmed since then, by frame number.
        loose_path: where the object is if it has moved with the scene since the last of these, by frame number.
    """

    id: int
    object_type: int
    early: list[Observation]
    recent: deque[Observation]
    motion: MotionState | None = None
    flow_path: dict[int, Box] = field(default_factory=dict)
    loose_path: dict[int, Box] = field(default_factory=dict)

    @classmethod
    def initiate(cls, track_id: int, object_type: int, observation: Observation) -> Track:
        """Begin a track with the first observation of its object.

        Args:
            track_id: id of the new track, from 1 up.
            object_type: index into `OBJECT_TYPES`.
            observation: the first observation.

        Returns:
            A track with this one observation.
        """
        return cls(track_id, object_type, [observation], deque([observation]))

    def begin_anew(self, track_id: int, observation: Observation) -> Track:
        """Begin another track with an observation that was taken for one of this object.

        Args:
            track_id: id of the new track, from 1 up.
            observation: the first observation of the new track, which goes on with the velocity of this one.
        """
        return Track(track_id, self.object_type, [observation], deque([*self.recent, observation]))

    @property
    def first(self) -> Observation:
        """The first observation."""
        return self.early[0]

    @property
    def last(self) -> Observation:
        """The last observation."""
        return self.recent[-1]

    def update(self, observation: Observation) -> None:
        """Add an observation. It ends the prediction."""
        self.recent.append(observation)
        # at least two are kept, or no velocity can be estimated
        while len(self.recent) > 2 and (
            self.recent[0].time_s < observation.time_s - VELOCITY_WINDOW_S or len(self.recent) > _MAX_OBSERVATIONS
        ):
            self.recent.popleft()
        if observation.time_s <= self.first.time_s + VELOCITY_WINDOW_S and len(self.early) < _MAX_OBSERVATIONS:
            self.early.append(observation)
        self.motion, self.flow_path, self.loose_path = None, {}, {}

    def predict_from_last(self, path: ScenePath) -> MotionState:
        """The state from which to predict forward in time, from the last observation on."""
        return path.state_at(self.last, self.recent)

    def predict_from_first(self, path: ScenePath) -> MotionState:
        """The state from which to predict backward in time, from the first observation on."""
        return path.state_at(self.first, self.early)

    def between(
        self,
        new: Observation,
        frame: Frame,
        backward: Mapping[int, Box],
        loose: Mapping[int, Box],
        size_hw: tuple[int, int] | None = None,
    ) -> AddedDetection:
        """Make the detection to add in a frame between the last observation and a new one.

        Args:
            new: the new observation.
            frame: the frame between.
            backward: boxes that optical flow or the motion of the scene confirmed from the new observation on, by
                frame number.
            loose: where the object is before these if it has moved with the scene, by frame number.
            size_hw: height and width of the frame in pixels; default: not known.
        """
        number, last = frame.number, self.last
        boxes = [path[number] for path in (self.loose_path, loose) if number in path]
        core = interpolate(last, new, number, frame.time_s, self.flow_path, backward, boxes, size_hw)
        since_s, until_s = frame.time_s - last.time_s, new.time_s - frame.time_s
        return self.added_detection(core, min(since_s, until_s), last if since_s <= until_s else new)

    def added_detection(self, core: Box, unobserved_s: float, nearest: Observation) -> AddedDetection:
        """Make the detection to add in a frame without an observation.

        Args:
            core: (4,) float32, where the object is taken to be.
            unobserved_s: seconds between the frame and the nearest observation.
            nearest: that observation, whose score the detection gets.
        """
        return AddedDetection(self.object_type, core, enlarge(core, unobserved_s), nearest.score, self.last.model)
