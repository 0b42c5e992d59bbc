"""Tell the objects of the frames between two key frames from those of the key frames, where that is sure.

Detectors ran in both key frames. Between them, no detector is needed where all of this holds:

1. Neither key frame leaves a doubt (`is_in_doubt`). Each object is sure, and where faces are wanted there is no person.
2. Optical flow follows every object of the first key frame to an object of the second. None is left over there.
3. In the frame, flow finds each object on the straight way between both.
4. The frame shows nothing that is not in the key frames (`new_content.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, ObjectType, Source
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.boxes import ious
from anonymizer.pipeline.tracking.optical_flow import Grey, follow_boxes
from anonymizer.pipeline.video.detection_schedule import is_in_doubt
from anonymizer.pipeline.video.key_frames.new_content import shows_new_content

__all__ = ["objects_between"]

#: shorter side in pixels of the small pictures from which an object is followed
_MIN_SIDE = 8.0
#: IoU from which an object of the second key frame is the one that was followed to it
_SAME_IOU = 0.5
#: pixels of the small pictures by which an object may leave the straight way between its boxes in the key frames
_STRAIGHT_PX = 1.0


def objects_between(
    images: Sequence[Grey],
    times_s: Sequence[float],
    first: Detections,
    last: Detections,
    *,
    size_hw: tuple[int, int],
    object_types: Sequence[ObjectType],
    options: Options,
) -> list[Detections | None]:
    """Find the objects of the frames between two key frames.

    Args:
        images: (h, w) uint8 grey images: of the first key frame, of the frames between, and of the second key frame.
        times_s: when each of them is shown, in seconds.
        first, last: all that the detectors found in the key frames, with boxes in pixels of the upright frames.
        size_hw: height and width of the upright frames in pixels.
        object_types: what is looked for.
        options: give the thresholds.

    Returns:
        For each frame between, its objects, with boxes on the straight way between those of the key frames. None:
        detectors have to run.
    """
    nothing: list[Detections | None] = [None] * (len(images) - 2)
    if any(is_in_doubt(found, options, object_types, least_px=0) for found in (first, last)):
        return nothing
    start, end = first[over_threshold(first, options)], last[over_threshold(last, options)]
    height, width = images[0].shape
    scale = np.array([width / size_hw[1], height / size_hw[0]] * 2, np.float32)
    path = _follow(images, start.boxes * scale)
    if path is None:
        return nothing
    rows = _partners(path[-1], start.types, end.boxes * scale, end.types)
    if rows is None:
        return nothing
    missed = end.boxes[rows] * scale - path[-1]
    objects = replace(
        start,
        scores=np.minimum(start.scores, end.scores[rows]),
        sources=np.full(len(start), Source.TRACKER.value, "U16"),
        masks=(),
    )
    found = nothing
    for number, image in enumerate(images[1:-1], 1):
        share = np.float32((times_s[number] - times_s[0]) / (times_s[-1] - times_s[0]))
        straight = start.boxes + (end.boxes[rows] - start.boxes) * share
        leaves = np.abs(path[number] + missed * share - straight * scale).max(initial=0) >= _STRAIGHT_PX
        if not leaves and not shows_new_content(image, (images[0], images[-1]), straight * scale):
            found[number - 1] = replace(objects, boxes=straight.astype(np.float32))
    return found


def _follow(images: Sequence[Grey], boxes: NDArray[np.float32]) -> list[NDArray[np.float32]] | None:
    """The (n, 4) boxes in each image, followed from the first one; None: one was lost, or is too small."""
    path = [boxes]
    if not len(boxes):
        return path * len(images)
    if (boxes[:, 2:] - boxes[:, :2]).min() < _MIN_SIDE:
        return None
    for before, after in pairwise(images):
        moved, reliable = follow_boxes(before, after, path[-1])
        if not reliable.all():
            return None
        path.append(moved)
    return path


def _partners(
    boxes: NDArray[np.float32], types: NDArray[np.uint8], others: NDArray[np.float32], other_types: NDArray[np.uint8]
) -> NDArray[np.intp] | None:
    """For each of n boxes the row of the same object among the others; None: not each has a partner of its own."""
    if len(boxes) != len(others):
        return None
    overlaps = [
        np.where(other_types == object_type, ious(box, others), 0)
        for box, object_type in zip(boxes, types, strict=True)
    ]
    rows = np.array([each.argmax() for each in overlaps], np.intp)
    if len(set(rows.tolist())) < len(rows) or any(each.max() < _SAME_IOU for each in overlaps):
        return None
    return rows
