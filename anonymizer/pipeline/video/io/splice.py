"""Joining copied and newly encoded stretches of H.264 in one track (ITU-T H.264, ISO/IEC 14496-15).

Each stretch begins with an IDR picture, past which nothing refers. The parameter sets of both lie in the track's
header under different ids, as the standard has it, so that no player needs to look for them between the pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LARGEST_ID", "ParameterSets", "is_closed_start", "joined", "length_prefixed"]

LARGEST_ID = 31
_IDR, _SPS, _PPS = 5, 7, 8
#: profiles whose header goes on with the format of the chroma
_HIGH = {100, 110, 122, 144}
_START_CODE = re.compile(b"\0\0\0?\1")


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """What a track's header says of its H.264 (an `avcC` box).

    Attributes:
        profile: profile, compatibility and level, a byte each.
        sps, pps: the units, without start codes or lengths.
        tail: what stands behind them.
    """

    profile: bytes
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    tail: bytes = b""

    @classmethod
    def of_header(cls, extradata: bytes | None) -> ParameterSets | None:
        """Read an `avcC`; None where it is none, or its units have lengths of other than four bytes."""
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
    def of_encoder(cls, extradata: bytes | None) -> ParameterSets | None:
        """Read what an encoder gives: units behind start codes."""
        units = _units(extradata or b"")
        sps = tuple(each for each in units if each[0] & 31 == _SPS)
        pps = tuple(each for each in units if each[0] & 31 == _PPS)
        return cls(sps[0][1:4], sps, pps) if sps and pps else None

    @property
    def ids(self) -> set[int]:
        """All ids that are taken, of either kind."""
        return {_first_number(each[4:]) for each in self.sps} | {_first_number(each[1:]) for each in self.pps}

    def packed(self) -> bytes:
        """As an `avcC` box holds it."""
        out = bytearray(b"\1" + self.profile + b"\xff" + bytes([0xE0 | len(self.sps)]))
        for each in self.sps:
            out += len(each).to_bytes(2, "big") + each
        out.append(len(self.pps))
        for each in self.pps:
            out += len(each).to_bytes(2, "big") + each
        return bytes(out + self.tail)


def joined(source: ParameterSets, encoder: ParameterSets) -> bytes | None:
    """One header for both; None where their ids meet or their pictures are of different kinds."""
    if source.ids & encoder.ids or len(source.sps) + len(encoder.sps) > LARGEST_ID:
        return None
    highest = max(source.profile, encoder.profile, key=lambda each: (each[0], each[2]))
    level = max(source.profile[2], encoder.profile[2])
    tail = source.tail
    if highest[0] in _HIGH and not tail:
        # 4:2:0 of 8 bits, no extensions: what the profiles without a tail are
        tail = bytes([0xFD, 0xF8, 0xF8, 0])
    profile = bytes([highest[0], highest[1], level])
    return ParameterSets(profile, source.sps + encoder.sps, source.pps + encoder.pps, tail).packed()


def length_prefixed(data: bytes) -> bytes:
    """Units behind start codes as units behind their lengths."""
    return b"".join(len(each).to_bytes(4, "big") + each for each in _units(data))


def is_closed_start(data: bytes) -> bool:
    """Whether a packet (units behind lengths of four bytes) is an IDR picture."""
    at = 0
    while at + 5 <= len(data):
        if data[at + 4] & 31 == _IDR:
            return True
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return False


def _units(data: bytes) -> Sequence[bytes]:
    return [each.rstrip(b"\0") if each.endswith(b"\0\0") else each for each in _START_CODE.split(data) if each]


def _first_number(data: bytes) -> int:
    """The unsigned Exp-Golomb number that data begins with."""
    bits = "".join(f"{each:08b}" for each in data[:8])
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1], 2) - 1
