"""EXIF without hidden data: known tags are copied one by one into a new block, and nothing else.

EXIF is stored as a TIFF file (TIFF 6.0, section 2): directories (IFDs) of tags. The functions here serve both. The list
of known tags leaves out what may hide original pixels: the thumbnail of IFD1, MakerNote, previews in private tags, and
the gaps between values. `Exif.technical` leaves out names and free texts as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from anonymizer.pipeline.images.metadata.kept_tags import IS_JSON_ONLY, NAMES
from anonymizer.pipeline.images.metadata.signatures import holds_picture, text_holds_picture
from anonymizer.pipeline.images.metadata.texts import comment_texts, is_json, is_text, plain_texts, wide_texts

__all__ = [
    "Directory",
    "Entry",
    "Exif",
    "pack_directory",
    "read_directory",
    "read_exif",
    "read_header",
    "read_integer",
    "read_integers",
    "scrub_directory",
]

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005

#: Field types of TIFF 6.0, and the bytes of one value of each.
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _SIGNED_SHORT, _SIGNED_LONG = 1, 2, 3, 4, 5, 7, 8, 9
#: Of TIFF's first supplement (an offset of a directory), and of EXIF 3.0 (UTF-8).
_IFD, _UTF8 = 13, 129
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, _IFD: 4, _UTF8: 1}
#: Types of unsigned integers, and their codes in `struct`.
_INTEGERS = {_BYTE: "B", _SHORT: "H", _LONG: "L", _IFD: "L"}
#: Types that programs write by mistake for these. Their values count where they are not negative.
_SIGNED = {6: _BYTE, _SIGNED_SHORT: _SHORT, _SIGNED_LONG: _LONG}

#: Known tags: of EXIF 3.0 (CIPA DC-008), and of Windows from 0x9C9B on (title, comment, author, keywords, subject).
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
#: Most bytes of one value by kind, and of all together so that they fit a JPEG segment. A camera writes about 2,000.
_TEXT_BYTES, _BLOB_BYTES, _NUMBER_BYTES, _TOTAL_BYTES = 32_768, 256, 256, 60_000
_USER_COMMENT = 0x9286
#: Texts of Windows, which are UTF-16.
_WIDE_TEXTS = range(0x9C9B, 0x9CA0)


class Entry(NamedTuple):
    """The value of one tag.

    Attributes:
        field_type: TIFF's number of the type: 1 byte, 2 ASCII, 3 short, 4 long, 5 rational, 7 undefined, ...
        value_count: number of values.
        value: the values as they are stored, in the byte order of the file.
    """

    field_type: int
    value_count: int
    value: bytes


#: Entries by tag. A tag that points to another directory has that directory.
Directory = dict[int, "Entry | Directory"]


@dataclass(frozen=True, slots=True)
class Exif:
    """Scrubbed EXIF.

    Attributes:
        order: byte order of the values: "<" little-endian ("II" in the file), ">" big-endian ("MM").
        tags: the main directory (IFD0), with the EXIF, GPS and interoperability directories in it.
    """

    order: str = "<"
    tags: Directory = field(default_factory=dict)

    @property
    def orientation(self) -> int:
        """1 to 8; 1 if it is missing or invalid."""
        entry = self.tags.get(ORIENTATION)
        value = read_integer(_unsigned(entry, self.order), self.order)
        return value if value is not None and 1 <= value <= 8 else 1

    def integer(self, tag: int) -> int | None:
        """The first value of an integer tag of the main directory; None if it is missing or no integer."""
        entry = self.tags.get(tag)
        return read_integer(entry, self.order) if isinstance(entry, Entry) else None

    def with_size(self, size_wh: tuple[int, int]) -> Exif:
        """A copy in which the image size, if there is one, is the given width and height in pixels."""
        sub = self.tags.get(EXIF_IFD)
        if not isinstance(sub, dict):
            return self
        sizes = {
            tag: Entry(_LONG, 1, struct.pack(self.order + "L", pixels))
            for tag, pixels in zip((0xA002, 0xA003), size_wh, strict=True)
            if tag in sub and read_integer(sub[tag], self.order) != pixels
        }
        return Exif(self.order, {**self.tags, EXIF_IFD: {**sub, **sizes}})

    def without_orientation(self) -> Exif:
        """A copy for an image that is stored upright."""
        return Exif(self.order, {tag: entry for tag, entry in self.tags.items() if tag != ORIENTATION})

    def technical(self) -> Exif:
        """A copy without names, serial numbers and free texts. ImageDescription and UserComment stay where JSON."""
        return Exif(self.order, _technical_tags(self.tags, self.order, 0))

    def to_bytes(self) -> bytes:
        """The block with its TIFF header, without the signature `Exif` before it; empty if there are no tags."""
        if not self.tags:
            return b""
        start = b"II*\0" if self.order == "<" else b"MM\0*"
        return start + struct.pack(self.order + "L", 8) + pack_directory(self.tags, self.order, at=8)


def read_exif(block: bytes) -> Exif:
    """Read an EXIF block of JPEG, PNG, WebP or HEIC, and scrub it. The result is empty if it cannot be read."""
    if block.startswith(b"Exif\0"):
        block = block[6:]
    try:
        order, at = read_header(block)
        directory, _ = read_directory(block, order, at)
    except ValueError:
        return Exif()
    return scrub_directory(block, directory, order)


def scrub_directory(data: bytes, directory: Mapping[int, Entry], order: str) -> Exif:
    """Keep only known tags of a main directory, and of the EXIF, GPS and interoperability directories that it names.

    Args:
        data: the TIFF file or EXIF block.
        directory: entries of its main directory.
        order: "<" or ">".

    Returns:
        The known tags that are short enough and contain no image. If all together are too long for a JPEG segment, the
        longest values are left out. An invalid orientation is left out, and a valid one has the type SHORT.
    """
    tags = _scrub_children(data, directory, order, 0, _IFD0_TAGS)
    while len(Exif(order, tags).to_bytes()) > _TOTAL_BYTES:
        _drop_longest(tags)
    exif = Exif(order, tags)
    value = read_integer(_unsigned(tags.get(ORIENTATION), order), order)
    if value is None or not 1 <= value <= 8:
        return exif.without_orientation()
    return Exif(order, {**tags, ORIENTATION: Entry(_SHORT, 1, struct.pack(order + "H", value))})


def _drop_longest(tags: Directory) -> None:
    """Remove the longest value of a directory and of those within it."""
    places = [(own, tag) for own in _directories(tags) for tag in own]
    values = [(len(entry.value), at) for at, (own, tag) in enumerate(places) if isinstance(entry := own[tag], Entry)]
    own, tag = places[max(values)[1]]
    del own[tag]


def _directories(directory: Directory) -> Iterator[Directory]:
    """A directory, and those within it."""
    yield directory
    for entry in directory.values():
        if isinstance(entry, dict):
            yield from _directories(entry)


def _scrub_children(data: bytes, directory: Mapping[int, Entry], order: str, own: int, names: set[int]) -> Directory:
    kept: Directory = {
        tag: entry for tag, entry in directory.items() if tag in names and _is_harmless(tag, entry, order)
    }
    for pointer, child_names in _CHILDREN.get(own, {}).items():
        at = read_integer(_unsigned(directory.get(pointer), order), order)
        if at is None:
            continue
        try:
            child, _ = read_directory(data, order, at)
        except ValueError:
            continue
        if child_kept := _scrub_children(data, child, order, pointer, child_names):
            kept[pointer] = child_kept
    return kept


def _is_harmless(tag: int, entry: Entry, order: str) -> bool:
    """Whether a value is short, or a long text; and whether it holds no picture."""
    if not _is_text_tag(tag, entry):
        limit = _BLOB_BYTES if entry.field_type == _UNDEFINED else _NUMBER_BYTES
        return len(entry.value) <= limit and not holds_picture(entry.value)
    if len(entry.value) > _TEXT_BYTES or text_holds_picture(entry.value):
        return False
    # a long value that is no text may be anything, also pixels
    return len(entry.value) <= _BLOB_BYTES or any(map(is_text, _texts(tag, entry, order)))


def _is_text_tag(tag: int, entry: Entry) -> bool:
    return entry.field_type in (_ASCII, _UTF8) or tag == _USER_COMMENT or tag in _WIDE_TEXTS


def _texts(tag: int, entry: Entry, order: str) -> Iterator[str]:
    """What the value of a text tag may say: often there are several ways to read it."""
    if tag in _WIDE_TEXTS:
        return wide_texts(entry.value, order)
    return comment_texts(entry.value, order) if tag == _USER_COMMENT else plain_texts(entry.value)


def _technical_tags(tags: Directory, order: str, own: int) -> Directory:
    kept: Directory = {}
    for tag, entry in tags.items():
        if isinstance(entry, dict):
            if child := _technical_tags(entry, order, tag):
                kept[tag] = child
        elif tag in IS_JSON_ONLY.get(own, ()):
            if any(map(is_json, _texts(tag, entry, order))):
                kept[tag] = entry
        elif tag not in NAMES.get(own, ()) and not (_is_known_text(own, tag, entry) and len(entry.value) > _BLOB_BYTES):
            # a camera, a lens or a time has a short name: a long one is a free text
            kept[tag] = entry
    return kept


def _is_known_text(own: int, tag: int, entry: Entry) -> bool:
    """Whether the tag is a text of EXIF; those of GeoTIFF in the main directory are none."""
    return _is_text_tag(tag, entry) and (own != 0 or tag in _IFD0_TAGS)


def _unsigned(entry: Entry | Directory | None, order: str) -> Entry | None:
    """The entry, with an unsigned type if it has a signed one and its first value is not negative."""
    if not isinstance(entry, Entry) or entry.field_type not in _SIGNED or not entry.value:
        return entry if isinstance(entry, Entry) else None
    first = entry.value[0] if order == ">" else entry.value[_SIZES[entry.field_type] - 1]
    return None if first & 0x80 else entry._replace(field_type=_SIGNED[entry.field_type])


def read_integer(entry: Entry | Directory | None, order: str) -> int | None:
    """Read the first value of an integer entry.

    Args:
        entry: the entry of a tag. A directory or None counts as an entry that has no integer.
        order: byte order of its value: "<" little-endian, ">" big-endian.

    Returns:
        The value, 0 or more; None if the entry is missing, empty or not of an unsigned integer type.
    """
    if not isinstance(entry, Entry) or not entry.value_count or entry.field_type not in _INTEGERS:
        return None
    return int(struct.unpack_from(order + _INTEGERS[entry.field_type], entry.value)[0])


def read_integers(entry: Entry | Directory | None, order: str) -> tuple[int, ...]:
    """Read all values of an integer entry.

    Args:
        entry: the entry of a tag. A directory or None counts as an entry that has no integer.
        order: byte order of its value: "<" little-endian, ">" big-endian.

    Returns:
        The values, each 0 or more; empty if the entry is missing or not of an unsigned integer type.
    """
    if not isinstance(entry, Entry) or entry.field_type not in _INTEGERS:
        return ()
    return struct.unpack(f"{order}{entry.value_count}{_INTEGERS[entry.field_type]}", entry.value)


def read_header(data: bytes) -> tuple[str, int]:
    """Read a TIFF header.

    Returns:
        Byte order, "<" or ">", and offset of the main directory.

    Raises:
        ValueError: there is no TIFF header.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        raise ValueError("no TIFF header")
    return order, struct.unpack_from(order + "L", data, 4)[0]


def read_directory(data: bytes, order: str, at: int) -> tuple[dict[int, Entry], int]:
    """Read a directory.

    Args:
        data: the TIFF file or EXIF block.
        order: "<" or ">".
        at: offset of the directory.

    Returns:
        Entries by tag, without those whose values lie outside the data; and the offset of the next directory, 0 if
        there is none.

    Raises:
        ValueError: the directory itself lies outside the data.
    """
    if at < 8 or at + 2 > len(data):
        raise ValueError("a directory lies outside the file")
    (entry_count,) = struct.unpack_from(order + "H", data, at)
    end = at + 2 + 12 * entry_count
    if end > len(data):
        raise ValueError("a directory is cut off")
    entries = {}
    for row in range(at + 2, end, 12):
        tag, field_type, value_count = struct.unpack_from(order + "HHL", data, row)
        length = _SIZES.get(field_type, 0) * value_count
        start = row + 8 if length <= 4 else struct.unpack_from(order + "L", data, row + 8)[0]
        if length and start + length <= len(data):
            entries[tag] = Entry(field_type, value_count, data[start : start + length])
    following = struct.unpack_from(order + "L", data, end)[0] if end + 4 <= len(data) else 0
    return entries, following


def pack_directory(directory: Directory, order: str, *, at: int) -> bytes:
    """Pack a directory, followed by its values and its child directories.

    Args:
        directory: entries and child directories by tag. The values are already in the byte order of the file.
        order: byte order of the file: "<" little-endian, ">" big-endian.
        at: offset in the file, in bytes, at which the caller places the result.

    Returns:
        The bytes of the directory. Its offsets hold only at `at`; the offset of the next directory is 0.
    """
    rows, tail = b"", b""
    after_rows = at + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items(), key=lambda item: item[0]):
        place = after_rows + len(tail)
        if isinstance(entry, dict):
            tail += pack_directory(entry, order, at=place)
            entry = Entry(_LONG, 1, struct.pack(order + "L", place))
        elif len(entry.value) > 4:
            tail += entry.value + b"\0" * (len(entry.value) % 2)
            rows += struct.pack(order + "HHLL", tag, entry.field_type, entry.value_count, place)
            continue
        rows += struct.pack(order + "HHL", tag, entry.field_type, entry.value_count) + entry.value.ljust(4, b"\0")
    return struct.pack(order + "H", len(directory)) + rows + bytes(4) + tail
