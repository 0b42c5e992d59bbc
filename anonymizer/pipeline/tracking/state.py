"""What tracking knows of frames that are not final, and of objects that are under way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.tracking.motion import Box, Carried, Sighting, grown, ious
from anonymizer.pipeline.tracking.scene_cuts import Glance

__all__ = ["SPEED_S", "Added", "Frame", "Track"]

#: seconds from which the speed of an object is taken
SPEED_S = 0.25
#: what flow carried an object to, and what a detector found, are the same if they overlap so much
SAME_IOU = 0.3
_MOST_EARLY = 64


@dataclass(frozen=True, slots=True)
class Added:
    """A row that no detector gave.

    Attributes:
        core: where the object is taken to be.
        box: what to redact: the core, grown with the time since it was seen.
    """

    object_type: int
    core: Box
    box: Box
    score: float
    model: str


@dataclass(slots=True)
class Frame:
    """A frame that is not final.

    Attributes:
        number, time_s: from 0 up; seconds.
        found: n rows that may matter.
        over: (n,) bool, which of them do in any case.
        ids: (n,) int64, the track of each, -1 where there is none.
        picture: (h, w) uint8 grey, small.
        glance: of the picture.
        scene: number of camera cuts before it.
        added: by track.
    """

    number: int
    time_s: float
    found: Detections
    over: NDArray[np.bool_]
    ids: NDArray[np.int64]
    picture: NDArray[np.uint8]
    glance: Glance
    scene: int = 0
    added: dict[int, Added] = field(default_factory=dict)

    def sighting(self, row: int) -> Sighting:
        """One of its rows."""
        found = self.found
        return Sighting(self.number, self.time_s, found.boxes[row], float(found.scores[row]), str(found.models[row]))

    def faint_at(self, box: Box, object_type: int) -> int | None:
        """The row under the threshold, of no track, that is where a track is taken to be."""
        rows = np.flatnonzero((self.found.types == object_type) & (self.ids < 0) & ~self.over)
        if not len(rows):
            return None
        overlaps = ious(box, self.found.boxes[rows])
        best = int(overlaps.argmax())
        return int(rows[best]) if overlaps[best] >= SAME_IOU else None

    def persons(self) -> dict[int, Box]:
        """Where each person is, by track."""
        person = ObjectType.PERSON.number
        boxes = {name: each.box for name, each in self.added.items() if each.object_type == person}
        rows = np.flatnonzero((self.ids > 0) & (self.found.types == person))
        return boxes | {int(self.ids[row]): self.found.boxes[row] for row in rows}


@dataclass(slots=True)
class Track:
    """One object.

    Attributes:
        id: from 1 up.
        object_type: index into `OBJECT_TYPES`.
        early, recent: its first sightings, and its last ones, as far as its speed is taken from them.
        carried: where flow carried it since it was last seen; None while it is seen.
        path: by number of the frame, where flow confirmed it since.
    """

    id: int
    object_type: int
    early: list[Sighting]
    recent: deque[Sighting]
    carried: Carried | None = None
    path: dict[int, Box] = field(default_factory=dict)

    @classmethod
    def begun(cls, name: int, object_type: int, sighting: Sighting) -> Track:
        return cls(name, object_type, [sighting], deque([sighting]))

    @property
    def first(self) -> Sighting:
        return self.early[0]

    @property
    def last(self) -> Sighting:
        return self.recent[-1]

    def see(self, sighting: Sighting) -> None:
        self.recent.append(sighting)
        # two at least, or there is no speed
        while len(self.recent) > 2 and (
            self.recent[0].time_s < sighting.time_s - SPEED_S or len(self.recent) > _MOST_EARLY
        ):
            self.recent.popleft()
        if sighting.time_s <= self.first.time_s + SPEED_S and len(self.early) < _MOST_EARLY:
            self.early.append(sighting)
        self.carried, self.path = None, {}

    def added(self, core: Box, seconds: float, near: Sighting) -> Added:
        """A row of it, so long before or after it was seen, with the score of the sighting that is near."""
        return Added(self.object_type, core, grown(core, seconds), near.score, self.last.model)
