"""Measure the service under load: many uploads, many rows, and a storm of killed processes and servers.

    python -m benchmarks.load [--table uploads|rows|storm] [--database postgresql|sqlite] [--uploads 10000]
                              [--rows 100000] [--runs 100] [--tasks 500] [--kills 100] [--seed 1]

It starts services of its own and prints Markdown tables. A stand-in takes the place of the detectors, so that the
figures are those of the service. Where they depend on the machine, compare them within one run only.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from benchmarks import cluster_servers, many_rows, storm
from tests.conftest import ROOT, Server, serving
from tests.pictures import drawn, encoded

__all__ = ["SETTINGS", "Table", "tasks_of"]

#: of a service with the stand-in, pictures only
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "benchmarks.stand_in", "ANONYMIZER_VIDEO_WORKERS": "0", "ANONYMIZER_LEASE": "30s",
    "ANONYMIZER_SECRET_KEY": "of the benchmark", "ANONYMIZER_RUNTIME": "torch",
}  # fmt: skip
WORKERS, CLIENTS = 3, 16
#: different pictures that the clients send in turn
PICTURES = 100


@dataclass
class Table:
    """A Markdown table of two columns."""

    head: str
    rows: list[tuple[str, str]] = field(default_factory=list)

    def show(self) -> None:
        """Print it."""
        print(f"\n{self.head}\n\n| | |\n|---|---|")
        for name, value in self.rows:
            print(f"| {name} | {value} |", flush=True)


def tasks_of(url: str, folder: Path) -> list[dict[str, Any]]:
    """Return status, number of leases and cause of all tasks, from the table itself: no client is told the leases."""
    query = "SELECT id, status, leases, failure_cause FROM anonymizer_task"
    if url:
        import psycopg

        with psycopg.connect(url) as database:
            rows = database.execute(query).fetchall()
    else:
        import sqlite3

        with contextlib.closing(sqlite3.connect(folder / "db.sqlite3")) as database:
            rows = database.execute(query).fetchall()
    return [dict(zip(("id", "status", "leases", "cause"), row, strict=True)) for row in rows]


@contextlib.contextmanager
def service(database: str) -> Iterator[tuple[Server, str]]:
    """A service with three workers, and the address of its database; empty: SQLite."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        far: dict[str, str] = {}
        if database == "postgresql":
            postgres, redis = stack.enter_context(cluster_servers.running())
            far = {"DATABASE_URL": postgres.create("load"), "BROKER_URL": redis.url}
        options = ("-a", "face", "--workers", str(WORKERS))
        server = stack.enter_context(serving(folder, *options, **SETTINGS, **far))
        yield server, far.get("DATABASE_URL", "")


def post_all(server: Server, count: int) -> tuple[list[str], list[float]]:
    """Upload from all clients. Return the ids of the tasks, and how long each answer took in milliseconds."""
    contents, local = [encoded(drawn(seed=number)) for number in range(PICTURES)], threading.local()

    def post(number: int) -> tuple[str, float]:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        started = time.perf_counter()
        answer = local.session.post(
            f"{server.url}/v1/file?face=1", files={"fileobject": ("a.jpg", contents[number % PICTURES])},
            headers={"x-is-async": "true"}, timeout=120,
        )  # fmt: skip
        took_ms = (time.perf_counter() - started) * 1000
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"]), took_ms

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(post, range(count)))
    return [task_id for task_id, _ in found], [took_ms for _, took_ms in found]


def waiting(server: Server) -> int:
    """How many tasks have not ended."""
    counts = (
        server.get(f"/v1/task/list?status={each}&page_size=1").json()["count"] for each in ("queued", "processing")
    )
    return sum(counts)


def uploads(database: str, count: int) -> None:
    """Count the tasks and the results of many asynchronous uploads, and time the answers."""
    with service(database) as (server, url):
        post_all(server, CLIENTS)
        while waiting(server):
            time.sleep(0.2)
        before = len(tasks_of(url, server.folder))
        started = time.perf_counter()
        ids, took_ms = post_all(server, count)
        accepted_s = time.perf_counter() - started
        while waiting(server):
            time.sleep(1)
        ended_s = time.perf_counter() - started
        tasks = tasks_of(url, server.folder)
        results = collections.Counter(
            path.relative_to(server.folder / "output").parts[0]
            for path in (server.folder / "output").rglob("anonymised*")
        )
        for task_id in [each for each in ids if results[each] != 1][:5]:
            found = sorted(str(path) for path in (server.folder / "output" / task_id).rglob("*"))
            lines = [line for line in server.log.splitlines() if task_id in line or " CRITICAL " in line]
            print("Not one result:", task_id, *found, *lines, sep="\n  ")
    cuts = statistics.quantiles(took_ms, n=100)
    states = collections.Counter(each["status"] for each in tasks)
    table = Table(
        f"{count} uploads from {CLIENTS} clients, {WORKERS} workers, {database}, load {os.getloadavg()[0]:.0f}"
    )
    table.rows = [
        ("accepted", f"{len(set(ids))} in {accepted_s:.0f} s, {count / accepted_s:.0f} a second"),
        ("ended", f"{dict(states)}, after {ended_s:.0f} s"),
        ("tasks a second", f"{count / ended_s:.1f}"),
        ("lost", str(count + before - states["done"])),
        ("taken up twice", str(sum(each["leases"] > 1 for each in tasks))),
        ("with other than one result", str(sum(results[task_id] != 1 for task_id in ids))),
        ("answer, p50", f"{cuts[49]:.0f} ms"),
        ("answer, p99", f"{cuts[98]:.0f} ms"),
    ]
    table.show()


class Rows:
    """A process with a database of its own that has so many tasks."""

    def __init__(self, count: int, environment: dict[str, str]) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("ANONYMIZER_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.many_rows", str(count)], cwd=ROOT, env=env | SETTINGS | environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def time_ms(self, action: str) -> float:
        """Do something there, and return how long it took."""
        assert self._process.stdin is not None
        print(action, file=self._process.stdin, flush=True)
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def rows(database: str, many: int, runs: int) -> None:
    """Time what a service does again and again, alternately with few and with many rows in the table."""
    few = max(1, many // 100)
    with contextlib.ExitStack() as stack:
        made = []
        postgres = stack.enter_context(cluster_servers.running())[0] if database == "postgresql" else None
        for count in (few, many):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            # no lease ends meanwhile
            own = {"ANONYMIZER_DATA_DIR": folder, "ANONYMIZER_LEASE": "1h"} | (
                {"DATABASE_URL": postgres.create(f"of_{count}")} if postgres else {}
            )
            made.append(Rows(count, own))
            stack.callback(made[-1].close)
        print(f"\n{few} and {many} rows, {database}, medians of {runs}, load {os.getloadavg()[0]:.0f}\n")
        print(f"| | {few} rows, ms | {many} rows, ms | ratio |\n|---|---|---|---|")
        for action in many_rows.ACTIONS:
            for each in made:
                each.time_ms(action)
            times = [[each.time_ms(action) for each in made] for _ in range(runs)]
            least, most = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"| {action} | {least:.2f} | {most:.2f} | {most / least:.2f} |", flush=True)


def storm_of(tasks: int, kills: int, seed: int) -> None:
    """Kill processes and servers at random, and print what was lost, doubled or left."""
    with storm.hosts(SETTINGS | {"ANONYMIZER_LEASE": "10s"}) as running:
        started = time.perf_counter()
        found = storm.Storm(running, tasks, kills, seed).run()
        took_s = time.perf_counter() - started
        rows = storm.check(running, found)
        left = storm.left_processes(running)
        for service in running.services:
            if "Traceback" in service.log:
                print(f"{service.folder.name}: {service.log.count('Traceback')} tracebacks")
        if keep := os.environ.get("STORM_LOGS"):
            for service in running.services:
                Path(keep, f"{service.folder.name}.txt").write_text(service.log)
    table = Table(f"{tasks} uploads, {kills} kills, seed {seed}, {took_s:.0f} s, load {os.getloadavg()[0]:.0f}")
    table.rows = [
        ("killed", ", ".join(f"{name} {count}" for name, count in found.kills.most_common())),
        *rows.items(),
        ("processes that belong to no service", str(left)),
        ("tries of clients that failed", ", ".join(f"{name} {count}" for name, count in found.retries.most_common())),
        ("problems", "; ".join(dict.fromkeys(found.problems)) or "none"),
    ]
    table.show()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=("uploads", "rows", "storm"), action="append")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), action="append")
    parser.add_argument("--uploads", type=int, default=10_000, help="on PostgreSQL; a tenth of it on SQLite")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=100, help="of each action on the rows")
    parser.add_argument("--tasks", type=int, default=500, help="of the storm")
    parser.add_argument("--kills", type=int, default=100, help="of the storm")
    parser.add_argument("--seed", type=int, default=1, help="of the storm")
    given = parser.parse_args()
    tables = given.table or ["uploads", "rows", "storm"]
    for database in given.database or ["postgresql", "sqlite"]:
        if "uploads" in tables:
            uploads(database, given.uploads if database == "postgresql" else max(1, given.uploads // 10))
        if "rows" in tables:
            rows(database, given.rows, given.runs)
    if "storm" in tables:
        storm_of(given.tasks, given.kills, given.seed)


if __name__ == "__main__":
    main()
