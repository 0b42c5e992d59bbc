"""Run small pieces of work side by side, each on one core.

A network of a few million parameters gains little from a second core: on two cores, one call takes .6 to .75 times as
long as on one. Two calls side by side, each on one core, take little more than half as long as both on one core.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

__all__ = ["core_count", "run_side_by_side"]

T = TypeVar("T")


class _Pools:
    """The threads of this process, which last: requests of OpenVINO belong to a thread, and are made once."""

    def __init__(self) -> None:
        self.forget()

    def of_size(self, threads: int) -> ThreadPoolExecutor:
        """The pool with so many threads. Nearly always there is one: the number of cores seldom changes."""
        with self._lock:
            if threads not in self._pools:
                self._pools[threads] = ThreadPoolExecutor(threads, "look", initializer=_use_one_core)
            return self._pools[threads]

    def forget(self) -> None:
        """Forget the threads of the parent process: a forked child has none of them."""
        self._lock = threading.Lock()
        self._pools: dict[int, ThreadPoolExecutor] = {}


_pools = _Pools()
os.register_at_fork(after_in_child=_pools.forget)
#: held while torch's number for new threads is another than it should be
_preparing = threading.Lock()


def core_count() -> int:
    """How many pieces of work `run_side_by_side` runs at once: as many as torch has threads in the calling thread."""
    # not at the top: Django starts without torch
    import torch

    return torch.get_num_threads()


def run_side_by_side(works: Sequence[Callable[[], T]], sizes: Sequence[float]) -> list[T]:
    """Run each piece of work in a thread in which torch and OpenVINO use one core.

    Where torch has one thread only, they run in the calling thread, one after the other.

    Args:
        works: they begin as soon as a core is free, the largest first.
        sizes: how long each may take, in any unit.

    Returns:
        What they return, in the order of `works`.

    Raises:
        Exception: of the first of `works` that fails; the others have ended by then.
    """
    threads = core_count()
    if threads < 2:
        return [work() for work in works]
    pool = _pools.of_size(threads)
    futures = {row: pool.submit(works[row]) for row in sorted(range(len(works)), key=lambda row: -sizes[row])}
    try:
        wait(futures.values())
    finally:
        # after an interrupt, what has not begun does not begin
        for future in futures.values():
            future.cancel()
    return [futures[row].result() for row in range(len(works))]


def _use_one_core() -> None:
    """Let torch use one core in this thread, and as many as before in threads that begin later."""
    import torch

    with _preparing:
        # the first question in a thread sets its number, and would undo what is set here
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        if before > 1:
            restore = threading.Thread(target=partial(torch.set_num_threads, before))
            restore.start()
            restore.join()
