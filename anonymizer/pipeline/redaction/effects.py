"""What happens to the pixels of a shape: blur, pixelate, blacken.

Blur and pixelate both reduce an object to a few cells across its shorter side, whatever its resolution, so that a
close-up keeps no more than a small face. A cell is the mean of its pixels (a sampled pixel would be a pixel of the
original), plus noise. Pixelate shows the cells as they are, blur smooths between them.
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
    "cell_grid",
    "cell_px",
    "coarse",
    "mix",
    "redact",
]

#: Cells across an object's shorter side. Fewer for plates: three rows of cells could tell some characters apart.
DEFAULT_CELLS: dict[ObjectType, float] = {
    ObjectType.FACE: 3,
    ObjectType.LICENSE_PLATE: 2,
    ObjectType.PERSON: 3,
    ObjectType.VEHICLE: 3,
}

#: No setting gives more.
MAX_CELLS: dict[ObjectType, float] = {each: cells + 1 for each, cells in DEFAULT_CELLS.items()}

#: Least side of a cell, in pixels: an object of a few pixels is averaged too.
MIN_CELL_PX = 4.0

#: Standard deviation of the noise on a cell, as shares of the range of values: the same on all channels, which looks
#: natural, and on each channel alone, so that the differences between channels are not exact either.
NOISE = 0.06
TINT_NOISE = 0.015

_Pixels = TypeVar("_Pixels", NDArray[np.uint8], NDArray[np.uint16], NDArray[Any])


def redact(pixels: _Pixels, regions: Sequence[RedactionRegion], options: Options, *, seed: int) -> _Pixels:
    """The picture with every shape redacted, one after the other; the method `detect` changes nothing.

    Args:
        pixels: (h, w), (h, w, 3) RGB or (h, w, 4) CMYK with 0 = no ink; uint8 or uint16. Not changed.
        seed: from 0 up. The same picture, shapes and seed give the same result.

    Returns:
        A copy. Outside of the shapes it equals the picture.
    """
    out: _Pixels = np.array(pixels, order="C")
    if options.method is Method.DETECT:
        return out
    noise = np.random.default_rng(seed)
    for shape in regions:
        crop = out[shape.crop]
        if options.method is Method.BLACKEN:
            cv2.copyTo(_black(crop), shape.alpha, crop)
        else:
            columns, rows = cell_grid(shape, options)
            channels = crop.shape[2] if crop.ndim == 3 else 1
            shares = noise.normal(0, NOISE, (rows, columns, 1)) + noise.normal(0, TINT_NOISE, (rows, columns, channels))
            mix(crop, coarse(crop, shares, np.iinfo(crop.dtype).max, smooth=options.method is Method.BLUR), shape.alpha)
    return out


def cell_px(shape: RedactionRegion, options: Options) -> float:
    """Side of a cell in pixels."""
    asked = options.kernel_size(shape.object_type)
    if asked is None:
        asked = 1 / DEFAULT_CELLS[shape.object_type]
    if asked <= 1:
        asked *= shape.short_side
    return max(asked, shape.short_side / MAX_CELLS[shape.object_type], MIN_CELL_PX)


def cell_grid(shape: RedactionRegion, options: Options) -> tuple[int, int]:
    """How many cells there are across and down the crop of a shape."""
    cell = cell_px(shape, options)
    height, width = shape.alpha.shape
    return max(int(width / cell), 1), max(int(height / cell), 1)


def _black(crop: NDArray[Any]) -> NDArray[Any]:
    black = np.zeros_like(crop)
    if crop.ndim == 3 and crop.shape[2] == 4:
        black[..., 3] = np.iinfo(crop.dtype).max
    return black


def coarse(crop: NDArray[Any], noise: NDArray[np.floating[Any]], top: int, *, smooth: bool) -> NDArray[Any]:
    """A crop as means over cells, with noise, in its own size.

    Args:
        crop: (h, w) or (h, w, channels), uint8 or uint16; values are 0..top.
        noise: (rows, columns, channels), of cells; shares of the range of values.
        smooth: blur between cells instead of showing them as they are.
    """
    height, width = crop.shape[:2]
    rows, columns = noise.shape[:2]
    means = cv2.resize(crop, (columns, rows), interpolation=cv2.INTER_AREA)
    noisy = means.reshape(noise.shape) + noise * top
    cells = np.rint(np.clip(noisy, 0, top)).astype(crop.dtype)
    shown = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST)
    if top < np.iinfo(crop.dtype).max:
        # Cubic overshoots, and nothing else stops 10 bits in uint16.
        np.minimum(shown, top, out=shown)
    return cast("NDArray[Any]", shown)


def mix(crop: NDArray[Any], redacted: NDArray[Any], alpha: NDArray[np.uint8]) -> None:
    """Put the redacted pixels into the crop: fully where alpha is 255, not at all where it is 0."""
    if np.any((alpha > 0) & (alpha < 255)):
        weight = alpha.astype(crop.dtype)
        if crop.ndim == 3:
            weight = cv2.merge([weight] * crop.shape[2])
        kept = cv2.multiply(crop, 255 - weight, scale=1 / 255)
        redacted = cv2.add(cv2.multiply(redacted, weight, scale=1 / 255), kept)
    cv2.copyTo(redacted, alpha, crop)
