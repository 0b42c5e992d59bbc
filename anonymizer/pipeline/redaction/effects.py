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
from collections.abc import Sequence
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
    "grids",
    "is_filled",
    "pixelate_cells",
    "redact",
    "surrounding_mean",
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
#: The colour that fills a plate is the mean of its surroundings up to so many pixels away, and at least this share of
#: the shorter side.
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

    Example:
        >>> regions = redaction_regions(detections, image.shape[:2], options)  # doctest: +SKIP
        >>> redacted = redact(image, regions, options, seed=0)  # doctest: +SKIP
    """
    out: _Pixels = np.array(pixels, order="C")
    if options.method is Method.DETECT:
        return out
    # Each region is made from the original. Where they overlap, the one with the larger cells is seen.
    for region in sorted(regions, key=lambda region: cell_px(region, options)):
        crop = np.ascontiguousarray(pixels[region.crop])
        if options.method is Method.BLACKEN:
            shown = _black_like(crop)
        elif is_filled(region, options):
            shown = np.empty_like(crop)
            shown[:] = surrounding_mean(pixels, region.crop, region.alpha, np.iinfo(crop.dtype).max)
        else:
            rng = np.random.default_rng(_region_seed(seed, region))
            cells = [
                pixelate_cells(crop, _noise(rng, grid, crop), np.iinfo(crop.dtype).max, smooth=_is_smooth(options))
                for grid in grids(region, options)
            ]
            shown = fade(cells[0], cells[1], region.alpha) if len(cells) > 1 else cells[0]
        cv2.copyTo(shown, region.alpha, out[region.crop])
    return out


def grids(region: RedactionRegion, options: Options) -> list[tuple[int, int]]:
    """Count the columns and rows of cells inside a region and, if it has a soft edge, of those at its edge.

    Args:
        region: where the object is.
        options: the kernel size of its type is used, as in `cell_px`.

    Returns:
        One or two pairs, at least one column and one row each.
    """
    cell = cell_px(region, options)
    inside = cell_grid(region, options)
    if not np.any((region.alpha > 0) & (region.alpha < 255)):
        return [inside]
    least = max(region.short_side / MAX_CELLS[region.object_type], MIN_CELL_PX)
    return [inside, _grid(region, max(EDGE_CELL * cell, least))]


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
        options: `plate_fill` is used.
    """
    return region.object_type is ObjectType.LICENSE_PLATE and options.plate_fill is PlateFill.SURROUNDINGS


def surrounding_mean(
    pixels: NDArray[Any], crop: tuple[slice, slice], alpha: NDArray[np.uint8], max_value: int
) -> NDArray[Any]:
    """The mean of the pixels around a region, which stay visible and so tell nothing new.

    Args:
        pixels: (h, w) or (h, w, channels) uint8 or uint16.
        crop: rows and columns of the region.
        alpha: (h, w) uint8 of the region; pixels where it is above 0 do not count.
        max_value: highest value of a pixel.

    Returns:
        () or (channels,) of the dtype of the pixels; the middle of their range if the region fills the image.
    """
    rows, columns = crop
    ring = RING_PX + int(RING_SHARE * min(alpha.shape))
    top, left = max(rows.start - ring, 0), max(columns.start - ring, 0)
    part = pixels[top : rows.stop + ring, left : columns.stop + ring]
    around = np.ones(part.shape[:2], bool)
    around[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = alpha == 0
    if not around.any():
        return np.full(pixels.shape[2:], max_value // 2, pixels.dtype)
    return np.asarray(np.rint(part[around].mean(0)), pixels.dtype)


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
