"""What happens to the pixels of a region: blur, pixelate or blacken.

Blur and pixelate both reduce an object to a few cells across its shorter side, whatever its resolution. A close-up
therefore keeps no more detail than a small face. The value of a cell is the mean of its pixels plus noise; a sampled
pixel would be a pixel of the original. Pixelate shows the cells as they are, blur interpolates between them.

No pixel of a region mixes with the original: such a mixture can be undone. A soft edge fades to smaller cells. License
plates are filled with one colour: of a few cells, 30 pictures of one plate tell which plate it is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Method, Options, PlateFill
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = [
    "DEFAULT_CELLS",
    "MAX_CELLS",
    "MIN_CELL_PX",
    "NOISE",
    "TINT_NOISE",
    "blend",
    "cell_grid",
    "cell_px",
    "fade",
    "fill",
    "grids",
    "is_filled",
    "pixelate_cells",
    "redact",
    "seen_masks",
]

#: Cells across an object's shorter side. A license plate has one cell in all.
DEFAULT_CELLS: dict[ObjectType, float] = {
    ObjectType.FACE: 3,
    ObjectType.LICENSE_PLATE: 1,
    ObjectType.PERSON: 3,
    ObjectType.VEHICLE: 3,
}

#: Cells across an object's shorter side at most. No option gives more.
MAX_CELLS: dict[ObjectType, float] = {
    ObjectType.FACE: 4,
    ObjectType.LICENSE_PLATE: 1,
    ObjectType.PERSON: 4,
    ObjectType.VEHICLE: 4,
}

#: A soft edge fades to cells of this size, as a share of the cells inside; never more than `MAX_CELLS`.
EDGE_CELL = 0.75
#: The colour that fills a plate is the mean of its surroundings up to so many pixels and this share of the shorter side
#: away; twice as far, and so on, where nothing is visible there.
RING_PX, RING_SHARE = 2, 0.15

#: Shortest side of a cell in pixels, so that an object of a few pixels is averaged too.
MIN_CELL_PX = 4.0

#: Standard deviations of the noise on a cell, as shares of the range of values. The first noise is the same for all
#: channels, which looks natural. The second one differs by channel, so that their differences are not exact either.
NOISE = 0.06
TINT_NOISE = 0.015

_Pixels = TypeVar("_Pixels", NDArray[np.uint8], NDArray[np.uint16], NDArray[Any])


def redact(pixels: _Pixels, regions: Sequence[RedactionRegion], options: Options, *, seed: int) -> _Pixels:
    """Redact regions of an image, one after the other. The method `detect` changes nothing.

    Args:
        pixels: (h, w), (h, w, 3) RGB or (h, w, 4) CMYK with 0 = no ink; uint8 or uint16, upright. It is not changed.
        regions: from `redaction_regions`, for an image of this size.
        options: the method and the sizes of cells are used.
        seed: of the noise, from 0 up. The same image, regions and seed give the same result.

    Returns:
        A copy. Outside of the regions it equals the image.

    Examples:
        >>> regions = redaction_regions(detections, image.shape[:2], options)  # doctest: +SKIP
        >>> redacted = redact(image, regions, options, seed=0)  # doctest: +SKIP
    """
    out: _Pixels = np.array(pixels, order="C")
    if options.method is Method.DETECT:
        return out
    filled = [(region.crop, region.alpha) for region in regions if is_filled(region, options)]
    others = [region for region in regions if not is_filled(region, options)]
    original: NDArray[Any] = pixels
    if filled and others:
        # the mean of a vehicle's cell must not tell of its plate
        original = np.array(pixels, order="C")
        fill(original, filled, np.iinfo(out.dtype).max)
    # Each region is made from the original. Where they overlap, the one with the larger cells is seen.
    for row, seen in seen_masks(others, options):
        region = others[row]
        crop = np.ascontiguousarray(original[region.crop])
        if options.method is Method.BLACKEN:
            shown = _black_like(crop)
        else:
            rng = np.random.default_rng(_region_seed(seed, region))
            # two noises on the same cells would tell more of them than one does
            cells = [
                pixelate_cells(crop, _noise(rng, grid, crop), np.iinfo(crop.dtype).max, smooth=_is_smooth(options))
                for grid in dict.fromkeys(grids(region, options))
            ]
            shown = fade(cells[0], cells[1], region.alpha) if len(cells) > 1 else cells[0]
        cv2.copyTo(shown, seen, out[region.crop])
    fill(out, filled, np.iinfo(out.dtype).max)
    return out


def seen_masks(regions: Sequence[RedactionRegion], options: Options) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Find where each region is seen: not where another one has larger cells.

    Args:
        regions: with cells, or black.
        options: the method and the kernel sizes are used, as in `cell_px`.

    Yields:
        The row of each region and a mask (h, w) uint8 of its size, in the order in which they are to be drawn. Each is
        drawn over those before. Where the mask is 0, the region is not drawn.
    """
    if options.method is Method.BLACKEN or len(regions) < 2:
        yield from ((row, region.alpha) for row, region in enumerate(regions))
        return
    unordered = np.array([cell_px(region, options) for region in regions])
    order = np.argsort(unordered, kind="stable")
    cells = unordered[order]
    edges = np.array([_edge_px(regions[row], options) for row in order])
    boxes = np.array([_box(regions[row]) for row in order])
    for at, row in enumerate(order):
        alpha = seen = regions[row].alpha
        # only the cells of a soft edge may be smaller than those of a region that was drawn before
        first = int(np.searchsorted(cells[:at], edges[at], side="right"))
        left, top = boxes[at, :2]
        low, high = np.maximum(boxes[first:at, :2], boxes[at, :2]), np.minimum(boxes[first:at, 2:], boxes[at, 2:])
        for rival in first + np.flatnonzero((low < high).all(1)):
            (x1, y1), (x2, y2), (x, y) = low[rival - first], high[rival - first], boxes[rival, :2]
            theirs = regions[order[rival]].alpha[y1 - y : y2 - y, x1 - x : x2 - x]
            larger = (theirs == 255) | ((theirs > 0) & bool(edges[rival] > edges[at]))
            part = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
            seen = alpha.copy() if seen is alpha else seen
            seen[part][larger & (alpha[part] < 255)] = 0
        yield int(row), seen


def _box(region: RedactionRegion) -> tuple[int, int, int, int]:
    height, width = region.alpha.shape
    return region.x, region.y, region.x + width, region.y + height


def grids(region: RedactionRegion, options: Options) -> list[tuple[int, int]]:
    """Count the columns and rows of cells inside a region and, if it has a soft edge, of those at its edge.

    Args:
        region: where the object is.
        options: the kernel size of its type is used, as in `cell_px`.

    Returns:
        One or two pairs, at least one column and one row each.
    """
    inside = cell_grid(region, options)
    if not np.any((region.alpha > 0) & (region.alpha < 255)):
        return [inside]
    return [inside, _grid(region, _edge_px(region, options))]


def _edge_px(region: RedactionRegion, options: Options) -> float:
    """Side of the cells of a region's soft edge in pixels."""
    least = max(region.short_side / MAX_CELLS[region.object_type], MIN_CELL_PX)
    return max(EDGE_CELL * cell_px(region, options), least)


def _region_seed(seed: int, region: RedactionRegion) -> int:
    """A seed of the region's own: without another object, its noise stays as it is."""
    place = (region.object_type.value, region.x, region.y, *region.alpha.shape)
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _noise(rng: np.random.Generator, grid: tuple[int, int], crop: NDArray[Any]) -> NDArray[np.float64]:
    columns, rows = grid
    channels = crop.shape[2] if crop.ndim == 3 else 1
    return rng.normal(0, NOISE, (rows, columns, 1)) + rng.normal(0, TINT_NOISE, (rows, columns, channels))


def _is_smooth(options: Options) -> bool:
    return options.method is Method.BLUR


def is_filled(region: RedactionRegion, options: Options) -> bool:
    """Whether a region gets a colour that has nothing to do with the object: a license plate, unless asked otherwise.

    Args:
        region: where the object is.
        options: `method` and `plate_fill` are used.
    """
    is_plate = region.object_type is ObjectType.LICENSE_PLATE
    return is_plate and options.method is not Method.BLACKEN and options.plate_fill is PlateFill.SURROUNDINGS


def fill(pixels: NDArray[Any], parts: Sequence[tuple[tuple[slice, slice], NDArray[np.uint8]]], max_value: int) -> None:
    """Fill parts of an image, in place, each with the mean colour of what is visible around it.

    That colour tells nothing new: no pixel of any of the parts counts, and other objects are redacted already. A part
    around which nothing is visible gets the middle of the range.

    Args:
        pixels: (h, w) or (h, w, channels) uint8 or uint16, in which all other objects are redacted.
        parts: of each its rows and columns, and its alpha (h, w) uint8; it is filled where that is above 0.
        max_value: highest value of a pixel.
    """
    if not parts:
        return
    hidden = np.zeros(pixels.shape[:2], bool)
    for crop, alpha in parts:
        hidden[crop] |= alpha > 0
    for crop, alpha in parts:
        pixels[crop][alpha > 0] = _visible_mean(pixels, crop, hidden, max_value)


def _visible_mean(
    pixels: NDArray[Any], crop: tuple[slice, slice], hidden: NDArray[np.bool_], max_value: int
) -> NDArray[Any]:
    rows, columns = crop
    ring = RING_PX + int(RING_SHARE * min(rows.stop - rows.start, columns.stop - columns.start))
    while True:
        area = (
            slice(max(rows.start - ring, 0), rows.stop + ring),
            slice(max(columns.start - ring, 0), columns.stop + ring),
        )
        visible = ~hidden[area]
        if visible.any():
            return np.asarray(np.rint(pixels[area][visible].mean(0)), pixels.dtype)
        if visible.shape == hidden.shape:
            return np.full(pixels.shape[2:], max_value // 2, pixels.dtype)
        ring *= 2


def cell_px(region: RedactionRegion, options: Options) -> float:
    """Side of a region's cells in pixels: the option `kernel_size` of its type, within `MAX_CELLS` and `MIN_CELL_PX`.

    Args:
        region: where the object is.
        options: a kernel size of up to 1 is a share of the object's shorter side, a larger one is in pixels.

    Returns:
        The side in pixels; infinite if the region has one cell or one colour in all.
    """
    if region.object_type is ObjectType.LICENSE_PLATE:
        return math.inf
    kernel_size = options.kernel_size(region.object_type)
    if kernel_size is None:
        kernel_size = 1 / DEFAULT_CELLS[region.object_type]
    if kernel_size <= 1:
        kernel_size *= region.short_side
    return max(kernel_size, region.short_side / MAX_CELLS[region.object_type], MIN_CELL_PX)


def cell_grid(region: RedactionRegion, options: Options) -> tuple[int, int]:
    """Count the cells of a region.

    Args:
        region: where the object is.
        options: the kernel size of its type is used, as in `cell_px`.

    Returns:
        The number of columns and of rows, at least 1 each.
    """
    return _grid(region, cell_px(region, options))


def _grid(region: RedactionRegion, cell: float) -> tuple[int, int]:
    height, width = region.alpha.shape
    return max(int(width / cell), 1), max(int(height / cell), 1)


def _black_like(crop: NDArray[Any]) -> NDArray[Any]:
    black = np.zeros_like(crop)
    if crop.ndim == 3 and crop.shape[2] == 4:
        black[..., 3] = np.iinfo(crop.dtype).max
    return black


def pixelate_cells(
    crop: NDArray[Any], noise: NDArray[np.floating[Any]], max_value: int, *, smooth: bool
) -> NDArray[Any]:
    """Reduce a crop to the means of its cells, add noise, and show them in the size of the crop.

    Args:
        crop: (h, w) or (h, w, channels), uint8 or uint16; values are 0..max_value. It is not changed.
        noise: (rows, columns, channels), for each cell a share of the range of values. It also gives the number of
            cells.
        max_value: highest value of a pixel.
        smooth: interpolate between the cells (blur), or show them as they are (pixelate).

    Returns:
        A new array of the crop's shape and dtype.
    """
    height, width = crop.shape[:2]
    rows, columns = noise.shape[:2]
    means = cv2.resize(crop, (columns, rows), interpolation=cv2.INTER_AREA)
    noisy = means.reshape(noise.shape) + noise * max_value
    cells = np.rint(np.clip(noisy, 0, max_value)).astype(crop.dtype)
    shown = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST)
    if max_value < np.iinfo(crop.dtype).max:
        # Cubic interpolation overshoots, and the dtype does not limit 10-bit values in uint16.
        np.minimum(shown, max_value, out=shown)
    return cast("NDArray[Any]", shown)


def fade(inside: NDArray[Any], edge: NDArray[Any], alpha: NDArray[np.uint8]) -> NDArray[Any]:
    """Fade from the cells inside a region to the smaller cells of its edge.

    Args:
        inside, edge: (h, w) or (h, w, channels), uint8 or uint16, both without a pixel of the original.
        alpha: (h, w) uint8: 255 takes `inside`, towards 0 it takes `edge`.

    Returns:
        A new array.
    """
    mixed = edge.copy()
    blend(mixed, inside, alpha)
    return mixed


def blend(crop: NDArray[Any], redacted: NDArray[Any], alpha: NDArray[np.uint8]) -> None:
    """Blend other pixels into a crop, in place.

    Args:
        crop: (h, w) or (h, w, channels), uint8 or uint16; pixels are changed where alpha is above 0.
        redacted: the same shape and dtype.
        alpha: (h, w) uint8: 255 takes the redacted pixel, 0 keeps the pixel of the crop.
    """
    if np.any((alpha > 0) & (alpha < 255)):
        weight = alpha.astype(crop.dtype)
        if crop.ndim == 3:
            weight = cv2.merge([weight] * crop.shape[2])
        kept = cv2.multiply(crop, 255 - weight, scale=1 / 255)
        redacted = cv2.add(cv2.multiply(redacted, weight, scale=1 / 255), kept)
    cv2.copyTo(redacted, alpha, crop)
