"""Which detections of successive frames are of one object: the library's trackers, one for each object type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.motion import Box

if TYPE_CHECKING:
    from trackers.core.base import BaseTracker

__all__ = ["Association", "TrackerMaker", "byte_track"]

#: from an object type's threshold and the seconds after which an object that was not seen is another one
TrackerMaker = Callable[[float, float], "BaseTracker"]


def byte_track(threshold: float, window_s: float) -> BaseTracker:
    """The tracker in use: ByteTrack, by how much boxes that are grown by 30 % overlap.

    It alone goes by scores under the threshold for objects that were lost for some frames, too. What flow adds makes
    all three alike in what stays covered (benchmarks/tracking.py). Without that, 20 % of the frames dropped, every 5th
    frame of faces and vehicles and every 3rd of persons, uncovered (and into how many tracks 1, 2 and 4 objects fall):
        ByteTrack, plain overlap    0.50 % (1.2)    1.96 % (3.0)    2.07 % (6.4)
        ByteTrack                   0.50 % (1.0)    1.76 % (2.2)    2.07 % (6.2)
        OC-SORT                     0.50 % (1.0)    1.96 % (3.0)    2.07 % (6.0)
        BoT-SORT                    0.50 % (1.0)    1.96 % (3.0)    2.07 % (7.0)
    """
    from trackers import ByteTrackTracker
    from trackers.utils.iou import BIoU

    return ByteTrackTracker(
        lost_track_buffer=round(30 * window_s),
        track_activation_threshold=threshold,
        high_conf_det_threshold=threshold,
        minimum_consecutive_frames=1,
        minimum_iou_threshold=0.1,
        iou=BIoU(buffer_ratio=0.3),
    )


class Association:
    """Says which detections are of objects that are known; a tracker never learns of another type's.

    Args:
        object_types: those that are tracked.
        window_s: seconds after which an object that was not seen is another one.
        tracker: makes the tracker of a type.
    """

    def __init__(
        self, options: Options, object_types: Sequence[ObjectType], window_s: float, tracker: TrackerMaker
    ) -> None:
        self._options = options
        self._trackers = {each.number: tracker(options.threshold(each), window_s) for each in object_types}
        self._start_s = 0.0
        self._clock_s = -1.0

    def step(self, time_s: float, found: Detections, over: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The next frame, also where nothing was found in it.

        Args:
            over: (n,) bool, which of the n found reach their thresholds.

        Returns:
            (n,) int64: the track that each continues, -1 where none.
        """
        # imported here as it takes most of a second
        import supervision as sv

        if self._clock_s < 0:
            self._start_s = time_s
        # trackers take times that rise, from 0 up
        self._clock_s = max(time_s - self._start_s, self._clock_s + 1e-3)
        ids = np.full(len(found), -1, np.int64)
        for number, tracker in self._trackers.items():
            rows = np.flatnonzero(found.types == number)
            least = self._options.threshold(OBJECT_TYPES[number])
            scores = found.scores[rows].astype(np.float64)
            # a threshold in single precision may be a little below itself
            scores = np.where(over[rows], np.maximum(scores, least), scores)
            boxes = found.boxes[rows].astype(np.float64)
            given = sv.Detections(xyxy=boxes, confidence=scores, data={"row": rows})
            seen = tracker.update(given, timestamp=self._clock_s)
            if len(seen) and seen.tracker_id is not None:
                ids[np.asarray(seen.data["row"])] = seen.tracker_id
        return ids

    def tracks(self, object_type: int) -> bool:
        """Whether a type is tracked."""
        return object_type in self._trackers

    def name(self, object_type: int, box: Box, track_id: int) -> None:
        """Give an id to what began in this frame with this (4,) box; whatever had the id is forgotten.

        Without, a tracker would name it at its second sighting, and forget it where that is two frames late.
        """
        tracker = self._trackers[object_type]
        tracker.tracks = [each for each in tracker.tracks if each.tracker_id != track_id]
        new = [each for each in tracker.tracks if each.tracker_id < 0]
        if new:
            nearest = min(new, key=lambda each: float(np.abs(each.get_state_bbox() - box).sum()))
            nearest.tracker_id = track_id

    def reset(self) -> None:
        """Forget all objects."""
        for tracker in self._trackers.values():
            tracker.reset()
        self._clock_s = -1.0
