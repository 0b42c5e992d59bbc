"""The detections of a frame that has become final: what detectors and tracking gave, and the gait of persons hidden."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, Mask, ObjectType, Source
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.boxes import Box, union
from anonymizer.pipeline.tracking.outlines import is_drawn
from anonymizer.pipeline.tracking.state import TIME_TOLERANCE_S, AddedDetection, Frame

__all__ = ["GAIT_S", "GaitHistory", "final_detections"]

#: To hide the gait, a person's box covers all that the person covers within so many seconds before and after.
GAIT_S = 0.25


class GaitHistory:
    """Where persons were in frames that are final already, as far as hiding the gait needs it.

    Args:
        max_frames: frames that are remembered at most.
    """

    def __init__(self, max_frames: int) -> None:
        self._frames: deque[tuple[float, dict[int, Box]]] = deque(maxlen=max_frames)

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame) -> None:
        """Remember a frame that has become final, and forget those that are too old."""
        self._frames.append((frame.time_s, frame.person_boxes()))
        while self._frames[0][0] < frame.time_s - GAIT_S - TIME_TOLERANCE_S:
            self._frames.popleft()

    def gait_boxes(self, frame: Frame, waiting: Iterable[Frame]) -> dict[int, Box]:
        """What each person of a frame covers within `GAIT_S` before and after it.

        Args:
            frame: the oldest frame that is not final.
            waiting: this frame and those after it, in order.

        Returns:
            (4,) float32 boxes in pixels of the frame, by track id.
        """
        near = [boxes for time_s, boxes in self._frames if time_s >= frame.time_s - GAIT_S - TIME_TOLERANCE_S]
        until_s = frame.time_s + GAIT_S + TIME_TOLERANCE_S
        near += [later.person_boxes() for later in waiting if later.time_s <= until_s]
        return {
            track_id: union(*(boxes[track_id] for boxes in near if track_id in boxes))
            for track_id in frame.person_boxes()
        }


def final_detections(
    frame: Frame, size_hw: tuple[int, int], gait_boxes: Mapping[int, Box], options: Options
) -> Detections:
    """The detections to redact in a frame.

    Args:
        frame: the frame. Its detections above their thresholds and those with a track are kept.
        size_hw: height and width of the upright frame in pixels.
        gait_boxes: boxes that replace box and mask of a track, by track id; empty if the gait is not hidden.
        options: how objects are drawn.

    Returns:
        First the rows of the detectors, then those that tracking added, with source `Source.TRACKER`. An added one is
        left out if it lies outside the frame, or if what is drawn for detections of its type covers it. Where their
        masks are not made yet, it stays.
    """
    found = frame.detections
    kept = np.flatnonzero(frame.above_threshold | (frame.track_ids > 0))
    added = _visible_additions(frame, found[kept], size_hw, options)
    boxes = [*found.boxes[kept], *(addition.box for addition in added.values())]
    track_ids = [*frame.track_ids[kept], *added]
    masks: list[Mask | None] = [*(found.masks[row] for row in kept), *(None for _ in added)]
    types = [*found.types[kept], *(addition.object_type for addition in added.values())]
    for row, track_id in enumerate(track_ids):
        if track_id in gait_boxes:
            boxes[row], masks[row] = gait_boxes[track_id], None
    return Detections(
        np.reshape(boxes, (-1, 4)),
        np.array([*found.scores[kept], *(addition.score for addition in added.values())]),
        np.array(types, np.uint8),
        np.array([*found.models[kept], *(addition.model for addition in added.values())], np.str_),
        np.array([*found.sources[kept], *(Source.TRACKER.value for _ in added)], "U16"),
        np.array(track_ids, np.int64),
        tuple(masks),
    )


def _visible_additions(
    frame: Frame, kept: Detections, size_hw: tuple[int, int], options: Options
) -> dict[int, AddedDetection]:
    """The added detections by track id, clipped to the frame, without those that are drawn with a kept detection."""
    height, width = size_hw
    outlined = kept[_has_known_outline(kept, options)]
    visible = {}
    for track_id, addition in frame.added.items():
        box = np.clip(addition.box, 0, np.array([width, height, width, height], np.float32))
        if track_id in frame.track_ids or not (box[:2] < box[2:]).all():
            continue
        others = outlined[outlined.types == addition.object_type]
        if not is_drawn(addition.as_detections(), addition.core, others, size_hw, options):
            visible[track_id] = replace(addition, box=box)
    return visible


def _has_known_outline(kept: Detections, options: Options) -> NDArray[np.bool_]:
    """Which objects are drawn as what they are now. Persons and vehicles may get a mask later."""
    boxes = [ObjectType.FACE.number, ObjectType.LICENSE_PLATE.number]
    if options.hide_gait:
        boxes.append(ObjectType.PERSON.number)
    has_mask = np.array([mask is not None for mask in kept.masks], bool)
    return np.asarray(has_mask | np.isin(kept.types, boxes) | options.bbox, bool)
