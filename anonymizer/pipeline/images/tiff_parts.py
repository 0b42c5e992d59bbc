"""Check the strips and tiles of a TIFF: each must hold its rows, and no damage.

libtiff gives back what it has made of a damaged strip. It stops when the rows are full, so it sees neither a wrong
checksum nor what is left over: damage often makes the data before it longer or shorter.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images.completeness import Part, decode_group4, has_planes, read_parts
from anonymizer.pipeline.images.decoded import Samples, check_size
from anonymizer.pipeline.images.decoder_checks.client import can_decode, tiff_warnings
from anonymizer.pipeline.images.exif_tags import Directory, Entry, pack_directory, read_integer, read_integers
from anonymizer.pipeline.images.jpeg import read_jpeg
from anonymizer.pipeline.limits import Limits

__all__ = ["GROUP4", "STRUCTURE", "check_extent", "check_parts", "read_group4", "with_directory"]

#: Tags that describe the pixels: sizes, bits, compression, strips, tiles, palette, inks, JPEG tables.
STRUCTURE = {
    *(0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x010A, 0x0111, 0x0115, 0x0116, 0x0117, 0x011C, 0x0124, 0x0125, 0x013D),
    *(0x0140, 0x0142, 0x0143, 0x0144, 0x0145, 0x014C, 0x0152, 0x0153, 0x015B, 0x0211, 0x0212, 0x0213, 0x0214),
}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _CHANNELS = (
    *(0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x010A, 0x0115),
)
_ROWS_PER_STRIP, _JPEG_TABLES = 0x0116, 0x015B
GROUP4 = 4
#: Compressions: CCITT modified Huffman and Group 3; LZW and PackBits; Deflate by its two numbers.
_UNCOMPRESSED, _JPEG = 1, 7
_FAX, _RUNS, _DEFLATE = (2, 3), (5, 32773), (8, 32946)
#: Bytes of a strip, decoded, that are checked at once. Pillow's longest row is twice as long.
_MOST_BYTES = 2**28
_PIECE = 2**20


def check_extent(data: bytes, page: Mapping[int, Entry], order: str) -> None:
    """Refuse a file that ends before its strips or tiles do, or that has too few of them or too few bytes in them.

    Args:
        data: the file.
        page: its directory.
        order: byte order: "<" little-endian, ">" big-endian.

    Raises:
        BrokenMedia: a part is missing or too short.
    """
    parts = read_parts(page, order)
    if any(part.start + part.length > len(data) for part in parts):
        raise BrokenMedia("The TIFF picture is broken: the file ends before the picture does.")
    if _compression(page, order) == _UNCOMPRESSED:
        sizes = _decoded_sizes(parts, page, order)
        if any(part.length < size for part, size in zip(parts, sizes, strict=True)):
            raise BrokenMedia("The TIFF picture is broken: it has fewer rows than its header says.")


def check_parts(data: bytes, page: Mapping[int, Entry], order: str, limits: Limits) -> None:
    """Refuse strips or tiles that do not hold all of their rows, or that are damaged.

    Args:
        data: the file.
        page: its directory.
        order: byte order: "<" little-endian, ">" big-endian.
        limits: the largest image that is accepted; `megapixels` is used.

    Raises:
        BrokenMedia: a part is incomplete or damaged.
        UnsupportedMedia: a part is too large to be checked, or is a JPEG of a kind that is not supported.
    """
    compression = _compression(page, order)
    if compression == _JPEG:
        _check_jpeg_parts(data, page, order, limits)
    elif compression in _FAX:
        bare: Directory = {tag: entry for tag, entry in page.items() if tag in STRUCTURE}
        if warnings := tiff_warnings(with_directory(data, order, bare)):
            raise BrokenMedia(f"The TIFF picture is broken: {warnings[0].strip()}.")
    elif compression in _RUNS:
        _check_ends(data, page, order)
    elif compression in _DEFLATE:
        parts = read_parts(page, order)
        sizes = _decoded_sizes(parts, page, order)
        for part, size in zip(parts, sizes, strict=True):
            _check_deflate(data[part.start : part.start + part.length], size, max(sizes))


def _compression(page: Mapping[int, Entry], order: str) -> int:
    return read_integer(page.get(_COMPRESSION), order) or _UNCOMPRESSED


def _row_bytes(width: int, page: Mapping[int, Entry], order: str) -> int:
    bits = (read_integers(page.get(_BITS), order) or (1,))[0]
    channels = 1 if has_planes(page, order) else read_integer(page.get(_CHANNELS), order) or 1
    return (width * channels * bits + 7) // 8


def _decoded_sizes(parts: Sequence[Part], page: Mapping[int, Entry], order: str) -> list[int]:
    """Bytes of the decoded rows of each part."""
    return [_row_bytes(part.width, page, order) * part.height for part in parts]


def _check_jpeg_parts(data: bytes, page: Mapping[int, Entry], order: str, limits: Limits) -> None:
    tables = page[_JPEG_TABLES].value[2:].removesuffix(b"\xff\xd9") if _JPEG_TABLES in page else b""
    for part in read_parts(page, order):
        stream = data[part.start : part.start + part.length]
        width, height = read_jpeg(stream[:2] + tables + stream[2:], limits).size_wh
        if width < part.width or height < part.height:
            raise BrokenMedia("The TIFF picture is broken: it has fewer rows than its header says.")


def _check_ends(data: bytes, page: Mapping[int, Entry], order: str) -> None:
    """Refuse parts in LZW or PackBits that go on after their last row.

    Each is decoded as one row of one byte more than it should have, which must fail.
    """
    parts = read_parts(page, order)
    sizes = _decoded_sizes(parts, page, order)
    # some programs write as many rows into the last strip as into the others
    most = max(sizes)
    if most > _MOST_BYTES:
        raise UnsupportedMedia(
            f"TIFF pictures in LZW or PackBits with strips of more than {_MOST_BYTES // 2**20} MiB are not supported."
        )
    rows = [_as_row(data, part, size + 1, page, order) for part, size in zip(parts, sizes, strict=True)]
    longer = [index for index, goes_on in enumerate(can_decode(rows)) if goes_on]
    filled_up = [_as_row(data, parts[index], most, page, order) for index in longer]
    too_long = [_as_row(data, parts[index], most + 1, page, order) for index in longer]
    if not all(can_decode(filled_up)) or any(can_decode(too_long)):
        raise BrokenMedia("The TIFF picture is broken: a part of it has more rows than its header says.")


def _as_row(data: bytes, part: Part, size: int, page: Mapping[int, Entry], order: str) -> bytes:
    """A TIFF with one row of so many bytes, whose only strip is a part of another file."""
    body = data[part.start : part.start + part.length]
    fill_order = read_integer(page.get(_FILL_ORDER), order) or 1
    numbers = {_WIDTH: size, _HEIGHT: 1, _BITS: 8, _COMPRESSION: _compression(page, order), _PHOTOMETRIC: 1}
    numbers |= {_FILL_ORDER: fill_order, 0x0111: 8, _CHANNELS: 1, _ROWS_PER_STRIP: 1, 0x0117: len(body)}
    tags: Directory = {tag: Entry(4, 1, struct.pack(order + "L", number)) for tag, number in numbers.items()}
    return with_directory((b"II*\0" if order == "<" else b"MM\0*") + bytes(4) + body, order, tags)


def _check_deflate(coded: bytes, size: int, most: int) -> None:
    """Refuse a part whose checksum is wrong, or that has another number of bytes than its rows."""
    unzip, length = zlib.decompressobj(), 0
    while coded and not unzip.eof and length <= most:
        length += len(unzip.decompress(coded, _PIECE))
        coded = unzip.unconsumed_tail
    if not unzip.eof or length not in (size, most):
        raise BrokenMedia("The TIFF picture is broken: a part of it has another number of rows than its header says.")


def read_group4(data: bytes, page: Mapping[int, Entry], order: str, limits: Limits) -> Samples:
    """Decode a page of CCITT Group 4, and prove that each part holds all of its rows.

    Args:
        data: the file.
        page: its directory.
        order: byte order: "<" little-endian, ">" big-endian.
        limits: the largest image that is accepted, its tiles included; `megapixels` is used.

    Returns:
        (h, w) uint8, 0 black and 255 white.

    Raises:
        BrokenMedia: a part has fewer or more rows, or a code that does not exist.
        TooLarge: the tiles have more pixels than the limit.
    """
    parts = read_parts(page, order)
    # tiles may be larger than the picture
    check_size(parts[0].width, sum(part.height for part in parts), limits)
    coded = [data[part.start : part.start + part.length] for part in parts]
    from_last = read_integer(page.get(_FILL_ORDER), order) == 2
    black = decode_group4(coded, parts[0].width, parts[0].height, parts[-1].height, from_last=from_last)
    width, height = (read_integer(page.get(tag), order) or 0 for tag in (_WIDTH, _HEIGHT))
    across = -(-width // parts[0].width)
    rows = [np.hstack(black[at : at + across]) for at in range(0, len(black), across)]
    plane = np.vstack(rows)[:height, :width]
    is_white = ~plane if read_integer(page.get(_PHOTOMETRIC), order) == 0 else plane
    return is_white.astype(np.uint8) * 255


def with_directory(data: bytes, order: str, directory: Directory) -> bytes:
    """The same TIFF file with another main directory, which is placed at its end.

    Args:
        data: the file.
        order: its byte order: "<" little-endian, ">" big-endian.
        directory: entries by tag, in this byte order.
    """
    at = len(data) + len(data) % 2
    body = data[8:] + b"\0" * (len(data) % 2)
    return data[:4] + struct.pack(order + "L", at) + body + pack_directory(directory, order, at=at)
