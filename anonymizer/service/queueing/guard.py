"""The processes of one queue: workers, a pusher that takes notifications, a monitor that acknowledges them.

These are the processes of a cluster of django-q2. The guard starts them in place of django-q2's own, which goes on with
the rest when one has died: the locks that a killed process held then keep the others waiting for ever.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import queues
from multiprocessing.context import ForkProcess
from types import FrameType
from typing import Any

from django import db
from django_q.brokers import get_broker
from django_q.monitor import monitor
from django_q.pusher import pusher
from django_q.worker import worker

from anonymizer.service.queueing import processes
from anonymizer.service.queueing.connections import close_connections
from anonymizer.service.queueing.flags import Flag

__all__ = ["Guard", "LookingQueue"]

log = logging.getLogger(__name__)
CHECK_S = 0.25
#: an idle worker looks for waiting tasks this often; a synchronous request waits no longer for a free worker
LOOK_S = 1.0
#: the same where each look would be a transaction on a server, as long as notifications arrive
SERVER_LOOK_S = 30.0
#: locks of the queues are held for microseconds: one that is held for so long was left by a killed process
LOCK_S = 2.0
#: results that nobody takes for so long: the monitor hangs. It waits 30 s for a database that is locked.
STUCK_S = 120.0
#: how long the database may take to say which tasks the killed workers had
RELEASE_S = 5.0
#: how long the pusher and the monitor may take to end
HELPERS_S = 3.0
#: states of django-q2's timer of a worker besides the seconds left: its time is over, it ended in order to be replaced
TIME_OVER, RECYCLED = 0, -2
Find = Callable[[], "dict[str, Any] | None"]


class LookingQueue(queues.Queue):  # type: ignore[type-arg]
    """The queue between pusher and workers. A worker that waits at it also looks for waiting tasks itself.

    Args:
        size: how many notifications it may hold.
        find: gives work as django-q2 packs it, or None if nothing waits.
        idle: is called about once a second by a worker that waits.
        stopping: whether the workers are to end.
        away: whether no notifications come.
    """

    def __init__(self, size: int, find: Find, idle: Callable[[], object], stopping: Flag, away: Flag) -> None:
        super().__init__(size, ctx=multiprocessing.get_context("fork"))
        self._find, self._idle, self._stopping, self._away = find, idle, stopping, away
        self._looked_s = 0.0
        self._had_work = False

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next notification, or work that was found without one; "STOP" when the workers are to end."""
        while not self._stopping.is_set():
            try:
                found = super().get(True, 0.0 if self._had_work else LOOK_S)
            except queue.Empty:
                self._idle()
                found = None
            if self._stopping.is_set():
                # others find the task of this notification: they look by themselves
                break
            if found is None and (self._had_work or self._is_time_to_look()):
                # where one task waited, others may: their notifications may be lost
                found = self._find()
            self._had_work = found is not None
            if found is not None:
                return found
        return "STOP"

    def _is_time_to_look(self) -> bool:
        """Return whether to look although nothing was heard."""
        now = time.monotonic()
        rarely = db.connection.vendor == "postgresql" and not self._away.is_set()
        if rarely and now - self._looked_s < SERVER_LOOK_S:
            return False
        self._looked_s = now
        return True


class _PartDied(Exception):
    """A process died, or keeps the others waiting. The message is the end of a sentence that begins with the queue."""


class Guard:
    """Start the processes of a queue, watch them, and end them. If one dies, all end, and `serve` starts them anew.

    A worker that dies while it works has no lock of the queues. It is replaced, and the others go on.

    Args:
        name: of the queue.
        workers: how many.
        timeout_s: how long a task may take.
        find: gives work to a worker that is idle.
        release: puts the tasks of workers back into the queue, by their process numbers.
        fail: fails the task of a worker whose time is over, by its process number.
        idle: a worker that waits calls this about once a second.
        prepare: a new worker calls this with its place, 0 .. workers - 1, before it does anything.
        grace_s: how long the work in progress may take after SIGTERM; then its tasks go back into the queue.
    """

    def __init__(
        self,
        name: str,
        workers: int,
        timeout_s: int,
        *,
        find: Find,
        release: Callable[[list[int]], object],
        fail: Callable[[int], object],
        idle: Callable[[], object] = lambda: None,
        prepare: Callable[[int], object] = lambda place: None,
        grace_s: float = math.inf,
    ) -> None:
        self._name, self._size, self._timeout_s, self._grace_s = name, workers, timeout_s, grace_s
        self._prepare = prepare
        self._release, self._fail = release, fail
        self._context = multiprocessing.get_context("fork")
        self._stopping = Flag()
        self._away = Flag()
        self._tasks = LookingQueue(workers, find, idle, self._stopping, self._away)
        self._results: Any = self._context.Queue()
        #: process, timer and place of each worker
        self._pool: list[tuple[ForkProcess, Any, int]] = []
        self._helpers: dict[str, ForkProcess] = {}
        self._taken_s = time.monotonic()

    def run(self) -> None:
        """Run the processes until SIGTERM. Does not return if a process dies: all others are killed, and this one
        ends with code 1."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._stop)
        processes.tie_children()
        os.register_at_fork(after_in_child=_forget_handlers)
        try:
            for place in range(self._size):
                self._start_worker(place)
            broker = get_broker(self._name)
            broker.schedules, broker.away = True, self._away
            self._helpers = {
                "monitor": self._start(monitor, self._results, broker),
                "pusher": self._start(pusher, self._tasks, self._stopping, broker),
            }
            checked_s = time.monotonic()
            while not self._stopping.is_set():
                time.sleep(CHECK_S)
                now = time.monotonic()
                self._check(now - checked_s)
                checked_s = now
        except _PartDied as died:
            if self._stopping.is_set():
                # that is what was asked of it
                self._finish()
                return
            log.critical("The queue %s is started again: %s", self._name, died)
            self._end_all()
        self._finish()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()

    def _start(self, target: Callable[..., object], *args: object) -> ForkProcess:
        # a connection must not be shared with the child
        close_connections()
        process = self._context.Process(target=target, args=args, daemon=True)
        process.start()
        return process

    def _start_worker(self, place: int) -> None:
        timer = self._context.Value("f", -1)
        started = self._start(self._work, place, timer)
        self._pool.append((started, timer, place))

    def _work(self, place: int, timer: Any) -> None:
        """Be a worker; this runs in a process of its own."""
        self._prepare(place)
        worker(self._tasks, self._results, timer, self._timeout_s)

    def _check(self, passed_s: float) -> None:
        for process, timer, place in list(self._pool):
            lock = timer.get_lock()
            if not lock.acquire(True, LOCK_S):
                raise _PartDied("a worker was killed while it handed over its result.")
            try:
                left = timer.get_obj()
                if left.value > 0:
                    left.value = max(TIME_OVER, left.value - passed_s)
                state = left.value
            finally:
                lock.release()
            if state == TIME_OVER or not process.is_alive():
                self._replace(process, timer, place, state)
        self._check_helpers()

    def _replace(self, process: ForkProcess, timer: Any, place: int, state: float) -> None:
        """Replace a worker that has ended, or whose time is over.

        Raises:
            _PartDied: it died while it waited for work; nobody else will get any.
        """
        if process.is_alive():
            process.kill()
            process.join()
            log.error("Worker %d did not end in time and was killed.", process.pid)
            if not self._ask_briefly(lambda: self._fail(process.pid or 0)):
                raise _PartDied("the database does not answer.")
        elif state == -1:
            raise _PartDied(f"worker {process.pid} ended with code {process.exitcode} while it was idle.")
        elif state > 0:
            log.error("Worker %d ended with code %s in the middle of a task.", process.pid, process.exitcode)
        self._pool.remove((process, timer, place))
        self._start_worker(place)

    def _check_helpers(self) -> None:
        for name, process in self._helpers.items():
            if not process.is_alive():
                raise _PartDied(f"the {name} ended with code {process.exitcode}.")
        if not self._results._reader.poll(0):
            self._taken_s = time.monotonic()
        elif time.monotonic() - self._taken_s > STUCK_S:
            raise _PartDied("the monitor takes no results.")

    def _finish(self) -> None:
        """Let the workers end their tasks. Tasks that take too long go back into the queue."""
        deadline = time.monotonic() + self._grace_s
        while (living := self._living()) and time.monotonic() < deadline:
            time.sleep(CHECK_S / 2)
        self._kill(living)
        self._results.put("STOP")
        deadline = time.monotonic() + HELPERS_S
        for process in self._helpers.values():
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
        # what nobody took is lost on purpose: the rows of the tasks say what waits
        for each in (self._tasks, self._results):
            each.cancel_join_thread()

    def _end_all(self) -> None:
        for process in self._helpers.values():
            process.kill()
        # not the tasks of those that died by themselves: one that kills its worker each time must fail in the end
        self._kill(self._living())
        os._exit(1)

    def _living(self) -> list[ForkProcess]:
        return [process for process, _, _ in self._pool if process.is_alive()]

    def _kill(self, living: list[ForkProcess]) -> None:
        """Kill workers, and put their tasks back into the queue."""
        for process in living:
            process.kill()
        for process in living:
            process.join()
        if living:
            self._ask_briefly(lambda: self._release([process.pid or 0 for process in living]))

    def _ask_briefly(self, question: Callable[[], object]) -> bool:
        """Ask the database, but do not wait long for it. Return whether it has answered."""

        def ask() -> None:
            try:
                question()
            except db.Error as error:
                log.warning("The tasks of killed workers wait for their leases (%s).", type(error).__name__)
            finally:
                db.connection.close()

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(RELEASE_S)
        return not asking.is_alive()


def _forget_handlers() -> None:
    """The children of the guard end at SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
