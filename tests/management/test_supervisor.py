"""The processes of `serve`: how it asks for readiness, and how it ends what does not end by itself."""

from __future__ import annotations

import multiprocessing
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.test import Client

from anonymizer.management.supervisor import Supervisor, probe_headers
from anonymizer.service import claims
from anonymizer.service.queueing.processes import exists, members
from celantur_site.settings import LOOPBACK_HOSTS

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
    monkeypatch.setattr(settings, "STOP_TIMEOUT", timedelta(seconds=2))
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
