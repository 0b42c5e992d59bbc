"""Whether the slices of an HEVC picture (ITU-T H.265) are all there: FFmpeg's decoder does not tell.

A slice says where in the picture it begins, and not where it ends. So the places at which the slices of a picture begin
are compared with those of the pictures before. This finds missing slices where all pictures are divided alike, as
cameras do it.
"""

from __future__ import annotations

from collections.abc import Iterable

from anonymizer.pipeline.video.io.codecs.unit_bits import UnitBits

__all__ = ["HevcSlices"]

#: types of units: slices are below the first; of key frames; parameter sets
_NO_SLICES, _KEY_FRAMES, _SPS, _PPS = 32, range(16, 24), 33, 34
#: header bytes of a slice, up to its address
_HEADER_BYTES = 32


class HevcSlices:
    """Reads where the slices of each picture of a track begin."""

    def __init__(self) -> None:
        #: by id of the sequence, how many bits an address has
        self._address_bits: dict[int, int] = {}
        #: by id: the sequence, and whether slices may depend on the one before
        self._pictures: dict[int, tuple[int, bool]] = {}
        self._layout: frozenset[int] | None = None
        self._uniform = True

    def is_incomplete(self, units: Iterable[bytes]) -> bool:
        """Tell whether slices of a picture are missing.

        Args:
            units: of one picture, in their order, with the parameter sets between them.

        Returns:
            True if slices are missing. False if all are there, or if that cannot be told.
        """
        places = set()
        for unit in units:
            if len(unit) < 4 or unit[0] & 1 or unit[1] >> 3:
                continue
            kind = unit[0] >> 1
            try:
                if kind == _SPS:
                    self._read_sequence(UnitBits(unit[2:]))
                elif kind == _PPS:
                    bits = UnitBits(unit[2:])
                    number, sequence = bits.golomb(), bits.golomb()
                    self._pictures[number] = sequence, bool(bits.read(1))
                elif kind < _NO_SLICES:
                    places.add(self._address(kind, UnitBits(unit[2:_HEADER_BYTES])))
            except (EOFError, KeyError):
                # the decoder says what is wrong with it
                return False
        if not places:
            return False
        if 0 not in places:
            return True
        if self._layout is None:
            self._layout = frozenset(places)
        if self._uniform and places < self._layout:
            return True
        self._uniform = self._uniform and places == self._layout
        return False

    def _address(self, kind: int, bits: UnitBits) -> int:
        first = bits.read(1)
        if kind in _KEY_FRAMES:
            bits.read(1)
        sequence, dependent = self._pictures[bits.golomb()]
        if first:
            return 0
        if dependent:
            bits.read(1)
        return bits.read(self._address_bits[sequence])

    def _read_sequence(self, bits: UnitBits) -> None:
        bits.read(4)
        layers = bits.read(3)
        # nesting, then profile and level
        bits.read(1 + 96)
        present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
        bits.read(2 * (8 - layers) if layers else 0)
        for profile, level in present:
            bits.read(88 * profile + 8 * level)
        number = bits.golomb()
        if bits.golomb() == 3:
            bits.read(1)
        width, height = bits.golomb(), bits.golomb()
        if bits.read(1):
            for _ in range(4):
                bits.golomb()
        # depths, and the length of a picture's number
        for _ in range(3):
            bits.golomb()
        for _ in range(layers + 1 if bits.read(1) else 1):
            for _ in range(3):
                bits.golomb()
        side = 1 << (bits.golomb() + 3 + bits.golomb())
        blocks = -(-width // side) * -(-height // side)
        self._address_bits[number] = (blocks - 1).bit_length()
