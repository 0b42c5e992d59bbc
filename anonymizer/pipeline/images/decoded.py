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
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.orientation import upright

__all__ = [
    "DecodedImage",
    "Density",
    "Encoding",
    "Samples",
    "check_size",
    "contiguous_samples",
    "nearest_palette_indices",
    "translate_errors",
    "validate_icc_profile",
]

# Pillow has one limit for all. Here `check_size` checks each image against its own limits before it is decoded.
Image.MAX_IMAGE_PIXELS = None

Samples = NDArray[np.uint8] | NDArray[np.uint16]


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
        alpha: (h, w) of the same dtype, written to the output bit for bit; default: none.
        indices: (h, w) uint8, into `palette`; default: the image has no palette.
        palette: (n, 4) uint8, RGB and alpha. Changed pixels get the nearest of these colours.
        orientation: 1 to 8, as in EXIF: how `samples` are turned to stand upright.
        exif: scrubbed; if it has an orientation, it is the one above.
        icc: the ICC colour profile; default: none.
        density: default: not stated.
        details: what only the reader and the writer of the format use.
    """

    samples: Samples
    alpha: Samples | None = None
    indices: NDArray[np.uint8] | None = None
    palette: NDArray[np.uint8] | None = None
    orientation: int = 1
    exif: Exif = field(default_factory=Exif)
    icc: bytes | None = None
    density: Density | None = None
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
        """The image turned upright, without EXIF and orientation. ICC profile and density stay."""
        density = self.density
        if density is not None and self.orientation >= 5:
            density = Density(density.y, density.x, density.unit)
        return replace(
            self,
            samples=upright(self.samples, self.orientation),
            alpha=None if self.alpha is None else upright(self.alpha, self.orientation),
            indices=None if self.indices is None else upright(self.indices, self.orientation),
            orientation=1,
            exif=Exif(),
            density=density,
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


def validate_icc_profile(profile: bytes | None) -> bytes | None:
    """Cut an ICC profile to the length that its header states.

    Returns:
        The profile, without data after it; None if the bytes are not an ICC profile (ICC.1:2022, header of 128 bytes).
    """
    if profile is None or len(profile) < 132 or profile[36:40] != b"acsp":
        return None
    length = int.from_bytes(profile[:4], "big")
    return profile[:length] if 132 <= length <= len(profile) else None


def nearest_palette_indices(decoded: DecodedImage) -> NDArray[np.uint8]:
    """Palette indices for changed samples.

    A pixel keeps its kind of alpha: transparent, partly transparent or opaque. Partly transparent colours are not told
    apart further. Otherwise a palette with a different alpha for each colour would force the original colours to stay.

    Args:
        decoded: an image with a palette, whose `samples` may differ from those that `indices` stand for.

    Returns:
        (h, w) uint8: the old index if the colour is unchanged, else that of the nearest colour (Euclidean in RGB).

    Raises:
        ValueError: the image has no palette.
    """
    if decoded.indices is None or decoded.palette is None:
        raise ValueError("the picture has no palette")
    colours, alphas = decoded.palette[:, :3], decoded.palette[:, 3]
    kinds = np.digitize(alphas, [1, 255])
    changed = (colours[decoded.indices] != decoded.samples).any(axis=2)
    indices = decoded.indices.copy()
    for kind in np.unique(kinds[decoded.indices[changed]]):
        of_kind = changed & (kinds[decoded.indices] == kind)
        members = np.flatnonzero(kinds == kind)
        indices[of_kind] = members[_nearest_colours(decoded.samples[of_kind], colours[members])]
    return indices


def _nearest_colours(pixels: NDArray[Any], colours: NDArray[np.uint8]) -> NDArray[np.intp]:
    """(n,) index of the colour, of (m, 3), that is nearest to each of (n, 3) pixels; the first one if several are."""
    # imported here as it takes half a second, and few images have a palette
    from scipy.cluster.vq import vq

    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    unique, inverse = np.unique(packed, return_inverse=True)
    rgb = np.stack([unique >> 16, unique >> 8 & 255, unique & 255], axis=1).astype(np.float32)
    codes, _ = vq(rgb, colours.astype(np.float32))
    return np.asarray(codes[inverse], np.intp)
