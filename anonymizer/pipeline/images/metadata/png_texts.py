"""EXIF and XMP in the text chunks of PNG: raw profiles (ImageMagick, ExifTool) and the packet of Adobe."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

__all__ = ["raw_exif", "xmp_packet", "xmp_text"]

#: A profile of this many digits holds the largest EXIF block of a JPEG, and the maker notes of other files.
_MOST_BYTES = 4 * 2**20
_EXIF_KEYWORDS = (b"Raw profile type exif", b"Raw profile type APP1")
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_EXIF_STARTS = (b"Exif\0", b"II*\0", b"MM\0*")


def raw_exif(chunks: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Find an EXIF block that is written in hexadecimal digits in a text chunk.

    Args:
        chunks: name and content of all chunks.

    Returns:
        The first block; None if there is none.
    """
    for name, content in chunks:
        if content.startswith(_EXIF_KEYWORDS):
            keyword, text = _read_text(name, content)
            block = _raw_profile(text) if keyword in _EXIF_KEYWORDS else b""
            if block.startswith(_EXIF_STARTS):
                return block
    return None


def xmp_packet(chunks: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Find the XMP packet; None if there is none."""
    for name, content in chunks:
        if content.startswith(_XMP_KEYWORD):
            keyword, text = _read_text(name, content)
            if keyword == _XMP_KEYWORD:
                return text
    return None


def xmp_text(packet: bytes) -> tuple[bytes, bytes]:
    """The chunk that holds an XMP packet: name and content, not compressed, without a language."""
    return b"iTXt", _XMP_KEYWORD + bytes(5) + packet


def _read_text(name: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a chunk; both are empty if it is no text or is damaged."""
    keyword, _, rest = content.partition(b"\0")
    # The method of compression is one byte. There is only one method.
    if name == b"tEXt":
        packed, text = False, rest
    elif name == b"zTXt":
        packed, text = True, rest[1:]
    elif name == b"iTXt" and rest.count(b"\0", 2) >= 2:
        # a language and a translated keyword come before the text
        packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[2]
    else:
        return b"", b""
    if not packed:
        return keyword, text[:_MOST_BYTES]
    try:
        return keyword, zlib.decompressobj().decompress(text, _MOST_BYTES)
    except zlib.error:
        return b"", b""


def _raw_profile(text: bytes) -> bytes:
    """The bytes of a raw profile: a line with its name, a line with its length, and lines of hexadecimal digits."""
    parts = text.split(None, 2)
    if len(parts) != 3 or not parts[1].isdigit():
        return b""
    try:
        return bytes.fromhex(parts[2].decode("ascii"))
    except ValueError:
        return b""
