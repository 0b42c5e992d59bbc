"""How this process gets memory from the system."""

from __future__ import annotations

import ctypes
import functools

__all__ = ["keep_freed_memory"]

#: of glibc's mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 2**30


@functools.cache
def keep_freed_memory() -> None:
    """Make the C library keep freed memory for reuse, instead of returning it to the system.

    The process then holds the most memory that it ever needed.
    """
    # The feature maps of a network are large and live for a moment: new memory from the system means a page fault for
    # every 4 KiB. Four frames at once on two cores, milliseconds a frame: own-2 at 640 from 82 to 48, YuNet at 640 from
    # 22 to 17, CenterFace at 640 from 79 to 41.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        # another C library
        return
    # one pool for all threads: one thread can reuse what another has freed
    mallopt(_ARENA_MAX, 1)
    mallopt(_TRIM_THRESHOLD, _LARGE)
    mallopt(_MMAP_THRESHOLD, _LARGE)
