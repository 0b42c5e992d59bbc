"""The units (NAL) of H.264 and HEVC packets, and pictures in them that decoders and most players pass over.

ITU-T H.264, annex H: a second view. ITU-T H.265, annexes F and G: further layers, such as a second view or an alpha
plane.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["CODECS", "hidden_picture", "join", "length_size", "units", "without_messages", "without_slices"]

#: the codecs whose packets consist of such units
CODECS = frozenset({"h264", "hevc"})
_START_CODE = re.compile(rb"\x00\x00\x01")
#: HEVC: the types of slices are below; those of messages (SEI)
_HEVC_NO_SLICES, _HEVC_MESSAGES = 32, (39, 40)
#: H.264: slices of what is no picture of the first view
_H264_HIDDEN = {19: "an auxiliary picture such as an alpha plane", 20: "a second view (stereo)", 21: "a depth map"}


def length_size(codec: str, header: bytes | None) -> int:
    """How many bytes the length before each unit has.

    Args:
        codec: "h264" or "hevc".
        header: of the track (`avcC` or `hvcC`); None: it has none.

    Returns:
        1 to 4; 0: there are start codes between the units.
    """
    at = 21 if codec == "hevc" else 4
    return (header[at] & 3) + 1 if header is not None and len(header) > at and header[0] == 1 else 0


def units(data: bytes, size: int) -> Iterator[bytes]:
    """Split a packet into its units.

    Args:
        data: of the packet.
        size: as `length_size` gives it.

    Returns:
        The units, each with its header.
    """
    if not size:
        starts = [match.end() for match in _START_CODE.finditer(data)]
        for start, stop in zip(starts, [*(start - 3 for start in starts[1:]), len(data)], strict=True):
            yield data[start:stop]
        return
    at = 0
    while at + size < len(data):
        length = int.from_bytes(data[at : at + size], "big")
        at += size
        yield data[at : at + length]
        at += length


def hidden_picture(codec: str, unit: bytes) -> str | None:
    """Name what a unit shows beside the picture that is decoded.

    Args:
        codec: "h264" or "hevc".
        unit: with its header.

    Returns:
        A few words; None: it shows nothing else.
    """
    if len(unit) < 3:
        return None
    if codec == "h264":
        return _H264_HIDDEN.get(unit[0] & 31)
    layer = (unit[0] & 1) << 5 | unit[1] >> 3
    if layer and unit[0] >> 1 < _HEVC_NO_SLICES:
        return f"a second layer (layer {layer}), as in stereo video (MV-HEVC)"
    return None


def without_messages(data: bytes, size: int) -> list[bytes]:
    """The units of an HEVC packet that are no messages (SEI)."""
    return [unit for unit in units(data, size) if len(unit) < 2 or unit[0] >> 1 not in _HEVC_MESSAGES]


def without_slices(data: bytes, size: int) -> list[bytes]:
    """The messages and parameter sets of an HEVC packet."""
    return [
        unit for unit in units(data, size) if len(unit) > 2 and _HEVC_NO_SLICES <= unit[0] >> 1 <= _HEVC_MESSAGES[1]
    ]


def join(parts: Iterable[bytes], size: int) -> bytes:
    """Make a packet of units.

    Args:
        parts: the units.
        size: as `length_size` gives it.
    """
    return b"".join((len(unit).to_bytes(size, "big") if size else b"\0\0\0\1") + unit for unit in parts)
