"""MPEG transport streams (ISO/IEC 13818-1): packets of 188 bytes, or of 192 as Blu-ray and AVCHD cameras write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import UnsupportedMedia

__all__ = ["check_packets", "packet_size"]

_SYNC = 0x47
_SIZES = (188, 192)
#: packets that are read at once
_PACKETS = 50_000
#: a file that loses its rhythm more often is left to the decoders, which name the damage
_MOST_SEARCHES = 1000
#: scrambled packets of one elementary stream that are not just bit errors, and their share of the stream
_LEAST_SCRAMBLED, _SCRAMBLED_SHARE = 4, 0.5
#: ticks per second of the base of a clock reference, its number of values, and the step back that is a new clock
_CLOCK, _CLOCK_VALUES, _STEP_BACK = 90_000, 2**33, 0.5

_Rows = NDArray[np.uint8]


def packet_size(head: bytes) -> int:
    """The bytes of one packet, 188 or 192, by the first bytes of the file."""
    return 192 if len(head) > 388 and {head[4], head[196], head[388]} == {_SYNC} and head[0] != _SYNC else 188


def check_packets(file: BinaryIO) -> None:
    """Refuse a stream that is encrypted, or that was joined from parts with clocks of their own.

    Args:
        file: the open file, seekable.

    Raises:
        UnsupportedMedia: it is one of these.
    """
    counts = np.zeros((2, 8192), np.int64)
    clocks: dict[int, int] = {}
    for rows in _packets(file):
        pids = (rows[:, 1] & 0x1F).astype(np.int64) << 8 | rows[:, 2]
        filled = (rows[:, 3] & 0x10) > 0
        scrambled = filled & ((rows[:, 3] & 0xC0) > 0)
        counts[0] += np.bincount(pids[filled], minlength=8192)
        counts[1] += np.bincount(pids[scrambled], minlength=8192)
        _check_clocks(rows, pids, clocks)
    if ((counts[1] >= _LEAST_SCRAMBLED) & (counts[1] > _SCRAMBLED_SHARE * counts[0])).any():
        raise UnsupportedMedia("The transport stream is encrypted (scrambled), and only one that is not can be read.")


def _packets(file: BinaryIO) -> Iterator[_Rows]:
    """Whole packets in their order, (n, 188) uint8, without the four bytes before each packet of 192."""
    file.seek(0)
    size = packet_size(file.read(3 * 192))
    before = size - 188
    at, searches = 0, 0
    while searches <= _MOST_SEARCHES:
        file.seek(at)
        block = np.frombuffer(file.read(size * _PACKETS), np.uint8)
        rows = block[: len(block) // size * size].reshape(-1, size)[:, before:]
        if not len(rows):
            return
        wrong = np.flatnonzero(rows[:, 0] != _SYNC)
        good = int(wrong[0]) if len(wrong) else len(rows)
        yield rows[:good]
        at += good * size
        if good < len(rows):
            searches += 1
            at += _next_packet(block[good * size :], size, before)


def _next_packet(block: NDArray[np.uint8], size: int, before: int) -> int:
    """How many bytes on three packets follow each other again; the block's length where none do."""
    sync = block == _SYNC
    last = len(block) - 2 * size - before
    if last <= 1:
        return len(block)
    starts = sync[before : before + last] & sync[before + size :][:last] & sync[before + 2 * size :][:last]
    found = np.flatnonzero(starts[1:])
    return int(found[0]) + 1 if len(found) else len(block)


def _check_clocks(rows: _Rows, pids: NDArray[np.int64], clocks: dict[int, int]) -> None:
    """Compare each clock reference with the one before it in the same stream; `clocks` has the last one of each.

    Raises:
        UnsupportedMedia: one is earlier.
    """
    has_clock = ((rows[:, 3] & 0x20) > 0) & (rows[:, 4] >= 7) & ((rows[:, 5] & 0x10) > 0)
    for row in np.flatnonzero(has_clock):
        # 33 bits in units of 1/90000 s
        now = int.from_bytes(rows[row, 6:11].tobytes(), "big") >> 7
        pid = int(pids[row])
        was = clocks.get(pid, now)
        step = (now - was + _CLOCK_VALUES // 2) % _CLOCK_VALUES - _CLOCK_VALUES // 2
        if step < -_STEP_BACK * _CLOCK:
            raise UnsupportedMedia(
                f"The transport stream was joined from parts: its clock jumps back from {was / _CLOCK:.2f} s to "
                f"{now / _CLOCK:.2f} s. Send each part, or join them with a program that writes new times."
            )
        clocks[pid] = now
