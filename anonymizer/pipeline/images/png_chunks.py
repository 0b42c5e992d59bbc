"""The chunks of a PNG file: read with their checks, kept by name, written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import BrokenMedia

__all__ = ["SIGNATURE", "Chunk", "pack_pixels", "read_chunks", "write_chunks"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]
_ROWS_AT_ONCE = 256


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """(name, content) of each chunk up to IEND; what comes after is not looked at.

    Raises:
        BrokenMedia: the file ends before IEND, or a chunk that the picture needs has a wrong checksum.
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
        is_sound = zlib.crc32(data[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big")
        # Upper case begins the name of a chunk that the picture needs; others are left out where they are damaged.
        if not is_sound and name[:1].isupper():
            raise BrokenMedia(
                f"The PNG picture is broken: the checksum of its {name.decode('latin-1')} chunk is wrong."
            )
        if is_sound:
            yield name, content
        if name == b"IEND":
            return
        at = end + 4


def write_chunks(chunks: Iterable[Chunk]) -> bytes:
    """A PNG file of these chunks and IEND."""
    parts = [
        struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))
        for name, content in (*chunks, (b"IEND", b""))
    ]
    return SIGNATURE + b"".join(parts)


def pack_pixels(samples: NDArray[np.uint8] | NDArray[np.uint16], *, bits: int, compress_level: int) -> bytes:
    """The compressed data of an IDAT chunk.

    Args:
        samples: (h, w) or (h, w, c), values below 2 ** bits.
        bits: 1, 2, 4 or 8 (not filtered, as is best for indices), or 16 (Paeth filter).
        compress_level: 0..9, zlib's.
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
    """(h, w) values of a few bits each to (h, bytes), the first value in the highest bits."""
    if bits == 8:
        return rows
    planes = (rows[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8)) & 1
    return np.packbits(planes.reshape(len(rows), -1), axis=1)


def _paeth(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    up = above.astype(np.int16)
    left, corner = np.zeros_like(up), np.zeros_like(up)
    left[:, step:], corner[:, step:] = rows[:, :-step], up[:, :-step]
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    guess = np.where(to_up <= to_corner, up, corner)
    guess = np.where((to_left <= to_up) & (to_left <= to_corner), left, guess)
    return rows - guess.astype(np.uint8)
