"""PostgreSQL is restarted while a task is worked on: connections are made anew, and the task is done once."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Server, free_port, serving
from tests.pictures import drawn, encoded

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow, pytest.mark.postgresql]
#: how long PostgreSQL is away
AWAY_S = 3


class OwnPostgreSQL:
    """A server of this test alone, which it may stop; data in a folder that its user may enter."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.url = f"postgres://anonymizer@127.0.0.1:{self.port}/anonymizer"
        options = ["-U", "anonymizer", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"]
        self._run("initdb", "-D", str(folder / "data"), *options)
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "anonymizer", "anonymizer")

    def _run(self, program: str, *words: str) -> None:
        # it does not run as root
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        with (self.folder / "out.txt").open("ab") as out:
            subprocess.run([*user, str(self._bin / program), *words], check=True, timeout=120, stdout=out, stderr=out)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        data = str(self.folder / "data")
        self._run("pg_ctl", "-D", data, "-w", "-l", str(self.folder / "log.txt"), "-o", options, "start")

    def stop(self) -> None:
        """End it as a crash does: no client is told."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def value(self, query: str) -> object:
        with psycopg.connect(self.url, autocommit=True) as database:
            row = database.execute(query).fetchone()  # type: ignore[arg-type]
            return None if row is None else row[0]


@pytest.fixture
def own_postgresql() -> Iterator[OwnPostgreSQL]:
    # not in `tmp_path`, which other users may not enter
    folder = Path(f"/tmp/anonymizer-test-{os.getpid()}-{time.monotonic_ns()}")
    folder.mkdir(mode=0o700)
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    started = OwnPostgreSQL(folder)
    yield started
    with contextlib.suppress(subprocess.CalledProcessError):
        started.stop()
    shutil.rmtree(folder)


def done_once(server: Server, own: OwnPostgreSQL, ids: list[str]) -> None:
    for task_id in ids:
        assert server.until(task_id, "done", "failed", seconds=200)["status"] == "done"
    results = Counter(
        path.relative_to(server.folder / "output").parts[0] for path in server.folder.rglob("anonymised*")
    )
    assert results == dict.fromkeys(ids, 1)
    # nobody took a task a second time
    assert own.value("SELECT max(leases) FROM anonymizer_task") == 1


def test_a_task_is_done_once_although_postgresql_is_restarted_meanwhile(
    own_postgresql: OwnPostgreSQL, tmp_path: Path
) -> None:
    settings = {
        "DATABASE_URL": own_postgresql.url, "BROKER_URL": "", "ANONYMIZER_VIDEO_WORKERS": "0",
        "ANONYMIZER_LEASE": "30s",
    }  # fmt: skip
    with serving(tmp_path, "-a", "face", ready_s=280, **settings) as server:
        workers = server.workers()
        large, next_one = encoded(drawn(4000, 3000), quality=85), encoded(drawn(800, 600))
        ids = [server.upload_async(large, "format=thorough"), server.upload_async(next_one)]
        server.until(ids[0], "processing")
        before = own_postgresql.value("SELECT pg_postmaster_start_time()")
        own_postgresql.stop()
        # requests are told to come back
        assert server.get(f"/v1/task/{ids[0]}").status_code == 503
        assert server.get("/readyz").json()["checks"]["database"].startswith("the database does not answer")
        time.sleep(AWAY_S)
        own_postgresql.start()
        assert own_postgresql.value("SELECT pg_postmaster_start_time()") != before
        done_once(server, own_postgresql, ids)
        # no process had to be started anew
        assert server.workers() == workers
        assert "starting again" not in server.log
        assert "reached the database again" in server.log
        # and the next upload finds a worker as before
        answer = server.upload(encoded(drawn(800, 600)))
        assert (answer.status_code, answer.json()["status"]) == (201, "done")
        end = time.monotonic() + 60
        while server.get("/readyz").status_code != 200:
            assert time.monotonic() < end, server.get("/readyz").text
            time.sleep(0.5)
