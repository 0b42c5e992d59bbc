"""Find pictures that are hidden in the value of a metadata tag."""

from __future__ import annotations

import re

__all__ = ["holds_picture", "numbers_hold_picture", "text_holds_picture"]

#: First bytes of image formats.
_SIGNATURES = (
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
#: The same in base64 or hexadecimal digits, as JSON may have them: JPEG, PNG, GIF, WebP.
_TEXT_SIGNATURES = re.compile(
    rb"/9j/[0-9A-Za-z+/]{8}|iVBORw0KGgo|R0lGOD|UklGR|data:image|"
    rb"(?i:ffd8ff(?:[cde][0-9a-f]|fe)[0-9a-f]{8}|89504e470d0a|474946383[79]61|52494646[0-9a-f]{8}57454250)"
)
_SOI_AND_MARKER = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")
#: Frame header, quantisation tables and scan: a JPEG has all three.
_FRAMES, _TABLES, _SCAN = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}, 0xDB, 0xDA
#: Segments of a JPEG that are followed.
_MOST_SEGMENTS = 64


def holds_picture(value: bytes) -> bool:
    """Return whether a value contains the first bytes of an image format."""
    return any(signature in value for signature in _SIGNATURES)


def text_holds_picture(text: bytes) -> bool:
    """Return whether a text contains a picture, also in base64 or hexadecimal digits. Zero bytes do not count.

    Args:
        text: ASCII, UTF-8 or UTF-16.
    """
    return holds_picture(text) or _TEXT_SIGNATURES.search(text.replace(b"\0", b"")) is not None


def numbers_hold_picture(table: bytes) -> bool:
    """Return whether a table of numbers contains a JPEG or PNG.

    Numbers near the top of their range look like the first bytes of a JPEG, so its segments are followed too.
    """
    if b"\x89PNG\r\n\x1a\n" in table:
        return True
    return any(_is_jpeg(table, found.start() + 2) for found in _SOI_AND_MARKER.finditer(table))


def _is_jpeg(data: bytes, at: int) -> bool:
    """Whether segments follow one another from here on, up to a scan, or beyond the end after two of them."""
    found: set[int] = set()
    for count in range(_MOST_SEGMENTS):
        if at + 4 > len(data):
            return count >= 2
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at] != 0xFF or data[at + 1] < 0xC0 or length < 2:
            return False
        found.add(data[at + 1])
        if data[at + 1] == _SCAN or (_TABLES in found and found & _FRAMES):
            return True
        at += 2 + length
    return True
