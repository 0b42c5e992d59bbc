"""Prove that a decoder filled every row, for the codecs that do not say so themselves.

- libtiff gives back a CCITT Group 4 strip with too few rows as if it were whole. The missing rows are memory of the
  process. Here a few random rows are put after each strip, and must come out after its last row.
- Pillow and OpenCV leave the missing rows of a PNG black. Here the decompressed bytes are counted.
- libjpeg fills missing blocks with one colour. Here scans and restart intervals are counted. `decoder_checks` does
  the rest.
"""

from __future__ import annotations

import io
import re
import secrets
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.images.exif_tags import Directory, Entry, pack_directory, read_integer, read_integers

__all__ = [
    "Part",
    "Scan",
    "decode_group4",
    "has_all_rows",
    "has_all_scans",
    "has_planes",
    "is_refined",
    "read_parts",
]

#: Codes of ITU-T T.4 and T.6: horizontal mode, end of block, and short runs of white and black by length.
_HORIZONTAL, _END_OF_BLOCK = "001", "000000000001" * 2
_WHITE = ("00110101", "000111", "0111", "1000", "1011", "1100", "1110", "1111")
_BLACK = ("0000110111", "010", "11", "10", "011", "0011", "0010", "00011")
#: Make-up codes for long white runs, by length. A short run follows them.
_LONG_WHITE = ((2560, "000000011111"), (512, "01100101"), (64, "11011"))
#: Each byte with its bits from last to first.
_REVERSED_BITS = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
#: The end-of-line code, one bit per byte. No other codes contain as many zeros in a row.
_END_OF_LINE = bytes(11) + b"\1"
#: A code ends with three zeros at most, so the data of a strip without an end code end up to three bits after a one.
_ZEROS_AT_END = 3

#: A restart marker with the fill bytes before it.
_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")

#: First column, first row, column step and row step of the seven passes of an interlaced PNG (Adam7).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True, slots=True)
class Part:
    """A strip or a tile of a TIFF: where its coded bytes lie, and its size in pixels, with the padding of a tile."""

    start: int
    length: int
    width: int
    height: int


def read_parts(page: Mapping[int, Entry], order: str) -> list[Part]:
    """List the strips or tiles of a TIFF: those of each plane, row by row, and from left to right.

    Args:
        page: its directory, with a width and a height above 0.
        order: byte order: "<" little-endian, ">" big-endian.

    Raises:
        BrokenMedia: there are fewer than the picture needs, or it is not told where they are.
    """
    width, height, tile_width, tile_height = (
        read_integer(page.get(tag), order) or 0 for tag in (0x0100, 0x0101, 0x0142, 0x0143)
    )
    tiled = tile_width > 0 and tile_height > 0
    part_height = tile_height if tiled else min(read_integer(page.get(0x0116), order) or height, height)
    across, down = -(-width // tile_width) if tiled else 1, -(-height // part_height)
    planes = read_integer(page.get(0x0115), order) or 1 if has_planes(page, order) else 1
    places, lengths = (0x0144, 0x0145) if tiled else (0x0111, 0x0117)
    starts, counts = read_integers(page.get(places), order), read_integers(page.get(lengths), order)
    # before the list is made: a damaged header may claim billions of tiles
    if len(starts) != len(counts) or len(starts) < across * down * planes:
        raise BrokenMedia("The TIFF picture is broken: it has fewer rows than its header says.")
    part_width = tile_width if tiled else width
    heights = [part_height if tiled else min(part_height, height - row * part_height) for row in range(down)]
    sizes_wh = [(part_width, part_height) for part_height in heights for _ in range(across)] * planes
    return [Part(starts[i], counts[i], *size_wh) for i, size_wh in enumerate(sizes_wh)]


def has_planes(page: Mapping[int, Entry], order: str) -> bool:
    """Whether each channel of a TIFF has strips or tiles of its own (PlanarConfiguration 2)."""
    return read_integer(page.get(0x011C), order) == 2


def decode_group4(
    strips: Sequence[bytes], width: int, rows: int, last_rows: int, *, from_last: bool = False
) -> list[NDArray[np.bool_]]:
    """Decode strips or tiles of CCITT Group 4 (ITU-T T.6), and prove that each holds all of its rows.

    Args:
        strips: the coded data.
        width: of a strip, in pixels.
        rows: of each strip but the last.
        last_rows: of the last strip.
        from_last: whether the first bit of a byte is its lowest one (FillOrder 2); default: its highest one.

    Returns:
        For each strip (rows, width), True where the code says black.

    Raises:
        BrokenMedia: a strip has fewer or more rows, or a code that does not exist.
    """
    found: dict[int, NDArray[np.bool_]] = {}
    candidates = [_possible_ends(strip.translate(_REVERSED_BITS) if from_last else strip) for strip in strips]
    left = list(range(len(strips)))
    for attempt in range(_ZEROS_AT_END + 1):
        tried = [index for index in left if attempt < len(candidates[index][1])]
        if not tried:
            break
        # Other rows for each strip: a short one shows the memory of the one before.
        proofs = [_random_rows(width) for _ in tried]
        coded = [
            _pack(candidates[index][0][: candidates[index][1][attempt]], codes)
            for index, (_, codes) in zip(tried, proofs, strict=True)
        ]
        heights = [rows if index < len(strips) - 1 else last_rows for index in tried]
        planes = _decode_strips(coded, width, [height + len(proofs[0][0]) for height in heights])
        for index, height, plane, (proof, _) in zip(tried, heights, planes, proofs, strict=True):
            if np.array_equal(plane[height:], proof):
                found[index] = plane[:height]
        left = [index for index in left if index not in found]
    if left:
        raise BrokenMedia("The TIFF picture is broken: a part of it has another number of rows than its header says.")
    return [found[index] for index in range(len(strips))]


def _possible_ends(strip: bytes) -> tuple[bytes, list[int]]:
    """The bits of a strip, one per byte, and the offsets at which its last row may end."""
    bits = np.unpackbits(np.frombuffer(strip, np.uint8)).tobytes()
    end = bits.find(_END_OF_LINE)
    if end >= 0:
        return bits, [end]
    end = len(bits.rstrip(b"\0"))
    return bits, [at for at in range(end, end + _ZEROS_AT_END + 1) if at <= len(bits)]


def _pack(bits: bytes, codes: str) -> bytes:
    ones = np.frombuffer(bits + codes.encode().translate(bytes.maketrans(b"01", b"\0\1")), np.uint8)
    return np.packbits(ones).tobytes()


def _random_rows(width: int) -> tuple[NDArray[np.bool_], str]:
    """Random rows of at least 64 random choices, True for black, and their codes with an end of block."""
    count = 4 + 64 // width
    rows, codes = np.zeros((count, width), np.bool_), ""
    for row in rows:
        at, drawn = 0, min(width, 64)
        while at < drawn:
            white = secrets.randbelow(min(drawn - at, 7) + 1)
            black = secrets.randbelow(min(drawn - at - white, 7) + 1)
            if white + black:
                codes += _HORIZONTAL + _WHITE[white] + _BLACK[black]
                row[at + white : at + white + black] = True
                at += white + black
        while at < width:
            codes += _HORIZONTAL
            for length, code in _LONG_WHITE:
                while at + length <= width:
                    codes += code
                    at += length
            white = min(width - at, 7)
            codes += _WHITE[white] + _BLACK[0]
            at += white
    return rows, codes + _END_OF_BLOCK


def _decode_strips(coded: Sequence[bytes], width: int, heights: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Decode with libtiff: all strips have the height of the first one, but for the last, which may have less."""
    if len(set(heights)) > 1 and (len(set(heights[:-1])) > 1 or heights[-1] > heights[0]):
        raise ValueError(f"heights must be equal but for a smaller last one, not {heights}")
    body = b"".join(coded)
    sizes = [len(part) for part in coded]
    places = np.cumsum([8, *sizes[:-1]]).tolist()
    directory: Directory = {
        tag: Entry(kind, len(values), struct.pack(f"<{len(values)}{'H' if kind == 3 else 'L'}", *values))
        for tag, kind, values in (
            *((0x0100, 4, [width]), (0x0101, 4, [sum(heights)]), (0x0102, 3, [1]), (0x0103, 3, [4])),
            *((0x0106, 3, [0]), (0x0111, 4, places), (0x0115, 3, [1]), (0x0116, 4, [heights[0]]), (0x0117, 4, sizes)),
        )
    }
    at = 8 + len(body) + len(body) % 2
    header = b"II*\0" + struct.pack("<L", at)
    file = header + body + b"\0" * (len(body) % 2) + pack_directory(directory, "<", at=at)
    try:
        with TiffImageFile(io.BytesIO(file)) as image:
            image.load()
            black = ~np.asarray(image)
    except OSError:
        # libtiff names no strip, so each is tried alone
        if len(coded) == 1:
            return [np.zeros((0, width), np.bool_)]
        alone = zip(coded, heights, strict=True)
        return [plane for part, height in alone for plane in _decode_strips([part], width, [height])]
    return np.split(black, np.cumsum(heights)[:-1])


def has_all_rows(contents: Iterable[bytes], size_wh: tuple[int, int], pixel_bits: int, *, interlaced: bool) -> bool:
    """Whether the data of a PNG hold every row.

    Args:
        contents: of its IDAT chunks.
        size_wh: width and height in pixels.
        pixel_bits: bits of one pixel, all channels together.
        interlaced: whether the rows come in seven passes.
    """
    width, height = size_wh
    enough = 0
    for x, y, step_x, step_y in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            enough += rows * (1 + (columns * pixel_bits + 7) // 8)
    unzip, length = zlib.decompressobj(), 0
    for content in contents:
        while content and length < enough:
            length += len(unzip.decompress(content, 2**20))
            content = unzip.unconsumed_tail
    return length >= enough


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan of a JPEG.

    Attributes:
        header: payload of its marker segment (SOS).
        start, end: where its entropy-coded data lie in the file.
        interval: restart interval in coded units (MCU); 0 is none.
    """

    header: bytes
    start: int
    end: int
    interval: int

    @property
    def components(self) -> list[int]:
        """Identifiers of its colour components."""
        return list(self.header[1 : 1 + 2 * self.header[0] : 2])


def has_all_scans(data: bytes, scans: Sequence[Scan], frame: bytes) -> bool:
    """Whether each component of a JPEG is in a scan, and each scan has all of its restart markers, in order.

    Args:
        data: the file.
        scans: all of them.
        frame: payload of the frame header (SOF).
    """
    components = {frame[at]: frame[at + 1] for at in range(6, 6 + 3 * frame[5], 3)}
    scanned = {component for scan in scans for component in scan.components}
    if not components.keys() <= scanned:
        return False
    for scan in scans:
        if not scan.interval:
            continue
        numbers = [found[1][0] & 7 for found in _RESTART.finditer(data, scan.start, scan.end)]
        needed = -(-_count_units(frame, components, scan.components) // scan.interval) - 1
        if len(numbers) < needed or any(number != index % 8 for index, number in enumerate(numbers[:needed])):
            return False
    return True


def _count_units(frame: bytes, components: dict[int, int], scanned: list[int]) -> int:
    """Coded units (MCU) of a scan (ITU-T T.81, A.2)."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    most_x, most_y = max(f >> 4 for f in components.values()), max(f & 15 for f in components.values())
    own_x, own_y = most_x, most_y
    if len(scanned) == 1:
        # a unit is one block of this component
        factors = components.get(scanned[0], 0x11)
        width, height = -(-width * (factors >> 4) // most_x), -(-height * (factors & 15) // most_y)
        own_x = own_y = 1
    return -(-width // (8 * own_x)) * -(-height // (8 * own_y))


def is_refined(scans: Sequence[Scan], frame: bytes) -> bool:
    """Whether the scans of a progressive JPEG bring each coefficient of each component to its last bit."""
    last_bits: dict[tuple[int, int], int] = {}
    for scan in scans:
        first, last, bits = scan.header[1 + 2 * scan.header[0] :][:3]
        last_bits |= {(c, k): bits & 15 for c in scan.components for k in range(first, last + 1)}
    return all(last_bits.get((frame[at], k)) == 0 for at in range(6, 6 + 3 * frame[5], 3) for k in range(64))
