"""The texts of EXIF: how they are coded, whether bytes are a text at all, and whether a text is JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator

__all__ = ["comment_texts", "is_json", "is_text", "plain_texts", "wide_texts"]

_WHITE_SPACE = "\t\n\r"
#: Classes of Unicode that no text has: control codes, private use, surrogates, unassigned.
_NO_TEXT = ("Cc", "Co", "Cs", "Cn")
#: First eight bytes of UserComment (EXIF 3.0, table 9), by the code that they stand for.
_PLAIN_CODES, _WIDE_CODE, _JAPANESE_CODE = (b"ASCII\0\0\0", bytes(8)), b"UNICODE\0", b"JIS\0\0\0\0\0"


def plain_texts(value: bytes) -> Iterator[str]:
    """What a value of the type ASCII or UTF-8 may say: it is UTF-8, or each byte is a character."""
    for codec in ("utf-8-sig", "latin-1"):
        yield from _decoded(value, codec)


def wide_texts(value: bytes, order: str) -> Iterator[str]:
    """What a UTF-16 value may say, in the byte order of the file ("<" or ">") or in the other one."""
    if value.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield from _decoded(value, "utf-16")
        return
    for codec in ("utf-16-le", "utf-16-be") if order == "<" else ("utf-16-be", "utf-16-le"):
        yield from _decoded(value, codec)


def comment_texts(value: bytes, order: str) -> Iterator[str]:
    """What a UserComment may say: its first eight bytes name the code, but some programs leave them out."""
    code, rest = value[:8], value[8:]
    if code == _WIDE_CODE:
        yield from wide_texts(rest, order)
    elif code == _JAPANESE_CODE:
        yield from _decoded(rest, "iso2022_jp")
    else:
        yield from plain_texts(rest if code in _PLAIN_CODES else value)


def _decoded(value: bytes, codec: str) -> Iterator[str]:
    try:
        yield value.decode(codec).rstrip("\0 ")
    except UnicodeError:
        return


def is_text(text: str) -> bool:
    """Return whether a string has only characters that texts have. A zero may stand between parts of it."""
    return all(
        character in _WHITE_SPACE or character == "\0" or unicodedata.category(character) not in _NO_TEXT
        for character in text
    )


def is_json(text: str) -> bool:
    """Return whether a text is a JSON object or list. A lone number or a text in quotes does not count."""
    try:
        return isinstance(json.loads(text.strip("\0 \t\r\n")), dict | list)
    except (ValueError, RecursionError):
        return False
