"""Two hosts with one database, one Redis and one storage: two web servers, three workers, clients, a killed worker."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.conftest import Server, _database_of_its_own, serving
from tests.pictures import drawn, encoded

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow, pytest.mark.postgresql, pytest.mark.redis]
CLIENTS, UPLOADS = 4, 24
IDLE_S = 6


def transactions(url: str) -> int:
    """How many transactions the database has ended so far."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as database:
        time.sleep(1.1)  # the server counts with a delay of up to a second
        row = database.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        return int(row[0])


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Server, Server, str]]:
    """Two services that begin at the same moment, and the address of their database."""
    shared = _database_of_its_own({}) | {
        "ANONYMIZER_SECRET_KEY": "the same on all hosts", "ANONYMIZER_INPUT_DIR": str(folder / "in"),
        "ANONYMIZER_OUTPUT_DIR": str(folder / "out"), "ANONYMIZER_MODELS": "face=centerface",
        "ANONYMIZER_VIDEO_WORKERS": "0",
    }  # fmt: skip
    contexts = []
    for name, workers in (("one", "cpu,cpu"), ("two", "cpu")):
        (folder / name).mkdir()
        contexts.append(serving(folder / name, "-a", "face", "--devices", workers, ready_s=280, **shared))
    with contextlib.ExitStack() as stack:
        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(stack.enter_context, contexts)
        yield one, two, shared["DATABASE_URL"]


def upload_all(one: Server, two: Server) -> list[str]:
    """Upload from several clients to both, some of whom wait for the result. A worker is killed meanwhile."""

    def upload(number: int) -> str:
        server = (one, two)[number % 2]
        content = encoded(drawn(1500, 1000, seed=number))
        if number % 8 == 0:
            answer = server.upload(content)
            assert answer.status_code == 201, answer.text
            return str(answer.json()["id"])
        return server.upload_async(content)

    with ThreadPoolExecutor(CLIENTS) as pool:
        uploading = pool.map(upload, range(UPLOADS))
        time.sleep(0.5)
        own = {child.pid for child in psutil.Process(two.process.pid).children(recursive=True)}
        os.kill(next(pid for pid in two.workers() if pid in own), signal.SIGKILL)
        return list(uploading)


def test_two_hosts_share_the_work_and_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    with two_hosts(tmp_path) as (one, two, database):
        end = time.monotonic() + 120
        while len(set(one.workers())) < 3:
            # a host is ready as soon as one of its workers is
            assert time.monotonic() < end
            time.sleep(0.2)
        ids = upload_all(one, two)
        ended = {task_id: one.until(task_id, "done", "failed", seconds=120) for task_id in ids}
        assert Counter(task["status"] for task in ended.values()) == {"done": UPLOADS}
        results = Counter(
            path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").rglob("anonymised*")
        )
        # each task has one result, also the one whose worker was killed
        assert results == dict.fromkeys(ids, 1)
        assert two.get("/readyz").json()["checks"]["broker"] == "ok"
        time.sleep(3)
        before = transactions(database)
        time.sleep(IDLE_S)
        # looks every 10 ms would make thousands; a worker that starts makes some dozens
        assert transactions(database) - before < 400
