"""The processes of `serve`: starts the web server and the workers, restarts those that die, and ends all of them.

`serve --only` starts a part of them, as one container has. Then the workers' part answers `/healthz` itself.

Whatever happens to `serve`, its processes end with it: each is killed by the system when the one that started it ends.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error, connection
from django.utils import timezone

import anonymizer
from anonymizer.management import worker_health
from anonymizer.models import Kind
from anonymizer.pipeline.model_zoo.folders import is_checkout
from anonymizer.service import claims, workers
from anonymizer.service.health import PROBE_HEADER, probe_proof
from anonymizer.service.queueing import processes
from anonymizer.service.queueing.queue import QUEUES

__all__ = ["PARTS", "Stopped", "Supervisor", "child_command", "child_environment", "with_this_process"]

#: how long the processes may take to get ready
START_S = 180
#: the processes that have workers, with the queue of each
WORKERS = {"workers": QUEUES[Kind.IMAGE], "video workers": QUEUES[Kind.VIDEO]}
#: what one container may run of it; the web server sends the webhooks, too
PARTS = {"web": ("webhooks", "web"), "images": ("workers",), "videos": ("video workers",)}
#: what `/readyz` may say of others when a part of the service begins
NOT_AWAITED = {"models"}
OF_OTHERS = {"queue", "workers", "video_workers"}
#: Ctrl-C, an operator, a terminal that was closed
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: of the time for stopping, the web server's share: requests that wait for a task get their answer
WEB_SHARE = 0.5
#: how long the database may take to say which tasks the killed workers had
RELEASE_S = 3.0
#: a process that dies again within this time is started again after a pause, which grows
SHORT_LIFE_S, FIRST_PAUSE_S, MOST_PAUSE_S = 20.0, 0.5, 30.0


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


def with_this_process() -> Callable[[], None]:
    """What a child process calls before it runs its program, in order to end with this process."""
    return partial(processes.die_with_parent, os.getpid())


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
        only: the part of `PARTS` to run. Default: all.
    """

    def __init__(
        self, environment: dict[str, str], host: str, port: int, threads: int, *, with_videos: bool, only: str = ""
    ) -> None:
        self._environment = environment
        self._address = (host, port)
        # how long all processes together may take to finish their work
        self._grace_s = settings.STOP_TIMEOUT.total_seconds()
        self._started = timezone.now().isoformat()
        self.url = f"http://{_address({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host))}:{port}"
        cluster = child_command("manage", "cluster", "--skip-checks")
        self._commands = {
            **{name: cluster for name in WORKERS if with_videos or WORKERS[name] != QUEUES[Kind.VIDEO]},
            "webhooks": child_command("manage", "cluster", "webhooks", "--skip-checks"),
            "web": [
                sys.executable, "-m", "gunicorn", "celantur_site.wsgi", "--bind", f"{_address(host)}:{port}",
                "--worker-class", "celantur_site.web_worker.PatientWorker", "--threads", str(threads),
                "--timeout", "120", "--graceful-timeout", str(max(1, round(self._grace_s * WEB_SHARE))),
                "--log-level", "warning", "--no-control-socket",
                # `ignores` and `format` are in the query string
                "--limit-request-line", "8190",
            ],
        }  # fmt: skip
        if only:
            self._commands = {name: self._commands[name] for name in PARTS[only]}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._spawned_s: dict[str, float] = {}
        self._pauses_s: dict[str, float] = {}
        self._stopped = False
        self._listen_for_signals()

    def _listen_for_signals(self) -> None:
        # a handler does nothing but wake the main thread: an exception in the middle of a start would lose a process
        self._wake, wakes = os.pipe()
        for end in (self._wake, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # `nohup` ignores SIGHUP
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle_stop_signal)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def _handle_stop_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def _pause(self, seconds: float) -> None:
        """Wait for a while, or until a signal comes: one for this process, or that of a child that has ended."""
        if select.select([self._wake], [], [], max(0.0, seconds))[0]:
            os.read(self._wake, 4096)

    def start(self) -> None:
        """Start all processes.

        Raises:
            CommandError: the address to listen on is not free.
        """
        for name in self._commands:
            self._spawn(name)
        if "web" not in self._commands:
            try:
                worker_health.serve(*self._address, self._own_workers)
            except OSError as error:
                raise CommandError(f"{self.url} cannot be listened on ({error.strerror}).") from error

    def _own_workers(self) -> dict[str, list[int]]:
        """The processes of each queue that this one has started; none of them when they are to end."""
        if self._stopped:
            return {}
        return {WORKERS[name]: processes.members(process.pid) for name, process in self._running.items()}

    def _spawn(self, name: str) -> None:
        environment = dict(self._environment)
        if name in WORKERS:
            environment["Q_CLUSTER_NAME"] = WORKERS[name]
            # waiting threads sleep: by default they spin, and two busy workers slow each other down tenfold
            environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._spawned_s[name] = time.monotonic()
        # a session of its own: Ctrl-C reaches only this process, which then stops the others in their order
        self._running[name] = subprocess.Popen(
            self._commands[name], env=environment, start_new_session=True, preexec_fn=with_this_process()
        )

    def wait_until_ready(self) -> dict[str, Any]:
        """Wait until every queue has a worker of this start, and all checks pass except that of the models.

        Returns:
            The answer of `/readyz`, with the workers of this start only.

        Raises:
            CommandError: the service is not ready in time, a worker cannot work, or a process died.
            Stopped: one of `STOP_SIGNALS` was received.
        """
        deadline = time.monotonic() + START_S
        last = "nothing answers"
        headers = probe_headers()
        while time.monotonic() < deadline:
            self._raise_if_stopped()
            self._check_processes()
            try:
                answer = requests.get(f"{self.url}/readyz", headers=headers, timeout=5, allow_redirects=False)
                ready = dict(answer.json())
                last = str(ready["checks"])
            except (requests.RequestException, ValueError, KeyError):
                self._pause(0.1)
                continue
            # workers of an earlier start are listed until they have been silent for a while
            own_workers = [worker for worker in ready["workers"] if worker["started"] >= self._started]
            if problems := [worker["problem"] for worker in own_workers if worker["problem"]]:
                raise CommandError(f"The worker cannot work: {problems[0]}")
            queues = {queue for name, queue in WORKERS.items() if name in self._running}
            has_workers = queues <= {worker["queue"] for worker in own_workers}
            ignored = NOT_AWAITED if queues else NOT_AWAITED | OF_OTHERS
            if has_workers and all(state == "ok" for name, state in ready["checks"].items() if name not in ignored):
                return ready | {"workers": own_workers}
            self._pause(0.1)
        raise CommandError(f"Not ready after {START_S} s: {last}")

    def _raise_if_stopped(self) -> None:
        if self._stopped:
            raise Stopped

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
            self._raise_if_stopped()
            for name, process in self._running.items():
                if process.poll() is not None:
                    self._restart(name, process)
            self._pause(1)

    def _restart(self, name: str, process: subprocess.Popen[bytes]) -> None:
        # whatever it has left behind would hold the port, or work beside the new one
        processes.kill_session(process.pid)
        now = time.monotonic()
        if now < self._spawned_s[name] + self._pauses_s.get(name, 0.0):
            return
        if now - self._spawned_s[name] < SHORT_LIFE_S:
            self._pauses_s[name] = min(MOST_PAUSE_S, 2 * self._pauses_s.get(name, FIRST_PAUSE_S / 2))
        else:
            self._pauses_s.pop(name, None)
        sys.stderr.write(f"{name} ended with code {process.returncode}; starting again\n")
        self._spawn(name)

    def stop(self) -> None:
        """Stop the web server first, so that no new tasks come in, then the workers, which finish their tasks.

        There is one limit for all of it. Nothing is asked of the database before all processes have ended.
        """
        now = time.monotonic()
        killed: dict[str, list[int]] = {}
        try:
            self._end(["web"], now + self._grace_s * WEB_SHARE, now + self._grace_s)
            self._end([name for name in self._running if name != "web"], now + self._grace_s, now + self._grace_s)
        finally:
            for name, process in self._running.items():
                killed[name] = processes.kill_session(process.pid)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(processes.KILL_S)
        _release({name: pids for name, pids in killed.items() if pids and name in WORKERS})

    def _end(self, names: Iterable[str], deadline: float, last: float) -> None:
        """Ask processes to end, and wait until they have ended or the time is over."""
        ending = [self._running[name] for name in names if name in self._running]
        for process in ending:
            process.terminate()
        while any(process.poll() is None for process in ending) and time.monotonic() < min(deadline, last):
            self._pause(min(0.2, deadline - time.monotonic()))


def _address(host: str) -> str:
    """A host as URLs have it: an address of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def probe_headers() -> dict[str, str]:
    """Return headers that this server answers in full, whatever addresses, names and proxies it is set up for."""
    headers = {PROBE_HEADER: probe_proof()}
    if settings.SECURE_PROXY_SSL_HEADER:
        variable, value = settings.SECURE_PROXY_SSL_HEADER
        headers[variable.removeprefix("HTTP_").replace("_", "-").title()] = value
    return headers


def _release(killed: Mapping[str, list[int]]) -> None:
    """Put the tasks of killed workers back into the queue. If the database does not answer, their leases run out."""

    def ask() -> None:
        try:
            for name, pids in killed.items():
                if released := claims.release_tasks([workers.name(pid) for pid in pids]):
                    sys.stderr.write(f"{name}: {released} task(s) were not finished and wait for the next start\n")
        except Error as error:
            sys.stderr.write(f"unfinished tasks wait for their leases to run out ({type(error).__name__})\n")
        finally:
            connection.close()

    if killed:
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(RELEASE_S)
