"""Windows over pictures, and merging what was found in them.

Every picture is looked at as a whole, at each of the detector's scales; formats add windows in which it is looked at
closer. Boxes that mean the same object are merged into one, with the highest score that any of them had or more:
nothing that a window saw goes under a threshold because another window saw it worse, and what two saw is surer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import TooManyObjects
from anonymizer.pipeline.objects import Detections, Mask, ObjectType
from anonymizer.pipeline.options import Auto, Format, Pano, Tiles

if TYPE_CHECKING:
    from anonymizer.pipeline.detectors.base import Detector

__all__ = ["MAX_OBJECTS", "View", "at_sides", "find", "merged", "views"]

Image = NDArray[np.uint8]

#: More in one picture, and it fails: a crowd of this size cannot be vouched for, and nothing is dropped in silence.
MAX_OBJECTS = 20_000
OVERLAP = 0.2
#: between the tiles at a picture's own scale and the whole: tiles so many times as large
LEVEL = 4
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


class Scales(Protocol):
    """What of a detector decides on windows."""

    @property
    def tile_side(self) -> int: ...

    def sides(self, long_side: int) -> tuple[int, ...]: ...


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

    def crop(self, image: Image) -> Image:
        width = image.shape[1]
        rows = image[self.y1 : self.y2]
        if self.x2 <= width:
            return rows[:, self.x1 : self.x2]
        return np.concatenate([rows[:, self.x1 :], rows[:, : self.x2 - width]], 1)


class _AtSides:
    """A detector with other scales."""

    def __init__(self, detector: Detector, sides: tuple[int, ...]) -> None:
        self._detector, self._chosen = detector, sides

    def __getattr__(self, name: str) -> object:
        return getattr(self._detector, name)

    def sides(self, long_side: int) -> tuple[int, ...]:
        return self._chosen


def at_sides(detector: Detector, sides: tuple[int, ...]) -> Detector:
    """The same detector, looking at whole pictures in these scales."""
    return cast("Detector", _AtSides(detector, sides))


def views(size_hw: tuple[int, int], format: Format, detector: Scales) -> list[View]:  # noqa: A002 (the contract's name)
    """All windows in which a picture is looked at; as a whole first."""
    height, width = size_hw
    sides = detector.sides(max(size_hw))
    whole = [View(0, 0, width, height, side) for side in sides]
    if isinstance(format, Tiles):
        return whole + list(_grid(size_hw, format, detector))
    if isinstance(format, Pano):
        return whole + list(_panorama(size_hw, format.width, detector))
    if isinstance(format, Auto) and max(size_hw) > max(sides):
        return whole + list(_levels(size_hw, detector.tile_side, detector))
    return whole


def _levels(size_hw: tuple[int, int], tile: int, detector: Scales) -> Iterator[View]:
    """Square tiles, and ever larger ones while a thing could be too large for them and too small for the whole."""
    whole = max(detector.sides(max(size_hw))) / max(size_hw)
    yield from _tiles(size_hw, tile, detector.tile_side)
    while detector.tile_side / (tile * LEVEL) > 1.5 * whole:
        tile *= LEVEL
        yield from _tiles(size_hw, tile, detector.tile_side)


def _starts(length: int, tile: int) -> list[int]:
    """Where windows of a side begin so that they overlap by `OVERLAP` at least and end with the picture."""
    if tile >= length:
        return [0]
    count = math.ceil((length - tile) / (tile * (1 - OVERLAP))) + 1
    return [round(n * (length - tile) / (count - 1)) for n in range(count)]


def _tiles(size_hw: tuple[int, int], tile: int, side: int) -> Iterator[View]:
    height, width = size_hw
    for y in _starts(height, tile):
        for x in _starts(width, tile):
            yield View(x, y, min(x + tile, width), min(y + tile, height), side)


def _grid(size_hw: tuple[int, int], tiles: Tiles, detector: Scales) -> Iterator[View]:
    height, width = size_hw

    def cuts(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
        tile = length / (count - (count - 1) * overlap)
        starts = [n * tile * (1 - overlap) for n in range(count)]
        return [(math.floor(start), min(math.ceil(start + tile), length)) for start in starts]

    for y1, y2 in cuts(height, tiles.rows, tiles.overlap_y):
        for x1, x2 in cuts(width, tiles.columns, tiles.overlap_x):
            if x1 < x2 and y1 < y2:
                yield from (View(x1, y1, x2, y2, side) for side in detector.sides(max(x2 - x1, y2 - y1)))


def _panorama(size_hw: tuple[int, int], looked_at: int, detector: Scales) -> Iterator[View]:
    height, width = size_hw
    # more than twice its own size shows nothing new, and would take for ever
    tile = max(1, round(detector.tile_side * width / min(looked_at, 2 * width)))
    if tile < max(size_hw):
        yield from _levels(size_hw, tile, detector)
    # what lies on the seam: as a whole in every scale, and closer
    yield from (View(width // 2, 0, width // 2 + width, height, side) for side in detector.sides(max(size_hw)))
    across = min(tile, width)
    for y in _starts(height, across):
        yield View(width - across // 2, y, width - across // 2 + across, min(y + across, height), detector.tile_side)


def find(
    images: Sequence[Image],
    format: Format,  # noqa: A002 (the contract's name)
    detector: Detector,
    object_types: Sequence[ObjectType],
) -> list[Detections]:
    """Run one detector over every window of each picture and merge what it found.

    Args:
        images: (h, w, 3) uint8 RGB.
        object_types: only these are returned.

    Raises:
        DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
    """
    of_images = [views(image.shape[:2], format, detector) for image in images]
    looked = [(number, view) for number, each in enumerate(of_images) for view in each]
    parts: list[list[tuple[View, Detections]]] = [[] for _ in images]
    for side in dict.fromkeys(view.side for _, view in looked):
        now = [(number, view) for number, view in looked if view.side == side]
        results = detector.detect([view.crop(images[number]) for number, view in now], side)
        for (number, view), result in zip(now, results, strict=True):
            parts[number].append((view, result.of_type(*object_types)))
    return [merged(each, image.shape[:2]) for each, image in zip(parts, images, strict=True)]


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
