"""Merging what was found in the views of one picture: each object once.

Boxes that mean the same object are merged into one, with the highest score that any of them had or more: nothing that a
view saw goes under a threshold because another view saw it worse, and what two saw is surer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, Mask
from anonymizer.pipeline.errors import TooManyObjects

__all__ = ["MAX_OBJECTS", "View", "merged"]

#: More in one picture, and it fails: a crowd of this size cannot be vouched for, and nothing is dropped in silence.
MAX_OBJECTS = 20_000
#: a box that ends so near to a window's inner border, in pixels of the window as it was looked at, may be cut there
CUT_PX = 3.0
#: a cut box of which so much lies in a larger one of its type is a part of it
CONTAINED = 0.8
#: … if the larger one has this share of its score at least: a faint box is no reason to doubt a sure one
COMPARABLE = 0.5
#: how much of what a score lacks is made up for by another window that saw the object with certainty. AP50 on val,
#: plate anpr, cars, dashcam; person voc, highway; vehicle alike (false positives an image for persons of voc):
#:     0    .961 .822 .985  .773 .611  .845 .821 (.21)
#:     .3   .964 .824 .985  .784 .604  .846 .823 (.35)
#:     .5   .967 .824 .985  .786 .604  .846 .824 (.44)
AGREEMENT = 0.3


@dataclass(frozen=True, slots=True)
class View:
    """A window of a picture, and the size it is looked at in.

    Attributes:
        x1, y1, x2, y2: in pixels of the picture, right and bottom exclusive; x2 beyond the picture's width goes on at
            its left border (panoramas).
        side: long side in pixels that the window is scaled to.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    side: int

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        width = image.shape[1]
        rows = image[self.y1 : self.y2]
        if self.x2 <= width:
            return rows[:, self.x1 : self.x2]
        return np.concatenate([rows[:, self.x1 :], rows[:, : self.x2 - width]], 1)


def merged(
    parts: Sequence[tuple[View, Detections]],
    size_hw: tuple[int, int],
    *,
    iou: float = 0.5,
    agreement: float = AGREEMENT,
    one_of_each: bool = False,
) -> Detections:
    """What was found in the windows of one picture, each object once, with the highest of its scores at least.

    Args:
        parts: windows, and what was found in each, in pixels of the window.
        iou: boxes of one type that overlap more than this are one object.
        agreement: how much of what a score lacks another window that saw the object makes up for.
        one_of_each: an object takes at most one box of each part: none that only one part told apart is lost.

    Returns:
        Boxes in pixels of the picture, by falling score.

    Raises:
        TooManyObjects: there are more than `MAX_OBJECTS`.
    """
    _check_count(max((len(part) for _, part in parts), default=0))
    placed = [_placed(view, part, size_hw) for view, part in parts]
    found = Detections.merge([each for each, _ in placed])
    cut = np.concatenate([each for _, each in placed]) if placed else np.zeros(0, bool)
    if len(parts) > 1 and len(found):
        windows = np.repeat(np.arange(len(placed)), [len(each) for each, _ in placed])
        found = _united(found, cut, windows, iou, agreement, one_of_each=one_of_each)
    _check_count(len(found))
    return found[np.argsort(-found.scores, kind="stable")]


def _check_count(count: int) -> None:
    if count > MAX_OBJECTS:
        raise TooManyObjects(f"{count} objects were found in the picture; up to {MAX_OBJECTS} can be vouched for.")


def _placed(view: View, part: Detections, size_hw: tuple[int, int]) -> tuple[Detections, NDArray[np.bool_]]:
    """Boxes in pixels of the picture, and which of them may be cut by an inner border of the window."""
    height, width = size_hw
    near = CUT_PX * max(view.x2 - view.x1, view.y2 - view.y1) / view.side
    x1, y1, x2, y2 = (part.boxes + np.array([view.x1, view.y1] * 2, np.float32)).T
    wraps = view.x2 > width
    cut = (
        ((x1 < view.x1 + near) & (view.x1 > 0))
        | ((y1 < view.y1 + near) & (view.y1 > 0))
        | ((x2 > view.x2 - near) & ((view.x2 < width) | wraps))
        | ((y2 > view.y2 - near) & (view.y2 < height))
    )
    boxes = np.stack([x1, y1, x2, y2], 1)
    if not wraps:
        return replace(part, boxes=boxes, masks=tuple(_shifted(each, view) for each in part.masks)), cut
    # a box across the seam is two: one ends at the right border, the other begins at the left one
    part = replace(part, masks=())
    left, right = boxes.copy(), boxes - np.array([width, 0] * 2, np.float32)
    left[:, 2], right[:, 0] = np.minimum(left[:, 2], width), np.maximum(right[:, 0], 0)
    at_left, at_right = left[:, 0] < left[:, 2], right[:, 0] < right[:, 2]
    both = Detections.merge([replace(part, boxes=left)[at_left], replace(part, boxes=right)[at_right]])
    return both, np.concatenate([cut[at_left], cut[at_right]])


def _shifted(mask: Mask | None, view: View) -> Mask | None:
    """A mask in pixels of the window, in pixels of the picture."""
    return mask and replace(mask, x=mask.x + view.x1, y=mask.y + view.y1)


def _united(
    found: Detections,
    cut: NDArray[np.bool_],
    windows: NDArray[np.intp],
    iou: float,
    agreement: float,
    *,
    one_of_each: bool,
) -> Detections:
    """Each object once: boxes that were not cut stand before cut ones, then higher scores before lower.

    Two boxes of one window are two objects: the detector that told them apart saw both. A cut box leaves its extent to
    the one that it becomes a part of, so that nothing that was found is left uncovered.
    """
    order = np.lexsort((-found.scores, cut))
    boxes, types, cut, windows = found.boxes[order], found.types[order], cut[order], windows[order]
    scores, masks = found.scores[order].copy(), [found.masks[row] for row in order]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    alive = np.ones(len(boxes), bool)
    for row in range(len(boxes)):
        if not alive[row]:
            continue
        others = alive & (types == types[row]) & (windows != windows[row])
        later = np.flatnonzero(others[row + 1 :]) + row + 1
        overlap = _intersections(boxes[row], boxes[later])
        same = overlap > iou * (areas[row] + areas[later] - overlap)
        # a part that a window's border cut off, and the whole that another window saw
        same |= cut[later] & (overlap > CONTAINED * areas[later]) & (scores[row] >= COMPARABLE * scores[later])
        if same.any():
            joined = later[same]
            if one_of_each:
                joined = joined[np.argsort(-overlap[same], kind="stable")]
                joined = joined[np.unique(windows[joined], return_index=True)[1]]
            high, low = sorted((scores[row], scores[joined].max()), reverse=True)
            scores[row] = high + agreement * (1 - high) * low
            alive[joined] = False
            extent = boxes[joined[cut[joined]]]
            low = np.minimum(boxes[row, :2], extent[:, :2].min(axis=0, initial=np.inf))
            high = np.maximum(boxes[row, 2:], extent[:, 2:].max(axis=0, initial=-np.inf))
            if (low < boxes[row, :2]).any() or (high > boxes[row, 2:]).any():
                # what another window saw of it is not in its own mask
                masks[row] = None
            boxes[row] = [*low, *high]
    return replace(found[order], boxes=boxes, scores=scores, masks=tuple(masks))[alive]


def _intersections(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    return np.asarray(np.prod(np.clip(high - low, 0, None), 1), np.float32)
