"""ICC profiles without hidden data: known tags are copied into a new profile, and nothing else (ICC.1:2022).

A profile may have private tags, with previews, serial numbers or names in them, and bytes between its tags. Here each
known tag is read as one of the types that it may have. Of each type, the bytes that it needs are kept.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Mapping

from anonymizer.pipeline.images.metadata.signatures import numbers_hold_picture, text_holds_picture

__all__ = ["MOST_BYTES", "scrub_icc_profile"]

#: The largest profile that is kept. Those of printing presses, which are the largest, have up to 3 MB.
MOST_BYTES = 4 * 2**20
#: Most bytes of one text, in all its languages.
_TEXT_BYTES = 4096
_HEADER, _ROW = 128, 12
#: Most tags that are read. The specification knows about 60.
_MOST_TAGS = 100
#: Most channels of a device.
_MOST_CHANNELS = 15
#: Devices whose profiles belong to images: scanners, displays, printers, and colour spaces.
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")

_XYZ, _CURVES, _TEXTS, _TABLES = (b"XYZ ",), (b"curv", b"para"), (b"text", b"desc", b"mluc"), (b"mft1", b"mft2")
#: Known tags, and the types that they may have.
_TAGS: Mapping[bytes, tuple[bytes, ...]] = {
    **dict.fromkeys((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt", b"bkpt", b"lumi"), _XYZ),
    **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), _CURVES),
    **dict.fromkeys((b"A2B0", b"A2B1", b"A2B2"), (*_TABLES, b"mAB ")),
    **dict.fromkeys((b"B2A0", b"B2A1", b"B2A2", b"gamt", b"pre0", b"pre1", b"pre2"), (*_TABLES, b"mBA ")),
    **dict.fromkeys((b"desc", b"cprt", b"dmnd", b"dmdd", b"vued"), _TEXTS),
    **dict.fromkeys((b"tech", b"ciis", b"rig0", b"rig2"), (b"sig ",)),
    b"chad": (b"sf32",),
    b"chrm": (b"chrm",),
    b"cicp": (b"cicp",),
    b"calt": (b"dtim",),
    b"meas": (b"meas",),
    b"view": (b"view",),
}
#: Without one of these groups a profile says nothing of colours.
_ENOUGH = ({b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"}, {b"kTRC"}, {b"A2B0"})


def scrub_icc_profile(profile: bytes | None) -> bytes | None:
    """Copy the known tags of an ICC profile into a new one.

    Args:
        profile: the profile's bytes; bytes after the length that its header states do not count.

    Returns:
        The new profile, equal to the given one if there is nothing else in it. None if the bytes are no profile of an
        image, if it has more than `MOST_BYTES`, or if its known tags do not describe colours.
    """
    if profile is None or len(profile) < _HEADER + 4 or profile[36:40] != b"acsp" or profile[12:16] not in _CLASSES:
        return None
    length = int.from_bytes(profile[:4], "big")
    if not _HEADER + 4 <= length <= min(len(profile), MOST_BYTES):
        return None
    tags = _known_tags(profile[:length])
    if not any(group <= tags.keys() for group in _ENOUGH):
        return None
    return _pack(profile[:_HEADER], tags)


def _known_tags(profile: bytes) -> dict[bytes, bytes]:
    """The values of the known tags, in the order of the profile. The first one counts if a tag comes twice."""
    tags: dict[bytes, bytes] = {}
    count = min(int.from_bytes(profile[_HEADER : _HEADER + 4], "big"), _MOST_TAGS)
    for row in range(_HEADER + 4, min(_HEADER + 4 + _ROW * count, len(profile) - _ROW + 1), _ROW):
        name, start, size = struct.unpack_from(">4sLL", profile, row)
        if name not in tags and name in _TAGS and start + size <= len(profile):
            value = _read_value(profile[start : start + size], _TAGS[name])
            if value is not None:
                tags[name] = value
    return tags


def _pack(header: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """A profile of these tags. Equal values are stored once, and each one begins at a multiple of four bytes."""
    at = _HEADER + 4 + _ROW * len(tags)
    rows, body, places = b"", b"", dict[bytes, int]()
    for name, value in tags.items():
        if value not in places:
            places[value] = at + len(body)
            body += value + bytes(-len(value) % 4)
        rows += struct.pack(">4sLL", name, places[value], len(value))
    length = at + len(body)
    # the last 28 bytes of the header are reserved
    start = struct.pack(">L", length) + header[4:84]
    content = struct.pack(">L", len(tags)) + rows + body
    # the checksum takes flags, intent and itself as zeros
    bare = start[:44] + bytes(4) + start[48:64] + bytes(4) + start[68:] + bytes(44) + content
    identity = hashlib.md5(bare, usedforsecurity=False).digest() if any(header[84:100]) else bytes(16)
    return start + identity + bytes(28) + content


def _read_value(value: bytes, types: tuple[bytes, ...]) -> bytes | None:
    """The bytes that the value's type needs; None if it has no type of these, is damaged, or has a picture in it."""
    kind = value[:4]
    if kind not in types:
        return None
    try:
        kept = _READERS[kind](value)
    except (struct.error, ValueError, IndexError):
        return None
    if kept is None:
        return None
    hides = text_holds_picture if kind in _TEXTS else numbers_hold_picture
    return None if hides(kept) else kept


def _cut(value: bytes, length: int) -> bytes | None:
    """The value cut to a length, its four reserved bytes zero; None if it is shorter."""
    return value[:4] + bytes(4) + value[8:length] if length <= len(value) else None


def _fixed(length: int) -> Callable[[bytes], bytes | None]:
    return lambda value: _cut(value, length)


def _curve(value: bytes) -> bytes | None:
    return _cut(value, 12 + 2 * int.from_bytes(value[8:12], "big"))


def _formula(value: bytes) -> bytes | None:
    (kind,) = struct.unpack_from(">H", value, 8)
    return _cut(value, 12 + 4 * (1, 3, 4, 5, 7)[kind])


def _primaries(value: bytes) -> bytes | None:
    (channels,) = struct.unpack_from(">H", value, 8)
    return _cut(value, 12 + 8 * channels) if channels <= _MOST_CHANNELS else None


def _text(value: bytes) -> bytes | None:
    words = _ascii(value[8:])
    return b"text" + bytes(4) + words + b"\0" if len(words) < _TEXT_BYTES else None


def _ascii(words: bytes) -> bytes:
    """The text up to its first zero byte, each byte that is not ASCII replaced."""
    return words.partition(b"\0")[0].decode("ascii", "replace").replace("\ufffd", "?").encode("ascii")


def _description(value: bytes) -> bytes | None:
    """A description of version 2. Its ASCII text is kept, and its Unicode and Macintosh texts are left empty."""
    count = int.from_bytes(value[8:12], "big")
    if 12 + count > len(value) or count > _TEXT_BYTES:
        return None
    words = _ascii(value[12 : 12 + count])
    return b"desc" + bytes(4) + struct.pack(">L", len(words) + 1) + words + b"\0" + bytes(8 + 3 + 67)


def _languages(value: bytes) -> bytes | None:
    """A text in several languages (UTF-16), its strings laid one after the other."""
    count, size = struct.unpack_from(">LL", value, 8)
    if size != 12 or not 1 <= count <= 100:
        return None
    rows, body, places = b"", b"", dict[bytes, int]()
    for row in range(16, 16 + 12 * count, 12):
        language, length, start = struct.unpack_from(">4sLL", value, row)
        words = value[start : start + length]
        if len(words) != length or length > _TEXT_BYTES or not (language.strip(b"\0") + b"x").isalpha():
            return None
        words.decode("utf-16-be")
        if words not in places:
            places[words] = 16 + 12 * count + len(body)
            body += words
        rows += struct.pack(">4sLL", language, length, places[words])
    return b"mluc" + bytes(4) + struct.pack(">LL", count, 12) + rows + body if len(body) <= _TEXT_BYTES else None


def _table_of_bytes(value: bytes) -> bytes | None:
    inputs, outputs, grid = value[8:11]
    return _cut(value, 48 + 256 * inputs + _cells(grid, inputs) * outputs + 256 * outputs)


def _table_of_words(value: bytes) -> bytes | None:
    inputs, outputs, grid = value[8:11]
    entries, exits = struct.unpack_from(">HH", value, 48)
    return _cut(value, 52 + 2 * (entries * inputs + _cells(grid, inputs) * outputs + exits * outputs))


def _cells(grid: int, inputs: int) -> int:
    if inputs > _MOST_CHANNELS:
        raise ValueError("more channels than a profile may have")
    return int(grid**inputs)


def _steps(value: bytes) -> bytes | None:
    """A transform of several steps: curves, a matrix and a table, each where an offset says. Gaps become zeros."""
    inputs, outputs = value[8:10]
    if max(inputs, outputs) > _MOST_CHANNELS:
        return None
    b_curves, matrix, m_curves, table, a_curves = struct.unpack_from(">5L", value, 12)
    connected, device = (outputs, inputs) if value[:4] == b"mAB " else (inputs, outputs)
    parts = [(0, 32)]
    for start, count in ((b_curves, connected), (m_curves, connected), (a_curves, device)):
        for _ in range(count if start else 0):
            length = len(_READERS[value[start : start + 4]](value[start:]) or b"") if _is_curve(value, start) else 0
            if not length:
                return None
            parts.append((start, start + length))
            start += length + -length % 4
    if matrix:
        parts.append((matrix, matrix + 48))
    if table:
        width = value[table + 16]
        cells = math.prod(value[table : table + inputs]) * outputs
        if width not in (1, 2):
            return None
        parts.append((table, table + 20 + cells * width))
    end = max(end for _, end in parts)
    if end > len(value):
        return None
    kept = bytearray(end)
    for start, stop in parts:
        kept[start:stop] = value[start:stop]
    kept[4:8] = bytes(4)
    return bytes(kept)


def _is_curve(value: bytes, start: int) -> bool:
    return value[start : start + 4] in _CURVES


#: By type, what gives the bytes that a value of it needs.
_READERS: Mapping[bytes, Callable[[bytes], bytes | None]] = {
    b"XYZ ": _fixed(20),
    b"curv": _curve,
    b"para": _formula,
    b"text": _text,
    b"desc": _description,
    b"mluc": _languages,
    b"sf32": _fixed(44),
    b"sig ": _fixed(12),
    b"dtim": _fixed(20),
    b"meas": _fixed(36),
    b"view": _fixed(36),
    b"cicp": _fixed(12),
    b"chrm": _primaries,
    b"mft1": _table_of_bytes,
    b"mft2": _table_of_words,
    b"mAB ": _steps,
    b"mBA ": _steps,
}
