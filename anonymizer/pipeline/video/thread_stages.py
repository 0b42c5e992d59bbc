"""Stages of work in threads, with bounded queues between them: the slowest sets the pace, the first error ends all."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Pipe", "Run", "Stopped"]

T = TypeVar("T")

#: how long a stage waits before it looks whether all is to end
_LOOK_S = 0.1


class Stopped(Exception):
    """Another stage failed, or the caller wants no more: unwind."""


class Run:
    """Threads that belong together.

    Attributes:
        busy_s: by stage, the seconds in which its threads, together, did not wait for another stage; once they ended.
    """

    def __init__(self) -> None:
        self.busy_s: dict[str, float] = {}
        self._waited = threading.local()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._left: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def start(self, name: str, work: Callable[[], None], *, may_be_left: bool = False) -> None:
        """Have a thread do the work; an error of it stops all others.

        Args:
            may_be_left: when all is to end, nobody waits for what it is in the middle of: it touches no file.
        """

        def guarded() -> None:
            started = time.perf_counter()
            self._waited.seconds = 0.0
            try:
                work()
                busy = time.perf_counter() - started - self._waited.seconds
                with self._lock:
                    self.busy_s[name] = self.busy_s.get(name, 0.0) + busy
            except Stopped:
                pass
            except BaseException as error:
                self.stop(error)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        if may_be_left:
            self._left.add(thread)
        thread.start()

    def stop(self, error: BaseException | None = None) -> None:
        """Have every stage unwind; the first error is the one that `join` raises."""
        with self._lock:
            if self._error is None:
                self._error = error
        self._stop.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What a thread does in here is waiting for another one."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._waited.seconds = getattr(self._waited, "seconds", 0.0) + time.perf_counter() - started

    def check(self) -> None:
        """Raises Stopped where all is to end."""
        if self._stop.is_set():
            raise Stopped

    def alive(self) -> bool:
        """Whether any thread still works."""
        return any(each.is_alive() for each in self._threads)

    def wait(self, seconds: float) -> None:
        """Until all is to end, or all have ended, but no longer than this."""
        for each in self._threads:
            if each.is_alive():
                each.join(seconds)
                return

    def join(self) -> None:
        """Wait for every thread, or where there was an error for those that may not be left; raise the first error."""
        for each in self._threads:
            while each.is_alive() and not (self._stop.is_set() and each in self._left):
                each.join(_LOOK_S)
        if self._error is not None:
            raise self._error


class Pipe(Generic[T]):
    """A queue of a run between two of its stages."""

    def __init__(self, run: Run, size: int) -> None:
        self._run = run
        self._queue: queue.Queue[T | None] = queue.Queue(size)

    def put(self, item: T) -> None:
        """Hand on; waits while the next stage is behind. Raises Stopped."""
        self._put(item)

    def close(self) -> None:
        """There is no more. Raises Stopped."""
        self._put(None)

    def _put(self, item: T | None) -> None:
        while True:
            self._run.check()
            try:
                with self._run.waiting():
                    self._queue.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[T]:
        """What the stage before hands on, until it closes. Raises Stopped."""
        while True:
            self._run.check()
            try:
                with self._run.waiting():
                    item = self._queue.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if item is None:
                return
            yield item
