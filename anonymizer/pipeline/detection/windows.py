"""The views in which an image is analysed: the whole image at each scale of the detector, and tiles of large images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from anonymizer.pipeline.detection.merging import View, merge_views
from anonymizer.pipeline.detection.protocol import Detector, Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.formats import Auto, Format, Pano, Tiles

__all__ = ["View", "detect_windows", "plan_views", "with_scales"]

#: share of a tile that it has in common with the next one, at least
OVERLAP = 0.2
#: tiles of the next level are this many times as large, up to the whole image
LEVEL = 4


class HasScales(Protocol):
    """The part of a detector that decides on the views."""

    @property
    def tile_side(self) -> int:
        """Side of a square tile of a large image, in pixels of the image."""
        ...

    def scales(self, long_side: int) -> tuple[int, ...]:
        """The scales at which a whole image is analysed.

        Args:
            long_side: the long side of the image, in pixels.

        Returns:
            At least one scale, as the long side in pixels to which the image is resized.
        """
        ...


class _WithScales:
    """A detector with other scales."""

    def __init__(self, detector: Detector, scales: tuple[int, ...]) -> None:
        self._detector, self._scales = detector, scales

    def __getattr__(self, name: str) -> object:
        return getattr(self._detector, name)

    def scales(self, long_side: int) -> tuple[int, ...]:
        return self._scales


def with_scales(detector: Detector, scales: tuple[int, ...]) -> Detector:
    """Replace the scales at which a detector analyses whole images.

    Args:
        detector: any detector; it is not changed.
        scales: the new scales, as long sides in pixels.
    """
    return cast("Detector", _WithScales(detector, scales))


def plan_views(size_hw: tuple[int, int], format: Format, detector: HasScales) -> list[View]:  # noqa: A002 (the contract's name)
    """Plan the views of an image.

    Args:
        size_hw: height and width of the image in pixels.
        format: how large images are cut into views.
        detector: the detector, or whatever has its scales.

    Returns:
        All views, the whole image at each scale first.
    """
    height, width = size_hw
    scales = detector.scales(max(size_hw))
    whole = [View(0, 0, width, height, side) for side in scales]
    if isinstance(format, Tiles):
        return whole + list(_grid(size_hw, format, detector))
    if isinstance(format, Pano):
        return whole + list(_panorama(size_hw, format.width, detector))
    if isinstance(format, Auto) and max(size_hw) > max(scales):
        return whole + list(_levels(size_hw, detector.tile_side, detector))
    return whole


def _levels(size_hw: tuple[int, int], tile: int, detector: HasScales) -> Iterator[View]:
    """Square tiles, then larger ones, while an object may be too large for the tiles and too small for the whole."""
    whole = max(detector.scales(max(size_hw))) / max(size_hw)
    yield from _tiles(size_hw, tile, detector.tile_side)
    while detector.tile_side / (tile * LEVEL) > 1.5 * whole:
        tile *= LEVEL
        yield from _tiles(size_hw, tile, detector.tile_side)


def _starts(length: int, tile: int) -> list[int]:
    """Where tiles begin, so that neighbours overlap by at least `OVERLAP` and the last one ends with the image."""
    if tile >= length:
        return [0]
    count = math.ceil((length - tile) / (tile * (1 - OVERLAP))) + 1
    return [round(n * (length - tile) / (count - 1)) for n in range(count)]


def _tiles(size_hw: tuple[int, int], tile: int, side: int) -> Iterator[View]:
    height, width = size_hw
    for y in _starts(height, tile):
        for x in _starts(width, tile):
            yield View(x, y, min(x + tile, width), min(y + tile, height), side)


def _grid(size_hw: tuple[int, int], tiles: Tiles, detector: HasScales) -> Iterator[View]:
    height, width = size_hw

    def cuts(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
        tile = length / (count - (count - 1) * overlap)
        starts = [n * tile * (1 - overlap) for n in range(count)]
        return [(math.floor(start), min(math.ceil(start + tile), length)) for start in starts]

    for y1, y2 in cuts(height, tiles.rows, tiles.overlap_y):
        for x1, x2 in cuts(width, tiles.columns, tiles.overlap_x):
            if x1 < x2 and y1 < y2:
                yield from (View(x1, y1, x2, y2, side) for side in detector.scales(max(x2 - x1, y2 - y1)))


def _panorama(size_hw: tuple[int, int], analysed_width: int, detector: HasScales) -> Iterator[View]:
    height, width = size_hw
    # an image enlarged more than twice shows nothing new, and would take too long
    tile = max(1, round(detector.tile_side * width / min(analysed_width, 2 * width)))
    if tile < max(size_hw):
        yield from _levels(size_hw, tile, detector)
    # objects on the seam: half an image to each side at every scale, and tiles
    yield from (View(width // 2, 0, width // 2 + width, height, side) for side in detector.scales(max(size_hw)))
    across = min(tile, width)
    for y in _starts(height, across):
        yield View(width - across // 2, y, width - across // 2 + across, min(y + across, height), detector.tile_side)


def detect_windows(
    images: Sequence[Image],
    format: Format,  # noqa: A002 (the contract's name)
    detector: Detector,
    object_types: Sequence[ObjectType],
) -> list[Detections]:
    """Run one detector over all views of each image and merge the detections.

    Args:
        images: (h, w, 3) uint8 RGB each, of any sizes.
        format: how large images are cut into views.
        detector: the detector.
        object_types: only these types are returned.

    Returns:
        One `Detections` for each image, each object once, by falling score.

    Raises:
        DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
    """
    planned = [
        (index, view) for index, image in enumerate(images) for view in plan_views(image.shape[:2], format, detector)
    ]
    parts: list[list[tuple[View, Detections]]] = [[] for _ in images]
    for side in dict.fromkeys(view.side for _, view in planned):
        of_scale = [(index, view) for index, view in planned if view.side == side]
        results = detector.detect([view.crop(images[index]) for index, view in of_scale], side)
        for (index, view), result in zip(of_scale, results, strict=True):
            parts[index].append((view, result.of_type(*object_types)))
    return [merge_views(of_image, image.shape[:2]) for of_image, image in zip(parts, images, strict=True)]
