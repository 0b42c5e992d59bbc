"""The views in which an image is analysed: the whole image at each scale of the detector, its pieces, and tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol, cast

from anonymizer.pipeline.detection.looks import Look, LookedAt, run_looks
from anonymizer.pipeline.detection.merging import View, merge_views
from anonymizer.pipeline.detection.protocol import Detector, Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.formats import Auto, Format, Pano, Thorough, Tiles, Whole

__all__ = [
    "VIDEO_WIDE",
    "WIDE",
    "Calibrate",
    "View",
    "closest_scale",
    "detect_all_windows",
    "detect_windows",
    "merge_looks",
    "own_scale_tiles",
    "piece_side",
    "plan_views",
    "with_scales",
]

#: share of a tile that it has in common with the next one, at least
OVERLAP = 0.2
#: tiles of the next level are this many times as large, up to the whole image
LEVEL = 4
#: An image that is longer than this many times its short side is analysed in pieces. So is a frame of a video whose
#: scales take turns: frames of 2.4:1 are common, show no less than frames of 16:9, and take four times as long in
#: pieces.
WIDE, VIDEO_WIDE = 2.0, 3.0
#: Pieces are at most this many times as long as their short side, …
PIECE_ASPECT = 1.5
#: They overlap by this many times their short side, at least: as much as the tallest persons are wide.
PIECE_OVERLAP = 0.5
#: A thinner image is cut as if its short side had this many pixels: a piece of fewer pixels shows nothing.
LEAST_PIECE_PX = 64
#: In the first look of `auto` at a large image, detectors of persons and vehicles have another largest scale: this
#: share of the long side, but not more than so many pixels, …
FIRST_LOOK_SHARE, FIRST_LOOK_PX = 0.5, 1920
#: … if it is this many times as large as their own, at least. It takes the place of their own, which saves time.
FIRST_LOOK_STEP = 1.3
#: sides are whole pixels, so scales that differ by less than this factor are the same
SAME_SCALE = 1.01


class Calibrate(Protocol):
    """Maps the scores of detections to chances."""

    def __call__(self, detections: Detections, *, close: bool) -> Detections:
        """Return the same objects, by falling chance.

        Args:
            detections: with the scores of a detector.
            close: whether they come from enlarged views of the image.
        """
        ...


class HasScales(Protocol):
    """The part of a detector that decides on the views."""

    @property
    def object_types(self) -> tuple[ObjectType, ...]:
        """The types that it detects."""
        ...

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
    """A detector with other scales, for frames of a video."""

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

    An image beyond 2:1 is planned in overlapping pieces, beside the whole image at the smallest scale. Panoramas, and
    images with tiles that the caller chose, have no pieces.

    Args:
        size_hw: height and width of the image in pixels.
        format: how large images are cut into views. For `auto`, the views of its first look.
        detector: the detector, or whatever has its scales.

    Returns:
        All views, those of the whole image first.
    """
    height, width = size_hw
    if isinstance(format, Tiles | Pano):
        whole = [View(0, 0, width, height, side) for side in detector.scales(max(size_hw))]
        if isinstance(format, Tiles):
            return whole + list(_grid(size_hw, format, detector))
        return whole + list(_panorama(size_hw, format.width, detector))
    views = list(_whole(size_hw, format, detector))
    closest = _closest(views)
    if isinstance(format, Thorough) and closest < 1:
        views += _levels(size_hw, detector.tile_side, detector, closest)
    return views


def closest_scale(size_hw: tuple[int, int], format: Format, detector: HasScales) -> float:  # noqa: A002 (the contract's name)
    """Get the largest scale at which all pixels of an image are analysed.

    Args:
        size_hw: height and width of the image in pixels.
        format: how large images are cut into views. For `auto`, only its first look counts.
        detector: the detector, or whatever has its scales.

    Returns:
        Pixels that the detector gets for each pixel of the image, along one side: 0.5 is half the size.
    """
    return _closest(plan_views(size_hw, format, detector))


def piece_side(size_hw: tuple[int, int], wide: float = WIDE) -> int:
    """Get the long side in pixels of the largest part of an image that is analysed at all scales of a detector.

    Args:
        size_hw: height and width of the image in pixels.
        wide: how many times as long as its short side an image may be before it is analysed in pieces.

    Returns:
        The long side of the image, or of its pieces.
    """
    if max(size_hw) <= wide * min(size_hw):
        return max(size_hw)
    return max(max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in _pieces(size_hw))


def own_scale_tiles(size_hw: tuple[int, int], side: int) -> list[View]:
    """Plan overlapping tiles that cover an image at its own scale.

    Args:
        size_hw: height and width of the image in pixels.
        side: side of a tile in pixels; tiles are smaller where the image is.
    """
    return list(_tiles(size_hw, side, side))


def _closest(views: Sequence[View]) -> float:
    return max(_scale(view) for view in views)


def _scale(view: View) -> float:
    """Pixels that the detector gets for each pixel of the image."""
    return view.side / max(view.x2 - view.x1, view.y2 - view.y1)


def _whole(size_hw: tuple[int, int], format: Format, detector: HasScales) -> Iterator[View]:  # noqa: A002
    """The whole image at each scale; a wide one at its smallest scale, and its pieces at each scale."""
    height, width = size_hw
    scales = _scales(max(size_hw), format, detector)
    pieces: list[View] = []
    if max(size_hw) > (VIDEO_WIDE if isinstance(detector, _WithScales) else WIDE) * min(size_hw):
        for x1, y1, x2, y2 in _pieces(size_hw):
            pieces += (View(x1, y1, x2, y2, side) for side in _scales(max(x2 - x1, y2 - y1), format, detector))
        # larger scales stay if they are larger than those of the pieces: small images have other scales
        closest = _closest(pieces)
        scales = tuple(side for side in scales if side == min(scales) or side / max(size_hw) > closest)
    yield from (View(0, 0, width, height, side) for side in scales)
    yield from pieces


def _scales(long_side: int, format: Format, detector: HasScales) -> tuple[int, ...]:  # noqa: A002
    """The scales of the detector; for the first look of `auto` at a large image, with a larger largest one."""
    scales = detector.scales(long_side)
    finds_carriers = {ObjectType.PERSON, ObjectType.VEHICLE} & set(detector.object_types)
    larger = round(min(FIRST_LOOK_SHARE * long_side, FIRST_LOOK_PX))
    if isinstance(format, Auto) and finds_carriers and larger >= FIRST_LOOK_STEP * max(scales):
        return (*(scale for scale in scales if scale != max(scales) or len(scales) == 1), larger)
    return scales


def _pieces(size_hw: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Overlapping pieces along the long side of an image, as x1, y1, x2, y2 in pixels."""
    height, width = size_hw
    long_side, short_side = max(size_hw), max(min(size_hw), LEAST_PIECE_PX)
    overlap = PIECE_OVERLAP * short_side
    count = max(1, math.ceil((long_side - overlap) / (PIECE_ASPECT * short_side - overlap)))
    length = min(long_side, math.ceil((long_side + (count - 1) * overlap) / count))
    for number in range(count):
        start = round(number * (long_side - length) / max(1, count - 1))
        yield (start, 0, start + length, height) if width > height else (0, start, width, start + length)


def _levels(size_hw: tuple[int, int], tile: int, detector: HasScales, whole: float) -> Iterator[View]:
    """Square tiles, then larger ones, while an object may be too large for the tiles and too small for the whole."""
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
        whole = max(detector.scales(max(size_hw))) / max(size_hw)
        yield from _levels(size_hw, tile, detector, whole)
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
    calibrate: Calibrate | None = None,
) -> list[Detections]:
    """Run one detector over all views of each image and merge the detections, as `detect_all_windows` does.

    Args:
        images: (h, w, 3) uint8 RGB each, of any sizes.
        format: how large images are cut into views. For `auto`, this is the first look.
        detector: the detector.
        object_types: only these types are returned.
        calibrate: maps scores to chances; default: scores stay.

    Returns:
        One `Detections` for each image, each object once, by falling score.

    Raises:
        DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
    """
    return detect_all_windows(images, format, [(detector, object_types, calibrate)])[0]


def detect_all_windows(
    images: Sequence[Image],
    format: Format,  # noqa: A002 (the contract's name)
    detectors: Sequence[tuple[Detector, Sequence[ObjectType], Calibrate | None]],
) -> list[list[Detections]]:
    """Run several detectors over all views of each image, and merge the detections of each of them.

    Views that enlarge more than those of the whole image show objects in another way, so their scores are calibrated
    apart.

    Args:
        images: (h, w, 3) uint8 RGB each, of any sizes.
        format: how large images are cut into views. For `auto`, this is the first look.
        detectors: the detectors. With each, the types that are returned of it, and what maps its scores to chances;
            None: scores stay.

    Returns:
        By detector and image, one `Detections`, each object once, by falling score.

    Raises:
        DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
    """
    looks: list[Look] = []
    views: list[tuple[int, list[tuple[int, View]]]] = []
    for number, (detector, _, _) in enumerate(detectors):
        planned = [
            (index, view)
            for index, image in enumerate(images)
            for view in plan_views(image.shape[:2], format, detector)
        ]
        for side in dict.fromkeys(view.side for _, view in planned):
            of_scale = [(index, view) for index, view in planned if view.side == side]
            crops = [
                LookedAt((view.y2 - view.y1, view.x2 - view.x1), partial(view.crop, images[index]))
                for index, view in of_scale
            ]
            looks.append(Look(detector, crops, side))
            views.append((number, of_scale))
    parts: list[list[list[tuple[View, Detections]]]] = [[[] for _ in images] for _ in detectors]
    for (number, of_look), results in zip(views, run_looks(looks), strict=True):
        types = detectors[number][1]
        for (index, view), result in zip(of_look, results, strict=True):
            parts[number][index].append((view, result.of_type(*types)))
    return [
        [
            _merge_windows(of_image, image.shape[:2], format, detector, calibrate)
            for of_image, image in zip(of_detector, images, strict=True)
        ]
        for of_detector, (detector, _, calibrate) in zip(parts, detectors, strict=True)
    ]


def _merge_windows(
    parts: Sequence[tuple[View, Detections]],
    size_hw: tuple[int, int],
    format: Format,  # noqa: A002 (the contract's name)
    detector: Detector,
    calibrate: Calibrate | None,
) -> Detections:
    """Merge what a detector found in all views of one image."""
    # tiles and the like; the first look of `auto` has none, as all its views are of the whole image
    scale = closest_scale(size_hw, format if isinstance(format, Auto) else Whole(), detector)
    enlarged = [row for row in parts if _scale(row[0]) > SAME_SCALE * scale]
    first = merge_views([row for row in parts if _scale(row[0]) <= SAME_SCALE * scale], size_hw)
    if calibrate is not None:
        first = calibrate(first, close=False)
        enlarged = [(view, calibrate(part, close=True)) for view, part in enlarged]
    return merge_looks(first, enlarged, size_hw)


def merge_looks(first: Detections, enlarged: Sequence[tuple[View, Detections]], size_hw: tuple[int, int]) -> Detections:
    """Merge what was found in the whole image with what was found in enlarged views of it.

    Args:
        first: found in the whole image, with calibrated scores.
        enlarged: the enlarged views, and what was found in each, with calibrated scores.
        size_hw: height and width of the image in pixels.

    Returns:
        Each object once, with the highest of its chances, by falling chance. A detector that sees one object twice is
        no second witness: the chances are not added up.

    Raises:
        TooManyObjects: there are more than `MAX_OBJECTS`.
    """
    whole = View(0, 0, size_hw[1], size_hw[0], max(size_hw))
    return merge_views([(whole, first), *enlarged], size_hw, agreement=0, one_of_each=True)
