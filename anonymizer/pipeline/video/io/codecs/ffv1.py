"""The checksums of FFV1 (RFC 9043): where a slice is damaged, FFmpeg shows the frame before and says nothing."""

from __future__ import annotations

import zlib

__all__ = ["Ffv1Checksums"]

#: what follows a slice: its length, a status and a checksum
_FOOTER = 3 + 1 + 4
#: bytes with their bits in the other order: FFV1 begins with the highest bit, zlib with the lowest
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_NONE = 2**32 - 1


class Ffv1Checksums:
    """Checks the slices of a track, once a packet has shown that they have checksums."""

    def __init__(self) -> None:
        self._used = False

    def is_damaged(self, data: bytes) -> bool:
        """Tell whether a slice of a packet has another checksum than it says.

        Args:
            data: of the packet.
        """
        end, right = len(data), True
        while end > 0 and right:
            begin = end - _FOOTER - int.from_bytes(data[end - _FOOTER : end - _FOOTER + 3], "big")
            right = end >= _FOOTER and begin >= 0 and zlib.crc32(data[begin:end].translate(_TURNED), _NONE) == _NONE
            end = begin
        self._used = self._used or right
        return self._used and not right
