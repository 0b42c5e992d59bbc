"""What happens to the pixels of a region: blur, pixelate or blacken.

Blur and pixelate both reduce an object to a few cells across its shorter side, whatever its resolution. A close-up
therefore keeps no more detail than a small face. The value of a cell is the mean of its pixels plus noise; a sampled
pixel would be a pixel of the original. Pixelate shows the cells as they are, blur interpolates between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Method, Options
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
    "pixelate_cells",
    "redact",
]

#: Cells across an object's shorter side. Fewer for plates: three rows of cells could tell some characters apart.
DEFAULT_CELLS: dict[ObjectType, float] = {
    ObjectType.FACE: 3,
    ObjectType.LICENSE_PLATE: 2,
    ObjectType.PERSON: 3,
    ObjectType.VEHICLE: 3,
}

#: Cells across an object's shorter side at most. No option gives more.
MAX_CELLS: dict[ObjectType, float] = {object_type: cells + 1 for object_type, cells in DEFAULT_CELLS.items()}

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
    noise = np.random.default_rng(seed)
    for region in regions:
        crop = out[region.crop]
        if options.method is Method.BLACKEN:
            cv2.copyTo(_black_like(crop), region.alpha, crop)
        else:
            columns, rows = cell_grid(region, options)
            channels = crop.shape[2] if crop.ndim == 3 else 1
            shares = noise.normal(0, NOISE, (rows, columns, 1)) + noise.normal(0, TINT_NOISE, (rows, columns, channels))
            smooth = options.method is Method.BLUR
            blend(crop, pixelate_cells(crop, shares, np.iinfo(crop.dtype).max, smooth=smooth), region.alpha)
    return out


def cell_px(region: RedactionRegion, options: Options) -> float:
    """Side of a region's cells in pixels: the option `kernel_size` of its type, within `MAX_CELLS` and `MIN_CELL_PX`.

    Args:
        region: where the object is.
        options: a kernel size of up to 1 is a share of the object's shorter side, a larger one is in pixels.
    """
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
    cell = cell_px(region, options)
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


def blend(crop: NDArray[Any], redacted: NDArray[Any], alpha: NDArray[np.uint8]) -> None:
    """Blend redacted pixels into a crop, in place.

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
