"""The boxes of MP4 and QuickTime files (ISO/IEC 14496-12), as far as FFmpeg does not tell of them or copy them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Box", "boxes", "children", "find", "read_index", "sample_entries", "top_level"]

#: the largest index that is read: a day of video at 60 frames a second has about 150 MB
_LARGEST_INDEX = 2**29


@dataclass(frozen=True, slots=True)
class Box:
    """A box in bytes that were read.

    Attributes:
        kind: four characters.
        start: position of its first byte, that of its length.
        body: position of its content.
        end: position after it.
    """

    kind: bytes
    start: int
    body: int
    end: int

    def of(self, data: bytes) -> bytes:
        """The whole box."""
        return data[self.start : self.end]


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Read boxes that follow each other; a damaged one ends the list.

    Args:
        data: the bytes.
        start: position of the first box.
        end: position after the last one; default: that of the last byte.
    """
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, body = int.from_bytes(data[start : start + 4], "big"), start + 8
        if length == 1 and start + 16 <= end:
            length, body = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        elif length == 0:
            length = end - start
        if start + length > end or start + length < body:
            return
        yield Box(data[start + 4 : start + 8], start, body, start + length)
        start += length


def children(data: bytes, box: Box) -> Iterator[Box]:
    """The boxes in a box that holds nothing else."""
    return boxes(data, box.body, box.end)


def find(data: bytes, box: Box, *path: bytes) -> Box | None:
    """The first box along a path of kinds below a box; None: there is none."""
    found: Box | None = box
    for kind in path:
        found = next((child for child in children(data, found) if child.kind == kind), None) if found else None
    return found


def top_level(file: BinaryIO, size: int) -> Iterator[Box]:
    """The boxes of a file, without their content; positions are those in the file.

    Args:
        file: the open file, seekable.
        size: of the file in bytes.
    """
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, body = int.from_bytes(head[:4], "big"), at + 8
        if length == 1:
            length, body = int.from_bytes(head[8:16], "big"), at + 16
        elif length == 0:
            length = size - at
        if at + length > size or at + length < body:
            return
        yield Box(head[4:8], at, body, at + length)
        at += length


def read_index(file: BinaryIO, size: int) -> bytes | None:
    """Read the box `moov`, which says what the file holds; None: there is none, or it is too large.

    Args:
        file: the open file, seekable.
        size: of the file in bytes.
    """
    moov = next((box for box in top_level(file, size) if box.kind == b"moov"), None)
    if moov is None or moov.end - moov.start > _LARGEST_INDEX:
        return None
    file.seek(moov.start)
    return file.read(moov.end - moov.start)


def sample_entries(data: bytes, track: Box) -> list[Box]:
    """The boxes that describe the samples of a track, by the codec; data: of the index; track: a box `trak`."""
    description = find(data, track, b"mdia", b"minf", b"stbl", b"stsd")
    return [] if description is None else list(boxes(data, description.body + 8, description.end))
