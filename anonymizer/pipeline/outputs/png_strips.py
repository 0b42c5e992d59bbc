"""Make a mask file smaller in strips of rows, so that a mask of any size takes a few megabytes of memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.images.png_chunks import SIGNATURE, write_chunks

__all__ = ["scale_mask"]

#: about the bytes of pixels that are in memory at once
STRIP_BYTES = 2**20
_READ_BYTES = 2**16
_CHANNELS = {0: 1, 2: 3}
_NONE, _UP = 0, 2


def scale_mask(source: BinaryIO, target: BinaryIO, percent: int) -> None:
    """Make a stored mask smaller, with the pixels that `masks.scaled` gives.

    Args:
        source: a PNG file of a binary mask or an instance mask, 8 bits, not interlaced.
        target: gets a PNG file.
        percent: size of the result, 1..100.

    Raises:
        BrokenMedia: the source is no such file, or it ends early.
    """
    width, height, channels = _read_header(source)
    small_w, small_h = (max(round(side * percent / 100), 1) for side in (width, height))
    strips = _strips(source, width, height, channels)
    if channels == 1:
        rows = _widest(strips, (height, width), (small_h, small_w))
    else:
        rows = _nearest(strips, (height, width), (small_h, small_w))
    _write(target, rows, small_w, small_h, channels)


def _read_header(source: BinaryIO) -> tuple[int, int, int]:
    """Width, height and channels."""
    head = source.read(len(SIGNATURE) + 8 + 13 + 4)
    if len(head) < 33 or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        raise BrokenMedia("The mask is broken: it does not begin with the header of a PNG file.")
    width, height, bits, colour_type, _, _, interlaced = struct.unpack_from(">LLBBBBB", head, 16)
    if bits != 8 or colour_type not in _CHANNELS or interlaced or not width or not height:
        raise BrokenMedia(f"The mask is broken: it has {bits} bits of colour type {colour_type}.")
    return width, height, _CHANNELS[colour_type]


def _inflated(source: BinaryIO) -> Iterator[bytes]:
    """The filtered rows of all IDAT chunks, in pieces."""
    unzip = zlib.decompressobj()
    while True:
        head = source.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        left = int.from_bytes(head[:4], "big")
        while left:
            piece = source.read(min(left, _READ_BYTES))
            if not piece:
                raise BrokenMedia("The mask is broken: its file ends early.")
            left -= len(piece)
            while head[4:] == b"IDAT" and piece:
                # a few bytes may become megabytes
                yield unzip.decompress(piece, STRIP_BYTES)
                piece = unzip.unconsumed_tail
        # the checksum; zlib has its own
        source.read(4)


def _strips(source: BinaryIO, width: int, height: int, channels: int) -> Iterator[NDArray[np.uint8]]:
    """Rows of the image, some at a time: (n, w) grey or (n, w, 3) RGB."""
    stride = 1 + width * channels
    count = max(1, STRIP_BYTES // stride)
    waiting, done = bytearray(), 0
    above = bytes(stride)
    try:
        for piece in _inflated(source):
            waiting += piece
            while done < height and len(waiting) >= (want := min(count, height - done)) * stride:
                # the row above is needed to undo the filters of the first row
                strip = _decoded(above + waiting[: want * stride], width, want + 1, channels)[1:]
                del waiting[: want * stride]
                above = bytes([_NONE]) + strip[-1].tobytes()
                done += want
                yield strip
    except zlib.error as error:
        raise BrokenMedia(f"The mask is broken: {error}.") from error
    if done < height:
        raise BrokenMedia("The mask is broken: its data end before the picture is complete.")


def _decoded(filtered: bytes, width: int, height: int, channels: int) -> NDArray[np.uint8]:
    """Undo the filters of rows, with a small PNG file of these rows alone."""
    header = struct.pack(">LLBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    content = write_chunks([(b"IHDR", header), (b"IDAT", zlib.compress(filtered, 0))])
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.shape[:2] != (height, width):
        raise BrokenMedia("The mask is broken: its rows cannot be decoded.")
    return np.asarray(found if channels == 1 else found[..., ::-1], np.uint8)


def _widest(
    strips: Iterator[NDArray[np.uint8]], size_hw: tuple[int, int], small_hw: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    """Rows in which each pixel is the highest of those that it replaces."""
    (height, width), (small_h, small_w) = size_hw, small_hw
    columns = np.arange(small_w) * width // small_w
    first_rows = np.arange(small_h) * height // small_h
    at, pending = 0, np.zeros((0, width), np.uint8)
    for strip in strips:
        targets = np.searchsorted(first_rows, np.arange(at, at + len(strip)), side="right") - 1
        starts = np.flatnonzero(np.diff(targets, prepend=-1))
        reduced = np.maximum.reduceat(strip, starts, axis=0)
        if at and first_rows[targets[0]] < at:
            # this row began in the strip before
            reduced[0] = np.maximum(reduced[0], pending[0])
        elif at:
            reduced = np.concatenate([pending, reduced])
        at += len(strip)
        pending = reduced[-1:]
        yield _narrowed(reduced[:-1], columns)
    yield _narrowed(pending, columns)


def _narrowed(rows: NDArray[np.uint8], columns: NDArray[np.int_]) -> NDArray[np.uint8]:
    """The highest value from each column up to the next."""
    # reducing along the first axis is several times as fast
    turned = np.maximum.reduceat(np.ascontiguousarray(rows.T), columns, axis=0)
    return np.ascontiguousarray(turned.T)


def _nearest(
    strips: Iterator[NDArray[np.uint8]], size_hw: tuple[int, int], small_hw: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    """Rows of single pixels, so that no new value appears."""
    rows, columns = ((np.arange(n) * 2 + 1) * side // (n * 2) for n, side in zip(small_hw, size_hw, strict=True))
    at = 0
    for strip in strips:
        wanted = rows[(rows >= at) & (rows < at + len(strip))] - at
        if len(wanted):
            yield np.take(strip[wanted], columns, axis=1)
        at += len(strip)


def _write(target: BinaryIO, rows: Iterator[NDArray[np.uint8]], width: int, height: int, channels: int) -> None:
    def chunk(name: bytes, content: bytes) -> None:
        target.write(struct.pack(">L", len(content)) + name + content)
        target.write(struct.pack(">L", zlib.crc32(name + content)))

    target.write(SIGNATURE)
    chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0))
    # rows that equal the one above become zeros, as in `encode_png`
    zipper = zlib.compressobj(6, strategy=zlib.Z_RLE)
    above = np.zeros((1, width * channels), np.uint8)
    for block in rows:
        if not len(block):
            continue
        flat = block.reshape(len(block), -1)
        filtered = np.empty((len(flat), 1 + flat.shape[1]), np.uint8)
        filtered[:, 0] = _UP
        filtered[:, 1:] = flat - np.concatenate([above, flat[:-1]])
        above = flat[-1:]
        if packed := zipper.compress(filtered.tobytes()):
            chunk(b"IDAT", packed)
    chunk(b"IDAT", zipper.flush())
    chunk(b"IEND", b"")
