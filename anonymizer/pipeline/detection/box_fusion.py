"""Group boxes of the same object, and make one box of each group.

Its box is the mean of the boxes, weighted by their scores: weighted boxes fusion (Solovyev et al. 2021, arXiv
1910.13302). The union of the boxes covers a little more, but it is too large for small plates.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["fuse_boxes", "group_boxes"]

#: A cut box belongs to a larger box of its type if at least this share of its area lies in the larger box, …
CONTAINED = 0.8
#: … and if the score of the larger box is at least this share of its own: a faint box does not replace a sure one.
COMPARABLE = 0.5
#: pairs of boxes that are compared at once; they bound the memory
PAIRS_AT_ONCE = 2_000_000


def group_boxes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    types: NDArray[np.uint8],
    views: NDArray[np.intp],
    cut: NDArray[np.bool_],
    *,
    iou: float,
    one_of_each: bool,
) -> NDArray[np.intp]:
    """Find which boxes show the same object. A box leads its group if it comes first.

    Two boxes of one view are two objects, as the detector separates them.

    Args:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels, best first.
        scores: (n,) float32, 0..1.
        types: (n,) index into `OBJECT_TYPES`; only boxes of one type are grouped.
        views: (n,) number of the view of each box.
        cut: (n,) whether a border of its view cuts the box off.
        iou: two boxes with a larger IoU, 0..1, are one object.
        one_of_each: whether a group takes at most one box of each view.

    Returns:
        (n,) the row of the box that leads the group of each box; its own row, if it leads.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    same_object: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]] = []
    for first, second in _overlapping(boxes):
        near = (types[first] == types[second]) & (views[first] != views[second])
        first, second = first[near], second[near]
        low = np.maximum(boxes[first, :2], boxes[second, :2])
        high = np.minimum(boxes[first, 2:], boxes[second, 2:])
        shared = np.prod(np.clip(high - low, 0, None), 1)
        same = shared > iou * (areas[first] + areas[second] - shared)
        # a part that a border cut off, and the whole object of another view
        is_part = cut[second] & (shared > CONTAINED * areas[second])
        same |= is_part & (scores[first] >= COMPARABLE * scores[second])
        same_object.append((first[same], second[same], shared[same]))
    leaders = list(range(len(boxes)))
    if not same_object:
        return np.array(leaders, np.intp)
    first, second, shared = (np.concatenate(parts) for parts in zip(*same_object, strict=True))
    # the row that leads, then what it shares most with: a group takes the nearest box of each view
    order = np.lexsort((second, -shared, first))
    edges = zip(first[order].tolist(), second[order].tolist(), strict=True)
    alive, of_views = [True] * len(boxes), views.tolist()
    taken: set[tuple[int, int]] = set()
    for leader, row in edges:
        if alive[row] and leaders[leader] == leader:
            place = (leader, of_views[row])
            if one_of_each and place in taken:
                continue
            taken.add(place)
            alive[row] = False
            leaders[row] = leader
    return np.array(leaders, np.intp)


def _overlapping(boxes: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of rows whose boxes overlap along one axis, the smaller row first. Each pair comes once.

    The boxes are sorted along the axis with fewer pairs, so that many boxes in one place are compared, and no others.
    """
    axes = []
    for axis in (0, 1):
        order = np.argsort(boxes[:, axis], kind="stable")
        starts, ends = boxes[order, axis], boxes[order, axis + 2]
        counts = np.maximum(np.searchsorted(starts, ends, "left") - np.arange(len(order)) - 1, 0)
        axes.append((int(counts.sum()), axis, order, counts))
    _, _, order, counts = min(axes, key=lambda each: each[:2])
    until = np.cumsum(counts)
    start = 0
    while start < len(order):
        done = until[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(until, done + PAIRS_AT_ONCE, "right")))
        of_rows = counts[start:end]
        first = np.repeat(np.arange(start, end), of_rows)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(of_rows) - of_rows, of_rows)
        pairs = np.stack([order[first], order[second]])
        yield pairs.min(0), pairs.max(0)
        start = end


def fuse_boxes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    cut: NDArray[np.bool_],
    leaders: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Make one box of each group.

    Whole boxes become their mean, weighted by the scores. Cut boxes make the result larger, and never smaller: every
    pixel of them stays covered.

    Args:
        boxes, scores, cut: as for `group_boxes`.
        leaders: (n,) as `group_boxes` returns them.

    Returns:
        (n, 4) float32; the rows that lead a group hold its box, the others their own.
    """
    # AP50 of plates on val (anpr, cars, dashcam, plates-world), recall and false blurs of all of them at the defaults,
    # with one calibration for both:
    #     union    .967 .845 .922 .657    .868 / .51
    #     mean     .967 .898 .970 .749    .909 / .46
    fused = boxes.astype(np.float64)
    weights = np.maximum(scores, 1e-6).astype(np.float64)
    # a leader that is cut leads parts only: their extent is all that is known
    joined = np.zeros(len(boxes), bool)
    joined[leaders[leaders != np.arange(len(leaders))]] = True
    mean = (joined[leaders] & ~cut)[:, None] * weights[:, None]
    sums, totals = np.zeros_like(fused), np.zeros((len(boxes), 1))
    np.add.at(sums, leaders, mean * boxes)
    np.add.at(totals, leaders, mean)
    np.divide(sums, totals, out=fused, where=totals > 0)
    np.minimum.at(fused[:, :2], leaders[cut], boxes[cut, :2])
    np.maximum.at(fused[:, 2:], leaders[cut], boxes[cut, 2:])
    return fused.astype(np.float32)
