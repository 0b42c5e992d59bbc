"""Whether a video file has fewer bytes than its own headers say: an upload that was cut off."""

from __future__ import annotations

from typing import BinaryIO

__all__ = ["find_truncation"]

#: Matroska's ids, with their marker bits
_SEGMENT = 0x18538067


def find_truncation(file: BinaryIO, name: str, size: int) -> str | None:
    """Find out whether a video file was cut off.

    Args:
        file: the open file, seekable. It may hold the beginning only: what follows is not known then.
        name: of its format, as `sniff` gives it.
        size: of the whole file in bytes.

    Returns:
        A phrase that says where the file ends too early. None: it is complete, or its format does not tell.
    """
    if name in ("mp4", "mov"):
        return _check_boxes(file, size)
    if name in ("mkv", "webm"):
        return _check_segment(file, size)
    if name == "avi":
        file.seek(4)
        stated = int.from_bytes(file.read(4), "little") + 8
        return f"it says that it has {stated} bytes and has {size}" if stated > size else None
    return None


def _check_boxes(file: BinaryIO, size: int) -> str | None:
    """MP4: boxes of the top level follow each other to the end of the file."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        if len(head) < min(16, size - at):
            # behind the beginning that is here
            return None
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            # to the end of the file, wherever that is
            return None
        if length < 8:
            return f"what stands at byte {at} is no box"
        if at + length > size:
            shown = name.decode("latin-1")
            return f"its part {shown!r} should end at byte {at + length}, and the file ends at {size}"
        at += length
    return None if at == size else f"{size - at} bytes at its end are no box"


def _check_segment(file: BinaryIO, size: int) -> str | None:
    """Matroska: a header, then a segment that usually knows its length."""
    file.seek(0)
    at = 0
    for _ in range(2):
        file.seek(at)
        head = file.read(16)
        id_length = _vint_length(head[0]) if head else 0
        if not id_length or len(head) < id_length + 1:
            return f"what stands at byte {at} is no element"
        number = int.from_bytes(head[:id_length], "big")
        length = _vint_length(head[id_length])
        raw = int.from_bytes(head[id_length : id_length + length], "big") & ((1 << (7 * length)) - 1)
        start = at + id_length + length
        if number == _SEGMENT:
            # all bits set: the length was not known when it was written
            known = raw != (1 << (7 * length)) - 1
            ends = start + raw
            return f"it should end at byte {ends}, and ends at {size}" if known and ends > size else None
        at = start + raw
        if at > size:
            # a length that is no position in any file cannot be sought
            return f"its header should end at byte {at}, and the file ends at {size}"
    return None


def _vint_length(first: int) -> int:
    """How many bytes a number of variable length has, by its first byte; 0: it is none."""
    return 9 - first.bit_length() if first else 0
