"""One decoded picture as it lies in its file, and what the readers and writers of all formats share."""

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
    "Density",
    "Encoding",
    "Samples",
    "DecodedImage",
    "as_samples",
    "check_size",
    "clean_icc",
    "nearest_indices",
    "translated",
]

# Pillow has a limit of its own, the same for everyone; each size here is judged by `check_size` before it is decoded.
Image.MAX_IMAGE_PIXELS = None

Samples = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Density:
    """Pixels per unit across and down; the unit's number means what the file's format says."""

    x: Fraction
    y: Fraction
    unit: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a picture is written; `quality` None is that of the source."""

    quality: int | None = None
    compress_level: int = 5


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """A picture in the layout of its file: not yet turned upright.

    Attributes:
        samples: (h, w), (h, w, 3) RGB or (h, w, 4) CMYK with 0 = no ink; uint8 or uint16.
        alpha: (h, w), carried to the output bit for bit.
        indices: (h, w) uint8, into `palette`; changed pixels get the nearest colour there.
        palette: (n, 4) uint8, RGB and alpha.
        orientation: 1 to 8, how `samples` are turned to stand upright.
        exif: scrubbed; its orientation is that above, where it has one.
        details: what only the format's own writer understands.
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

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.samples.shape[1], self.samples.shape[0]

    def stripped(self) -> DecodedImage:
        """The same upright, with neither EXIF nor orientation."""
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


def as_samples(array: NDArray[Any]) -> Samples:
    """A view or a copy with its values one behind the other, as the encoders need it."""
    return np.ascontiguousarray(array)


def check_size(width: int, height: int, limits: Limits) -> None:
    """Judge a size that a header claims.

    Raises:
        BrokenMedia: there is no pixel.
        TooLarge: there are more pixels than the limit.
    """
    if width <= 0 or height <= 0:
        raise BrokenMedia(f"The picture has no pixels: its size is {width} x {height}.")
    if width * height > limits.megapixels * 1e6:
        raise TooLarge(
            f"The picture has {width} x {height} pixels ({width * height / 1e6:.1f} megapixels), "
            f"more than the limit of {limits.megapixels:g} megapixels."
        )


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Make the errors of the libraries that read files ours.

    Raises:
        BrokenMedia: a library could not read the picture.
        OutOfMemory: there is too little memory for it.
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


def clean_icc(profile: bytes | None) -> bytes | None:
    """An ICC profile, cut to the length that it states; None where it is none."""
    if profile is None or len(profile) < 132 or profile[36:40] != b"acsp":
        return None
    length = int.from_bytes(profile[:4], "big")
    return profile[:length] if 132 <= length <= len(profile) else None


def nearest_indices(decoded: DecodedImage) -> NDArray[np.uint8]:
    """Indices for `still.samples`: the old ones where the colour is the same, else those of the nearest colour.

    A pixel keeps its kind of alpha (none, full, between). Between is not told apart further: a palette with an alpha of
    its own for each colour would otherwise force the original colours to stay.
    """
    if decoded.indices is None or decoded.palette is None:
        raise ValueError("the picture has no palette")
    colours, alphas = decoded.palette[:, :3], decoded.palette[:, 3]
    kinds = np.digitize(alphas, [1, 255])
    changed = (colours[decoded.indices] != decoded.samples).any(axis=2)
    indices = decoded.indices.copy()
    for kind in np.unique(kinds[decoded.indices[changed]]):
        where = changed & (kinds[decoded.indices] == kind)
        members = np.flatnonzero(kinds == kind)
        indices[where] = members[_nearest(decoded.samples[where], colours[members])]
    return indices


def _nearest(pixels: NDArray[Any], colours: NDArray[np.uint8]) -> NDArray[np.intp]:
    """(n, 3) and (m, 3) to (n,): which colour is nearest to each pixel."""
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    unique, back = np.unique(packed, return_inverse=True)
    rgb = np.stack([unique >> 16, unique >> 8 & 255, unique & 255], axis=1).astype(np.float32)
    table = colours.astype(np.float32)
    # |p - c|^2 without |p|^2, which is the same for every colour; in parts, as n x m may be large.
    parts = [
        ((table**2).sum(axis=1) - 2 * part @ table.T).argmin(axis=1)
        for part in np.array_split(rgb, len(rgb) // 65536 + 1)
    ]
    return np.concatenate(parts)[back]
