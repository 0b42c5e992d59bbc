"""Read and write WebP: lossless stays lossless, and alpha comes back bit for bit.

The pixels, alpha, EXIF, the ICC profile and panorama properties (all scrubbed) are kept. Other XMP, unknown chunks and
data after the end are dropped. A lossy file does not tell its quality: the default for writing is 90. The container is
RIFF, as in Google's "WebP Container Specification".
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images.decoded import (
    DecodedImage,
    Encoding,
    check_size,
    translate_errors,
)
from anonymizer.pipeline.images.exif_tags import Exif, read_exif
from anonymizer.pipeline.images.metadata.icc import scrub_icc_profile
from anonymizer.pipeline.images.metadata.panorama import read_panorama, write_panorama
from anonymizer.pipeline.limits import Limits

__all__ = ["check_webp", "read_webp", "write_webp"]

_DEFAULT_QUALITY = 90
_IMAGE_CHUNKS: tuple[bytes, ...] = (b"ALPH", b"VP8 ", b"VP8L")
#: Bits of the first byte of the chunk VP8X.
_ANIMATION_FLAG = 0x02
_ALPHA_FLAG = 0x10


def read_webp(data: bytes, limits: Limits) -> DecodedImage:
    """Decode a WebP file.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Returns:
        The image as stored: (h, w, 3) uint8 RGB, with its alpha, not yet turned upright.

    Raises:
        BrokenMedia: the file ends early or cannot be decoded.
        OutOfMemory: there is too little memory to decode the image.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: it is animated.
    """
    with translate_errors("WebP"):
        chunks, size = _check(data, limits)
        needed: dict[bytes, bytes] = {name: chunks[name] for name in _IMAGE_CHUNKS if name in chunks}
        image = WebPImageFile(io.BytesIO(_riff_file(needed, size)))
        if image.size != size:
            raise BrokenMedia("The WebP picture is broken: its headers name different sizes.")
        image.load()
        pixels = np.asarray(image)
        exif = read_exif(chunks[b"EXIF"]) if b"EXIF" in chunks else Exif()
        return DecodedImage(
            samples=np.ascontiguousarray(pixels[..., :3]),
            alpha=np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None,
            orientation=exif.orientation,
            exif=exif.with_size(size),
            icc=scrub_icc_profile(chunks.get(b"ICCP")),
            panorama=read_panorama(chunks.get(b"XMP ")),
            details=b"VP8L" in chunks,
        )


def check_webp(data: bytes, limits: Limits) -> None:
    """Check the chunks of a WebP file without decoding.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Raises:
        BrokenMedia: the file ends early, or there is no image in it.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: it is animated.
    """
    with translate_errors("WebP"):
        _check(data, limits)


def _check(data: bytes, limits: Limits) -> tuple[dict[bytes, bytes], tuple[int, int]]:
    chunks = _chunks(data)
    size = _size(chunks)
    check_size(*size, limits)
    return chunks, size


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The content of the first chunk of each name."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise BrokenMedia("The WebP picture is broken: the file ends before the picture does.")
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= end:
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > end:
            raise BrokenMedia("The WebP picture is broken: a part of it is longer than the file.")
        found.setdefault(name, data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    if {b"ANIM", b"ANMF"} & found.keys() or found.get(b"VP8X", b"\0")[0] & _ANIMATION_FLAG:
        raise UnsupportedMedia("Animated WebP pictures are not supported: send a still picture or a video.")
    if not {b"VP8 ", b"VP8L"} & found.keys():
        raise BrokenMedia("The WebP picture is broken: there is no picture in it.")
    return found


def _size(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    """Width and height in pixels, from the header of the VP8L or VP8 bitstream."""
    if b"VP8L" in chunks:
        bits = int.from_bytes(chunks[b"VP8L"][1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", chunks[b"VP8 "], 6)
    return width & 0x3FFF, height & 0x3FFF


def _riff_file(chunks: dict[bytes, bytes], size_wh: tuple[int, int]) -> bytes:
    """A WebP file of these chunks only."""
    if b"ALPH" in chunks:
        sides = b"".join((side - 1).to_bytes(3, "little") for side in size_wh)
        chunks = {b"VP8X": bytes((_ALPHA_FLAG, 0, 0, 0)) + sides, **chunks}
    parts = (name + len(c).to_bytes(4, "little") + c + b"\0" * (len(c) % 2) for name, c in chunks.items())
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def write_webp(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode lossless if the source is lossless, otherwise at the quality of `encoding`.

    Args:
        decoded: an image that `read_webp` returned; its `samples` may have other values.
        encoding: `quality` is used if the source is lossy, 1..100; default: 90.

    Returns:
        The file's bytes.
    """
    pixels = decoded.samples if decoded.alpha is None else np.dstack([decoded.samples, decoded.alpha])
    options: dict[str, Any] = {"exact": True, "icc_profile": decoded.icc, "exif": decoded.exif.to_bytes()}
    if packet := write_panorama(decoded.panorama):
        options["xmp"] = packet
    if decoded.details:
        options["lossless"] = True
    else:
        options |= {"quality": encoding.quality or _DEFAULT_QUALITY, "alpha_quality": 100}
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", **options)
    return out.getvalue()
