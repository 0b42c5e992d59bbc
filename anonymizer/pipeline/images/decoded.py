"""One image as it is stored in its file, and what the readers and writers of all formats share."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anonymizer.pipeline.errors import BrokenMedia, OutOfMemory, TooLarge
from anonymizer.pipeline.images.exif_tags import Exif
from anonymizer.pipeline.images.metadata.panorama import Panorama
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.orientation import upright

__all__ = [
    "DecodedImage",
    "Density",
    "Encoding",
    "Samples",
    "check_size",
    "contiguous_samples",
    "is_unused",
    "nearest_palette_indices",
    "translate_errors",
]

# Pillow has one limit for all. Here `check_size` checks each image against its own limits before it is decoded.
Image.MAX_IMAGE_PIXELS = None

Samples = NDArray[np.uint8] | NDArray[np.uint16]

#: Kind of a colour of a palette whose alpha is neither 0 nor 255.
_PARTLY_TRANSPARENT = 1
#: How much alpha counts beside red, green and blue. From 2 on, no colour makes an opaque pixel transparent.
_ALPHA_WEIGHT = 2


@dataclass(frozen=True, slots=True)
class Density:
    """Pixel density, for printing.

    Attributes:
        x, y: pixels per unit across and down.
        unit: number of the unit, as the file's format defines it.
    """

    x: Fraction
    y: Fraction
    unit: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an image is written.

    Attributes:
        quality: 1..100, for JPEG, lossy WebP, HEIC and AVIF; default: that of the source if the format tells it.
        compress_level: of PNG, 0..9, default: 5.
    """

    quality: int | None = None
    compress_level: int = 5


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DecodedImage:
    """An image in the layout of its file, not yet turned upright.

    Attributes:
        samples: (h, w), (h, w, 3) RGB or (h, w, 4) CMYK with 0 = no ink; uint8 or uint16.
        alpha: (h, w) uint8 or uint16, written to the output bit for bit; default: none. Of an image with a palette it
            is only set if it was redacted.
        premultiplied: whether the colours are multiplied by alpha already; default: False.
        indices: (h, w) uint8, into `palette`; default: the image has no palette.
        palette: (n, 4) uint8, RGB and alpha. Changed pixels get the nearest of these colours.
        redacted: (h, w) bool, pixels whose index is chosen anew even if their colour is unchanged; default: none.
        orientation: 1 to 8, as in EXIF: how `samples` are turned to stand upright.
        exif: scrubbed; if it has an orientation, it is the one above.
        icc: the scrubbed ICC colour profile; default: none.
        panorama: the properties of a panorama, by name; default: none, the image is no panorama.
        density: default: not stated.
        details: what only the reader and the writer of the format use.
    """

    samples: Samples
    alpha: Samples | None = None
    premultiplied: bool = False
    indices: NDArray[np.uint8] | None = None
    palette: NDArray[np.uint8] | None = None
    redacted: NDArray[np.bool_] | None = None
    orientation: int = 1
    exif: Exif = field(default_factory=Exif)
    icc: bytes | None = None
    density: Density | None = None
    panorama: Panorama = field(default_factory=dict)
    details: Any = None

    def __repr__(self) -> str:
        """The size and the kind of samples, without the pixels."""
        width, height = self.size_wh
        return f"DecodedImage({width} x {height}, {self.samples.dtype}, orientation {self.orientation})"

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return self.samples.shape[1], self.samples.shape[0]

    def without_exif(self) -> DecodedImage:
        """The image turned upright, without EXIF, panorama properties and orientation. ICC profile and density stay."""
        density = self.density
        if density is not None and self.orientation >= 5:
            density = Density(density.y, density.x, density.unit)
        return replace(
            self,
            samples=upright(self.samples, self.orientation),
            alpha=None if self.alpha is None else upright(self.alpha, self.orientation),
            indices=None if self.indices is None else upright(self.indices, self.orientation),
            redacted=None if self.redacted is None else upright(self.redacted, self.orientation),
            orientation=1,
            exif=Exif(),
            density=density,
            panorama={},
        )


def contiguous_samples(array: NDArray[Any]) -> Samples:
    """The array itself, or a copy in which all values are contiguous, as the encoders need it."""
    return np.ascontiguousarray(array)


def check_size(width: int, height: int, limits: Limits) -> None:
    """Check the size that a header states, before anything is decoded.

    Args:
        width, height: in pixels.
        limits: `megapixels` is used.

    Raises:
        BrokenMedia: the image has no pixels.
        TooLarge: it has more pixels than the limit.
    """
    if width <= 0 or height <= 0:
        raise BrokenMedia(f"The picture has no pixels: its size is {width} x {height}.")
    if width * height > limits.megapixels * 1e6:
        raise TooLarge(
            f"The picture has {width} x {height} pixels ({width * height / 1e6:.1f} megapixels), "
            f"more than the limit of {limits.megapixels:g} megapixels."
        )


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Translate the errors of Pillow, OpenCV, zlib and others into ours.

    Args:
        name: of the format, for the error message.

    Raises:
        BrokenMedia: a library could not read the image.
        OutOfMemory: there is too little memory to decode it.
    """
    foreign = (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        RuntimeError,
        LookupError,
        struct.error,
        zlib.error,
        cv2.error,
    )
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory("There is too little memory to decode the picture.") from error
    except foreign as error:
        raise BrokenMedia(f"The {name} picture is broken: {error}.") from error


def nearest_palette_indices(decoded: DecodedImage) -> NDArray[np.uint8]:
    """Palette indices for changed samples.

    Without an alpha plane, a pixel keeps its kind of alpha: transparent, partly transparent or opaque. Partly
    transparent colours are not told apart further. Otherwise a palette with a different alpha for each colour would
    force the original colours to stay. An alpha plane takes the place of the alpha that the old indices stand for.

    Args:
        decoded: an image with a palette, whose `samples` and `alpha` may differ from those that `indices` stand for.

    Returns:
        (h, w) uint8: the old index if the colour is unchanged and the pixel is not in `redacted`. Otherwise the first
        index of the nearest colour: Euclidean in RGB, and with an alpha plane in RGB and twice alpha.

    Raises:
        ValueError: the image has no palette.
    """
    if decoded.indices is None or decoded.palette is None:
        raise ValueError("the picture has no palette")
    colours, alphas = decoded.palette[:, :3], decoded.palette[:, 3]
    old = alphas[decoded.indices]
    wanted = old if decoded.alpha is None else decoded.alpha
    changed = (colours[decoded.indices] != decoded.samples).any(axis=2) | (wanted != old)
    if decoded.redacted is not None:
        changed |= decoded.redacted
    kinds, wanted_kinds = np.digitize(alphas, [1, 255]), np.digitize(wanted, [1, 255])
    # without an alpha plane, alpha must not take part in the distance: it is that of the original
    weight = 0 if decoded.alpha is None else _ALPHA_WEIGHT
    indices = decoded.indices.copy()
    for kind in np.unique(wanted_kinds[changed]):
        selected = changed & (wanted_kinds == kind)
        members = np.flatnonzero(kinds == kind)
        if not len(members) or (weight and kind == _PARTLY_TRANSPARENT):
            members = np.arange(len(kinds))
        pixels = np.column_stack([decoded.samples[selected], wanted[selected]])
        indices[selected] = members[_nearest_colours(pixels, decoded.palette[members], weight)]
    return indices


def is_unused(indices: NDArray[np.uint8], count: int) -> NDArray[np.bool_]:
    """Which of the colours of a palette no pixel uses. After a redaction they may still show what was redacted.

    Args:
        indices: (h, w) uint8, each below `count`.
        count: the number of colours.

    Returns:
        (count,) bool.
    """
    return np.asarray(np.bincount(indices.ravel(), minlength=count) == 0, np.bool_)


def _nearest_colours(pixels: NDArray[Any], colours: NDArray[np.uint8], weight: int) -> NDArray[np.intp]:
    """(n,) index of the colour, of (m, 4), that is nearest to each of (n, 4) pixels; the first one if several are."""
    # imported here as it takes half a second, and few images have a palette
    from scipy.cluster.vq import vq

    packed = pixels.astype(np.uint32) @ np.array([1 << 24, 1 << 16, 1 << 8, 1], np.uint32)
    unique, inverse = np.unique(packed, return_inverse=True)
    rgba = np.stack([unique >> 24, unique >> 16 & 255, unique >> 8 & 255, unique & 255], axis=1)
    scales = np.array([1, 1, 1, weight], np.float32)
    codes, _ = vq(rgba.astype(np.float32) * scales, colours.astype(np.float32) * scales)
    return np.asarray(codes[inverse], np.intp)
