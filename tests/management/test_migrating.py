"""Processes that start at the same time with one SQLite database: one migrates it, the others wait; or none may."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from anonymizer.management import migrating
from tests.conftest import ROOT
from tests.management.test_secrets import manage

pytestmark = pytest.mark.sqlite

#: holds the lock of a data folder until it is killed
HOLDING = """
import os, time
os.environ["DJANGO_SETTINGS_MODULE"] = "celantur_site.settings"
import django
django.setup()
from anonymizer.management.migrating import one_at_a_time
with one_at_a_time():
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.mark.django_db(transaction=True)
def test_only_one_migrates_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "PAUSE_S", 0.02)
    inside: list[int] = []
    barrier = threading.Barrier(3)

    def migrate(number: int) -> None:
        barrier.wait()
        try:
            with migrating.one_at_a_time():
                inside.append(number)
                time.sleep(0.1)
                assert inside[-1] == number
                inside.append(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, range(3)))
    assert sorted(inside) == [0, 0, 1, 1, 2, 2]
    assert inside[::2] == inside[1::2]
    monkeypatch.setattr(migrating, "WAIT_S", 0.1)
    with (
        migrating.one_at_a_time(),
        pytest.raises(OperationalError, match="Another process migrates the database"),
        migrating.one_at_a_time(),
    ):
        pass


class Start:
    """A process that migrates a data folder."""

    def __init__(self, folder: Path, number: int, environment: dict[str, str]) -> None:
        self._out = folder / f"out-{number}.txt"
        command = [sys.executable, "-m", "anonymizer", "manage", "migrate", "--verbosity", "0"]
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)

    def said(self) -> str:
        return self._out.read_text()


@pytest.mark.slow
def test_a_start_waits_for_one_that_migrates_and_not_for_one_that_was_killed(tmp_path: Path) -> None:
    environment = os.environ | {"ANONYMIZER_DATA_DIR": str(tmp_path)}
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLDING], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holding.stdout
        assert holding.stdout.readline() == "locked\n"
        starts = [Start(tmp_path, number, environment) for number in range(2)]
        end = time.monotonic() + 200
        while not all("Another process migrates the database. This one waits." in start.said() for start in starts):
            assert time.monotonic() < end, [start.said() for start in starts]
            time.sleep(0.2)
        assert [start.process.poll() for start in starts] == [None, None]
        holding.send_signal(signal.SIGKILL)
        assert [start.process.wait(200) for start in starts] == [0, 0]
    finally:
        holding.kill()
        holding.wait()
        if holding.stdout:
            holding.stdout.close()
    assert manage(tmp_path, "manage", "migrate", "--check").returncode == 0


@pytest.mark.slow
def test_a_start_without_migrations_says_what_to_do(tmp_path: Path) -> None:
    done = manage(tmp_path, "serve", "--no-migrate", "--port", "1")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "The database lacks migrations, and --no-migrate is given: run `anonymizer manage migrate` first." in last
    assert "Traceback" not in done.stderr
