"""The views in which a picture is analysed: as a whole at each of the detector's scales, and closer in windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.merging import View, merged
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.formats import Auto, Format, Pano, Tiles

__all__ = ["View", "at_sides", "detect_windows", "views"]

Image = NDArray[np.uint8]

OVERLAP = 0.2
#: between the tiles at a picture's own scale and the whole: tiles so many times as large
LEVEL = 4


class Scales(Protocol):
    """What of a detector decides on windows."""

    @property
    def tile_side(self) -> int: ...

    def sides(self, long_side: int) -> tuple[int, ...]: ...


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


def detect_windows(
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
