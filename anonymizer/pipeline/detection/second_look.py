"""The second look of the format `auto`: where it is worth looking closer, and what is found there.

The first look finds persons, vehicles and faint candidates of everything. Around them, regions are cut out at a scale
at which heads, license plates and candidates are large enough, packed onto canvases, and analysed again. Parts of the
image with fine detail are analysed at its own scale: there, a first look cannot even suspect small objects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.canvases import Canvas, Crop, pack
from anonymizer.pipeline.detection.looks import Look, LookedAt, run_looks
from anonymizer.pipeline.detection.merging import View, is_cut
from anonymizer.pipeline.detection.protocol import Detector, Image
from anonymizer.pipeline.detection.windows import Calibrate, own_scale_tiles
from anonymizer.pipeline.detections import Detections, ObjectType

__all__ = ["CARRIERS", "DetailRegion", "RegionShare", "SecondLook", "find_regions", "look_again", "merge_regions"]

#: the types that carry objects of another type: faces are looked for on persons, license plates on vehicles
CARRIERS = {ObjectType.PERSON: ObjectType.FACE, ObjectType.VEHICLE: ObjectType.LICENSE_PLATE}
#: Objects of these chances are unsure: they are looked at again. Less is nothing, more is sure.
FAINT, SURE = 0.05, 0.7
#: persons and vehicles from this chance on are looked at for faces and license plates
CARRIER = 0.1
#: how large a head, a license plate or an unsure object is made, in pixels; 40 to 80 are good
WANTED_PX = 56.0
#: an image is enlarged this many times, at most: more shows nothing new
MAX_ZOOM = 2.0
#: Unsure objects up to this size (root of the area, in pixels of the image) are seen at this scale of the image, at
#: least: what was unsure from afar may be several smaller objects.
GROUP_PX, GROUP_ZOOM = 200.0, 0.7
#: a region is left out unless its zoom is this many times the scale of the first look, at least
GAIN = 1.3
#: Objects that had more pixels in the first look are not looked for in detailed parts: the first look saw them better.
#: A view that cuts into a large face shows other faces in it.
SEEN_PX = 64.0
#: side of a canvas in pixels, and longest side of what is laid on it, at most; smaller for detectors of small images.
#: Canvases of 640 pixels stay emptier: they take 1.2 to 1.3 times as many pixels for the same crops.
CANVAS_PX, CROP_PX = 960, 640
#: regions are merged if their zooms differ by this factor, at most
LIKE_ZOOM = 1.5
#: height of a head as a share of the height of a person, and as a share of the width of a person
HEAD_OF_HEIGHT, HEAD_OF_WIDTH = 1 / 7, 0.4
#: how far below the upper end of a person a head may end, in heads
HEAD_REGION = 2.5
#: width of a license plate as a share of the width and of the height of a vehicle
PLATE_OF_WIDTH, PLATE_OF_HEIGHT = 0.28, 0.35
#: surroundings of an unsure object on each side, as a share of its longer side; and of heads, in heads
AROUND, AROUND_HEAD = 0.5, 0.5


@dataclass(frozen=True, slots=True)
class DetailRegion:
    """A part of an image that is worth a second look.

    Attributes:
        x1, y1, x2, y2: in pixels of the image, right and bottom exclusive.
        zoom: pixels of the canvas for each pixel of the image, along one side.
        types: what is looked for.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    zoom: float
    types: frozenset[ObjectType]


@dataclass(frozen=True, slots=True)
class RegionShare:
    """A part of the regions of an image, for frames of a video: they take turns where they are too many for one frame.

    Attributes:
        pixels: about so many pixels of canvases may be taken, and one region more.
        number: of the turn, from 0.
    """

    pixels: float
    number: int

    def choose(self, regions: Sequence[DetailRegion]) -> list[DetailRegion]:
        """Choose the regions whose turn it is.

        Args:
            regions: of the image, in any order.

        Returns:
            All regions if they take no more than `pixels`. Otherwise neighbours from left to right, where those of the
            last turn ended.
        """
        ordered = sorted(regions, key=lambda region: (region.x1 + region.x2, region.y1 + region.y2))
        areas = np.array([_pixels([region]) for region in ordered])
        parts = ((np.cumsum(areas) - areas) // self.pixels).astype(int)
        if not len(parts):
            return []
        number = self.number % (int(parts[-1]) + 1)
        return [region for region, part in zip(ordered, parts, strict=True) if part == number]


def find_regions(first: Detections, size_hw: tuple[int, int], wanted: Collection[ObjectType]) -> list[DetailRegion]:
    """Choose the regions of an image that are worth a second look.

    Args:
        first: what the first look of all models found; scores are calibrated chances.
        size_hw: height and width of the image in pixels.
        wanted: the object types that are asked for.

    Returns:
        The heads of persons, if faces are wanted, unless a sure face is there. The license plates of vehicles, in the
        same way. And the surroundings of each unsure object. Regions may overlap.
    """
    regions = []
    for row in range(len(first)):
        object_type, score = first.object_type(row), float(first.scores[row])
        carried, box = CARRIERS.get(object_type), first.boxes[row]
        if score >= CARRIER and carried is not None and carried in wanted:
            around, size = _head(box) if object_type is ObjectType.PERSON else _plate(box)
            if not _has_sure(first, carried, around):
                regions.append(_region(around, size, {carried}, size_hw))
        if FAINT <= score < SURE and (object_type in wanted or carried in wanted):
            margin = AROUND * float((box[2:] - box[:2]).max())
            size = float(np.sqrt(np.prod(box[2:] - box[:2])))
            wanted_size = min(size, WANTED_PX / GROUP_ZOOM) if size <= GROUP_PX else size
            regions.append(_region(box + np.array([-1, -1, 1, 1]) * margin, wanted_size, set(wanted), size_hw))
    return [region for region in regions if region is not None]


def _head(box: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Where the head of a person is, and its expected size in pixels."""
    x1, y1, x2, y2 = (float(side) for side in box)
    width, height = x2 - x1, y2 - y1
    # Both guesses, because a person may be cut off at the waist: between them, neither is far off.
    head = float(np.sqrt(HEAD_OF_HEIGHT * max(width, height) * HEAD_OF_WIDTH * min(width, height)))
    # someone who lies or bends may have the head anywhere
    bottom = y2 if width > height else min(y2, y1 + HEAD_REGION * head)
    around = AROUND_HEAD * head
    return np.array([x1 - around, y1 - around, x2 + around, bottom + around]), head


def _plate(box: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Where the license plate of a vehicle is, and its expected width in pixels."""
    width, height = (float(side) for side in box[2:] - box[:2])
    plate = min(PLATE_OF_WIDTH * width, PLATE_OF_HEIGHT * height)
    return box + np.array([-1, -1, 1, 1]) * plate / 2, plate


def _has_sure(first: Detections, object_type: ObjectType, around: NDArray[np.float64]) -> bool:
    """Whether a sure object of a type lies in a region."""
    centres = (first.boxes[:, :2] + first.boxes[:, 2:]) / 2
    inside = ((centres >= around[:2]) & (centres <= around[2:])).all(1)
    return bool((inside & (first.types == object_type.number) & (first.scores >= SURE)).any())


def _region(
    around: NDArray[np.float64], size: float, types: set[ObjectType], size_hw: tuple[int, int]
) -> DetailRegion | None:
    """The region clipped to the image, with the zoom that makes an object of a size in pixels large enough."""
    height, width = size_hw
    x1, y1 = (max(0, int(side)) for side in np.floor(around[:2]))
    x2, y2 = min(width, int(np.ceil(around[2]))), min(height, int(np.ceil(around[3])))
    if x1 >= x2 or y1 >= y2:
        return None
    return DetailRegion(x1, y1, x2, y2, min(MAX_ZOOM, WANTED_PX / max(size, 1.0)), frozenset(types))


def merge_regions(regions: Sequence[DetailRegion], side: int) -> list[DetailRegion]:
    """Merge regions of like zoom that overlap, if they take no more pixels together than apart.

    Args:
        regions: of one image.
        side: the longest side of a region on a canvas, in pixels.

    Returns:
        Regions that contain all of the given ones, at their zoom or a larger one, as far as a canvas is large enough.
    """
    kept = sorted((_fitting(region, side) for region in regions), key=lambda region: (region.y1, region.x1))
    merged = True
    while merged:
        merged = False
        rest, kept = kept, []
        while rest:
            region = rest.pop(0)
            while (found := _first_mergeable(region, rest, side)) is not None:
                number, region = found
                rest.pop(number)
                merged = True
            kept.append(region)
    return kept


def _fitting(region: DetailRegion, side: int) -> DetailRegion:
    """The region at a zoom at which it fits on a canvas."""
    most = side / max(region.x2 - region.x1, region.y2 - region.y1)
    return replace(region, zoom=min(region.zoom, most))


def _first_mergeable(
    region: DetailRegion, others: Sequence[DetailRegion], side: int
) -> tuple[int, DetailRegion] | None:
    """The first of other regions to merge with: its number, and the merged region."""
    if not others:
        return None
    rows = np.array([(other.x1, other.y1, other.x2, other.y2, other.zoom) for other in others], float)
    low = np.minimum(rows[:, :2], [region.x1, region.y1])
    high = np.maximum(rows[:, 2:4], [region.x2, region.y2])
    zoom, like = np.maximum(rows[:, 4], region.zoom), np.minimum(rows[:, 4], region.zoom)
    apart = np.prod(rows[:, 2:4] - rows[:, :2], 1) * rows[:, 4] ** 2
    apart += (region.x2 - region.x1) * (region.y2 - region.y1) * region.zoom**2
    good = (np.prod(high - low, 1) * zoom**2 <= apart) & (zoom <= LIKE_ZOOM * like)
    good &= (high - low).max(1) * zoom <= side
    if not good.any():
        return None
    number = int(np.argmax(good))
    (x1, y1), (x2, y2) = low[number].astype(int), high[number].astype(int)
    types = region.types | others[number].types
    return number, DetailRegion(int(x1), int(y1), int(x2), int(y2), float(zoom[number]), types)


@dataclass(frozen=True)
class SecondLook:
    """What a detector looks at again in some images, packed onto canvases.

    Attributes:
        look: at the canvases.
    """

    look: Look
    _images: Sequence[Image]
    _first_scales: Sequence[float]
    _canvases: Sequence[Canvas]
    _crops: Sequence[Crop]
    _types: Sequence[frozenset[ObjectType]]
    _is_tile: Sequence[bool]
    _is_detail: Sequence[bool]

    @classmethod
    def plan(
        cls,
        images: Sequence[Image],
        regions: Sequence[Sequence[DetailRegion]],
        details: Callable[[int, int], Sequence[View]],
        detector: Detector,
        object_types: Sequence[ObjectType],
        first_scales: Sequence[float],
        *,
        shares: Sequence[RegionShare] | None = None,
    ) -> SecondLook:
        """Choose what is looked at again, as `look_again` says.

        Args:
            images, regions, details, detector, object_types, first_scales, shares: as for `look_again`.
        """
        side = min(CANVAS_PX, max(detector.tile_side, *detector.scales(CANVAS_PX)))
        crop_side = min(CROP_PX, side)
        wanted = frozenset(object_types)
        crops: list[Crop] = []
        types: list[frozenset[ObjectType]] = []
        is_tile: list[bool] = []
        is_detail: list[bool] = []
        for index, (image, of_image, first_scale) in enumerate(zip(images, regions, first_scales, strict=True)):
            tiles = [*details(index, crop_side)] if first_scale * GAIN <= 1 else []
            outside = [region for region in of_image if not _is_shown(region, tiles)]
            found_regions = _useful(outside, wanted, crop_side, first_scale)
            if shares is not None:
                found_regions = shares[index].choose(found_regions)
            all_tiles = own_scale_tiles(image.shape[:2], crop_side)
            taken = _pixels(found_regions) + sum(map(_area, tiles))
            fully_tiled = first_scale < 1 and taken > sum(map(_area, all_tiles))
            if fully_tiled:
                tiles, found_regions = all_tiles, []
            crops += (Crop(index, view) for view in (*tiles, *map(_view, found_regions)))
            types += [wanted] * len(tiles) + [region.types & wanted for region in found_regions]
            is_tile += [True] * len(tiles) + [False] * len(found_regions)
            is_detail += [not fully_tiled] * len(tiles) + [False] * len(found_regions)
        canvases = pack(crops, side)
        drawn = [LookedAt(canvas.size_hw(crops), partial(canvas.draw, crops, images)) for canvas in canvases]
        return cls(Look(detector, drawn, side), images, first_scales, canvases, crops, types, is_tile, is_detail)

    def parts(self, results: Sequence[Detections], calibrate: Calibrate) -> list[list[tuple[View, Detections]]]:
        """Bring what was found on the canvases back to the images.

        Args:
            results: of `look`, one for each canvas.
            calibrate: maps the detector's scores to chances.

        Returns:
            As `look_again` does.
        """
        parts: list[list[tuple[View, Detections]]] = [[] for _ in self._images]
        for canvas, found in zip(self._canvases, results, strict=True):
            for number, part in canvas.split(found, self._crops):
                crop, of_types = self._crops[number], part.of_type(*self._types[number])
                if self._is_detail[number]:
                    sides = (of_types.boxes[:, 2:] - of_types.boxes[:, :2]).max(axis=1, initial=0)
                    of_types = of_types[sides * self._first_scales[crop.image] <= SEEN_PX]
                if not self._is_tile[number]:
                    of_types = of_types[~is_cut(crop.view, of_types, self._images[crop.image].shape[:2])]
                parts[crop.image].append((crop.view, calibrate(of_types, close=True)))
        return parts


def look_again(
    images: Sequence[Image],
    regions: Sequence[Sequence[DetailRegion]],
    details: Callable[[int, int], Sequence[View]],
    detector: Detector,
    object_types: Sequence[ObjectType],
    first_scales: Sequence[float],
    calibrate: Calibrate,
    *,
    shares: Sequence[RegionShare] | None = None,
) -> list[list[tuple[View, Detections]]]:
    """Run one detector over the regions of images, and over detailed parts of them, packed onto canvases.

    If they take more pixels than tiles that cover the image at its own scale, the tiles are analysed instead. So a
    crowd takes no longer than full tiling.

    What the border of a region cuts off is left out. A region is made for what lies in its middle, and what the first
    look suspected beside it has a region of its own.

    Args:
        images: (h, w, 3) uint8 RGB each, of any sizes.
        regions: of each image, as `find_regions` returns them.
        details: returns the views of the detailed parts of an image, as `detailed_views` does, for its index and their
            longest side. It is not called if the first look was as close.
        detector: the detector.
        object_types: only these types are returned.
        first_scales: of each image, the scale of the detector's first look (`closest_scale`).
        calibrate: maps the detector's scores to chances.
        shares: of each image, which of its regions are looked at now; default: all.

    Returns:
        For each image its views and the detections in each, for `merge_looks`. Boxes are in pixels of the view, at the
        scale of the image; scores are calibrated chances.

    Raises:
        DetectorFailed, OutOfMemory: there is no result.
    """
    second = SecondLook.plan(images, regions, details, detector, object_types, first_scales, shares=shares)
    (results,) = run_looks([second.look])
    return second.parts(results, calibrate)


def _useful(
    regions: Sequence[DetailRegion], wanted: frozenset[ObjectType], side: int, first_scale: float
) -> list[DetailRegion]:
    """The regions that show more of a wanted type than the first look of a detector, merged."""
    useful = [region for region in regions if region.types & wanted and region.zoom >= GAIN * first_scale]
    # a region that is too large for a canvas may have lost its gain
    return [region for region in merge_regions(useful, side) if region.zoom >= GAIN * first_scale]


def _is_shown(region: DetailRegion, tiles: Sequence[View]) -> bool:
    """Whether a view of a detailed part shows a region about as large as it is wanted."""
    # a smaller zoom is for objects that the first look saw as too large for a detailed part (`SEEN_PX`)
    return 1 <= region.zoom <= GAIN and any(
        tile.x1 <= region.x1 and tile.y1 <= region.y1 and tile.x2 >= region.x2 and tile.y2 >= region.y2
        for tile in tiles
    )


def _view(region: DetailRegion) -> View:
    side = max(1, round(region.zoom * max(region.x2 - region.x1, region.y2 - region.y1)))
    return View(region.x1, region.y1, region.x2, region.y2, side)


def _pixels(regions: Sequence[DetailRegion]) -> float:
    """Pixels that regions take on canvases."""
    return sum(_area(region) * region.zoom**2 for region in regions)


def _area(part: DetailRegion | View) -> int:
    return (part.x2 - part.x1) * (part.y2 - part.y1)
