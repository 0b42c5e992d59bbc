"""Data association: which detections in successive frames show the same object. Package `trackers` decides that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.boxes import Box

if TYPE_CHECKING:
    from trackers.core.base import BaseTracker

__all__ = ["Association", "TrackerFactory", "byte_track"]

#: Makes a tracker for one object type, from the type's threshold and the seconds after which an unobserved object is
#: forgotten.
TrackerFactory = Callable[[float, float], "BaseTracker"]

# Trackers compared (benchmarks/tracking.py), with 20 % of the frames dropped and without our optical flow: share of
# uncovered objects, for faces and vehicles in every 5th frame and persons in every 3rd. In brackets: into how many
# tracks 1, 2 and 4 objects fall.
#     ByteTrack, plain overlap    0.50 % (1.2)    1.96 % (3.0)    2.07 % (6.4)
#     ByteTrack                   0.50 % (1.0)    1.76 % (2.2)    2.07 % (6.2)
#     OC-SORT                     0.50 % (1.0)    1.96 % (3.0)    2.07 % (6.0)
#     BoT-SORT                    0.50 % (1.0)    1.96 % (3.0)    2.07 % (7.0)


def byte_track(threshold: float, window_s: float) -> BaseTracker:
    """Make the default tracker: ByteTrack, which associates boxes by their overlap.

    ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022,
    arXiv 2110.06864) first matches detections above the threshold with the boxes that a Kalman filter predicts. It then
    matches weak detections with the tracks that are left. Of the trackers compared it alone uses weak detections for
    objects that were lost for some frames. Boxes are enlarged by 30 % before their overlap is measured.

    Args:
        threshold: score from which a detection may start a track, 0..1.
        window_s: seconds after which an unobserved object is forgotten.

    Returns:
        A tracker of package `trackers`, for one object type.
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
    """Associates detections with tracks. Each object type has a tracker of its own, so that types never mix.

    Args:
        options: give the thresholds.
        object_types: the types to track.
        window_s: seconds after which an unobserved object is forgotten.
        make_tracker: makes the tracker of one type.
    """

    def __init__(
        self, options: Options, object_types: Sequence[ObjectType], window_s: float, make_tracker: TrackerFactory
    ) -> None:
        self._options = options
        self._trackers = {
            object_type.number: make_tracker(options.threshold(object_type), window_s) for object_type in object_types
        }
        self._start_s = 0.0
        self._clock_s = -1.0

    def update(
        self,
        time_s: float,
        detections: Detections,
        above_threshold: NDArray[np.bool_],
        scene_motion: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Process the next frame. Call it for frames without detections as well.

        Args:
            time_s: time of the frame in seconds.
            detections: the n detections of the frame.
            above_threshold: (n,) bool, which of them reach their thresholds.
            scene_motion: (2, 3) float32, how the scene moved since the frame before, in pixels; default: it did not.

        Returns:
            (n,) int64: id of the track that each detection continues; -1 for none.
        """
        # imported here as it takes most of a second
        import supervision as sv
        from trackers.utils.cmc import CMC

        if self._clock_s < 0:
            self._start_s = time_s
        # trackers need times that rise, from 0 up
        self._clock_s = max(time_s - self._start_s, self._clock_s + 1e-3)
        track_ids = np.full(len(detections), -1, np.int64)
        for number, tracker in self._trackers.items():
            rows = np.flatnonzero(detections.types == number)
            threshold = self._options.threshold(OBJECT_TYPES[number])
            scores = detections.scores[rows].astype(np.float64)
            # a threshold in single precision may be slightly less than in double precision
            scores = np.where(above_threshold[rows], np.maximum(scores, threshold), scores)
            boxes = detections.boxes[rows].astype(np.float64)
            # tracks are expected where the scene has moved to (camera motion compensation)
            CMC.apply_batch(scene_motion, tracker.tracks)
            given = sv.Detections(xyxy=boxes, confidence=scores, data={"row": rows})
            tracked = tracker.update(given, timestamp=self._clock_s)
            if len(tracked) and tracked.tracker_id is not None:
                track_ids[np.asarray(tracked.data["row"])] = tracked.tracker_id
        return track_ids

    def is_tracked(self, object_type: int) -> bool:
        """Whether a type, an index into `OBJECT_TYPES`, is tracked."""
        return object_type in self._trackers

    def assign_id(self, object_type: int, box: Box, track_id: int) -> None:
        """Give an id to the track that began in this frame. A track that had the id before is forgotten.

        Otherwise the tracker would give its own id when it sees the object for the second time. It would forget the
        object if that is more than one frame later.

        Args:
            object_type: index into `OBJECT_TYPES`.
            box: (4,) float32, box of the detection that began the track.
            track_id: from 1 up.
        """
        tracker = self._trackers[object_type]
        tracker.tracks = [track for track in tracker.tracks if track.tracker_id != track_id]
        new = [track for track in tracker.tracks if track.tracker_id < 0]
        if new:
            nearest = min(new, key=lambda track: float(np.abs(track.get_state_bbox() - box).sum()))
            nearest.tracker_id = track_id

    def rename(self, object_type: int, track_id: int, new_id: int) -> None:
        """Give a track another id, for the tracker has taken another object for it.

        Args:
            object_type: index into `OBJECT_TYPES`.
            track_id: id of the track.
            new_id: its new id, from 1 up.
        """
        for track in self._trackers[object_type].tracks:
            if track.tracker_id == track_id:
                track.tracker_id = new_id

    def reset(self) -> None:
        """Forget all objects."""
        for tracker in self._trackers.values():
            tracker.reset()
        self._clock_s = -1.0
