"""Read and write BMP: 1, 4 and 8 bits with a palette, 24 and 32 bits, uncompressed.

BMP is decoded here, as Pillow and OpenCV change the number of bits. The output gets the header, the palette and the
pixels. Nothing else of the file is kept: no gaps, no linked profile, no data at the end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images.decoded import (
    DecodedImage,
    Encoding,
    check_size,
    is_unused,
    nearest_palette_indices,
    translate_errors,
)
from anonymizer.pipeline.images.metadata.icc import scrub_icc_profile
from anonymizer.pipeline.images.png_chunks import pack_bits
from anonymizer.pipeline.limits import Limits

__all__ = ["check_bmp", "read_bmp", "write_bmp"]

#: Bytes of BITMAPFILEHEADER, and of the headers that may follow: BITMAPINFOHEADER to BITMAPV5HEADER.
_FILE_HEADER = 14
_HEADERS = (40, 52, 56, 108, 124)
#: BI_RGB, BI_BITFIELDS and BI_ALPHABITFIELDS.
_UNCOMPRESSED, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_BGRX_MASKS = (0x00FF0000, 0x0000FF00, 0x000000FF)
#: Colour spaces of BITMAPV5HEADER: "MBED", "LINK" and "sRGB".
_EMBEDDED_PROFILE, _LINKED_PROFILE, _SRGB = 0x4D424544, 0x4C494E4B, 0x73524742


@dataclass(frozen=True, slots=True)
class _BmpDetails:
    """What the writer needs. `header` and `table` (palette or colour masks) are written unchanged."""

    header: bytes
    table: bytes
    bits: int
    top_down: bool


def read_bmp(data: bytes, limits: Limits) -> DecodedImage:
    """Decode a BMP file.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Returns:
        The image: (h, w, 3) uint8 RGB, with the alpha of 32 bits, or with the palette of 8 bits or less.

    Raises:
        BrokenMedia: the file ends early or contradicts itself.
        OutOfMemory: there is too little memory to decode the image.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: it is compressed, made for OS/2, or has another number of bits.
    """
    with translate_errors("BMP"):
        details, (width, height), offset = _check(data, limits)
        bits, table = details.bits, details.table
        stride = _stride(width, bits)
        rows = np.frombuffer(data, np.uint8, stride * height, offset).reshape(height, stride)
        rows = rows if details.top_down else rows[::-1]
        icc = _icc(data, details.header)
        if bits >= 24:
            pixels = rows[:, : width * bits // 8].reshape(height, width, bits // 8)
            alpha = np.ascontiguousarray(pixels[..., 3]) if bits == 32 else None
            return DecodedImage(np.ascontiguousarray(pixels[..., 2::-1]), alpha=alpha, icc=icc, details=details)
        indices = _unpack(rows, bits)[:, :width]
        bgr = np.frombuffer(table, np.uint8).reshape(-1, 4)
        if not len(bgr) or indices.max() >= len(bgr):
            raise BrokenMedia("The BMP picture is broken: it uses colours that its palette does not have.")
        palette = np.column_stack([bgr[:, 2::-1], np.full(len(bgr), 255, np.uint8)])
        return DecodedImage(palette[indices, :3], indices=indices, palette=palette, icc=icc, details=details)


def check_bmp(data: bytes, limits: Limits) -> None:
    """Check headers and length without decoding.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Raises:
        BrokenMedia: the file ends early, or its headers contradict themselves.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: it is compressed, made for OS/2, or has another number of bits.
    """
    with translate_errors("BMP"):
        _check(data, limits)


def _check(data: bytes, limits: Limits) -> tuple[_BmpDetails, tuple[int, int], int]:
    """Details, width and height, and where the pixels begin."""
    (offset,) = struct.unpack_from("<L", data, 10)
    (header_bytes,) = struct.unpack_from("<L", data, _FILE_HEADER)
    if header_bytes not in _HEADERS:
        raise UnsupportedMedia("BMP pictures with the header of OS/2 are not supported.")
    width, height, _, bits, compression = struct.unpack_from("<llHHL", data, _FILE_HEADER + 4)
    check_size(width, abs(height), limits)
    header = data[_FILE_HEADER : _FILE_HEADER + header_bytes]
    table = _table(data, header_bytes, bits, compression)
    if offset < _FILE_HEADER + header_bytes or offset + _stride(width, bits) * abs(height) > len(data):
        raise BrokenMedia("The BMP picture is broken: the file ends before the picture does.")
    return _BmpDetails(header, table, bits, height < 0), (width, abs(height)), offset


def _stride(width: int, bits: int) -> int:
    """Bytes per row: a multiple of 4."""
    return (width * bits + 31) // 32 * 4


def _table(data: bytes, header_bytes: int, bits: int, compression: int) -> bytes:
    """The palette, or the colour masks, between the header and the pixels."""
    at = _FILE_HEADER + header_bytes
    if bits in (1, 4, 8) and compression == _UNCOMPRESSED:
        (used,) = struct.unpack_from("<L", data, _FILE_HEADER + 32)
        table = data[at : at + 4 * min(used or 2**bits, 2**bits)]
        return table[: len(table) // 4 * 4]
    if (bits == 24 or bits == 32) and compression == _UNCOMPRESSED:
        return b""
    # The colour masks are at the same place, after the shortest header or within longer ones.
    masks = struct.unpack_from("<3L", data, _FILE_HEADER + 40)
    if bits == 32 and compression in (_BITFIELDS, _ALPHA_BITFIELDS) and masks == _BGRX_MASKS:
        length = {_BITFIELDS: 12, _ALPHA_BITFIELDS: 16}[compression] if header_bytes == 40 else 0
        return data[at : at + length]
    raise UnsupportedMedia("BMP pictures are supported with 1, 4, 8, 24 or 32 bits, without compression.")


def _unpack(rows: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """(h, bytes) to (h, values) of 1, 4 or 8 bits; the first value is in the highest bits."""
    if bits == 8:
        return np.ascontiguousarray(rows)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    levels = rows[..., None] >> shifts & np.uint8(2**bits - 1)
    return levels.astype(np.uint8).reshape(len(rows), -1)


def _icc(data: bytes, header: bytes) -> bytes | None:
    if len(header) < 124 or struct.unpack_from("<L", header, 56)[0] != _EMBEDDED_PROFILE:
        return None
    at, length = struct.unpack_from("<LL", header, 112)
    return scrub_icc_profile(data[_FILE_HEADER + at : _FILE_HEADER + at + length])


def write_bmp(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the header, the bit depth and the palette of the source.

    Args:
        decoded: an image that `read_bmp` returned; its `samples` may have other values.
        encoding: it has no effect.

    Returns:
        The file's bytes.
    """
    details: _BmpDetails = decoded.details
    table = details.table
    if decoded.indices is not None:
        indices = nearest_palette_indices(decoded)
        rows = pack_bits(indices, details.bits)
        if decoded.redacted is not None:
            colours = np.frombuffer(table, np.uint8).reshape(-1, 4).copy()
            colours[is_unused(indices, len(colours))] = 0
            table = colours.tobytes()
    else:
        bgr = decoded.samples[..., ::-1]
        rows = (
            np.dstack([bgr] if decoded.alpha is None else [bgr, decoded.alpha]).astype(np.uint8).reshape(len(bgr), -1)
        )
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    pixels = (padded if details.top_down else padded[::-1]).tobytes()
    offset = _FILE_HEADER + len(details.header) + len(table)
    header = bytearray(details.header)
    struct.pack_into("<L", header, 20, len(pixels))
    if len(header) >= 124:
        kind = struct.unpack_from("<L", header, 56)[0]
        if kind in (_EMBEDDED_PROFILE, _LINKED_PROFILE):
            kind = _EMBEDDED_PROFILE if decoded.icc else _SRGB
        struct.pack_into("<L", header, 56, kind)
        place = (len(header) + len(table) + len(pixels), len(decoded.icc)) if decoded.icc else (0, 0)
        struct.pack_into("<LL", header, 112, *place)
        struct.pack_into("<L", header, 120, 0)
    body = bytes(header) + table + pixels + (decoded.icc or b"")
    return b"BM" + struct.pack("<LHHL", _FILE_HEADER + len(body), 0, 0, offset) + body
