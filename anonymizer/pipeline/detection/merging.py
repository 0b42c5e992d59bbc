"""Merge the detections of all views of one image, so that each object is returned once.

Boxes of the same object become one box, whose score is at least the highest of their scores. A view that shows an
object badly never takes it below a threshold, and a second view that agrees raises the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.box_fusion import fuse_boxes, group_boxes
from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.errors import TooManyObjects

__all__ = ["MAX_OBJECTS", "View", "is_cut", "join_doubles", "merge_views"]

#: An image with more objects fails: no object is dropped without notice.
MAX_OBJECTS = 20_000
#: A box that ends this close to an inner border of a view may be cut off there. In pixels of the resized view.
CUT_PX = 3.0
#: Share of the rest to 1 that is added to a score if another view detects the object with score 1. AP50 on val, plate
#: anpr, cars, dashcam; person voc, highway; vehicle voc, highway (false positives an image for persons of voc):
#:     0    .961 .822 .985  .773 .611  .845 .821 (.21)
#:     .3   .964 .824 .985  .784 .604  .846 .823 (.35)
#:     .5   .967 .824 .985  .786 .604  .846 .824 (.44)
AGREEMENT = 0.3
#: Two faces with a larger IoU are one face. AP50, recall / false positives a picture at the default threshold on val
#: (wider, masks, fddb), as found, then with one box that holds both:
#:     both    .803 .843 / 7.38    .847 .880 / 2.62    .968 .976 / .61
#:     one     .825 .838 / 6.22    .862 .880 / 2.25    .976 .986 / .53
#: Faces of wider that are no longer counted are hidden behind others: the box covers both.
SAME_FACE_IOU = 0.6


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle of an image, and the scale at which it is analysed.

    Attributes:
        x1, y1, x2, y2: in pixels of the image, right and bottom exclusive. A view of a panorama may pass the right
            border: columns beyond the width continue at the left border.
        side: the scale, as long side in pixels that the view is resized to.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    side: int

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the view's pixels, (y2 - y1, x2 - x1, 3) uint8, in the image's own resolution."""
        width = image.shape[1]
        rows = image[self.y1 : self.y2]
        if self.x2 <= width:
            return rows[:, self.x1 : self.x2]
        return np.concatenate([rows[:, self.x1 :], rows[:, : self.x2 - width]], 1)


def merge_views(
    parts: Sequence[tuple[View, Detections]],
    size_hw: tuple[int, int],
    *,
    iou: float = 0.5,
    agreement: float = AGREEMENT,
    one_of_each: bool = False,
) -> Detections:
    """Merge the detections of all views of one image.

    Args:
        parts: the views, and the detections in each, with boxes in pixels of the view.
        size_hw: height and width of the image in pixels.
        iou: two boxes of one type with a larger IoU, 0..1, are one object.
        agreement: share 0..1 of the rest to 1 that another view adds to a score, if it detects the object with score 1.
        one_of_each: whether an object takes at most one box of each part. Use it if the parts are models: two objects
            that only one model separates both stay.

    Returns:
        Each object once, boxes in pixels of the image, by falling score. No score is lower than in its view.

    Raises:
        TooManyObjects: there are more than `MAX_OBJECTS`.
    """
    _check_count(max((len(part) for _, part in parts), default=0))
    placed = [_to_image(view, part, size_hw) for view, part in parts]
    detections = Detections.merge([of_view for of_view, _ in placed])
    cut = np.concatenate([cut_of_view for _, cut_of_view in placed]) if placed else np.zeros(0, bool)
    if len(parts) > 1 and len(detections):
        views = np.repeat(np.arange(len(placed)), [len(of_view) for of_view, _ in placed])
        detections = _merge_boxes(detections, cut, views, iou, agreement, one_of_each=one_of_each)
    _check_count(len(detections))
    return detections[np.argsort(-detections.scores, kind="stable")]


def join_doubles(found: Detections, object_type: ObjectType, iou: float = SAME_FACE_IOU) -> Detections:
    """Make one object of those that nearly have the same box. Every pixel that was covered stays covered.

    Args:
        found: objects of one image, by falling score.
        object_type: the type of the objects that are joined.
        iou: two boxes with a larger IoU, 0..1, are one object.

    Returns:
        The objects, by falling score. A box holds all boxes that were joined; it has the highest score, and no mask.
    """
    rows = np.flatnonzero(found.types == object_type.number)
    part = found[rows]
    nowhere, each = np.zeros(len(rows), bool), np.arange(len(rows))
    leaders = group_boxes(part.boxes, part.scores, part.types, each, nowhere, iou=iou, one_of_each=False)
    joined = leaders != each
    if not joined.any():
        return found
    boxes, masks = found.boxes.copy(), list(found.masks)
    np.minimum.at(boxes[:, :2], rows[leaders], part.boxes[:, :2])
    np.maximum.at(boxes[:, 2:], rows[leaders], part.boxes[:, 2:])
    for row in rows[leaders[joined]]:
        masks[row] = None
    keep = np.ones(len(found), bool)
    keep[rows[joined]] = False
    return replace(found, boxes=boxes, masks=tuple(masks))[keep]


def _check_count(count: int) -> None:
    if count > MAX_OBJECTS:
        raise TooManyObjects(f"{count} objects were detected in the image; at most {MAX_OBJECTS} can be processed.")


def _to_image(view: View, part: Detections, size_hw: tuple[int, int]) -> tuple[Detections, NDArray[np.bool_]]:
    """Detections in pixels of the image, and which of them may be cut off by an inner border of the view."""
    width = size_hw[1]
    cut = is_cut(view, part, size_hw)
    boxes = part.boxes + np.array([view.x1, view.y1] * 2, np.float32)
    if view.x2 <= width:
        return replace(part, boxes=boxes, masks=tuple(_shift_mask(mask, view) for mask in part.masks)), cut
    # a box across the seam of a panorama becomes two: one ends at the right border, one begins at the left border
    part = replace(part, masks=())
    left, right = boxes.copy(), boxes - np.array([width, 0] * 2, np.float32)
    left[:, 2], right[:, 0] = np.minimum(left[:, 2], width), np.maximum(right[:, 0], 0)
    at_left, at_right = left[:, 0] < left[:, 2], right[:, 0] < right[:, 2]
    both = Detections.merge([replace(part, boxes=left)[at_left], replace(part, boxes=right)[at_right]])
    return both, np.concatenate([cut[at_left], cut[at_right]])


def is_cut(view: View, part: Detections, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which objects may be cut off by an inner border of a view.

    Args:
        view: of an image.
        part: n objects in it, with boxes in pixels of the view.
        size_hw: height and width of the image in pixels.

    Returns:
        (n,) bool: the box ends at a border of the view that is no border of the image.
    """
    height, width = size_hw
    near = CUT_PX * max(view.x2 - view.x1, view.y2 - view.y1) / view.side
    x1, y1, x2, y2 = (part.boxes + np.array([view.x1, view.y1] * 2, np.float32)).T
    cut = (
        ((x1 < view.x1 + near) & (view.x1 > 0))
        | ((y1 < view.y1 + near) & (view.y1 > 0))
        | ((x2 > view.x2 - near) & (view.x2 != width))
        | ((y2 > view.y2 - near) & (view.y2 < height))
    )
    return np.asarray(cut, bool)


def _shift_mask(mask: Mask | None, view: View) -> Mask | None:
    """From pixels of the view to pixels of the image."""
    return mask and replace(mask, x=mask.x + view.x1, y=mask.y + view.y1)


def _merge_boxes(
    detections: Detections,
    cut: NDArray[np.bool_],
    views: NDArray[np.intp],
    iou: float,
    agreement: float,
    *,
    one_of_each: bool,
) -> Detections:
    """Merge boxes of the same object. Whole boxes lead before cut ones, then those of higher scores."""
    order = np.lexsort((-detections.scores, cut))
    detections, cut, views = detections[order], cut[order], views[order]
    boxes, scores, types = detections.boxes, detections.scores, detections.types
    leaders = group_boxes(boxes, scores, types, views, cut, iou=iou, one_of_each=one_of_each)
    leads = np.asarray(leaders == np.arange(len(leaders)), bool)
    second = np.zeros(len(leaders), np.float32)
    np.maximum.at(second, leaders[~leads], scores[~leads])
    high, low = np.maximum(scores, second), np.minimum(scores, second)
    merged_scores = np.where(second > 0, high + agreement * (1 - high) * low, scores)
    fused, masks = fuse_boxes(boxes, scores, cut, leaders), list(detections.masks)
    for row in np.flatnonzero(leads & np.array([mask is not None for mask in masks], bool)):
        # A mask covers what its own box holds. It is dropped where a cut box of another view reaches further.
        parts = boxes[(leaders == row) & cut]
        low_xy, high_xy = parts[:, :2].min(0, initial=np.inf), parts[:, 2:].max(0, initial=-np.inf)
        if (low_xy < boxes[row, :2]).any() or (high_xy > boxes[row, 2:]).any():
            masks[row] = None
        else:
            fused[row] = boxes[row]
    return replace(detections, boxes=fused, scores=merged_scores, masks=tuple(masks))[leads]
