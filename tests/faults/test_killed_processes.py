"""Each process of a running service is killed: nothing is left behind, the service recovers, each task is done once."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import psutil
import pytest

from tests.conftest import Server
from tests.faults.conftest import guard, idle_worker, of_service, orphans, part, until_ready, web
from tests.pictures import drawn, encoded
from tests.service.webhooks.receivers import Receiver, answer

Pick = Callable[[Server], psutil.Process]
#: what is killed, and whether the queue of images is started again with it
KILLS: dict[str, tuple[Pick, bool]] = {
    "gunicorn": (web, False),
    "the web process": (lambda server: web(server).children()[0], False),
    "the monitor": (lambda server: part(server, "monitor"), True),
    "the pusher": (lambda server: part(server, "pusher"), True),
    "a worker that waits": (idle_worker, True),
    "the guard": (guard, True),
}


def kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)
    psutil.wait_procs([process], timeout=5)


def is_done_once(server: Server, task_id: str) -> None:
    assert server.until(task_id, "done", "failed", seconds=90)["status"] == "done"
    assert len(list((server.folder / "output" / task_id).iterdir())) == 1


@pytest.mark.parametrize("name", KILLS)
def test_a_service_recovers_from_a_killed_process(own: Server, name: str) -> None:
    pick, whole = KILLS[name]
    workers, its_guard = set(own.workers()), guard(own)
    family = [its_guard, *its_guard.children()]
    kill(pick(own))
    if whole:
        # nobody is left who would wait for a lock of the dead one
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
    until_ready(own, apart_from=workers if whole else set())
    assert orphans(own) == []
    is_done_once(own, own.upload_async(encoded()))


def test_an_idle_worker_finds_a_task_whose_notification_is_held_up(own: Server) -> None:
    pusher = part(own, "pusher")
    pusher.suspend()
    try:
        answer = own.upload(encoded(), "face=1").json()
    finally:
        pusher.resume()
    started, created = (datetime.fromisoformat(answer[name]) for name in ("started", "created"))
    assert (started - created).total_seconds() < 2


def test_a_worker_killed_in_the_middle_is_replaced_and_its_task_done_without_waiting_for_the_lease(own: Server) -> None:
    others = {part(own, "monitor").pid, part(own, "pusher").pid, guard(own).pid}
    worker = part(own, "worker")
    waiting = [own.upload_async(encoded(drawn(3000, 2200), quality=85), "format=auto") for _ in range(2)]
    own.until(waiting[0], "processing")
    kill(worker)
    for task_id in waiting:
        is_done_once(own, task_id)
    assert {part(own, "monitor").pid, part(own, "pusher").pid, guard(own).pid} == others
    assert f"Worker {worker.pid} ended with code -9 in the middle of a task" in own.log


def test_a_file_that_crashes_each_worker_fails_and_the_others_are_done(own: Server) -> None:
    crashing = own.upload_async(encoded(drawn(3000, 2200), quality=85), "format=auto")
    others = [own.upload_async(encoded(drawn(seed=n))) for n in range(2)]
    killed: set[int] = set()
    end = time.monotonic() + 120
    while len(killed) < 3:
        assert time.monotonic() < end
        time.sleep(0.02)
        with contextlib.closing(sqlite3.connect(own.folder / "db.sqlite3")) as database:
            row = database.execute("SELECT worker FROM anonymizer_task WHERE id = ?", [UUID(crashing).hex]).fetchone()
        pid = int(row[0].rpartition(":")[2] or 0)
        if pid and pid not in killed and psutil.pid_exists(pid) and own.task(crashing)["status"] == "processing":
            # as a fault in a decoder ends it
            os.kill(pid, signal.SIGSEGV)
            killed.add(pid)
    assert own.until(crashing, "failed", seconds=60)["failure_cause"] == "worker_lost"
    for task_id in others:
        is_done_once(own, task_id)


def test_a_killed_sender_of_webhooks_is_replaced_and_loses_none(own: Server) -> None:
    (sender,) = [each for each in psutil.Process(own.process.pid).children() if "webhooks" in each.cmdline()]
    receiver = Receiver(answer(200))
    task_id = own.upload_async(encoded(), f"webhook={receiver.url}")
    kill(sender)
    own.until(task_id, "done")
    end = time.monotonic() + 100
    while own.task(task_id)["webhook_status"] == "set":
        assert time.monotonic() < end, own.log[-3000:]
        time.sleep(0.1)
    receiver.stop()
    assert own.task(task_id)["webhook_status"] == "sent"
    # killed in the middle of a try, it is tried again: with the same id
    assert len({receiver.header("X-Anonymizer-Delivery", n) for n in range(len(receiver.requests))}) == 1


def test_nothing_is_left_of_a_service_that_is_killed(own: Server) -> None:
    # the last of this module: its service is gone afterwards
    assert len(of_service(own.folder)) >= 8
    os.kill(own.process.pid, signal.SIGKILL)
    own.process.wait()
    end = time.monotonic() + 5
    while left := of_service(own.folder):
        assert time.monotonic() < end, [each.cmdline() for each in left]
        time.sleep(0.05)
