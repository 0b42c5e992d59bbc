"""Find objects in pictures that lie on their side or upside down.

Detectors learn from upright pictures: at a quarter turn they miss up to half of the faces. So a small copy of each
image is looked at in all four orientations. Where a turned copy shows more than the upright one, the image is worth a
whole analysis in that orientation too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.canvases import GAP_PX, Canvas, Crop
from anonymizer.pipeline.detection.merging import View
from anonymizer.pipeline.detection.protocol import Detector, Image
from anonymizer.pipeline.detection.windows import Calibrate
from anonymizer.pipeline.detections import Detections, Mask, ObjectType

__all__ = ["QUARTERS", "Orientation", "look_at_orientations", "same_objects", "turn", "turn_back"]

#: the orientations besides upright, in quarter turns; counterclockwise, as `np.rot90` turns
QUARTERS = (1, 2, 3)
#: Long side of a small copy: this share of the long side of the image, but not less and not more than these pixels. It
#: is never larger than the image.
COPY_SHARE, LEAST_COPY_PX, MOST_COPY_PX = 0.2, 128, 416
#: An image with a shorter side below this, in pixels, is not looked at: it is too small to tell its orientations apart.
LEAST_PX = 16
#: What a copy shows is the sum of the chances of its objects of all types, from this chance on: fainter ones are mostly
#: noise, and more so in larger copies. ...
FAINT = 0.1
#: ... A turned copy shows clearly more if its sum is larger than that of the upright copy by this factor and this
#: summand, ...
TIMES, MORE = 1.1, 0.4
#: ... or if it shows an object of this chance where the whole analysis found none with this score. So a face that lies
#: on its side in a group of upright ones counts too. Recall at a quarter turn (face fddb, masks; person coco-person,
#: voc; plate cars), and whole analyses more for each upright picture. Copies of 128 pixels with own-3:
#:     never              .85 .46 .56 .48 .73    0
#:     all, + .5          .98 .90 .72 .71 .85    .03 .00 .03 .07 .07
#:     from .1, + .3      .98 .90 .73 .76 .88    .03 .00 .10 .10 .17
#:     1.1 times + .4     .98 .90 .73 .76 .83    .00 .00 .03 .05 .07
#:     1.1 times + .6     .98 .90 .71 .73 .83    .00 .00 .03 .00 .07
#:     always             .99 .91 .81 .93 .97    3
#: Every second of these pictures, 1.1 times + .6, with copies of 128 and of 416 pixels:
#:     128                .96 .95 .70 .67 .80    .00 .00 .00 .00 .00
#:     416                .97 .93 .77 .95 .87    .05 .03 .10 .00 .07
NEW = 0.6
#: boxes of one type with a larger IoU are the same object
SAME_IOU = 0.3


def turn(image: Image, quarters: int) -> Image:
    """Turn an image.

    Args:
        image: (h, w, 3) uint8 RGB.
        quarters: quarter turns, counterclockwise.

    Returns:
        (w, h, 3) uint8 RGB for an odd number of quarters, otherwise (h, w, 3). It is contiguous.
    """
    return np.ascontiguousarray(np.rot90(image, quarters))


def turn_back(found: Detections, quarters: int, size_hw: tuple[int, int]) -> Detections:
    """Move the objects of a turned image to their places in the upright one.

    Args:
        found: n objects, with boxes and masks in pixels of the turned image.
        quarters: the quarter turns, counterclockwise, by which the image was turned.
        size_hw: height and width of the upright image in pixels.

    Returns:
        The same objects, with boxes and masks in pixels of the upright image.
    """
    masks = tuple(_turn_mask_back(mask, quarters, size_hw) for mask in found.masks)
    return replace(found, boxes=_place_back(found.boxes, quarters, size_hw), masks=masks)


def _turn_mask_back(mask: Mask | None, quarters: int, size_hw: tuple[int, int]) -> Mask | None:
    if mask is None:
        return None
    rows, columns = mask.pixels.shape
    sides = np.array([[mask.x, mask.y, mask.x + columns, mask.y + rows]])
    x, y = (int(side) for side in _place_back(sides, quarters, size_hw)[0, :2])
    return replace(mask, x=x, y=y, pixels=np.ascontiguousarray(np.rot90(mask.pixels, -quarters)))


def _place_back(boxes: NDArray[Any], quarters: int, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Boxes (n, 4) of a turned image in the upright one, of the same dtype."""
    x1, y1, x2, y2 = boxes.T
    height, width = size_hw
    turned_back = (
        (x1, y1, x2, y2),
        (width - y2, x1, width - y1, x2),
        (width - x2, height - y2, width - x1, height - y1),
        (y1, height - x2, y2, height - x1),
    )
    return np.stack(turned_back[quarters % 4], 1)


@dataclass(frozen=True, slots=True)
class Orientation:
    """What the small copies of an image tell about the orientation of its objects.

    Attributes:
        turns: of `QUARTERS`, the turns in which the image is worth a whole analysis; default: none.
        may_lie: whether a turned copy shows more than the upright one, by whatever little. Then nothing tells where the
            head of a person is. It holds for .90 and more of the found persons in turned pictures of coco-person and
            voc. In upright ones it holds for .00 to .13 of them.
    """

    turns: tuple[int, ...] = ()
    may_lie: bool = False


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Small copies of one image in the four orientations, on one canvas.

    Attributes:
        size_hw: height and width of the image in pixels.
        small_hw: height and width of the upright copy in pixels.
        crops: the copies by quarter turns.
        canvas: where they lie.
        pixels: (s, s, 3) uint8 RGB.
    """

    size_hw: tuple[int, int]
    small_hw: tuple[int, int]
    crops: tuple[Crop, ...]
    canvas: Canvas
    pixels: Image

    @classmethod
    def draw(cls, image: Image, most_side: int) -> _Sheet:
        """Draw the copies around the middle of a square, each along another of its sides.

        Args:
            image: (h, w, 3) uint8 RGB.
            most_side: the side of the square in pixels, at most.
        """
        long_side = max(image.shape[:2])
        side = min(max(LEAST_COPY_PX, COPY_SHARE * long_side), MOST_COPY_PX, long_side, (most_side - GAP_PX) / 2)
        height, width = (max(1, round(length * side / long_side)) for length in image.shape[:2])
        small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        copies = [turn(small, quarters) for quarters in (0, *QUARTERS)]
        crops = tuple(
            Crop(quarters, View(0, 0, copy.shape[1], copy.shape[0], max(copy.shape[:2])))
            for quarters, copy in enumerate(copies)
        )
        right, below = width + GAP_PX, height + GAP_PX
        canvas = Canvas(width + height + GAP_PX, ((0, 0, 0), (1, right, 0), (2, below, right), (3, 0, below)))
        size_hw = (image.shape[0], image.shape[1])
        return cls(size_hw, (height, width), crops, canvas, canvas.draw(crops, copies))

    def split(self, found: Detections, calibrate: Calibrate) -> list[Detections]:
        """What each copy shows, by quarter turns; scores are chances, boxes are in pixels of the upright image."""
        by_quarters = [Detections.empty()] * len(self.crops)
        factors = np.tile(np.array(self.size_hw[::-1], np.float32) / self.small_hw[::-1], 2)
        for quarters, part in self.canvas.split(found, self.crops):
            upright = turn_back(calibrate(part, close=False), quarters, self.small_hw)
            by_quarters[quarters] = replace(upright, boxes=upright.boxes * factors)
        return by_quarters


def look_at_orientations(
    images: Sequence[Image],
    found: Sequence[Detections],
    object_types: Sequence[ObjectType],
    detector: Detector,
    calibrate: Calibrate,
) -> list[Orientation]:
    """Find the orientations in which images are worth a whole analysis, besides upright.

    A tag for the orientation in the file does not matter here: it may be wrong, and a person may lie in the image.

    Args:
        images: (h, w, 3) uint8 RGB each, of any sizes.
        found: what the whole analysis of each upright image found.
        object_types: the types that are asked for.
        detector: looks at the small copies, for all its types. One that knows many types tells orientations apart best.
        calibrate: maps its scores to chances.

    Returns:
        One `Orientation` for each image.

    Raises:
        DetectorFailed, OutOfMemory: there is no result.
    """
    most_side = max(detector.tile_side, *detector.scales(2 * MOST_COPY_PX + GAP_PX))
    sheets = {
        index: _Sheet.draw(image, most_side) for index, image in enumerate(images) if min(image.shape[:2]) >= LEAST_PX
    }
    seen = [Orientation()] * len(images)
    for index, of_sheet in _detect_sheets(sheets, detector):
        upright, *turned = sheets[index].split(of_sheet, calibrate)
        least = _shown(upright)
        turns = (
            quarters
            for quarters, copy in zip(QUARTERS, turned, strict=True)
            if _shown(copy) > TIMES * least + MORE or _has_new(copy.of_type(*object_types), found[index])
        )
        seen[index] = Orientation(tuple(turns), max(map(_shown, turned)) > least)
    return seen


def _detect_sheets(sheets: dict[int, _Sheet], detector: Detector) -> Iterator[tuple[int, Detections]]:
    """Run the detector on all sheets; those of one size together."""
    for side in sorted({sheet.canvas.side for sheet in sheets.values()}):
        indices = [index for index, sheet in sheets.items() if sheet.canvas.side == side]
        yield from zip(indices, detector.detect([sheets[index].pixels for index in indices], side), strict=True)


def _shown(copy: Detections) -> float:
    """How much a copy shows: the chances of its objects, added up."""
    return float(copy.scores[copy.scores >= FAINT].sum())


def _has_new(turned: Detections, found: Detections) -> bool:
    """Whether a turned copy shows an object that the whole analysis of the upright image did not find."""
    likely = turned[turned.scores >= NEW]
    return bool((~same_objects(likely, found[found.scores >= NEW])).any())


def same_objects(objects: Detections, others: Detections) -> NDArray[np.bool_]:
    """Tell which objects are among others, by type and box.

    Args:
        objects: n objects of an image.
        others: objects of the same image.

    Returns:
        (n,) bool: one of the others has the same type, and an IoU of more than `SAME_IOU`.
    """
    if not len(others):
        return np.zeros(len(objects), bool)
    # row by row: all pairs of thousands of objects would take much memory
    rows = zip(objects.boxes, objects.types, strict=True)
    return np.array([_is_among(box, number, others) for box, number in rows], bool)


def _is_among(box: NDArray[np.float32], number: int, others: Detections) -> bool:
    sides = np.minimum(box[2:], others.boxes[:, 2:]) - np.maximum(box[:2], others.boxes[:, :2])
    shared = np.prod(np.clip(sides, 0, None), 1)
    together = np.prod(box[2:] - box[:2]) + np.prod(others.boxes[:, 2:] - others.boxes[:, :2], 1) - shared
    return bool(((shared > SAME_IOU * together) & (others.types == number)).any())
