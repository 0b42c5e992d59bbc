"""Image in, image out: the same format, mode, bits and orientation, and nothing original by the side door.

Of the metadata only EXIF (named tags, position included), the ICC profile and the density are carried. XMP, IPTC,
comments and texts may hold previews, depth and gain maps, so that all of them go, with thumbnails, MakerNote, further
pictures and whatever follows the picture's own end. `strip_metadata` drops EXIF as well and lays the picture upright.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import TooLarge, UnsupportedMedia
from anonymizer.pipeline.images.bmp import check_bmp, read_bmp, write_bmp
from anonymizer.pipeline.images.decoded import DecodedImage, Encoding, Samples, translated
from anonymizer.pipeline.images.heif import check_avif, check_heic, read_avif, read_heic, write_avif, write_heic
from anonymizer.pipeline.images.jpeg import check_jpeg, read_jpeg, write_jpeg
from anonymizer.pipeline.images.png import check_png, encode_png, read_png, write_png
from anonymizer.pipeline.images.tiff import check_tiff, read_tiff, write_tiff
from anonymizer.pipeline.images.webp import check_webp, read_webp, write_webp
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import MediaInfo, MediaKind, sniff
from anonymizer.pipeline.orientation import stored, upright

__all__ = [
    "MediaInfo",
    "MediaKind",
    "Picture",
    "check_header",
    "encode_picture",
    "encode_png",
    "load_image",
    "load_picture",
    "sniff",
]


@dataclass(frozen=True, slots=True)
class _Codec:
    check: Callable[[bytes, Limits], None]
    read: Callable[[bytes, Limits], DecodedImage]
    write: Callable[[DecodedImage, Encoding], bytes]


_CODECS = {
    "jpeg": _Codec(check_jpeg, read_jpeg, write_jpeg),
    "png": _Codec(check_png, read_png, write_png),
    "webp": _Codec(check_webp, read_webp, write_webp),
    "tiff": _Codec(check_tiff, read_tiff, write_tiff),
    "bmp": _Codec(check_bmp, read_bmp, write_bmp),
    "heic": _Codec(check_heic, read_heic, write_heic),
    "avif": _Codec(check_avif, read_avif, write_avif),
}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture, upright, with everything that its output needs.

    Attributes:
        info: its format.
        pixels: (h, w) grey, (h, w, 3) RGB or (h, w, 4) CMYK with 0 = no ink, uint8 or uint16, read-only: copy before
            you draw. Alpha is carried apart and comes back as it was.
        name: what the caller calls it.
    """

    info: MediaInfo
    pixels: Samples
    name: str | None = None
    _decoded: DecodedImage = field(repr=False, kw_only=True)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def rgb(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB for the detectors, upright: ICC profiles are not applied, alpha is ignored."""
        pixels = self.pixels
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
        if pixels.ndim == 2:
            return np.dstack([pixels] * 3)
        if pixels.shape[2] == 4:
            ink = 255 - pixels.astype(np.uint16)
            return ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)
        return np.array(pixels, np.uint8)


def load_picture(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    limits: Limits = Limits(),  # noqa: B008
    name: str | None = None,
) -> Picture:
    """Read and decode a still picture.

    Args:
        source: a path, the file's bytes, or an open binary file.
        limits: bytes are judged before the file is read, pixels before it is decoded.
        name: what to call it; by default the name of the path.

    Raises:
        BrokenMedia: it is empty, ends early or cannot be decoded.
        OutOfMemory: there is too little memory to decode it.
        TooLarge: it has more bytes or pixels than the limits.
        UnsupportedMedia: it is no picture of a supported kind, or it is animated or has several pages.
    """
    data = _read(source, limits)
    if name is None and isinstance(source, str | os.PathLike):
        name = Path(source).name
    info = _image_info(data)
    decoded = _CODECS[info.format].read(data, limits)
    with translated(info.format.upper()):
        pixels = upright(decoded.samples, decoded.orientation)
    pixels.flags.writeable = False
    # Writers take the new pixels: the stored ones need not be kept as well.
    return Picture(info, cast("Samples", pixels), name, _decoded=replace(decoded, samples=pixels[:0]))


def load_image(source: str | os.PathLike[str] | bytes | BinaryIO) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB, upright, of a still picture; raises what `load_picture` does."""
    return load_picture(source).rgb()


def check_header(source: str | os.PathLike[str] | bytes | BinaryIO, *, limits: Limits = Limits()) -> MediaInfo:  # noqa: B008
    """Judge a picture without decoding it: format, bytes, pixels, pages, and whether the file ends early.

    Raises:
        BrokenMedia, TooLarge, UnsupportedMedia: as `load_picture` does.
    """
    data = _read(source, limits)
    info = _image_info(data)
    _CODECS[info.format].check(data, limits)
    return info


def _image_info(data: bytes) -> MediaInfo:
    info = sniff(data)
    if info.kind is not MediaKind.IMAGE:
        raise UnsupportedMedia(f"The file is a video ({info.format}), not a picture.")
    return info


def _read(source: str | os.PathLike[str] | bytes | BinaryIO, limits: Limits) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        _check_bytes(len(source), limits)
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return _read(file, limits)
    # One byte more than the limit shows that there is more, also where a stream does not know its length.
    data = source.read(limits.bytes + 1)
    _check_bytes(len(data), limits)
    return data


def _check_bytes(count: int, limits: Limits) -> None:
    if count > limits.bytes:
        raise TooLarge(f"The file has more bytes than the limit of {limits.bytes / 2**20:g} MiB.")


def encode_picture(
    picture: Picture,
    pixels: Samples,
    *,
    quality: int | None = None,
    compress_level: int = 5,
    strip_metadata: bool = False,
) -> bytes:
    """Write a picture with other pixels, as the file that it came from.

    Args:
        picture: what `load_picture` gave.
        pixels: upright, of the shape and dtype of `picture.pixels`.
        quality: 1..100, for JPEG, lossy WebP, HEIC and AVIF; None is that of the source (JPEG: its own tables).
        compress_level: PNG, 0..9.
        strip_metadata: drop EXIF, with the orientation: the output lies upright. ICC and density stay.

    Raises:
        ValueError: the pixels have another shape or dtype.
    """
    if pixels.shape != picture.pixels.shape or pixels.dtype != picture.pixels.dtype:
        raise ValueError(
            f"pixels must be {picture.pixels.shape} {picture.pixels.dtype}, not {pixels.shape} {pixels.dtype}"
        )
    source = picture._decoded
    decoded = replace(source, samples=cast("Samples", stored(pixels, source.orientation)))
    if strip_metadata:
        decoded = decoded.stripped()
    return _CODECS[picture.info.format].write(decoded, Encoding(quality, compress_level))
