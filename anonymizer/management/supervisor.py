"""The processes of `serve`: starts the web server and the workers, restarts those that die, and stops them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

import anonymizer
from anonymizer.pipeline.model_zoo.folders import is_checkout
from anonymizer.service import claims, workers
from anonymizer.service.queueing.queue import QUEUES

__all__ = ["Stopped", "Supervisor", "child_command", "child_environment"]

#: how long the processes may take to get ready
START_S = 180
#: the processes that have workers, in the order of `QUEUES`
WORKERS = ("workers", "video workers")
#: Ctrl-C, an operator, a terminal that was closed
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def child_command(*words: str) -> list[str]:
    """The command line that runs `anonymizer WORDS` in a process of its own."""
    return [sys.executable, "-m", "anonymizer", *words]


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process, which finds this package from any current folder.

    Args:
        changes: variables that the child gets besides those of this process.
    """
    environment = dict(os.environ)
    root = Path(anonymizer.__file__).resolve().parents[1]
    # an installed package is found anyway
    if is_checkout():
        paths = [str(root), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return {**environment, **changes}


class Stopped(Exception):
    """One of `STOP_SIGNALS` was received."""


class Supervisor:
    """Starts the web server and the worker clusters, starts them again when they die, and stops them.

    Args:
        environment: the environment of the processes.
        host: the address to listen on.
        port: the port to listen on.
        threads: how many requests the web server handles at once.
        with_videos: whether there are workers for videos.
    """

    def __init__(self, environment: dict[str, str], host: str, port: int, threads: int, *, with_videos: bool) -> None:
        self._environment = environment
        # how long a process may finish its work before it is killed
        self._grace_s = settings.STOP_TIMEOUT.total_seconds()
        self._started = timezone.now().isoformat()
        self._queues = {name: QUEUES[kind] for name, kind in zip(WORKERS, QUEUES, strict=True)}
        cluster = child_command("manage", "qcluster", "--skip-checks")
        self._commands = {
            **dict.fromkeys(WORKERS if with_videos else WORKERS[:1], cluster),
            "webhooks": child_command("manage", "webhooks", "--skip-checks"),
            "web": [
                sys.executable, "-m", "gunicorn", "celantur_site.wsgi", "--bind", f"{host}:{port}",
                "--worker-class", "gthread", "--threads", str(threads), "--timeout", "0",
                "--graceful-timeout", str(round(self._grace_s)), "--log-level", "warning", "--no-control-socket",
                # `ignores` and `format` are in the query string
                "--limit-request-line", "8190",
            ],
        }  # fmt: skip
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle_stop_signal)

    def _handle_stop_signal(self, number: int, frame: FrameType | None) -> None:
        raise Stopped

    def start(self) -> None:
        """Start all processes."""
        for name in self._commands:
            self._spawn(name)

    def _spawn(self, name: str) -> None:
        environment = dict(self._environment)
        if name in self._queues:
            environment["Q_CLUSTER_NAME"] = self._queues[name]
            # waiting threads sleep: by default they spin, and two busy workers slow each other down tenfold
            environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # a session of its own: Ctrl-C reaches only this process, which then stops the others in their order
        self._running[name] = subprocess.Popen(self._commands[name], env=environment, start_new_session=True)

    def wait_until_ready(self, url: str) -> dict[str, Any]:
        """Wait until every queue has a worker of this start, and all checks pass except that of the models.

        Args:
            url: the address of the service.

        Returns:
            The answer of `/readyz`, with the workers of this start only.

        Raises:
            CommandError: the service is not ready in time, a worker cannot work, or a process died.
        """
        deadline = time.monotonic() + START_S
        last = "nothing answers"
        while time.monotonic() < deadline:
            self._check_processes()
            try:
                ready = dict(requests.get(f"{url}/readyz", timeout=5).json())
            except requests.RequestException:
                time.sleep(0.1)
                continue
            last = str(ready["checks"])
            # workers of an earlier start are listed until they have been silent for a while
            own_workers = [worker for worker in ready["workers"] if worker["started"] >= self._started]
            if problems := [worker["problem"] for worker in own_workers if worker["problem"]]:
                raise CommandError(f"The worker cannot work: {problems[0]}")
            queues = {queue for name, queue in self._queues.items() if name in self._running}
            has_workers = queues <= {worker["queue"] for worker in own_workers}
            if has_workers and all(state == "ok" for name, state in ready["checks"].items() if name != "models"):
                return ready | {"workers": own_workers}
            time.sleep(0.1)
        raise CommandError(f"Not ready after {START_S} s: {last}")

    def _check_processes(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise CommandError(f"The {name} process ended with code {process.returncode}.")

    def supervise(self) -> None:
        """Restart processes that die, until a signal is received.

        Raises:
            Stopped: one of `STOP_SIGNALS` was received.
        """
        while True:
            for name, process in self._running.items():
                if process.poll() is not None:
                    sys.stderr.write(f"{name} ended with code {process.returncode}; starting again\n")
                    self._spawn(name)
            time.sleep(1)

    def stop(self) -> None:
        """Stop the web server first, so that no new tasks come in, then the workers, which finish their tasks."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for names in (("web",), (*WORKERS, "webhooks")):
            deadline = time.monotonic() + self._grace_s
            ending = {name: self._running[name] for name in names if name in self._running}
            for process in ending.values():
                process.terminate()
            for name, process in ending.items():
                self._wait(name, process, deadline)

    def _wait(self, name: str, process: subprocess.Popen[bytes], deadline: float) -> None:
        """Wait for a process. One that takes too long is killed, and its tasks wait for the next start."""
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            working = workers.names_in_process_group(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if released := claims.release_tasks(working):
                sys.stderr.write(f"{name}: {released} task(s) were not finished and wait for the next start\n")
