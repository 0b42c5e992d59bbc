"""Tracking of the objects in a video: which detections are of one object, and where it is in frames without one.

Package `trackers` associates the detections (`association.py`). Around it, this module fills the gaps between the
observations of an object. It covers the object for a while before the first and after the last of them, across a
camera cut too. After a cut, objects are new ones. Tracking only adds: no detection above its threshold is ever dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.appearance import fits, leapt, shows_object
from anonymizer.pipeline.tracking.association import Association, TrackerFactory, byte_track
from anonymizer.pipeline.tracking.boxes import Box, ious, is_displaced
from anonymizer.pipeline.tracking.carried import CarriedTracks, coast
from anonymizer.pipeline.tracking.final_frames import GaitHistory, final_detections
from anonymizer.pipeline.tracking.global_motion import GlobalMotion
from anonymizer.pipeline.tracking.motion import MotionState, Observation, predict
from anonymizer.pipeline.tracking.optical_flow import Grey
from anonymizer.pipeline.tracking.scene_cuts import SceneSignature, count_frames_before_cut
from anonymizer.pipeline.tracking.scene_path import ScenePath
from anonymizer.pipeline.tracking.state import MATCH_IOU, TIME_TOLERANCE_S, VELOCITY_WINDOW_S, WINDOW_S, Frame, Track

__all__ = ["MAX_FRAMES", "Tracker"]

#: frames that are kept at most: in a file whose times stand still, no window ever passes
MAX_FRAMES = 256
#: Images unlike those before them may be a flash, or something in front of the camera, until the window has passed or
#: there are so many. After that it is a cut.
FLASH_FRAMES = 200
#: a detection below this share of its threshold is not used at all
MIN_THRESHOLD_SHARE = 0.2
#: seconds until the velocity of a new object is known, so that it can be followed back in time
_BACKWARD_DELAY_S = 0.15


class Tracker:
    """Tracks the objects of one video, and fills in what the detectors missed.

    It takes the detections of one frame after the other, and gives them back when they are final. Steps for each frame:

    1. **Camera cuts.** Small grey images are compared. All tracks end at a cut. It is no cut if the old scene is seen
       again within `window_s`: that was a flash, or a truck passed in front of the camera.
    2. **Association.** ByteTrack (Zhang et al., arXiv 2110.06864), from package `trackers`, matches detections with
       tracks by the overlap of their boxes. It uses detections below the threshold (weak ones) as well. Tracks are
       expected where the motion of the camera has moved them to (`global_motion.py`).
    3. **Prediction.** Lucas-Kanade optical flow moves the box of each track without a detection (`optical_flow.py`).
       Where flow fails, its pixels are searched for. Else it moves with the scene, or on with its last velocity.
    4. **Identity.** A detection that fits neither the predicted place nor the looks of its track shows another object,
       and begins a new track (`appearance.py`).
    5. **Recovery.** A detection that no tracker knows continues the track that was predicted there. If there is none,
       it initiates a new track. A weak detection counts where flow predicts a track.
    6. **Gap filling.** A track that is observed again gets boxes in all frames since its last observation. They are
       interpolated between flow from both ends.
    7. **Lead-out.** A track is covered for half a second or ten frames after its last observation, across a cut too.
    8. **Lead-in.** A new track is followed backward in time, and covered as long before its first observation.

    Gap filling and lead-in change frames of the past. Each frame therefore waits for `window_s` before it is final.
    Boxes that tracking adds are slightly enlarged, more so the longer the object was not observed. Frames must come in
    order, and the detections of all frames are needed, empty ones too.

    Args:
        size_hw: height and width of the upright frames in pixels.
        options: give the thresholds, and whether objects are tracked and the gait of persons is hidden.
        object_types: the types that are tracked; detections of others pass without a track.
        window_s: seconds that a frame waits before it is final, default: 1. Longer gaps are not filled completely.
        make_tracker: makes the tracker of one object type, default: ByteTrack.

    Examples:
        >>> tracker = Tracker((1080, 1920), Options(), [ObjectType.FACE])
        >>> for time_s, detections, image in frames:  # doctest: +SKIP
        ...     for final in tracker.push(time_s, detections, image):
        ...         redact_next_frame(final)
        >>> for final in tracker.finish():  # doctest: +SKIP
        ...     redact_next_frame(final)
    """

    def __init__(
        self,
        size_hw: tuple[int, int],
        options: Options,
        object_types: Sequence[ObjectType],
        *,
        window_s: float = WINDOW_S,
        make_tracker: TrackerFactory = byte_track,
    ) -> None:
        self._size_hw, self._options, self._window_s = size_hw, options, window_s
        self._association = (
            None if options.no_object_tracking else Association(options, object_types, window_s, make_tracker)
        )
        self._track_ids, self._frame_numbers = count(1), count()
        self._tracks: dict[int, Track] = {}
        #: tracks that were not followed backward in time yet
        self._new_tracks: list[Track] = []
        #: frames that are tracked but not final
        self._frames: deque[Frame] = deque()
        #: frames of which it is not known yet whether a camera cut is before them
        self._undecided: deque[Frame] = deque()
        self._previous: Frame | None = None
        self._gait = GaitHistory(MAX_FRAMES)
        self._carried = CarriedTracks(window_s)
        self._path = ScenePath(MAX_FRAMES)
        self._now_s, self._scene = -np.inf, 0

    def push(self, time_s: float, detections: Detections, image: Grey) -> list[Detections]:
        """Process the next frame.

        Args:
            time_s: time of the frame in seconds, not before the frame before it.
            detections: all that the detectors gave, those below their thresholds too; boxes in pixels of the frame.
            image: (h, w) uint8 small grey image of the upright frame; all frames have the same size. With 640 pixels on
                the long side, objects of 16 pixels in a frame 1920 pixels wide are followed.

        Returns:
            What to redact in the frames that have become final, one for each, oldest first. Track ids are unique over
            all types; they are -1 for detections without a track.
        """
        if self._association is None:
            return [detections[over_threshold(detections, self._options)]]
        self._now_s = max(time_s, self._now_s)
        usable = detections[over_threshold(detections, self._options, share=MIN_THRESHOLD_SHARE)]
        above = over_threshold(usable, self._options)
        no_ids = np.full(len(usable), -1, np.int64)
        number = next(self._frame_numbers)
        self._undecided.append(Frame(number, self._now_s, usable, above, no_ids, image, SceneSignature.of(image)))
        self._process_decided(self._association, self._now_s)
        return list(self._final_frames(self._now_s))

    def finish(self) -> list[Detections]:
        """End the video, or a stretch of it: more frames may follow, but these cannot change those before any more.

        Returns:
            What to redact in the frames that are left, oldest first.
        """
        if self._association is not None:
            self._process_decided(self._association, np.inf)
        return list(self._final_frames(np.inf))

    def _process_decided(self, association: Association, now_s: float) -> None:
        """Process all frames of which it is known whether a camera cut is before them."""
        while self._undecided:
            previous, undecided = self._previous, self._undecided
            in_scene = 1
            if previous is not None:
                in_scene = count_frames_before_cut(previous.signature, [frame.signature for frame in undecided])
                if not in_scene:
                    waited_s = now_s - previous.time_s
                    if waited_s <= self._window_s - TIME_TOLERANCE_S and len(undecided) <= FLASH_FRAMES:
                        return
                    self._begin_scene(association)
                    in_scene = 1
            for _ in range(in_scene):
                self._process(undecided.popleft(), association)

    def _begin_scene(self, association: Association) -> None:
        """Terminate all tracks: across a camera cut, an object is only covered until its lead-out ends."""
        self._carried.add(self._tracks.values(), self._size_hw, self._path)
        self._tracks.clear()
        self._scene += 1
        association.reset()

    def _process(self, frame: Frame, association: Association) -> None:
        """Steps 2 to 8 for one frame."""
        frame.scene = self._scene
        self._frames.append(frame)
        if self._tracks and self._previous is not None:
            self._motion_into(frame, self._previous)
        scene_motion = self._path.matrix(frame.number)
        frame.track_ids = association.update(frame.time_s, frame.detections, frame.above_threshold, scene_motion)
        unmatched = [track for track in self._tracks.values() if track.id not in frame.track_ids]
        self._predict([*unmatched, *self._uncertain_tracks(frame)], frame)
        unmatched += self._tracks_of_others(frame, association)
        self._assign_new_detections(frame, unmatched, association)
        self._assign_weak_detections(frame, unmatched)
        self._update_tracks(frame)
        for track in unmatched:
            if track.id not in frame.track_ids:
                self._extend_or_terminate(track, frame)
        self._carried.cover(frame, self._previous, self._scale_xy(frame))
        self._previous = frame
        self._backward_pass(frame.time_s - _BACKWARD_DELAY_S)

    def _uncertain_tracks(self, frame: Frame) -> Iterator[Track]:
        """Tracks that were lost before this frame, or whose box leaps in it. The tracker may be wrong about them."""
        for row in np.flatnonzero(frame.track_ids > 0):
            track = self._tracks.get(int(frame.track_ids[row]))
            if track is None:
                continue
            box, last = frame.detections.boxes[row], track.last.box
            if track.motion is not None or is_displaced(box, last) or not fits(box, last):
                yield track

    def _tracks_of_others(self, frame: Frame, association: Association) -> list[Track]:
        """Take detections from tracks whose motion and looks they do not fit, and return these tracks.

        Each such detection begins a track, with a lead-in. The track that had it gets a lead-out. The frames since its
        last observation are filled all the same: it may be the same object.
        """
        taken = []
        for row in np.flatnonzero(frame.track_ids > 0):
            track, box = self._tracks.get(int(frame.track_ids[row])), frame.detections.boxes[row]
            if track is None or shows_object(track, box, frame, self._frames, self._scale_xy(frame)):
                continue
            observation, new_id = frame.observation(int(row)), next(self._track_ids)
            taken.append((track, observation))
            association.rename(track.object_type, track.id, new_id)
            frame.track_ids[row], self._tracks[new_id] = new_id, track.begin_anew(new_id, observation)
            self._new_tracks.append(self._tracks[new_id])
        self._fill_gaps(taken, frame)
        return [track for track, _ in taken]

    def _predict(self, tracks: Sequence[Track], frame: Frame) -> None:
        """Predict tracks by optical flow from the previous frame to this one."""
        if not tracks or self._previous is None:
            return
        states = []
        for track in tracks:
            if track.motion is None:
                track.motion = track.predict_from_last(self._path)
            states.append(track.motion)
        self._move(states, self._previous, frame, self._motion_into(frame, self._previous))
        for track, state in zip(tracks, states, strict=True):
            if state.confirmed:
                track.flow_path[frame.number] = state.box
            elif state.alternative is not None:
                track.loose_path[frame.number] = state.alternative

    def _motion_into(self, frame: Frame, before: Frame) -> GlobalMotion | None:
        """The motion of the scene from the frame before to this one."""
        if frame.scene != before.scene:
            return None
        return self._path.motion(frame.number, before.image, frame.image, self._scale_xy(frame))

    def _scale_xy(self, frame: Frame) -> tuple[float, float]:
        """Size of the small image divided by the size of the frame."""
        (height, width), (full_height, full_width) = frame.image.shape, self._size_hw
        return width / full_width, height / full_height

    def _assign_new_detections(self, frame: Frame, unmatched: Sequence[Track], association: Association) -> None:
        """Give ids to detections that no tracker knew: of the track that flow predicted there, or a new one."""
        for row in np.flatnonzero(frame.above_threshold & (frame.track_ids < 0)):
            box, object_type = frame.detections.boxes[row], int(frame.detections.types[row])
            if association.is_tracked(object_type):
                candidates = [track for track in unmatched if track.object_type == object_type]
                track = self._predicted_track_at(box, candidates, frame)
                frame.track_ids[row] = track.id if track else next(self._track_ids)
                association.assign_id(object_type, box, int(frame.track_ids[row]))

    def _predicted_track_at(self, box: Box, tracks: Sequence[Track], frame: Frame) -> Track | None:
        """The track without a detection in this frame whose predicted box overlaps a box most, if it does enough."""
        predicted = [track for track in tracks if track.motion and track.id not in frame.track_ids]
        if not predicted:
            return None
        overlaps = ious(box, np.stack([track.motion.box for track in predicted if track.motion]))
        best = int(overlaps.argmax())
        return predicted[best] if overlaps[best] >= MATCH_IOU else leapt(box, predicted, frame, self._scale_xy(frame))

    def _assign_weak_detections(self, frame: Frame, unmatched: Sequence[Track]) -> None:
        """Take a detection below the threshold for a track that flow predicted there."""
        for track in unmatched:
            if track.motion is not None and track.id not in frame.track_ids:
                row = frame.find_weak_detection(track.motion.box, track.object_type)
                if row is not None:
                    frame.track_ids[row] = track.id

    def _update_tracks(self, frame: Frame) -> None:
        """Add the frame's observations to their tracks, initiate new ones, and fill the gaps before observations."""
        gaps = []
        for row in np.flatnonzero(frame.track_ids > 0):
            observation, track_id = frame.observation(int(row)), int(frame.track_ids[row])
            track = self._tracks.get(track_id)
            if track is None:
                track = Track.initiate(track_id, int(frame.detections.types[row]), observation)
                self._tracks[track.id] = track
                self._new_tracks.append(track)
            elif track.last.frame_number < frame.number:
                self._split_if_displaced(track, observation, frame)
                if frame.number > track.last.frame_number + 1:
                    gaps.append((track, observation))
        self._fill_gaps(gaps, frame)
        for row in np.flatnonzero(frame.track_ids > 0):
            track = self._tracks[int(frame.track_ids[row])]
            if track.last.frame_number < frame.number:
                track.update(frame.observation(int(row)))

    def _split_if_displaced(self, track: Track, observation: Observation, frame: Frame) -> None:
        """Go on covering the predicted place if the observation is elsewhere: it may be of another, similar object.

        That object gets a lead-in, as all new ones do.
        """
        motion = track.motion
        if motion is not None and motion.confirmed and is_displaced(observation.box, motion.box):
            split = replace(track, id=next(self._track_ids), recent=track.recent.copy(), flow_path={}, loose_path={})
            self._tracks[split.id] = split
            self._extend_or_terminate(split, frame)
            self._new_tracks.append(Track.initiate(next(self._track_ids), track.object_type, observation))

    def _fill_gaps(self, gaps: Sequence[tuple[Track, Observation]], frame: Frame) -> None:
        """Cover tracks between their last observation and a new one, in the frames that are not final."""
        backward: dict[int, dict[int, Box]] = {track.id: {} for track, _ in gaps}
        loose: dict[int, dict[int, Box]] = {track.id: {} for track, _ in gaps}
        active = [(track, self._path.state_at(new, [track.last, new])) for track, new in gaps]
        for number in range(frame.number - 1, self._frames[0].number - 1, -1):
            active = [(track, state) for track, state in active if track.last.frame_number <= number]
            self._predict_backward([state for _, state in active], number)
            for track, state in active:
                if state.confirmed:
                    backward[track.id][number] = state.box
                elif state.alternative is not None:
                    loose[track.id][number] = state.alternative
        for track, new in gaps:
            for lost in self._frames:
                if track.last.frame_number < lost.number < new.frame_number:
                    lost.added[track.id] = track.between(new, lost, backward[track.id], loose[track.id], self._size_hw)

    def _predict_backward(self, states: Sequence[MotionState], number: int) -> None:
        """Predict states from the frame after the one with this number to that one."""
        if not states:
            return
        oldest = self._frames[0].number
        after, frame = self._frames[number + 1 - oldest], self._frames[number - oldest]
        motion = self._motion_into(after, frame)
        self._move(states, after, frame, motion and motion.inverse())

    def _move(self, states: Sequence[MotionState], start: Frame, end: Frame, motion: GlobalMotion | None) -> None:
        images, scale_xy = (start.image, end.image), self._scale_xy(end)
        predict(states, *images, end.time_s, scale_xy, motion, scene_moves=self._path.moves)

    def _extend_or_terminate(self, track: Track, frame: Frame) -> None:
        """Cover a track that was not observed in this frame (lead-out), or terminate it after the window."""
        unobserved_s, state = frame.time_s - track.last.time_s, track.motion
        if unobserved_s > self._window_s + VELOCITY_WINDOW_S:
            del self._tracks[track.id]
        elif state and frame.is_extension_of(track.last, self._window_s) and state.is_visible(self._size_hw):
            frame.added[track.id] = track.added_detection(state.core, unobserved_s, track.last)

    def _backward_pass(self, initiated_until_s: float) -> None:
        """Follow tracks that began up to a time backward from their first observation (lead-in)."""
        tracks = [track for track in self._new_tracks if track.first.time_s <= initiated_until_s]
        if not tracks:
            return
        self._new_tracks = [track for track in self._new_tracks if track.first.time_s > initiated_until_s]
        active = [(track, track.predict_from_first(self._path)) for track in tracks]
        oldest = self._frames[0].number
        for number in range(max(track.first.frame_number for track in tracks) - 1, oldest - 1, -1):
            frame, after = self._frames[number - oldest], self._frames[number + 1 - oldest]
            begun = [(track, state) for track, state in active if track.first.frame_number > number]
            active = [(track, state) for track, state in active if track.first.frame_number <= number]
            if frame.scene == after.scene:
                self._predict_backward([state for _, state in begun], number)
            else:
                for _, state in begun:
                    coast(state, frame.time_s)
            active += [(track, state) for track, state in begun if self._extend_backward(track, state, frame)]

    def _extend_backward(self, track: Track, state: MotionState, frame: Frame) -> bool:
        """Cover a track in a frame before its first observation. A weak detection there prolongs the lead-in.

        Returns:
            Whether to go on to the frame before.
        """
        if not frame.is_extension_of(state.observed, self._window_s):
            return False
        if not state.is_visible(self._size_hw):
            return True  # the camera may have come from there
        row = frame.find_weak_detection(state.box, track.object_type)
        if row is None:
            frame.added.setdefault(track.id, track.added_detection(state.core, state.unobserved_s, track.first))
        else:
            frame.track_ids[row] = track.id
            state.observe(frame.observation(row))
        return True

    def _may_be_led_in(self, frame: Frame) -> bool:
        """Whether a frame is so near to those before which there may be a cut that lead-ins reach from them to it."""
        return bool(self._undecided) and self._undecided[0].is_extension_of(frame, self._window_s)

    def _final_frames(self, now_s: float) -> Iterator[Detections]:
        """The detections of the frames whose window has passed. These frames are forgotten."""
        while self._frames:
            frame = self._frames[0]
            is_due = frame.time_s + self._window_s <= now_s + TIME_TOLERANCE_S and not self._may_be_led_in(frame)
            if not is_due and len(self._frames) + len(self._undecided) <= MAX_FRAMES:
                return
            last = next(each for each in reversed(self._frames) if each.is_extension_of(frame, self._window_s))
            self._backward_pass(min(last.time_s, now_s))
            hide_gait = self._options.hide_gait
            gait_boxes = self._gait.gait_boxes(frame, self._frames) if hide_gait else {}
            yield final_detections(frame, self._size_hw, gait_boxes, self._options)
            self._frames.popleft()
            if hide_gait:
                self._gait.add(frame)
