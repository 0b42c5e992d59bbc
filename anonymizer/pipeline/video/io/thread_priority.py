"""The priority of threads, which an encoder must not change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["same_priority"]


@contextmanager
def same_priority() -> Iterator[None]:
    """Keep the scheduling policy of the calling thread, for it and for all threads of the process.

    Where it may, as root may, SVT-AV1 gives the thread that opens it and its own threads the highest real-time
    priority. Other processes hardly run then, and threads of the process that wait for each other may wait for ever.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in (int(entry.name) for entry in Path("/proc/self/task").iterdir()):
            # it may have ended meanwhile
            with suppress(OSError):
                if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                    os.sched_setscheduler(thread, policy, parameters)
