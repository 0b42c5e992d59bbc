"""Where an object is in frames in which no detector saw it: carried by optical flow, and between two sightings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Carried", "Sighting", "apart", "between", "carry", "covers", "grown", "ious", "joined", "speed", "step"]

Box = NDArray[np.float32]
Grey = NDArray[np.uint8]

#: how much a box grows, as a share of its sides, in a second without a sighting, and at most
GROWTH_PER_S, MAX_GROWTH = 0.5, 0.4
#: seconds in which a speed that nothing confirms falls to about a third
DAMPING_S = 0.25
#: a path that leaves the straight one by more than this share of a box's sides is not linear
BEND = 0.1
#: points that are followed, in columns and rows over the middle of a box
_GRID = 4
_MIDDLE = 0.7
#: pixels of the small picture: a smaller box is not followed, and a point that does not come back as near is lost
_LEAST_SIDE, _RETURN = 5.0, 1.0
#: of an object that is out of the frame to this share nothing is left to cover
_VISIBLE = 0.1


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a detector saw of an object.

    Attributes:
        number, time_s: of the frame.
        box: (4,) float32, in pixels of the frame.
        score: 0..1.
        model: id of the detector.
    """

    number: int
    time_s: float
    box: Box
    score: float
    model: str


@dataclass(slots=True)
class Carried:
    """An object on its way through frames that it was not seen in.

    Attributes:
        box: (4,) float32, where it is taken to be, in pixels of the frame.
        time_s: of the frame that this is true of.
        velocity: (2,) pixels a second along x and y.
        seen_s: time of the sighting that it is carried from.
        followed: optical flow confirmed every step.
    """

    box: Box
    time_s: float
    velocity: NDArray[np.float32]
    seen_s: float
    followed: bool = True

    @property
    def unseen_s(self) -> float:
        """Seconds between the frame and the sighting."""
        return abs(self.time_s - self.seen_s)

    def visible(self, size_hw: tuple[int, int]) -> bool:
        """Whether enough of it lies within the frame."""
        height, width = size_hw
        inside = np.clip(self.box, 0, [width, height, width, height])
        return _area(inside) > _VISIBLE * _area(self.box)


def grown(box: Box, seconds: float) -> Box:
    """A box, larger by what an object may have moved in this time."""
    share = min(GROWTH_PER_S * seconds, MAX_GROWTH) / 2
    width, height = box[2] - box[0], box[3] - box[1]
    margin = np.array([width, height], np.float32) * share
    return np.concatenate([box[:2] - margin, box[2:] + margin])


def joined(*boxes: Box) -> Box:
    """The smallest box round all of them."""
    stacked = np.stack(boxes)
    return np.concatenate([stacked[:, :2].min(axis=0), stacked[:, 2:].max(axis=0)])


def _area(box: Box) -> float:
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def _overlaps(box: Box, others: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=1)
    return both, np.prod(others[:, 2:] - others[:, :2], axis=1), _area(box)


def ious(box: Box, others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of a (4,) box with each of (n, 4). (n,) float32."""
    both, areas, area = _overlaps(box, others)
    return np.asarray(both / np.maximum(areas + area - both, 1e-6), np.float32)


def apart(box: Box, other: Box) -> bool:
    """Whether two (4,) boxes are further from each other than the first is large."""
    return bool((np.abs(other - box) > np.tile(box[2:] - box[:2], 2)).any())


def covers(boxes: NDArray[np.float32], box: Box) -> bool:
    """Whether one of (n, 4) boxes is about the same as a (4,) box, or holds it."""
    both, areas, area = _overlaps(box, boxes)
    return bool(((both > 0.7 * (areas + area - both)) | (both >= 0.99 * area)).any())


def carry(objects: Sequence[Carried], before: Grey, after: Grey, time_s: float, scale_xy: tuple[float, float]) -> None:
    """Carry objects on from one frame to another, later or earlier one, in place.

    Args:
        before, after: (h, w) uint8 small pictures of the two frames.
        time_s: of the other frame.
        scale_xy: pixels of the small picture to a pixel of the frame.
    """
    if not objects:
        return
    scale = np.array([*scale_xy, *scale_xy], np.float32)
    boxes, followed = step(before, after, np.stack([each.box for each in objects]) * scale)
    for each, box, good in zip(objects, boxes / scale, followed, strict=True):
        seconds = time_s - each.time_s
        each.time_s = time_s
        if good:
            if seconds:
                moved = (box[:2] + box[2:] - each.box[:2] - each.box[2:]) / 2
                each.velocity = (each.velocity + moved / np.float32(seconds)) / 2
            each.box = box
            continue
        each.followed = False
        each.box = each.box + np.tile(each.velocity * np.float32(seconds), 2)
        each.velocity = each.velocity * np.float32(math.exp(-abs(seconds) / DAMPING_S))


def step(before: Grey, after: Grey, boxes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Follow boxes from one picture to another by the middle of the flow in each.

    Args:
        before, after: (h, w) uint8.
        boxes: (n, 4) float32, in pixels of these pictures.

    Returns:
        (n, 4) float32 boxes, and (n,) bool: whether enough points came back to where they started.
    """
    height, width = before.shape
    steps = np.linspace(0.5 - _MIDDLE / 2, 0.5 + _MIDDLE / 2, _GRID, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(1, -1, 2)
    points = boxes[:, None, :2] + grid * (boxes[:, None, 2:] - boxes[:, None, :2])
    inside = ((points >= 1) & (points < [width - 1, height - 1])).all(axis=2)
    large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= _LEAST_SIDE
    taken = inside & large[:, None]
    found = np.zeros(taken.shape, bool)
    ends = points.copy()
    if taken.any():
        starts = np.ascontiguousarray(points[taken][:, None])
        there, went = _flow(before, after, starts)
        back, came = _flow(after, before, there)
        near = np.linalg.norm(back - starts, axis=2)[:, 0] < _RETURN
        found[taken] = near & (went[:, 0] == 1) & (came[:, 0] == 1)
        ends[taken] = there[:, 0]
    moved, good = boxes.copy(), np.zeros(len(boxes), bool)
    for row in np.flatnonzero(found.sum(axis=1) >= _GRID * _GRID // 2):
        kept = found[row]
        moved[row], good[row] = _moved(boxes[row], points[row, kept], ends[row, kept])
    return moved, good


def _flow(before: Grey, after: Grey, points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    ends = np.empty_like(points)
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, ends, winSize=(11, 11), maxLevel=3)
    return np.asarray(there, np.float32), np.asarray(found, np.uint8)


def _moved(box: Box, starts: NDArray[np.float32], ends: NDArray[np.float32]) -> tuple[Box, bool]:
    """A box moved and scaled as the points in it were; whether they agree."""
    shifts = ends - starts
    shift = np.median(shifts, axis=0)
    spread = float(np.median(np.abs(shifts - shift).sum(axis=1)))
    centred = starts - starts.mean(axis=0)
    # least squares: how much the points moved apart
    share = float((centred * (ends - ends.mean(axis=0))).sum() / max(float((centred**2).sum()), 1e-6))
    share = min(max(share, 0.9), 1.1)
    centre, half = (box[:2] + box[2:]) / 2 + shift, (box[2:] - box[:2]) / 2 * share
    side = float(min(box[2] - box[0], box[3] - box[1]))
    return np.concatenate([centre - half, centre + half]).astype(np.float32), spread <= max(1.0, 0.15 * side)


def speed(sightings: Sequence[Sighting]) -> NDArray[np.float32]:
    """How fast the middle of an object moves from the first to the last of them. (2,) pixels a second."""
    first, last = sightings[0], sightings[-1]
    seconds = last.time_s - first.time_s
    if seconds <= 0:
        return np.zeros(2, np.float32)
    moved = (last.box[:2] + last.box[2:] - first.box[:2] - first.box[2:]) / 2
    return np.asarray(moved / seconds, np.float32)


def between(
    first: Sighting,
    last: Sighting,
    number: int,
    time_s: float,
    forward: Mapping[int, Box],
    backward: Mapping[int, Box],
) -> Box:
    """Where an object may be in a frame between two sightings.

    Args:
        number, time_s: of the frame.
        forward, backward: by the number of the frame, where flow carried it from the first and from the last sighting.
    """
    seconds = last.time_s - first.time_s
    share = np.float32((time_s - first.time_s) / seconds if seconds > 0 else 0.5)
    straight: Box = np.asarray(first.box + share * (last.box - first.box), np.float32)
    ways, elsewhere = [], []
    for path, end, end_at, rest in (
        (forward, last.box, last.number, share),
        (backward, first.box, first.number, np.float32(1) - share),
    ):
        if number not in path or end_at not in path:
            continue
        if apart(end, path[end_at]):
            # another object may have taken the track
            elsewhere.append(path[number])
        else:
            # what flow has missed by where it arrives is spread over its way
            ways.append(path[number] + rest * (end - path[end_at]))
    box = straight
    if ways:
        way = np.asarray(np.mean(ways, axis=0), np.float32)
        sides = np.tile(straight[2:] - straight[:2], 2)
        if (np.abs(way - straight) > BEND * sides).any():
            box = joined(straight, way)
    return joined(box, *elsewhere)
