"""Geometry of single boxes, as tracking needs it. A box is (4,) float32: x1, y1, x2, y2 in pixels of the frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "area", "centre_shift", "contains", "covers", "enlarge", "ious", "is_displaced", "union"]

Box = NDArray[np.float32]

#: how much a box grows per second without an observation, and at most; shares of its sides
GROWTH_PER_S, MAX_GROWTH = 0.5, 0.4


def area(box: Box) -> float:
    """Area of a box in square pixels. It is 0 for a box that is turned inside out."""
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def centre_shift(start: Box, end: Box) -> NDArray[np.float32]:
    """Compute how far the centre moves from one box to another.

    Args:
        start: (4,) float32 x1, y1, x2, y2 in pixels.
        end: (4,) float32, likewise.

    Returns:
        (2,) float32, pixels along x and y.
    """
    return np.asarray((end[:2] + end[2:] - start[:2] - start[2:]) / 2, np.float32)


def enlarge(box: Box, unobserved_s: float) -> Box:
    """Enlarge a box about its centre, as its object may have moved since it was observed.

    Args:
        box: (4,) float32.
        unobserved_s: seconds between the observation and the frame, 0 or more.

    Returns:
        A (4,) float32 copy. Its sides are longer by 50 % per second, and by 40 % at most.
    """
    share = min(GROWTH_PER_S * unobserved_s, MAX_GROWTH) / 2
    width, height = box[2] - box[0], box[3] - box[1]
    margin = np.array([width, height], np.float32) * share
    return np.concatenate([box[:2] - margin, box[2:] + margin])


def union(*boxes: Box) -> Box:
    """The smallest box that holds all the given ones, of which there is at least one."""
    stacked = np.stack(boxes)
    return np.concatenate([stacked[:, :2].min(axis=0), stacked[:, 2:].max(axis=0)])


def ious(box: Box, others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the intersection over union (IoU) of a box with each of several others.

    Args:
        box: (4,) float32 x1, y1, x2, y2 in pixels.
        others: (n, 4) float32, likewise.

    Returns:
        (n,) float32, 0..1.
    """
    intersections, areas, own_area = _intersections(box, others)
    return np.asarray(intersections / np.maximum(areas + own_area - intersections, 1e-6), np.float32)


def covers(boxes: NDArray[np.float32], box: Box) -> bool:
    """Whether a box is covered by another: one that is nearly the same, or that holds almost all of it.

    Args:
        boxes: (n, 4) float32 x1, y1, x2, y2 in pixels: the boxes that may cover it.
        box: (4,) float32, likewise.

    Returns:
        True if one of the boxes has an IoU above 0.7 with the box, or holds 99 % of its area.
    """
    intersections, areas, own_area = _intersections(box, boxes)
    same = intersections > 0.7 * (areas + own_area - intersections)
    return bool((same | (intersections >= 0.99 * own_area)).any())


def contains(box: Box, other: Box, share: float) -> bool:
    """Whether at least a share, 0..1, of the area of the other box lies in the first."""
    intersections, _, _ = _intersections(box, other[None])
    return bool(intersections[0] >= share * area(other))


def is_displaced(box: Box, other: Box) -> bool:
    """Whether a box is far away from another one.

    Args:
        box: (4,) float32 x1, y1, x2, y2 in pixels; its width and height are the largest distances that are allowed.
        other: (4,) float32, likewise.

    Returns:
        True if a side of `other` is further away from that side of `box` than `box` is wide (left, right) or high (top,
        bottom).
    """
    return bool((np.abs(other - box) > np.tile(box[2:] - box[:2], 2)).any())


def _intersections(box: Box, others: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Areas of the intersections, areas of the others, and the area of the box."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    intersections = np.prod(np.clip(high - low, 0, None), axis=1)
    return intersections, np.prod(others[:, 2:] - others[:, :2], axis=1), area(box)
