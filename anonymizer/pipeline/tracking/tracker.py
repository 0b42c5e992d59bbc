"""Who is who from frame to frame of a video, and what was there in frames in which no detector saw it.

A library says which detections are of one object. What is ours: gaps between sightings are filled, every object is
covered a while before its first and after its last sighting, and nothing goes on across a camera cut. A window of
frames to come makes that work in both directions of time. Tracking only adds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, Mask, ObjectType, Source
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.association import Association, TrackerMaker, byte_track
from anonymizer.pipeline.tracking.motion import (
    Box,
    Carried,
    Sighting,
    apart,
    between,
    carry,
    covers,
    ious,
    joined,
    speed,
)
from anonymizer.pipeline.tracking.scene_cuts import Glance, first_cut
from anonymizer.pipeline.tracking.state import SAME_IOU, SPEED_S, Frame, Track

__all__ = ["EXTENSION_S", "GAIT_S", "MAX_FRAMES", "Tracker"]

Grey = NDArray[np.uint8]

#: an object is covered so many seconds before its first and after its last sighting
EXTENSION_S = 0.5
#: half of the time in which everything that a person covers is covered, to hide the gait
GAIT_S = 0.25
#: frames that are kept at most: a file whose times stand still never passes a window
MAX_FRAMES = 256
#: a picture unlike those before it may be a flash for so many seconds, or frames
FLASH_S, FLASH_FRAMES = 0.15, 12
#: under this share of its threshold a detection says nothing about a track
LEAST_SHARE = 0.2
#: seconds until the speed of a new object is known, and it can be followed back in time
_WAIT_S = 0.15
#: of times that were added up from frame rates
_CLOSE_S = 1e-6


class Tracker:
    """Who is who from frame to frame; fills gaps in both directions of time. Tracks only add.

    Args:
        size_hw: of the upright frame, in pixels.
        object_types: those that are looked for.
        window_s: seconds of frames to come that a frame waits for before it is final.
        tracker: makes what tells the objects of one type apart, of its threshold and the window.
    """

    def __init__(
        self,
        size_hw: tuple[int, int],
        options: Options,
        object_types: Sequence[ObjectType],
        *,
        window_s: float = 1.0,
        tracker: TrackerMaker = byte_track,
    ) -> None:
        self._size_hw, self._options, self._window_s = size_hw, options, window_s
        self._association = (
            None if options.no_object_tracking else Association(options, object_types, window_s, tracker)
        )
        self._ids, self._numbers = count(1), count()
        self._tracks: dict[int, Track] = {}
        self._new: list[Track] = []
        self._frames: deque[Frame] = deque()
        self._held: deque[Frame] = deque()
        self._before: Frame | None = None
        self._passed: deque[tuple[float, dict[int, Box]]] = deque(maxlen=MAX_FRAMES)
        self._now_s, self._scene = -np.inf, 0

    def push(self, time_s: float, found: Detections, picture: Grey) -> list[Detections]:
        """The next frame.

        Args:
            time_s: when it is shown; not before the one before it.
            found: all that detectors gave, under the thresholds too, boxes in pixels of the frame.
            picture: (h, w) uint8 grey, small, upright; of one size throughout.

        Returns:
            What to redact in the frames that have become final, oldest first.
        """
        if self._association is None:
            return [found[over_threshold(found, self._options)]]
        self._now_s = max(time_s, self._now_s)
        some = found[over_threshold(found, self._options, share=LEAST_SHARE)]
        over = over_threshold(some, self._options)
        ids = np.full(len(some), -1, np.int64)
        frame = Frame(next(self._numbers), self._now_s, some, over, ids, picture, Glance.of(picture))
        self._held.append(frame)
        self._settle(self._association, self._now_s)
        return list(self._final(self._now_s))

    def finish(self) -> list[Detections]:
        """The frames that are left."""
        if self._association is not None:
            self._settle(self._association, np.inf)
        return list(self._final(np.inf))

    def _settle(self, association: Association, now_s: float) -> None:
        """Step on all frames of which it is known whether a camera cut is before them."""
        while self._held:
            before, held = self._before, self._held
            stepped = 1 if before is None else first_cut(before.glance, [each.glance for each in held])
            if before is not None and not stepped:
                wait = min(FLASH_S, self._window_s - _CLOSE_S)
                if now_s - before.time_s <= wait and len(held) <= FLASH_FRAMES:
                    return
                self._cut(association)
                stepped = 1
            for _ in range(stepped):
                self._step(held.popleft(), association)

    def _cut(self, association: Association) -> None:
        """End everything: nothing goes on across a camera cut."""
        self._tracks.clear()
        self._scene += 1
        association.reset()

    def _step(self, frame: Frame, association: Association) -> None:
        frame.scene = self._scene
        self._frames.append(frame)
        frame.ids = association.step(frame.time_s, frame.found, frame.over)
        away = [each for each in self._tracks.values() if each.id not in frame.ids]
        self._carry([*away, *self._doubtful(frame)], frame)
        self._name_new(frame, away, association)
        self._see_faint(frame, away)
        self._see(frame)
        for track in away:
            if track.id not in frame.ids:
                self._extend(track, frame)
        self._before = frame
        self._follow_back(frame.time_s - _WAIT_S)

    def _doubtful(self, frame: Frame) -> Iterator[Track]:
        """Tracks that were lost before this frame, or leap to where the tracker sees them."""
        for row in np.flatnonzero(frame.ids > 0):
            track = self._tracks.get(int(frame.ids[row]))
            if track is not None and (track.carried is not None or apart(frame.found.boxes[row], track.last.box)):
                yield track

    def _carry(self, tracks: Sequence[Track], frame: Frame) -> None:
        """Carry tracks by flow from the frame before to this one."""
        if not tracks or self._before is None:
            return
        objects = []
        for track in tracks:
            if track.carried is None:
                last = track.last
                track.carried = Carried(last.box, last.time_s, speed(track.recent), last.time_s)
            objects.append(track.carried)
        carry(objects, self._before.picture, frame.picture, frame.time_s, self._scale_xy(frame))
        for track, each in zip(tracks, objects, strict=True):
            if each.followed:
                track.path[frame.number] = each.box

    def _scale_xy(self, frame: Frame) -> tuple[float, float]:
        (height, width), (full_height, full_width) = frame.picture.shape, self._size_hw
        return width / full_width, height / full_height

    def _name_new(self, frame: Frame, away: Sequence[Track], association: Association) -> None:
        """Give ids to what no tracker knew: the id of a track that flow carried there, or a new one."""
        for row in np.flatnonzero(frame.over & (frame.ids < 0)):
            box, object_type = frame.found.boxes[row], int(frame.found.types[row])
            if association.tracks(object_type):
                of_type = [each for each in away if each.object_type == object_type]
                track = self._carried_to(box, of_type, frame)
                frame.ids[row] = track.id if track else next(self._ids)
                association.name(object_type, box, int(frame.ids[row]))

    def _carried_to(self, box: Box, tracks: Sequence[Track], frame: Frame) -> Track | None:
        there = [each for each in tracks if each.carried and each.id not in frame.ids]
        if not there:
            return None
        overlaps = ious(box, np.stack([each.carried.box for each in there if each.carried]))
        best = int(overlaps.argmax())
        return there[best] if overlaps[best] >= SAME_IOU else None

    def _see_faint(self, frame: Frame, away: Sequence[Track]) -> None:
        """Take what is under the threshold for a track that flow carried there."""
        for track in away:
            if track.carried is not None and track.id not in frame.ids:
                row = frame.faint_at(track.carried.box, track.object_type)
                if row is not None:
                    frame.ids[row] = track.id

    def _see(self, frame: Frame) -> None:
        """Note every sighting, and fill the gap before it."""
        gaps = []
        for row in np.flatnonzero(frame.ids > 0):
            sighting = frame.sighting(int(row))
            track = self._tracks.get(int(frame.ids[row]))
            if track is None:
                track = Track.begun(int(frame.ids[row]), int(frame.found.types[row]), sighting)
                self._tracks[track.id] = track
                self._new.append(track)
            elif track.last.number < frame.number:
                self._leave(track, sighting, frame)
                if frame.number > track.last.number + 1:
                    gaps.append((track, sighting))
                else:
                    track.see(sighting)
        self._fill(gaps, frame)

    def _leave(self, track: Track, sighting: Sighting, frame: Frame) -> None:
        """Go on covering what flow still sees elsewhere: what took the track may be another object that is alike."""
        carried = track.carried
        if carried is not None and carried.followed and apart(sighting.box, carried.box):
            left = replace(track, id=next(self._ids), recent=track.recent.copy(), path={})
            self._tracks[left.id] = left
            self._extend(left, frame)

    def _fill(self, gaps: Sequence[tuple[Track, Sighting]], frame: Frame) -> None:
        """Cover tracks between their last sighting and a new one, as far as frames are not final."""
        back: dict[int, dict[int, Box]] = {track.id: {} for track, _ in gaps}
        going = [(track, Carried(new.box, new.time_s, speed([track.last, new]), new.time_s)) for track, new in gaps]
        for number in range(frame.number - 1, self._frames[0].number - 1, -1):
            going = [(track, each) for track, each in going if each.followed and track.last.number <= number]
            self._carry_back([each for _, each in going], number)
            for track, each in going:
                if each.followed:
                    back[track.id][number] = each.box
        for track, new in gaps:
            for missed in self._frames:
                if track.last.number < missed.number < new.number:
                    since, until = missed.time_s - track.last.time_s, new.time_s - missed.time_s
                    core = between(track.last, new, missed.number, missed.time_s, track.path, back[track.id])
                    missed.added[track.id] = track.added(core, min(since, until), track.last if since <= until else new)
            track.see(new)

    def _carry_back(self, objects: Sequence[Carried], number: int) -> None:
        """Carry objects from the frame after this one to it."""
        oldest = self._frames[0].number
        after, frame = self._frames[number + 1 - oldest], self._frames[number - oldest]
        carry(objects, after.picture, frame.picture, frame.time_s, self._scale_xy(frame))

    def _extend(self, track: Track, frame: Frame) -> None:
        """Cover a track that was not seen in this frame, or forget it."""
        away_s = frame.time_s - track.last.time_s
        if away_s > self._window_s + SPEED_S:
            del self._tracks[track.id]
        elif away_s <= EXTENSION_S + _CLOSE_S and track.carried and track.carried.visible(self._size_hw):
            frame.added[track.id] = track.added(track.carried.box, away_s, track.last)

    def _follow_back(self, born_s: float) -> None:
        """Follow objects that were first seen by a time back before it, by flow and by what is under the threshold."""
        tracks = [each for each in self._new if each.first.time_s <= born_s]
        if not tracks:
            return
        self._new = [each for each in self._new if each.first.time_s > born_s]
        going = [
            (track, Carried(track.first.box, track.first.time_s, speed(track.early), track.first.time_s))
            for track in tracks
        ]
        oldest = self._frames[0].number
        for number in range(max(track.first.number for track in tracks) - 1, oldest - 1, -1):
            frame, after = self._frames[number - oldest], self._frames[number + 1 - oldest]
            begun = [each for each in going if each[0].first.number > number]
            later = [each for each in going if each[0].first.number <= number]
            if frame.scene == after.scene:
                self._carry_back([carried for _, carried in begun], number)
                later += [(track, carried) for track, carried in begun if self._cover_back(track, carried, frame)]
            going = later

    def _cover_back(self, track: Track, carried: Carried, frame: Frame) -> bool:
        """Cover an object in a frame before its first sighting; whether it may be in the one before that, too."""
        if carried.seen_s - frame.time_s > EXTENSION_S + _CLOSE_S or not carried.visible(self._size_hw):
            return False
        row = frame.faint_at(carried.box, track.object_type)
        if row is None:
            frame.added.setdefault(track.id, track.added(carried.box, carried.unseen_s, track.first))
        else:
            frame.ids[row] = track.id
            carried.box, carried.seen_s = frame.found.boxes[row], frame.time_s
        return True

    def _final(self, now_s: float) -> Iterator[Detections]:
        while self._frames:
            frame = self._frames[0]
            due = frame.time_s + self._window_s <= now_s + _CLOSE_S
            if not due and len(self._frames) + len(self._held) <= MAX_FRAMES:
                return
            self._follow_back(min(frame.time_s + EXTENSION_S + _CLOSE_S, now_s))
            yield self._result(frame)
            self._frames.popleft()
            if self._options.hide_gait:
                self._passed.append((frame.time_s, frame.persons()))
                while self._passed[0][0] < frame.time_s - GAIT_S - _CLOSE_S:
                    self._passed.popleft()

    def _result(self, frame: Frame) -> Detections:
        seen = np.flatnonzero(frame.over | (frame.ids > 0))
        found = frame.found
        height, width = self._size_hw
        added = []
        for name, each in frame.added.items():
            box = np.clip(each.box, 0, np.array([width, height, width, height], np.float32))
            of_type = found.boxes[seen[found.types[seen] == each.object_type]]
            if name not in frame.ids and (box[:2] < box[2:]).all() and not covers(of_type, each.core):
                added.append((name, replace(each, box=box)))
        boxes = [*found.boxes[seen], *(each.box for _, each in added)]
        ids = [*frame.ids[seen], *(name for name, _ in added)]
        masks: list[Mask | None] = [*(found.masks[row] for row in seen), *(None for _ in added)]
        types = [*found.types[seen], *(each.object_type for _, each in added)]
        if self._options.hide_gait:
            around = self._around(frame)
            for row, name in enumerate(ids):
                if name in around:
                    boxes[row], masks[row] = around[name], None
        return Detections(
            np.reshape(boxes, (-1, 4)),
            np.array([*found.scores[seen], *(each.score for _, each in added)]),
            np.array(types, np.uint8),
            np.array([*found.models[seen], *(each.model for _, each in added)], np.str_),
            np.array([*found.sources[seen], *(Source.TRACKER.value for _ in added)], "U16"),
            np.array(ids, np.int64),
            tuple(masks),
        )

    def _around(self, frame: Frame) -> dict[int, Box]:
        """By track, all that each person of this frame covers a little before and after it."""
        near = [boxes for time_s, boxes in self._passed if time_s >= frame.time_s - GAIT_S - _CLOSE_S]
        near += [each.persons() for each in self._frames if each.time_s <= frame.time_s + GAIT_S + _CLOSE_S]
        return {name: joined(*(each[name] for each in near if name in each)) for name in frame.persons()}
