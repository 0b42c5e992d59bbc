"""Boxes of MP4 files, read and changed in a test."""

from __future__ import annotations

import struct
from collections.abc import Callable

__all__ = ["box", "changed", "content_of", "listed"]


def box(kind: bytes, *content: bytes) -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def listed(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of boxes that follow each other."""
    found, at = [], 0
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        assert length >= 8
        found.append((data[at + 4 : at + 8], data[at + 8 : at + length]))
        at += length
    return found


def content_of(data: bytes, *path: bytes | int) -> bytes:
    """The content of a box: kinds from the outside in; a number after a kind: which of those, from 0."""
    while path:
        kind, *rest = path
        number = rest.pop(0) if rest and isinstance(rest[0], int) else 0
        data = [content for other, content in listed(data) if other == kind][number]
        path = tuple(rest)
    return data


def changed(data: bytes, change: Callable[[bytes], bytes], *path: bytes | int) -> bytes:
    """The boxes with the content of one of them changed, and the sizes of those around it."""
    if not path:
        return change(data)
    kind, *rest = path
    wanted = rest.pop(0) if rest and isinstance(rest[0], int) else 0
    out, seen = b"", 0
    for other, content in listed(data):
        inner = changed(content, change, *rest) if other == kind and seen == wanted else content
        seen += other == kind
        out += box(other, inner)
    return out
