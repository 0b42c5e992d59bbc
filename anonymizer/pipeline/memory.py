"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import functools

__all__ = ["keep_freed_memory"]

#: of glibc's mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 2**30


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next who wants as much, instead of giving it back to the system.

    The maps between a network's layers are large, and live for a moment: each anew from the system means a page fault
    for every 4 KiB of it. Four frames at once on two cores, milliseconds a frame: own-2 at 640 from 82 to 48, YuNet
    at 640 from 22 to 17, CenterFace at 640 from 79 to 41. The process keeps the most that it ever needed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        # another C library
        return
    # one pool for all threads: what one frees, another can have
    mallopt(_ARENA_MAX, 1)
    mallopt(_TRIM_THRESHOLD, _LARGE)
    mallopt(_MMAP_THRESHOLD, _LARGE)
