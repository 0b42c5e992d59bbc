"""How long the parts of an AVI sound are: fields of the stream headers that FFmpeg computes wrongly for some codecs.

FFmpeg writes the size of a block into the header as the size of a sample, also where parts have different sizes (AAC,
AC-3, MP2). It does not know how much sound a part of ADPCM holds. Copied parts need the fields of their source.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["StreamTimes", "read_stream_times", "write_stream_times"]

#: Positions in a stream header. Five numbers follow each other: scale, rate, start, length and the size of the buffer.
_SCALE, _SAMPLE_SIZE, _BYTES = 20, 44, 48


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """What a stream header says of times.

    Attributes:
        scale, rate: a unit lasts scale / rate seconds.
        start: units before the first part.
        sample_size: bytes of a unit; 0: each part is one unit.
    """

    scale: int
    rate: int
    start: int
    sample_size: int


def read_stream_times(file: BinaryIO) -> list[StreamTimes]:
    """Read the headers of all streams, in their order.

    Args:
        file: the open file, seekable.
    """
    found = []
    for at in _stream_headers(file):
        file.seek(at)
        header = file.read(_BYTES)
        if len(header) == _BYTES:
            scale, rate, start = struct.unpack_from("<3I", header, _SCALE)
            found.append(StreamTimes(scale, rate, start, *struct.unpack_from("<I", header, _SAMPLE_SIZE)))
    return found


def write_stream_times(file: BinaryIO, times: Mapping[int, tuple[StreamTimes, int, int]]) -> None:
    """Change the headers of some streams of a finished file.

    Args:
        file: the file, open to read and write, seekable.
        times: by the number of the stream, its times, how many parts it has, and their bytes.
    """
    for number, at in enumerate(list(_stream_headers(file))):
        if number in times:
            of_stream, parts, size = times[number]
            length = size // of_stream.sample_size if of_stream.sample_size else parts
            file.seek(at + _SCALE)
            file.write(struct.pack("<4I", of_stream.scale, of_stream.rate, of_stream.start, length))
            file.seek(at + _SAMPLE_SIZE)
            file.write(struct.pack("<I", of_stream.sample_size))


def _stream_headers(file: BinaryIO) -> Iterator[int]:
    """Positions of the contents of the chunks `strh`."""
    size = file.seek(0, 2)
    for kind, start, end in _chunks(file, 12, size):
        if kind == b"hdrl":
            for inner, first, last in list(_chunks(file, start, end)):
                if inner == b"strl":
                    yield from (at for name, at, _ in list(_chunks(file, first, last)) if name == b"strh")
            return


def _chunks(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, position of the content and position after it of chunks; a list counts as what it is a list of."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        stop = min(start + 8 + length, end)
        if head[:4] == b"LIST":
            yield head[8:12], start + 12, stop
        else:
            yield head[:4], start + 8, stop
        start = stop + length % 2
