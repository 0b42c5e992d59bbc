"""The guard of a queue, with real processes and work of this module's own."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django_q import signals

from anonymizer.service.queueing import guard, queue
from anonymizer.service.queueing.guard import Guard
from anonymizer.service.queueing.processes import exists, members

pytestmark = pytest.mark.django_db(transaction=True)


def note(folder: str, name: str) -> None:
    """Work: write the number of the worker into a file."""
    (Path(folder) / name).write_text(str(os.getpid()))


def hang(folder: str, name: str) -> None:
    """Work that never ends, and that no alarm reaches, as one in a decoder."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    note(folder, name)
    time.sleep(600)


class Cluster:
    """A guard in a process of its own. Its workers do what lies in the folder `todo`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("todo", "taken", "done"):
            (folder / name).mkdir()
        connections.close_all()
        self.process = multiprocessing.get_context("fork").Process(target=self._run)
        self.process.start()

    def _run(self) -> None:
        os.setsid()
        # pytest's report of a crash would be printed for crashes that are asked for
        faulthandler.disable()
        # these workers load no models
        for signal_of_q in (signals.post_spawn, signals.pre_execute, signals.post_execute_in_worker):
            signal_of_q.receivers.clear()
            signal_of_q.sender_receivers_cache.clear()
        Guard(
            "somewhere", 2, 1, find=self._find,
            release=lambda pids: (self.folder / "released").write_text(" ".join(map(str, pids))),
            fail=lambda pid: (self.folder / "failed").write_text(str(pid)),
        ).run()  # fmt: skip

    def _find(self) -> dict[str, Any] | None:
        for file in (self.folder / "todo").iterdir():
            try:
                file.rename(self.folder / "taken" / file.name)
            except FileNotFoundError:
                continue
            function = f"{__name__}.{file.name.partition('-')[0]}"
            return queue.pack(function, str(self.folder / "done"), file.name, name=file.name)
        return None

    def do(self, name: str) -> int:
        """Have a worker do something, and return the number of the worker that did it."""
        (self.folder / "todo" / name).touch()
        return int(self.until(lambda: (self.folder / "done" / name).read_text()))

    def until(self, found: Callable[[], Any]) -> Any:
        end = time.monotonic() + 30
        while True:
            try:
                if answer := found():
                    return answer
            except OSError:
                pass
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(guard, "STUCK_S", 4.0)
    started = Cluster(tmp_path)
    yield started
    started.process.kill()
    started.process.join()


def test_work_that_hangs_is_ended_and_the_others_go_on(cluster: Cluster) -> None:
    stuck = cluster.do("hang-1")
    other = cluster.do("note-1")
    assert stuck != other
    # the limit is a second; django-q2 adds three
    assert cluster.until(lambda: (cluster.folder / "failed").read_text()) == str(stuck)
    assert not exists(stuck)
    assert exists(other)
    assert {cluster.do(f"note-{n}") for n in range(2, 5)} - {stuck}
    cluster.process.terminate()
    cluster.process.join(10)
    assert cluster.process.exitcode == 0
    assert not exists(other)


def test_a_worker_killed_at_its_work_is_replaced(cluster: Cluster) -> None:
    busy = cluster.do("hang-1")
    os.kill(busy, signal.SIGSEGV)
    assert cluster.do("hang-2") != busy
    assert cluster.do("note-1") != busy
    assert cluster.process.is_alive()


def test_a_worker_killed_while_it_waits_ends_all_and_hands_back_what_the_others_had(cluster: Cluster) -> None:
    busy = cluster.do("hang-1")
    idle = cluster.do("note-1")
    time.sleep(0.5)
    os.kill(idle, signal.SIGKILL)
    cluster.process.join(10)
    assert cluster.process.exitcode == 1
    assert not exists(busy)
    assert (cluster.folder / "released").read_text() == str(busy)


def test_a_monitor_that_takes_no_results_ends_all(cluster: Cluster) -> None:
    worker = cluster.do("note-1")
    # guard, two workers, monitor, pusher: in the order of their start
    monitor = sorted(members(cluster.process.pid or 0))[3]
    os.kill(monitor, signal.SIGSTOP)
    cluster.do("note-2")
    cluster.process.join(15)
    assert cluster.process.exitcode == 1
    assert not exists(worker)
    assert not exists(monitor)
