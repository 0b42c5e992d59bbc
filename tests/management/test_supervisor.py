"""The processes of `serve`: how it asks for readiness, and how it ends what does not end by itself."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import OperationalError, connections
from django.test import Client
from django.utils import timezone

from anonymizer.management import worker_health
from anonymizer.management.supervisor import Supervisor, probe_headers
from anonymizer.models import Worker
from anonymizer.service import claims, workers
from anonymizer.service.queueing.processes import exists, members
from celantur_site.settings import LOOPBACK_HOSTS
from tests.conftest import free_port
from tests.management.test_secrets import manage

#: ends neither at a signal nor when its child has ended
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    open(sys.argv[1], "w").write(str(os.getsid(0)))
time.sleep(600)
"""


@pytest.mark.django_db
def test_the_probe_is_answered_whatever_names_the_server_has(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["real.name", *LOOPBACK_HOSTS]
    settings.SECURE_PROXY_SSL_HEADER, settings.SECURE_SSL_REDIRECT = ("HTTP_X_FORWARDED_PROTO", "https"), True
    headers = probe_headers()
    assert headers["X-Forwarded-Proto"] == "https"
    answer = Client(SERVER_NAME="127.0.0.1").get("/readyz", headers=headers)
    assert answer.status_code in (200, 503)
    assert {"checks", "workers"} <= answer.json().keys()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7001"),
        ("0.0.0.0", "http://127.0.0.1:7001"),
        ("::", "http://[::1]:7001"),
        ("fe80::1", "http://[fe80::1]:7001"),
    ],
)
def test_the_probe_asks_an_address_that_answers(host: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Supervisor, "_listen_for_signals", lambda self: None)
    assert Supervisor({}, host, 7001, 1, with_videos=False).url == url


def test_stopping_has_one_limit_and_ends_all_although_the_database_is_away(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.STOP_TIMEOUT = timedelta(seconds=2)
    asked = tmp_path / "asked"

    def away(workers: list[str]) -> int:
        # all processes have ended before the database is asked
        asked.write_text(" ".join(worker.rpartition(":")[2] for worker in workers))
        raise OperationalError("away")

    monkeypatch.setattr(claims, "release_tasks", away)
    connections.close_all()

    def run() -> None:
        supervised = Supervisor({}, "127.0.0.1", 7001, 1, with_videos=False)
        supervised._commands = {
            name: [sys.executable, "-c", STUBBORN, str(tmp_path / name)] for name in supervised._commands
        }
        supervised.start()
        while len(list(tmp_path.iterdir())) < len(supervised._commands):
            time.sleep(0.05)
        began = time.monotonic()
        supervised.stop()
        (tmp_path / "took").write_text(str(time.monotonic() - began))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    # two seconds for all together, not for each
    assert 2 <= float((tmp_path / "took").read_text()) < 4
    for name in ("web", "workers"):
        assert members(int((tmp_path / name).read_text())) == []
    assert len(asked.read_text().split()) == 2
    assert not any(exists(int(pid)) for pid in asked.read_text().split())


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("", {"workers", "video workers", "webhooks", "web"}),
        ("web", {"webhooks", "web"}),
        ("images", {"workers"}),
        ("videos", {"video workers"}),
    ],
)
def test_a_part_has_its_processes_only(only: str, names: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Supervisor, "_listen_for_signals", lambda self: None)
    assert Supervisor({}, "127.0.0.1", 7001, 1, with_videos=True, only=only)._commands.keys() == names


def test_a_part_that_has_nothing_to_do_is_refused(tmp_path: Path) -> None:
    done = manage(tmp_path, "serve", "--only", "videos", "--video-workers", "0", "--port", "1")
    assert done.returncode == 2
    assert "--only videos needs a worker for videos, but --video-workers is 0." in done.stderr


def probe(own: dict[str, list[int]]) -> tuple[int, dict[str, Any]]:
    """The answer of a host of workers to `/readyz`."""
    port = free_port()
    server = worker_health.serve("127.0.0.1", port, lambda: own)
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=30)
        alive = requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30)
        assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
        assert requests.get(f"http://127.0.0.1:{port}/v1/task/list", timeout=30).status_code == 404
        return answer.status_code, answer.json()
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.django_db(transaction=True)
def test_a_host_of_workers_is_ready_when_its_own_are() -> None:
    own = {"images": [os.getpid()]}
    now = timezone.now()
    Worker.objects.create(name="elsewhere:1", queue="images", started=now, seen=now, ready=True)
    status, body = probe(own)
    assert (status, body["checks"]["workers"]) == (503, "no worker of the queue images has loaded its models")
    assert body["workers"] == []
    row = Worker.objects.create(name=workers.name(), queue="images", started=now, seen=now, ready=True)
    status, body = probe(own)
    assert (status, body["status"], [each["worker"] for each in body["workers"]]) == (200, "ready", [row.name])
    Worker.objects.update(problem="no model can be loaded")
    assert probe(own)[1]["checks"]["workers"] == "no model can be loaded"
    # it is being stopped
    assert probe({})[1]["checks"]["workers"] == "the workers are being stopped"
