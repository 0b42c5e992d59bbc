"""EXIF without its side doors: named tags are copied one by one into a new block, nothing else is.

A TIFF file has the same structure, so that the directories of both are read and written here. What an EXIF block may
hide (the thumbnail of IFD1, MakerNote, previews in private tags, slack between the values) is not on the list of names
and so never copied. The position (GPS) is copied: see `strip-metadata`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Directory", "Entry", "Exif", "pack_directory", "read_directory", "read_exif", "read_header", "scrub"]

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 2, 3, 4, 5, 7
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_WHOLE_NUMBERS = {_BYTE: "B", _SHORT: "H", _LONG: "L"}

#: Names of the EXIF 3.0 standard and of Windows (0x9C9B and on: title, comment, author, keywords, subject).
_IFD0_TAGS = {
    *(0x010E, 0x010F, 0x0110, ORIENTATION, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x013E, 0x013F),
    *(0x0211, 0x0213, 0x0214, 0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),
}
_EXIF_TAGS = {
    *(0x829A, 0x829D, 0x8822, 0x8824, 0x8827, *range(0x8830, 0x8836), 0x9000, 0x9003, 0x9004, 0x9010, 0x9011),
    *(0x9012, 0x9101, 0x9102, *range(0x9201, 0x920B), 0x9214, 0x9286, 0x9290, 0x9291, 0x9292),
    *range(0x9400, 0x9406),
    *(0xA000, 0xA001, 0xA002, 0xA003, 0xA20B, 0xA20E, 0xA20F, 0xA210, 0xA214, 0xA215, 0xA217, 0xA300, 0xA301),
    *(0xA302, *range(0xA401, 0xA40B), 0xA40C, 0xA420, *range(0xA430, 0xA43D), 0xA460, 0xA461, 0xA500),
}
_CHILDREN: Mapping[int, Mapping[int, set[int]]] = {
    0: {EXIF_IFD: _EXIF_TAGS, GPS_IFD: set(range(0x20))},
    EXIF_IFD: {INTEROP_IFD: {0x0001, 0x0002}},
}
#: Bytes that a value may have, and all of them together, so that they fit a JPEG segment; a camera writes about 2,000.
_TEXT_BYTES, _BLOB_BYTES, _NUMBER_BYTES, _TOTAL_BYTES = 1024, 256, 256, 60_000
_USER_COMMENT = 0x9286
_PICTURE_SIGNS = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"ftyp",
    b"RIFF",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"JFIF",
    b"\xff\x4f\xff\x51",
)


class Entry(NamedTuple):
    """One tag: its TIFF type, how many values, and the values as they lie in the file."""

    kind: int
    n: int
    value: bytes


#: Tag to its value, or to the directory that it points to.
Directory = dict[int, "Entry | Directory"]


@dataclass(frozen=True, slots=True)
class Exif:
    """Scrubbed EXIF; `order` is "<" or ">", as texts within it depend on the byte order."""

    order: str = "<"
    tags: Directory = field(default_factory=dict)

    @property
    def orientation(self) -> int:
        """1 to 8; 1 where there is none or none that is valid."""
        value = self.number(ORIENTATION)
        return value if value is not None and 1 <= value <= 8 else 1

    def number(self, tag: int) -> int | None:
        """The first whole number of a tag of the main directory."""
        entry = self.tags.get(tag)
        return first_number(entry, self.order) if isinstance(entry, Entry) else None

    def for_picture(self, size_wh: tuple[int, int]) -> Exif:
        """The same, with the size of the stored picture where a size is given."""
        sub = self.tags.get(EXIF_IFD)
        if not isinstance(sub, dict):
            return self
        sizes = {
            tag: Entry(_LONG, 1, struct.pack(self.order + "L", pixels))
            for tag, pixels in zip((0xA002, 0xA003), size_wh, strict=True)
            if tag in sub and first_number(sub[tag], self.order) != pixels
        }
        return Exif(self.order, {**self.tags, EXIF_IFD: {**sub, **sizes}})

    def without_orientation(self) -> Exif:
        """The same, for a picture that lies upright."""
        return Exif(self.order, {tag: entry for tag, entry in self.tags.items() if tag != ORIENTATION})

    def to_bytes(self) -> bytes:
        """A block with a TIFF header, without the `Exif` sign before it; empty where there is no tag."""
        if not self.tags:
            return b""
        start = b"II*\0" if self.order == "<" else b"MM\0*"
        return start + struct.pack(self.order + "L", 8) + pack_directory(self.tags, self.order, at=8)


def read_exif(block: bytes) -> Exif:
    """Scrubbed EXIF of a block as JPEG, PNG, WebP or HEIC hold it; empty where it cannot be read."""
    if block.startswith(b"Exif\0"):
        block = block[6:]
    try:
        order, at = read_header(block)
        directory, _ = read_directory(block, order, at)
    except ValueError:
        return Exif()
    return scrub(block, directory, order)


def scrub(data: bytes, directory: Mapping[int, Entry], order: str) -> Exif:
    """Keep the named tags of a main directory, and those of the EXIF, GPS and interoperability directories."""
    tags = _scrub(data, directory, order, 0, _IFD0_TAGS)
    exif = Exif(order, tags)
    if len(exif.to_bytes()) > _TOTAL_BYTES:
        exif = Exif(order, {ORIENTATION: tags[ORIENTATION]} if ORIENTATION in tags else {})
    return exif if 1 <= (exif.number(ORIENTATION) or 0) <= 8 else exif.without_orientation()


def _scrub(data: bytes, directory: Mapping[int, Entry], order: str, own: int, names: set[int]) -> Directory:
    kept: Directory = {tag: entry for tag, entry in directory.items() if tag in names and _is_harmless(tag, entry)}
    for pointer, child_names in _CHILDREN.get(own, {}).items():
        at = first_number(directory.get(pointer), order)
        if at is None:
            continue
        try:
            child, _ = read_directory(data, order, at)
        except ValueError:
            continue
        if child_kept := _scrub(data, child, order, pointer, child_names):
            kept[pointer] = child_kept
    return kept


def _is_harmless(tag: int, entry: Entry) -> bool:
    if any(sign in entry.value for sign in _PICTURE_SIGNS):
        return False
    if entry.kind in (_ASCII, _BYTE) or tag == _USER_COMMENT:
        return len(entry.value) <= _TEXT_BYTES
    return len(entry.value) <= (_BLOB_BYTES if entry.kind == _UNDEFINED else _NUMBER_BYTES)


def first_number(entry: Entry | Directory | None, order: str) -> int | None:
    """The first value of a tag of whole numbers; None where it is something else."""
    if not isinstance(entry, Entry) or not entry.n or entry.kind not in _WHOLE_NUMBERS:
        return None
    return int(struct.unpack_from(order + _WHOLE_NUMBERS[entry.kind], entry.value)[0])


def numbers(entry: Entry | Directory | None, order: str) -> tuple[int, ...]:
    """All values of a tag of whole numbers; none where it is something else."""
    if not isinstance(entry, Entry) or entry.kind not in _WHOLE_NUMBERS:
        return ()
    return struct.unpack(f"{order}{entry.n}{_WHOLE_NUMBERS[entry.kind]}", entry.value)


def read_header(data: bytes) -> tuple[str, int]:
    """Byte order and place of the main directory.

    Raises:
        ValueError: it is no TIFF header.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        raise ValueError("no TIFF header")
    return order, struct.unpack_from(order + "L", data, 4)[0]


def read_directory(data: bytes, order: str, at: int) -> tuple[dict[int, Entry], int]:
    """The tags of a directory, without those that lie outside the data, and the place of the next one (0: none).

    Raises:
        ValueError: the directory itself lies outside the data.
    """
    if at < 8 or at + 2 > len(data):
        raise ValueError("a directory lies outside the file")
    (count,) = struct.unpack_from(order + "H", data, at)
    end = at + 2 + 12 * count
    if end > len(data):
        raise ValueError("a directory is cut off")
    entries = {}
    for row in range(at + 2, end, 12):
        tag, kind, n = struct.unpack_from(order + "HHL", data, row)
        length = _SIZES.get(kind, 0) * n
        start = row + 8 if length <= 4 else struct.unpack_from(order + "L", data, row + 8)[0]
        if length and start + length <= len(data):
            entries[tag] = Entry(kind, n, data[start : start + length])
    following = struct.unpack_from(order + "L", data, end)[0] if end + 4 <= len(data) else 0
    return entries, following


def pack_directory(directory: Directory, order: str, *, at: int) -> bytes:
    """A directory with its values and children behind it, as bytes for the place `at` of a file."""
    rows, tail = b"", b""
    after_rows = at + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items(), key=lambda item: item[0]):
        place = after_rows + len(tail)
        if isinstance(entry, dict):
            tail += pack_directory(entry, order, at=place)
            entry = Entry(_LONG, 1, struct.pack(order + "L", place))
        elif len(entry.value) > 4:
            tail += entry.value + b"\0" * (len(entry.value) % 2)
            rows += struct.pack(order + "HHLL", tag, entry.kind, entry.n, place)
            continue
        rows += struct.pack(order + "HHL", tag, entry.kind, entry.n) + entry.value.ljust(4, b"\0")
    return struct.pack(order + "H", len(directory)) + rows + bytes(4) + tail
