"""Measure how much of the original's detail is still in a picture, region by region.

A codec changes every pixel a little, and a flat region hardly changes when it is redacted. So neither equal pixels nor
changed ones prove anything. What counts is detail: the deviation of a pixel from the mean of its neighbourhood. It is
compared in windows, after the region is scaled down to a size at which a face or a plate can still be read. A window
shows the original if its detail is nearly the original's. Coding keeps detail, redaction replaces it by something else.

Where the original has no detail, nothing can be read, and nothing is proven: such a region counts as flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.images.io import Picture
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = ["MAX_LEFT", "RegionDifference", "channels", "compare_region", "compare_regions", "fine_detail"]

#: The shorter side in pixels that larger regions are scaled down to. Cells of a redaction are a quarter of it or more.
SIDE = 48
#: side in pixels of the neighbourhood whose mean is taken away, smaller than a cell
_NEAR = 5
#: Side in pixels of a window, its share of a smaller region's shorter side, and how much of it must lie inside.
_WINDOW, _WINDOW_SHARE, _MIN_INSIDE = 16, 0.8, 0.85
#: The least fine detail of what is not redacted (`fine_detail`), in steps of 8 bits. Measured on 15 images of val, 144
#: objects of all types: 98.6 % of the bare ones have more. So have 10 % of those that are blurred or pixelated. Nearly
#: all of these are persons and vehicles under 20 px, whose boxes show much around them.
MIN_FINE = 0.6
#: the least detail of the original in a window that is judged: a root mean square, in steps of 8 bits
MIN_DETAIL = 4.0
# Measured on 60 images of shared/data/val, 1,259 regions of all types, 9 of them flat (benchmarks/verification.py).
# "Bare" are the same regions in a file in which nothing was redacted; the share of it that passes at the limit below.
#                    lowest   1 %        median   99 %   highest   passes
#   redacted          .00     .00        .02      .15    .24       all
#   bare, JPEG 90     .63     .75        .92      .99   1.00       0
#   bare, JPEG 60     .29     .51        .81      .98    .99       under 1 %
#   bare, JPEG 30     .15     .34        .72      .96    .98       under 5 %
#: the largest share of detail that a redacted window may seem to keep
MAX_LEFT = 0.4

Channels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RegionDifference:
    """How much of the original is left in a region.

    Attributes:
        left: share of the original's detail in the window that shows most of it, 0..1; 1 is unchanged. None if the
            original has no detail there (the region is flat).
        detail: root mean square of the original's detail in that window, in steps of 8 bits; 0 if the region is flat.
    """

    left: float | None
    detail: float

    @property
    def is_flat(self) -> bool:
        """Whether the original has no detail that could be read."""
        return self.left is None

    @property
    def is_redacted(self) -> bool:
        """Whether nothing of the original can be read, be it redacted or flat."""
        return self.left is None or self.left <= MAX_LEFT


def channels(picture: Picture, pixels: NDArray[Any] | None = None, alpha: NDArray[Any] | None = None) -> Channels:
    """Get all that a picture shows as channels of equal scale.

    Args:
        picture: the picture; its bits decide how bright it is shown.
        pixels: others of the same shape and dtype. Default: those of the picture.
        alpha: (h, w) uint8 or uint16. Default: that of the picture; opaque pictures have no such channel.

    Returns:
        (h, w, 3 or 4) float32, 0..255: red, green, blue, and alpha.
    """
    rgb = picture.rgb(pixels).astype(np.float32)
    alpha = picture.alpha if alpha is None else alpha
    if alpha is None:
        return rgb
    return np.dstack([rgb, alpha.astype(np.float32) * np.float32(255 / np.iinfo(alpha.dtype).max)]).astype(np.float32)


def compare_regions(
    original: Channels, delivered: Channels, regions: Sequence[RedactionRegion]
) -> list[RegionDifference]:
    """Compare a picture with its original in each region.

    Args:
        original: (h, w, c) float32, 0..255.
        delivered: the same shape.
        regions: where pixels had to change.

    Returns:
        One difference for each region.

    Raises:
        ValueError: the pictures differ in size or channels.
    """
    if original.shape != delivered.shape:
        raise ValueError(f"the pictures differ: {original.shape} and {delivered.shape}")
    return [
        compare_region(original[region.crop], delivered[region.crop], region.alpha > 0, region.short_side)
        for region in regions
    ]


def compare_region(
    original: Channels, delivered: Channels, inside: NDArray[np.bool_], short_side: float
) -> RegionDifference:
    """Compare one part of a picture with the original.

    Args:
        original: (h, w, c) float32, 0..255.
        delivered: the same shape.
        inside: (h, w) bool, the pixels that are compared.
        short_side: shorter side of the object in pixels, which decides how far the part is scaled down.
    """
    scale = min(SIDE / max(short_side, 1.0), 1.0)
    weight = inside.astype(np.float32)
    if scale < 1:
        height, width = inside.shape
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        small = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        # means of the pixels inside: those outside are the original's
        count = np.maximum(small, 1e-3)[..., None]

        def shrunk(part: Channels) -> Channels:
            means = _planes(cv2.resize(part * weight[..., None], size, interpolation=cv2.INTER_AREA))
            return np.asarray(means / count, np.float32)

        original, delivered = shrunk(original), shrunk(delivered)
        weight = np.asarray(small >= 0.5, np.float32)
    was, now = _detail(original, weight), _detail(delivered, weight)
    looks = [_nearest_window(was, now, weight)]
    if was.shape[2] >= 3:
        # codecs drop fine colour, so that brightness alone may be left
        grey_was, grey_now = (each[..., :3].mean(axis=2, keepdims=True) for each in (was, now))
        looks.append(_nearest_window(grey_was, grey_now, weight))
    return max(looks, key=lambda look: -1.0 if look.left is None else look.left)


def fine_detail(pixels: Channels, inside: NDArray[np.bool_], short_side: float) -> bool:
    """Tell whether a part of a picture has fine detail of its own, as what was blurred or pixelated has not.

    It is the median of the pixels' absolute deviations from the mean of their neighbours. Most pixels of a redacted
    part are like their neighbours, those of a pixelated one as well.

    Args:
        pixels: (h, w, c) float32, 0..255.
        inside: (h, w) bool, the pixels that count.
        short_side: shorter side of the object in pixels, which decides how far the part is scaled down.
    """
    grey = pixels[..., :3].mean(axis=2)
    scale = min(SIDE / max(short_side, 1.0), 1.0)
    if scale < 1:
        height, width = inside.shape
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)
        inside = cv2.resize(inside.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    deviation = np.abs(grey - cv2.blur(grey, (3, 3)))
    return bool(inside.any()) and float(np.median(deviation[inside])) > MIN_FINE


def _nearest_window(was: Channels, now: Channels, weight: NDArray[np.float32]) -> RegionDifference:
    """The window whose detail is nearest to the original's."""
    side = max(min(_WINDOW, int(_WINDOW_SHARE * min(weight.shape))), 1)

    def means(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.boxFilter(values * weight, -1, (side, side), borderType=cv2.BORDER_CONSTANT).astype(np.float32)

    share = means(np.ones_like(weight))
    energy = means((was**2).mean(axis=2)) / np.maximum(share, 1e-3)
    off = means(((now - was) ** 2).mean(axis=2)) / np.maximum(share, 1e-3)
    judged = (share >= _MIN_INSIDE) & (energy >= MIN_DETAIL**2)
    if not judged.any():
        return RegionDifference(None, 0.0)
    left = np.where(judged, 1 - np.sqrt(np.maximum(off, 0) / np.maximum(energy, 1e-3)), -1)
    place = np.unravel_index(int(left.argmax()), left.shape)
    return RegionDifference(max(float(left[place]), 0.0), float(np.sqrt(energy[place])))


def _detail(values: Channels, weight: NDArray[np.float32]) -> Channels:
    """The deviation of each pixel from the mean of its neighbourhood; only pixels inside count."""
    size = (_NEAR, _NEAR)
    count = np.maximum(cv2.boxFilter(weight, -1, size, borderType=cv2.BORDER_CONSTANT), 1e-3)
    mean = _planes(cv2.boxFilter(values * weight[..., None], -1, size, borderType=cv2.BORDER_CONSTANT))
    return np.asarray((values - mean / count[..., None]) * weight[..., None], np.float32)


def _planes(values: NDArray[Any]) -> NDArray[Any]:
    """OpenCV drops the last axis where it has one entry."""
    return values if values.ndim == 3 else values[..., None]
