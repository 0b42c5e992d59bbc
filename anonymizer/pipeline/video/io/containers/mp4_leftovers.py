"""What FFmpeg does not read of an MP4 or QuickTime file: positions of dashboard cameras, which are copied, and more."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anonymizer.pipeline.video.io.containers.mp4_boxes import Box, boxes, children, read_index, top_level

__all__ = ["Positions", "read_positions", "unread_boxes"]

#: boxes that FFmpeg reads or makes itself, and such that hold nothing, by the place where they stand
_FILE = b"ftyp moov mdat free skip wide moof mfra sidx ssix styp prft".split()
_MOVIE = b"mvhd trak mvex iods meta udta free skip".split()
_USER = b"meta loci name titl auth cprt dscp gnre yrrc perf albm chpl hnti hinf hinv manu modl free skip".split()
#: of spherical video, version 1: the muxer writes version 2
_SPHERICAL = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
#: A block of positions is a box for free space that begins so. Cameras write one a second.
_BLOCK, _LARGEST_BLOCK, _MOST_BLOCKS = b"freeGPS ", 2**16, 200_000
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions as dashboard cameras with Novatek chips store them: a list of blocks between the pictures.

    Attributes:
        path: of the source.
        head: the first eight bytes of the list.
        blocks: first byte and size in bytes of each block in the source; both are 0 for a second without one.
    """

    path: Path
    head: bytes
    blocks: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """The bytes of the box that holds the list."""
        return 16 + 8 * len(self.blocks)

    def list_box(self, first: int) -> bytes:
        """The box of the list for a file in which the blocks follow each other.

        Args:
            first: position of the first block.

        Raises:
            ValueError: a block would lie beyond 4 GiB, where the list cannot name it.
        """
        out = bytearray(struct.pack(">I4s", self.size, b"gps ") + self.head)
        for _, size in self.blocks:
            if first + size >= 2**32:
                raise ValueError("The file is too large for a list of positions.")
            out += struct.pack(">II", first if size else 0, size)
            first += size
        return bytes(out)

    def contents(self) -> Iterator[bytes]:
        """The blocks, read from the source."""
        with self.path.open("rb") as file:
            for start, size in self.blocks:
                file.seek(start)
                yield file.read(size)


def read_positions(path: Path) -> Positions | None:
    """Read where the blocks of positions lie. None: there are none, or one of them is something else.

    Args:
        path: of the source.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        data = read_index(file, size) or b""
        found = next((box for moov in boxes(data) for box in children(data, moov) if box.kind == b"gps "), None)
        if found is None:
            return None
        content = data[found.body : found.end]
        pairs = tuple(struct.iter_unpack(">II", content[8 : 8 + (len(content) - 8) // 8 * 8]))
        for start, length in pairs:
            if length == start == 0:
                continue
            if not 12 <= length <= _LARGEST_BLOCK:
                return None
            file.seek(start)
            block = file.read(length)
            if len(block) != length or block[:12] != struct.pack(">I", length) + _BLOCK or _JPEG in block:
                return None
    wanted = any(length for _, length in pairs) and len(pairs) <= _MOST_BLOCKS
    return Positions(path, content[:8], pairs) if wanted else None


def unread_boxes(path: Path) -> list[str]:
    """Name the boxes of a file that are not read: they may hold anything, also pictures of the original.

    Args:
        path: of the source.

    Returns:
        The kinds with where they stand, such as "moov/gps", sorted.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        found = {_name(b"", box) for box in top_level(file, size) if box.kind not in _FILE}
        data = read_index(file, size) or b""
    for moov in boxes(data):
        found |= {_name(b"moov/", box) for box in children(data, moov) if box.kind not in _MOVIE}
        for box in children(data, moov):
            if box.kind == b"udta":
                found |= _unread_texts(data, box)
            elif box.kind == b"trak":
                inner = list(children(data, box))
                found |= {
                    _name(b"trak/", child)
                    for child in inner
                    if child.kind == b"uuid" and not data.startswith(_SPHERICAL, child.body)
                }
                found |= {name for child in inner if child.kind == b"udta" for name in _unread_texts(data, child)}
    return sorted(found)


def _unread_texts(data: bytes, user: Box) -> set[str]:
    # names that begin with a copyright sign are texts, which FFmpeg reads
    unread = (box for box in children(data, user) if box.kind not in _USER and box.kind[:1] != b"\xa9")
    return {_name(b"udta/", box) for box in unread}


def _name(place: bytes, box: Box) -> str:
    kind = box.kind.decode("latin-1").strip()
    return place.decode() + (kind if kind.isprintable() else box.kind.hex())
