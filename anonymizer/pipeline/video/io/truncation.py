"""Whether a video file has fewer bytes than it says itself: an upload that was cut off."""

from __future__ import annotations

from typing import BinaryIO

__all__ = ["ends_early"]

#: Matroska's ids, with their marker bits
_SEGMENT = 0x18538067


def ends_early(file: BinaryIO, name: str, size: int) -> str | None:
    """Where a file stops short of its own account; None where it does not, or where its format gives no account.

    Args:
        file: can be sought.
        name: of its format, as `sniff` has it.
        size: of the file in bytes.
    """
    if name in ("mp4", "mov"):
        return _boxes(file, size)
    if name in ("mkv", "webm"):
        return _segment(file, size)
    if name == "avi":
        file.seek(4)
        stated = int.from_bytes(file.read(4), "little") + 8
        return f"it says that it has {stated} bytes and has {size}" if stated > size else None
    return None


def _boxes(file: BinaryIO, size: int) -> str | None:
    """The boxes of the top level, one behind the other to the end."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
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


def _segment(file: BinaryIO, size: int) -> str | None:
    """Matroska: a header, and a segment that mostly knows its length."""
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
            # all bits set: a length that was not known when it was written
            known = raw != (1 << (7 * length)) - 1
            ends = start + raw
            return f"it should end at byte {ends}, and ends at {size}" if known and ends > size else None
        at = start + raw
    return None


def _vint_length(first: int) -> int:
    """Bytes of a number of variable length, by its first one."""
    return 9 - first.bit_length() if first else 0
