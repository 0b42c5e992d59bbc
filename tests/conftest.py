"""Fixtures of all tests."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pytest
import requests
from django.test import RequestFactory

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# a busy machine is no failure
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")
REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real pictures with ground truth; the test is skipped if it does not exist."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real pictures at {folder}")
    return folder


#: folders of slow tests, and fixtures that make a test slow: a running service, the real pictures
SLOW_FOLDERS = ("notebooks", "web", "training")
SLOW_FIXTURES = {"server", "data"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of real servers, workers, browsers, notebooks, trainings and pictures as slow."""
    for item in items:
        folders = item.path.relative_to(ROOT / "tests").parts
        fixtures = set(getattr(item, "fixturenames", ()))
        _choose_database(item)
        if folders[0] in SLOW_FOLDERS or item.path.stem.endswith("_processes") or fixtures & SLOW_FIXTURES:
            item.add_marker(pytest.mark.slow)


def _on_postgresql() -> bool:
    return os.environ.get("DATABASE_URL", "").startswith("postgres")


def _choose_database(item: pytest.Item) -> None:
    """Leave out tests of the other database; `make cluster` runs those of PostgreSQL and Redis."""
    needs = "DATABASE_URL" if item.get_closest_marker("postgresql") else "BROKER_URL"
    if (item.get_closest_marker("postgresql") or item.get_closest_marker("redis")) and needs not in os.environ:
        item.add_marker(pytest.mark.skip(reason=f"needs {needs}, as `make cluster` has it"))
    if item.get_closest_marker("sqlite") and _on_postgresql():
        item.add_marker(pytest.mark.skip(reason="is about SQLite"))


def _other_run(item: pytest.Item) -> bool:
    """Whether CI runs a test in its other run: on SQLite, or on PostgreSQL and Redis."""
    return any(item.get_closest_marker(name) for name in ("sqlite", "postgresql", "redis"))


def _database_of_its_own(environment: dict[str, str]) -> dict[str, str]:
    """Where the tests run on PostgreSQL and Redis, those of one server, empty."""
    own: dict[str, str] = {}
    if _on_postgresql() and "DATABASE_URL" not in environment:
        import psycopg

        name = f"server_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
            database.execute(f"CREATE DATABASE {name}")
        own["DATABASE_URL"] = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    if os.environ.get("BROKER_URL") and "BROKER_URL" not in environment:
        import redis

        # the first belongs to tests in this process
        url = urlsplit(os.environ["BROKER_URL"])._replace(path=f"/{random.randrange(1, 16)}").geturl()
        redis.Redis.from_url(url).flushdb()
        own["BROKER_URL"] = url
    return own


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Under REQUIRE_ALL=1 a skipped test is a failure."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail") and not _other_run(item):
        report.outcome = "failed"
        report.longrepr = f"skipped under REQUIRE_ALL=1: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def deaf_at_the_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the connection that listens for announcements before the database of the tests is removed."""
    if not _on_postgresql():
        yield
        return
    request.getfixturevalue("django_db_setup")
    from anonymizer.service.queueing import notices

    yield
    notices._listener._watches.clear()
    end = time.monotonic() + 2 * notices.TURN_S
    while notices._listener._running and time.monotonic() < end:
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Path:
    """Give each test storages of its own, below `tmp_path`."""
    files = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = settings.STORAGES | {
        alias: {"BACKEND": files, "OPTIONS": {"location": tmp_path / alias}} for alias in ("input", "output")
    }
    return tmp_path


@pytest.fixture(autouse=True)
def loopback_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Django's test client ask for localhost: a server without tokens answers to no other name."""
    environ = RequestFactory._base_environ
    monkeypatch.setattr(
        RequestFactory, "_base_environ", lambda self, **given: environ(self, **{"SERVER_NAME": "localhost"} | given)
    )


@dataclass(frozen=True)
class Server:
    """A running service with a database and folders of its own."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **kwargs)

    def upload(self, content: bytes, query: str = "", *, name: str = "photo.jpg", **kwargs: Any) -> requests.Response:
        files = {"fileobject": (name, content)}
        return requests.post(f"{self.url}/v1/file?{query}", files=files, timeout=120, **kwargs)

    def upload_async(self, content: bytes, query: str = "", **kwargs: Any) -> str:
        answer = self.upload(content, query, headers={"x-is-async": "true"}, **kwargs)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def task(self, task_id: str) -> dict[str, Any]:
        return dict(self.get(f"/v1/task/{task_id}").json())

    def until(self, task_id: str, *statuses: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until the task has one of the statuses, and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            task = self.task(task_id)
            if task["status"] in statuses:
                return task
            time.sleep(0.02)
        raise AssertionError(f"task is {task['status']} after {seconds} s, not {statuses}\n{self.log[-3000:]}")

    def delete(self, task_id: str) -> requests.Response:
        return requests.delete(f"{self.url}/v1/task/{task_id}", timeout=60)

    def workers(self, queue: str = "images") -> list[int]:
        """The process numbers of the workers of a queue."""
        shown = self.get("/readyz").json()["workers"]
        return [int(worker["worker"].rsplit(":", 1)[1]) for worker in shown if worker["queue"] == queue]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(folder: Path, *options: str, ready_s: float = 120, **environment: str) -> Iterator[Server]:
    """Run `manage.py serve` as a user does, and stop it with SIGTERM at the end of the block."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANONYMIZER_")}
    # no test downloads models
    env |= {"ANONYMIZER_DATA_DIR": str(folder), "ANONYMIZER_LEASE": "4s", "ANONYMIZER_FETCH_SECONDS": "0"} | environment
    env |= _database_of_its_own(environment)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(port), *options],
            cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    server = Server(f"http://127.0.0.1:{port}", folder, process)
    try:
        end = time.monotonic() + ready_s
        while "Ready at" not in server.log:
            assert process.poll() is None, f"serve ended with {process.returncode}:\n{server.log}"
            assert time.monotonic() < end, f"not ready after {ready_s} s:\n{server.log}"
            time.sleep(0.1)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for all tests that do not change or stop it."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running
