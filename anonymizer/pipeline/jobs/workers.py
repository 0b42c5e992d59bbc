"""Worker processes for the jobs of a run: one that dies costs its file, and the others go on.

A pool of the standard library ends as a whole when one of its processes is killed, and does not tell what it worked on.
Here each process has a pipe of its own, so the file is known, and another process takes its place.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection as pipes
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING

from anonymizer.pipeline.files.whole import remove_leftovers
from anonymizer.pipeline.jobs.job import Job, OnProgress, Outcome, State
from anonymizer.pipeline.jobs.processing import JobRunner

if TYPE_CHECKING:
    from anonymizer.pipeline.anonymizer import Anonymizer
    from anonymizer.pipeline.results import VideoProgress

__all__ = ["STOP_S", "NoWorker", "WorkerPool", "set_threads"]

#: seconds that a worker has to remove its temporary files when it is stopped, before it is killed
STOP_S = 5.0
#: the exit code of a worker that was stopped by SIGTERM, as shells have it
STOPPED = 128 + signal.SIGTERM
#: so many processes in a row may die while they start
MOST_FAILED_STARTS = 3
#: Seconds in which this process is told to stop too, where something stops all processes of a run at once.
TOGETHER_S = 0.3

#: what the process of a worker needs: what makes its anonymizer, the work, and its number of threads
_Setup = tuple[Callable[[], "Anonymizer"], JobRunner, int | None]


class NoWorker(RuntimeError):
    """No worker process can be started."""


class WorkerPool:
    """Some processes that each work on one job at a time, and keep the models that they have loaded.

    Args:
        count: number of processes.
        make_anonymizer: is called once in each process; it must be picklable.
        runner: what is done with each job.
        threads: of torch and OpenCV in each process; default: what these choose.
    """

    def __init__(
        self, count: int, make_anonymizer: Callable[[], Anonymizer], runner: JobRunner, *, threads: int | None = None
    ) -> None:
        self._count = count
        self._setup: _Setup = (make_anonymizer, runner, threads)
        self._workers: list[_Worker] = []
        self._stopped: list[_Worker] = []
        self._waiting: deque[Job] = deque()
        self._failed_starts = 0

    def outcomes(self, jobs: Iterable[Job], on_progress: OnProgress | None = None) -> Generator[Outcome, None, None]:
        """Process every job, and yield its outcome as soon as it ends. All processes have ended after that.

        Args:
            jobs: the files and the paths of their results.
            on_progress: is called with the progress within a video.

        Raises:
            NoWorker: no process can be started.
        """
        self._waiting = deque(jobs)
        try:
            while self._waiting or self._workers:
                while self._waiting and len(self._workers) < self._count:
                    # in the list before it starts, so that an interruption ends it too
                    self._workers.append(_Worker(self._setup, self._waiting.popleft()))
                    self._workers[-1].start()
                for worker in _with_messages(self._workers):
                    outcome = self._receive(worker, on_progress)
                    if outcome is not None:
                        yield outcome
        finally:
            self._close()

    def _receive(self, worker: _Worker, on_progress: OnProgress | None) -> Outcome | None:
        message = worker.receive()
        if message is None:
            return self._after_death(worker)
        if isinstance(message, Outcome):
            self._give_next(worker)
            return message
        if isinstance(message, _Ready):
            worker.is_ready, self._failed_starts = True, 0
        elif on_progress is not None:
            on_progress(worker.job, message)
        return None

    def _give_next(self, worker: _Worker) -> None:
        if self._waiting:
            worker.give(self._waiting.popleft())
        else:
            self._workers.remove(worker)
            self._stopped.append(worker)
            worker.stop()

    def _after_death(self, worker: _Worker) -> Outcome | None:
        """The outcome of the job of a dead worker; None if it had not begun: another worker gets the job."""
        self._workers.remove(worker)
        worker.process.join()
        remove_leftovers([worker.job.target.parent])
        reason = _describe_end(worker.process.exitcode or 0, several=self._count > 1)
        if worker.is_ready:
            return Outcome(worker.job, State.FAILED, reason, seconds=time.monotonic() - worker.started_s)
        self._waiting.appendleft(worker.job)
        self._failed_starts += 1
        if self._workers:
            # perhaps there is no memory for so many
            self._count = len(self._workers)
        elif self._failed_starts >= MOST_FAILED_STARTS:
            raise NoWorker(f"No worker process can be started. {reason}")
        return None

    def _close(self) -> None:
        """End all processes, those in the middle of a file too, and remove what they leave."""
        in_work, all_workers = self._workers, [*self._workers, *self._stopped]
        try:
            for worker in in_work:
                worker.stop()
            end_s = time.monotonic() + STOP_S
            for worker in all_workers:
                worker.wait(end_s)
        finally:
            # at once, where the user interrupts the waiting too
            for worker in all_workers:
                worker.kill()
            remove_leftovers(worker.job.target.parent for worker in in_work)


class _Worker:
    """One process, and the job that it has."""

    def __init__(self, setup: _Setup, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, self._theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(self._theirs, *setup), daemon=True)
        self.is_ready = False
        self.give(job)

    def start(self) -> None:
        # its start would let the signals through again
        resource_tracker.ensure_running()
        with _signals_held_back():
            self.process.start()
        self._theirs.close()

    def stop(self) -> None:
        """Let it remove its temporary files and end; before it is ready, it has none."""
        if self._is_started:
            (self.process.terminate if self.is_ready else self.process.kill)()

    def wait(self, end_s: float) -> None:
        """Wait until it has ended, until a time of `time.monotonic` at most."""
        if self._is_started:
            self.process.join(max(0.0, end_s - time.monotonic()))

    def kill(self) -> None:
        """End it at once."""
        if self._is_started:
            self.process.kill()
            self.process.join()
        self.pipe.close()

    @property
    def _is_started(self) -> bool:
        return self.process.pid is not None

    def give(self, job: Job) -> None:
        self.job, self.started_s = job, time.monotonic()
        # a process that is dead already is noticed when it is read from
        with suppress(OSError):
            self.pipe.send(job)

    def receive(self) -> _Ready | VideoProgress | Outcome | None:
        """What it has sent; None if it is dead."""
        message: _Ready | VideoProgress | Outcome
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return message


class _Ready:
    """A worker sends it when it is ready for its first job."""


def _with_messages(workers: list[_Worker]) -> list[_Worker]:
    """Wait until some workers have something to read."""
    ready = pipes.wait([worker.pipe for worker in workers])
    return [worker for worker in workers if worker.pipe in ready]


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Hold signals back that stop a run, until the block ends.

    A process that is started in the block never gets those of the terminal, which reach all of its processes: the one
    that started the others stops them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _describe_end(exit_code: int, *, several: bool) -> str:
    """Why there is no result of the file that a process worked on when it died."""
    if exit_code == STOPPED:
        # whoever stops all processes of a run also stops this one, perhaps a little later
        time.sleep(TOGETHER_S)
    if exit_code >= 0:
        return f"The process that worked on it ended with exit code {exit_code}."
    name = signal.Signals(-exit_code).name
    if -exit_code == signal.SIGKILL:
        advice = ": fewer workers need less" if several else ""
        return f"The process that worked on it was killed ({name}), perhaps because memory ran out{advice}."
    return f"The process that worked on it crashed ({name})."


# --- in the process of a worker ---


def _work(pipe: Connection, make_anonymizer: Callable[[], Anonymizer], runner: JobRunner, threads: int | None) -> None:
    code = 1
    try:
        signal.signal(signal.SIGTERM, _stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
        if threads is not None:
            set_threads(threads)
        anonymizer = make_anonymizer()
        # the parent may have ended
        with suppress(EOFError, ConnectionError):
            pipe.send(_Ready())
            while True:
                pipe.send(runner.run(anonymizer, pipe.recv(), _Progress(pipe)))
    except KeyboardInterrupt:
        code = STOPPED
    except BaseException:
        traceback.print_exc()
    # at once: threads that are in the middle of a batch are not waited for
    sys.stderr.flush()
    os._exit(code)


class _Progress:
    """Tells the parent how far the work on a video is."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __call__(self, job: Job, progress: VideoProgress) -> None:
        self._pipe.send(progress)


def _stop(number: int, frame: FrameType | None) -> None:
    """End the work by an exception, so that temporary files are removed."""
    # the removal is not interrupted again
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Wait until the parent has ended, in whatever way, then end this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S)
    os._exit(STOPPED)


def set_threads(threads: int) -> None:
    """Set how many threads torch and OpenCV use in this process; other runtimes follow torch."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
