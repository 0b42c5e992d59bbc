"""The bits of H.264 and HEVC units."""

from __future__ import annotations

__all__ = ["UnitBits"]


class UnitBits:
    """Reads bits of a unit, without the bytes that keep start codes from appearing in it.

    Args:
        data: of the unit, from its first bit to be read.

    Raises:
        EOFError: there are no more bits.
    """

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        """Read so many bits as a number."""
        self._left -= count
        if self._left < 0:
            raise EOFError
        return (self._value >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """Read a number in the Exp-Golomb code, `ue(v)` in the standards."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
