"""Joining copied and newly encoded stretches of H.264 in one track (ITU-T H.264, ISO/IEC 14496-15).

Each stretch begins with an IDR picture: no later picture refers to one before it. The track's header holds the
parameter sets of both encoders under different ids, as the standard allows. So no player has to look for parameter sets
between the pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LARGEST_ID", "ParameterSets", "is_idr_packet", "join_headers", "to_length_prefixed"]

#: the largest id of a sequence parameter set
LARGEST_ID = 31
_IDR, _SPS, _PPS = 5, 7, 8
#: profiles whose header also has the chroma format
_HIGH = {100, 110, 122, 144}
_START_CODE = re.compile(b"\0\0\0?\1")


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """The parameter sets of an H.264 track, as in an `avcC` box.

    Attributes:
        profile: profile, compatibility and level, one byte each.
        sps: the sequence parameter sets, without start codes or lengths.
        pps: the picture parameter sets, likewise.
        tail: the bytes of the box after them.
    """

    profile: bytes
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    tail: bytes = b""

    @classmethod
    def from_header(cls, extradata: bytes | None) -> ParameterSets | None:
        """Read an `avcC` box. None: it is no such box, or the lengths of its units do not have four bytes."""
        if extradata is None or len(extradata) < 7 or extradata[0] != 1 or extradata[4] & 3 != 3:
            return None
        at, groups = 5, []
        for mask in (31, 255):
            count, units = extradata[at] & mask, []
            at += 1
            for _ in range(count):
                length = int.from_bytes(extradata[at : at + 2], "big")
                units.append(extradata[at + 2 : at + 2 + length])
                at += 2 + length
            if at > len(extradata) or (mask == 31 and at >= len(extradata)):
                return None
            groups.append(tuple(units))
        return cls(extradata[1:4], groups[0], groups[1], extradata[at:])

    @classmethod
    def from_encoder(cls, extradata: bytes | None) -> ParameterSets | None:
        """Read the header of an encoder: units after start codes. None: parameter sets are missing."""
        units = _units(extradata or b"")
        sps = tuple(unit for unit in units if unit[0] & 31 == _SPS)
        pps = tuple(unit for unit in units if unit[0] & 31 == _PPS)
        return cls(sps[0][1:4], sps, pps) if sps and pps else None

    @property
    def ids(self) -> set[int]:
        """All ids that are taken, of sequence and of picture parameter sets."""
        return {_first_number(unit[4:]) for unit in self.sps} | {_first_number(unit[1:]) for unit in self.pps}

    @property
    def is_pure(self) -> bool:
        """Whether all units are parameter sets of their kind."""
        return all(unit[0] & 31 == _SPS for unit in self.sps) and all(unit[0] & 31 == _PPS for unit in self.pps)

    def to_header(self) -> bytes:
        """The content of an `avcC` box."""
        out = bytearray(b"\1" + self.profile + b"\xff" + bytes([0xE0 | len(self.sps)]))
        for unit in self.sps:
            out += len(unit).to_bytes(2, "big") + unit
        out.append(len(self.pps))
        for unit in self.pps:
            out += len(unit).to_bytes(2, "big") + unit
        return bytes(out + self.tail)


def join_headers(source: ParameterSets, encoder: ParameterSets) -> bytes | None:
    """Join the parameter sets of a source and of an encoder.

    Args:
        source: the parameter sets of the copied stretches.
        encoder: the parameter sets of the newly encoded stretches.

    Returns:
        The content of an `avcC` box, without what describes auxiliary pictures. None if an id is in both, if there are
        more than `LARGEST_ID` (31) sequence parameter sets, or if something else is among the sets.
    """
    if source.ids & encoder.ids or len(source.sps) + len(encoder.sps) > LARGEST_ID or not source.is_pure:
        return None
    highest = max(source.profile, encoder.profile, key=lambda profile: (profile[0], profile[2]))
    level = max(source.profile[2], encoder.profile[2])
    # the chroma format and two bit depths; no extensions
    tail = source.tail[:3] + b"\0" if source.profile[0] in _HIGH and len(source.tail) > 3 else b""
    if highest[0] in _HIGH and not tail:
        # 4:2:0 with 8 bits, no extensions: profiles without a tail are always so
        tail = bytes([0xFD, 0xF8, 0xF8, 0])
    profile = bytes([highest[0], highest[1], level])
    return ParameterSets(profile, source.sps + encoder.sps, source.pps + encoder.pps, tail).to_header()


def to_length_prefixed(data: bytes) -> bytes:
    """Turn units after start codes into units after their lengths of four bytes."""
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in _units(data))


def is_idr_packet(data: bytes) -> bool:
    """Whether a packet (units after lengths of four bytes) is an IDR picture."""
    at = 0
    while at + 5 <= len(data):
        if data[at + 4] & 31 == _IDR:
            return True
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return False


def _units(data: bytes) -> Sequence[bytes]:
    units = (unit for unit in _START_CODE.split(data) if unit)
    return [unit.rstrip(b"\0") if unit.endswith(b"\0\0") else unit for unit in units]


def _first_number(data: bytes) -> int:
    """The unsigned Exp-Golomb number that data begins with."""
    bits = "".join(f"{byte:08b}" for byte in data[:8])
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1], 2) - 1
