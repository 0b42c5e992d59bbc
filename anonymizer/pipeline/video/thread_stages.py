"""Stages of work in threads, with bounded queues between them.

The slowest stage sets the pace, because a full queue makes the stage before it wait. The first error ends all stages.

A stage that runs a detector or a segmenter may need seconds until it sees that it shall end. `StageThreads.join` does
not wait for such stages after an error, so that a caller can cancel quickly. They are waited for when the process ends.
Otherwise the process could abort with exit code 134. Python ends a daemon thread that comes back from C++ code, such as
torch's, while the interpreter shuts down, and C++ does not allow that.
"""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Generic, TypeVar

import torch

__all__ = ["StageQueue", "StageThreads", "StagesStopped", "TorchThreads", "torch_threads"]

T = TypeVar("T")

#: seconds that a stage waits before it checks again whether all stages shall end
_POLL_S = 0.1
#: Seconds that a process waits at its end for stages that still run. A batch takes a few seconds at most.
_EXIT_WAIT_S = 60.0
#: the exit code of a process that was interrupted, as shells have it
_INTERRUPTED = 130

#: all that may have threads that still run
_all_stages: weakref.WeakSet[StageThreads] = weakref.WeakSet()


class StagesStopped(Exception):
    """Raised in a stage when another stage failed or the caller stopped the work: the stage has to return."""


class _OfThread(threading.local):
    """What each thread knows of itself.

    Attributes:
        stages: whose stage the thread runs; None: it is no stage.
        waited_s: seconds in which it waited for another stage.
    """

    stages: StageThreads | None = None
    waited_s: float = 0.0


_of_thread = _OfThread()


class StageThreads:
    """The threads of one piece of work.

    Args:
        source: the stages that these take their input from; when they are stopped, these stop too. Default: none.

    Examples:
        >>> stages, numbers = StageThreads(), []
        >>> queue = StageQueue[int](stages, 2)
        >>> stages.start("give", lambda: (queue.put(1), queue.close())[-1])
        >>> stages.start("take", lambda: numbers.extend(queue))
        >>> stages.join()
        >>> numbers
        [1]

    Attributes:
        busy_s: by stage name, the seconds in which the stage's threads did not wait for another stage, summed over its
            threads. A thread is counted when it has ended without an error.
        changed: held while what several stages share is changed, and notified after it.
    """

    def __init__(self, source: StageThreads | None = None) -> None:
        self.busy_s: dict[str, float] = {}
        self.changed = threading.Condition()
        self._source = source
        self._starving = 0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._may_be_left: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        _all_stages.add(self)

    def start(self, name: str, work: Callable[[], None], *, may_be_left: bool = False) -> None:
        """Run `work` in a new thread; an error in it stops all stages.

        Args:
            name: of the stage; several threads may share it.
            work: what the thread does.
            may_be_left: after an error, `join` does not wait for this thread. It must touch no file.
        """

        def guarded() -> None:
            started = time.perf_counter()
            _of_thread.stages = self
            try:
                work()
                busy = time.perf_counter() - started - _of_thread.waited_s
                with self._lock:
                    self.busy_s[name] = self.busy_s.get(name, 0.0) + busy
            except StagesStopped:
                pass
            except BaseException as error:
                self.stop(error)

        # daemon threads: a stage that hangs must not keep the process alive for ever
        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        if may_be_left:
            self._may_be_left.add(thread)
        thread.start()

    def stop(self, error: BaseException | None = None) -> None:
        """Make every stage end.

        Args:
            error: what `join` raises; the first error counts, also one of `source`. Default: it raises nothing.
        """
        with self._lock:
            if self._error is None and not (self._source is not None and self._source.is_stopped):
                self._error = error
        self._stop.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in this context as waiting for another stage, not as being busy."""
        started = time.perf_counter()
        try:
            yield
        finally:
            _of_thread.waited_s += time.perf_counter() - started

    @contextmanager
    def starving(self) -> Iterator[None]:
        """Tell the other stages that this one cannot go on before there is more. Hold `changed` around it."""
        self._starving += 1
        self.changed.notify_all()
        try:
            yield
        finally:
            self._starving -= 1

    @property
    def is_starving(self) -> bool:
        """Whether a stage cannot go on before there is more. Hold `changed` to ask for it."""
        return self._starving > 0

    @property
    def is_stopped(self) -> bool:
        """Whether all stages shall end."""
        return self._stop.is_set() or (self._source is not None and self._source.is_stopped)

    def check(self) -> None:
        """Return if the work goes on, and the work that the calling thread belongs to.

        Raises:
            StagesStopped: all stages shall end.
        """
        if self.is_stopped or (_of_thread.stages is not None and _of_thread.stages.is_stopped):
            raise StagesStopped

    def raise_error(self) -> None:
        """Raise the first error so far, if there is one.

        Raises:
            BaseException: the first error of a stage, or the one that `stop` was given.
        """
        if self._error is not None:
            raise self._error

    def alive(self) -> bool:
        """Whether any thread still runs."""
        return any(thread.is_alive() for thread in self._threads)

    def wait(self, seconds: float) -> None:
        """Wait until a thread that runs has ended, but no longer than `seconds`."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(seconds)
                return

    def join(self) -> None:
        """Wait for every thread. After an error, do not wait for those that may be left.

        A KeyboardInterrupt stops the stages and is raised when they have ended: their files are closed then.

        Raises:
            BaseException: the first error of a stage, or the one that `stop` was given.
        """
        for thread in self._threads:
            while thread.is_alive() and not (self.is_stopped and thread in self._may_be_left):
                try:
                    thread.join(_POLL_S)
                except KeyboardInterrupt as error:
                    self.stop(error)
        self.raise_error()

    def join_until(self, end_s: float) -> None:
        """Wait for every thread, those that may be left too, until a time of `time.monotonic`."""
        for thread in self._threads:
            # a thread cannot wait for itself
            if thread is not threading.current_thread():
                thread.join(max(0.0, end_s - time.monotonic()))


class StageQueue(Generic[T]):
    """A bounded queue from one stage to the next.

    Args:
        stages: what both stages belong to.
        size: how many items it holds, 1 or more.
    """

    def __init__(self, stages: StageThreads, size: int) -> None:
        self._stages = stages
        self._queue: queue.Queue[T | None] = queue.Queue(size)

    def put(self, item: T) -> None:
        """Add an item; wait while the queue is full.

        Raises:
            StagesStopped: all stages shall end.
        """
        self._put(item)

    def close(self) -> None:
        """Tell the next stage that there are no more items.

        Raises:
            StagesStopped: all stages shall end.
        """
        self._put(None)

    def _put(self, item: T | None) -> None:
        while True:
            self._stages.check()
            try:
                with self._stages.waiting():
                    self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[T]:
        """Give the items in their order until the queue is closed.

        Raises:
            StagesStopped: all stages shall end.
        """
        while True:
            self._stages.check()
            try:
                with self._stages.waiting():
                    item = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if item is None:
                return
            yield item


@atexit.register
def _end_stages() -> None:
    """End all stages before the interpreter shuts down, so that the process keeps its own exit code."""
    running = [stages for stages in _all_stages if stages.alive()]
    try:
        _stop_and_wait(running)
    except KeyboardInterrupt:
        # the user does not want to wait; shutting down as usual could abort
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(_INTERRUPTED)


def _stop_and_wait(running: Iterable[StageThreads]) -> None:
    end_s = time.monotonic() + _EXIT_WAIT_S
    for stages in running:
        stages.stop(StagesStopped("The process ends."))
    for stages in running:
        stages.join_until(end_s)


class TorchThreads:
    """How many threads torch uses for one call: each thread has its number, and new ones take the last that was set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users, self._before = 0, 0

    def count(self) -> int:
        """The number while there is no video."""
        with self._lock:
            return self._before if self._users else _in_new_thread(torch.get_num_threads)

    @contextmanager
    def one_each(self) -> Iterator[None]:
        """Let each call use one core: the threads of the stages run side by side."""
        with self._lock:
            # this thread may have got its own number while another video was on
            self._before = self._before if self._users else _in_new_thread(torch.get_num_threads)
            self._users += 1
            # the first question in a thread sets its number, and would undo what is set here
            torch.get_num_threads()
            torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                torch.set_num_threads(self._before)
                if self._users:
                    # the threads that other videos start from now on
                    _in_new_thread(partial(torch.set_num_threads, 1))


def _in_new_thread(work: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


#: of this process
torch_threads = TorchThreads()
