"""The guard of a queue, with real processes and work of this module's own."""

from __future__ import annotations

import contextlib
import faulthandler
import math
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


def last(folder: str, name: str) -> None:
    """Work that ends when the test says so."""
    note(folder, f"begun-{name}")
    while not (Path(folder) / "enough").exists():
        time.sleep(0.02)
    note(folder, name)


class Cluster:
    """A guard in a process of its own. Its workers do what lies in the folder `todo`."""

    def __init__(self, folder: Path, *, timeout_s: int = 1, grace_s: float = math.inf) -> None:
        self.folder, self._timeout_s, self._grace_s = folder, timeout_s, grace_s
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
            "somewhere", 2, self._timeout_s, find=self._find,
            release=lambda pids: (self.folder / "released").write_text(" ".join(map(str, pids))),
            fail=lambda pid: (self.folder / "failed").write_text(str(pid)), grace_s=self._grace_s,
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


@contextlib.contextmanager
def stopping(folder: Path, *, grace_s: float) -> Iterator[tuple[Cluster, int]]:
    """A cluster that was asked to end while one of its workers works; with the number of that worker."""
    cluster = Cluster(folder, timeout_s=600, grace_s=grace_s)
    try:
        (folder / "todo" / "last-1").touch()
        busy = int(cluster.until(lambda: (folder / "done" / "begun-last-1").read_text()))
        # the other worker is idle
        cluster.do("note-1")
        cluster.process.terminate()
        yield cluster, busy
    finally:
        cluster.process.kill()
        cluster.process.join()


def test_a_guard_that_is_stopped_finishes_what_was_begun_and_takes_nothing_new(tmp_path: Path) -> None:
    with stopping(tmp_path, grace_s=600) as (cluster, busy):
        time.sleep(2 * guard.CHECK_S)
        (tmp_path / "todo" / "note-2").touch()
        # an idle worker looks once a second
        time.sleep(2 * guard.LOOK_S)
        assert cluster.process.is_alive()
        assert exists(busy)
        (tmp_path / "done" / "enough").touch()
        cluster.process.join(30)
        assert cluster.process.exitcode == 0
    assert (tmp_path / "done" / "last-1").exists()
    assert [file.name for file in (tmp_path / "todo").iterdir()] == ["note-2"]
    assert not (tmp_path / "released").exists()


def test_what_is_not_finished_in_the_grace_time_is_handed_back(tmp_path: Path) -> None:
    # longer than the idle worker takes to end
    with stopping(tmp_path, grace_s=4 * guard.LOOK_S) as (cluster, busy):
        cluster.process.join(30)
        assert cluster.process.exitcode == 0
        assert (tmp_path / "released").read_text() == str(busy)
        assert not exists(busy)
    assert not (tmp_path / "done" / "last-1").exists()
