"""Read the chunks of a PNG file and check them, pack pixels, and write chunks (PNG specification, W3C, chapter 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import BrokenMedia

__all__ = ["SIGNATURE", "Chunk", "pack_pixels", "read_chunks", "write_chunks"]

#: First bytes of every PNG file.
SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Name and content.
Chunk = tuple[bytes, bytes]
#: Rows that are compressed in one piece, to limit memory.
_ROWS_AT_ONCE = 256


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """Read the chunks up to IEND. What comes after it is not read.

    Args:
        data: the file's bytes, signature included.

    Yields:
        Name and content. A chunk that is not needed for the pixels is left out if its checksum is wrong.

    Raises:
        BrokenMedia: the file ends before IEND, or a chunk that is needed has a wrong checksum.
    """
    at = len(SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise BrokenMedia("The PNG picture is broken: the file ends before the picture does.")
        length = int.from_bytes(data[at : at + 4], "big")
        name, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            raise BrokenMedia("The PNG picture is broken: the file ends before the picture does.")
        content = data[at + 8 : end]
        is_intact = zlib.crc32(data[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big")
        # An upper-case first letter marks a critical chunk, which is needed for the pixels.
        if not is_intact and name[:1].isupper():
            raise BrokenMedia(
                f"The PNG picture is broken: the checksum of its {name.decode('latin-1')} chunk is wrong."
            )
        if is_intact:
            yield name, content
        if name == b"IEND":
            return
        at = end + 4


def write_chunks(chunks: Iterable[Chunk]) -> bytes:
    """Write a PNG file of chunks, in this order. The signature and IEND are added."""
    parts = [
        struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))
        for name, content in (*chunks, (b"IEND", b""))
    ]
    return SIGNATURE + b"".join(parts)


def pack_pixels(samples: NDArray[np.uint8] | NDArray[np.uint16], *, bits: int, compress_level: int) -> bytes:
    """Compress pixels to the content of an IDAT chunk.

    Args:
        samples: (h, w) or (h, w, channels), values below 2 ** bits.
        bits: 1, 2, 4 or 8 (not filtered, which suits palette indices), or 16 (Paeth filter).
        compress_level: of zlib, 0..9.

    Returns:
        The zlib stream.
    """
    height = samples.shape[0]
    zipper = zlib.compressobj(compress_level)
    parts = []
    before = None
    for top in range(0, height, _ROWS_AT_ONCE):
        block = samples[top : top + _ROWS_AT_ONCE]
        if bits == 16:
            rows = block.astype(">u2").reshape(len(block), -1).view(np.uint8)
            above = np.zeros_like(rows[:1]) if before is None else before
            step = 2 * (samples.shape[2] if samples.ndim == 3 else 1)
            filtered = _paeth(rows, np.concatenate([above, rows[:-1]]), step)
            before = rows[-1:]
            kind = 4
        else:
            filtered, kind = pack_bits(block.reshape(len(block), -1).astype(np.uint8), bits), 0
        marks = np.full((len(block), 1), kind, np.uint8)
        parts.append(zipper.compress(np.hstack([marks, filtered]).tobytes()))
    return b"".join([*parts, zipper.flush()])


def pack_bits(rows: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack values of a few bits into bytes, row by row.

    Args:
        rows: (h, w) uint8, values below 2 ** bits.
        bits: 1, 2, 4 or 8 per value.

    Returns:
        (h, bytes) uint8. The first value is in the highest bits, and the last byte of a row is filled up with zeros.
        With 8 bits it is the same array.
    """
    if bits == 8:
        return rows
    planes = (rows[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8)) & 1
    return np.packbits(planes.reshape(len(rows), -1), axis=1)


def _paeth(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Apply the PNG filter "Paeth": subtract the neighbour (left, above, or both) nearest to left + above - corner."""
    up = above.astype(np.int16)
    left, corner = np.zeros_like(up), np.zeros_like(up)
    left[:, step:], corner[:, step:] = rows[:, :-step], up[:, :-step]
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    guess = np.where(to_up <= to_corner, up, corner)
    guess = np.where((to_left <= to_up) & (to_left <= to_corner), left, guess)
    return rows - guess.astype(np.uint8)
