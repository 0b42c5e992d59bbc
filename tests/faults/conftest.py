"""The processes of a running service, by what each does."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import Server, serving

#: how long a query of the service waits for a lock
DATABASE_S = 5
PARTS = {"worker": "ready for work", "monitor": "monitoring", "pusher": "pushing tasks"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with one small model, for one module: the last test of test_killed_processes.py ends it."""
    environment = {
        "ANONYMIZER_VIDEO_WORKERS": "0", "ANONYMIZER_MODELS": "face=centerface", "ANONYMIZER_MAX_MEGABYTES": "1000",
        "ANONYMIZER_DATABASE_TIMEOUT": f"{DATABASE_S}s",
        # the log says which process is which, and what a worker does
        "ANONYMIZER_LOG_LEVEL": "DEBUG",
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("faults"), "-a", "face", **environment) as running:
        yield running


def of_service(folder: Path) -> list[psutil.Process]:
    """All processes that work with this data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("ANONYMIZER_DATA_DIR") == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def guard(server: Server) -> psutil.Process:
    """The process that guards the workers of images."""
    (found,) = [
        each for each in psutil.Process(server.process.pid).children()
        if "cluster" in each.cmdline() and each.environ().get("Q_CLUSTER_NAME") == "images"
    ]  # fmt: skip
    return found


def web(server: Server) -> psutil.Process:
    """gunicorn, whose child answers the requests."""
    (found,) = [each for each in psutil.Process(server.process.pid).children() if "gunicorn" in each.cmdline()]
    return found


def part(server: Server, name: str) -> psutil.Process:
    """The newest worker, monitor or pusher of images; the log says which process is which."""
    end = time.monotonic() + 30
    # the web server may be ready before the last part has said who it is
    while time.monotonic() < end:
        pids = {int(pid) for pid in re.findall(rf"{PARTS[name]} at (\d+)", server.log)}
        if len(found := [each for each in guard(server).children() if each.pid in pids]) == 1:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no {name}, or several:\n{server.log[-3000:]}")


def idle_worker(server: Server) -> psutil.Process:
    """The worker of images, as soon as it has dealt with all that it has begun, jobs on a schedule among it."""
    worker, end = part(server, "worker"), time.monotonic() + 60
    while time.monotonic() < end:
        log = server.log
        begun = re.findall(r" processing (\S+) '", log[log.rindex(f"ready for work at {worker.pid}") :])
        if not begun or log.rfind(f"({begun[-1]})") > log.rfind(f" processing {begun[-1]} "):
            return worker
        time.sleep(0.05)
    raise AssertionError(f"the worker is busy for a minute:\n{server.log[-3000:]}")


def orphans(server: Server) -> list[psutil.Process]:
    """Processes of the service that `serve` has nothing to do with any more."""
    own = {server.process.pid, *(each.pid for each in psutil.Process(server.process.pid).children(recursive=True))}
    return [process for process in of_service(server.folder) if process.pid not in own]


def until_ready(server: Server, *, apart_from: set[int], seconds: float = 90) -> None:
    """Wait until the service is ready with other workers than those."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if server.get("/readyz").ok and set(server.workers()) - apart_from:
                return
        except OSError:
            # the web server is being started again
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready after {seconds} s:\n{server.log[-3000:]}")
