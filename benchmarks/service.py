"""Measure what the service costs beside the library, and whether it loses or doubles tasks under load.

    python -m benchmarks.service [--picture FILE] [--runs 30] [--uploads 200] [--clients 8]

It starts a service of its own and prints two Markdown tables: milliseconds of one image in the library and in the
service, and how many of many asynchronous uploads ended, were lost or ran twice.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT, SHARED, Server, serving
from tests.pictures import drawn, encoded

#: the library in a warm process, with as many threads as the worker has
LIBRARY = """
import sys, time, statistics, torch, cv2
from anonymizer import Anonymizer, Options
torch.set_num_threads(int(sys.argv[3])); cv2.setNumThreads(int(sys.argv[3]))
anonymizer, content = Anonymizer(), open(sys.argv[1], "rb").read()
for n in range(3): anonymizer.image(content, Options())
times = []
for line in sys.stdin:
    start = time.perf_counter(); anonymizer.image(content, Options()); print(time.perf_counter() - start, flush=True)
"""


def latency(server: Server, picture: Path, runs: int) -> None:
    """Time library and service alternately, so that a noisy machine disturbs both alike."""
    content = picture.read_bytes()
    threads = str(len(os.sched_getaffinity(0)))
    command = [sys.executable, "-c", LIBRARY, str(picture), "", threads]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as library:
        assert library.stdin is not None
        assert library.stdout is not None
        library_s, service_s, inside_s = [], [], []
        for _ in range(3):
            server.upload(content)
        for _ in range(runs):
            library.stdin.write("\n")
            library.stdin.flush()
            library_s.append(float(library.stdout.readline()))
            start = time.perf_counter()
            answer = server.upload(content)
            service_s.append(time.perf_counter() - start)
            assert answer.status_code == 201, answer.text
            inside_s.append(answer.json()["duration"])
        library.stdin.close()
    rows = [
        ("Anonymizer.image()", library_s),
        ("of the service: detection, redaction", inside_s),
        ("POST /v1/file", service_s),
    ]
    print(f"\n{picture.name}, median of {runs}\n")
    print("| | ms |\n|---|---|")
    for name, values in rows:
        print(f"| {name} | {statistics.median(values) * 1000:.0f} |")
    cost = [(service - alone) * 1000 for service, alone in zip(service_s, library_s, strict=True)]
    print(f"| cost of the service (median of the differences) | {statistics.median(cost):.0f} |")


def load(server: Server, uploads: int, clients: int) -> None:
    """Count the tasks of asynchronous uploads from several clients at the same time."""
    contents = [encoded(drawn(seed=n)) for n in range(uploads)]
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        ids = list(pool.map(lambda content: server.upload_async(content, "face=1"), contents))
    accepted = time.perf_counter() - started
    while any(
        server.get(f"/v1/task/list?status={each}&page_size=1").json()["count"] for each in ("queued", "processing")
    ):
        time.sleep(0.2)
    ended = time.perf_counter() - started
    tasks = [server.task(each) for each in ids]
    states = collections.Counter(each["status"] for each in tasks)
    # of the table, as no client is told how often a task was taken up
    with contextlib.closing(sqlite3.connect(server.folder / "db.sqlite3")) as database:
        twice = database.execute("SELECT count(*) FROM anonymizer_task WHERE leases > 1").fetchone()[0]
    print(f"\n{uploads} asynchronous uploads from {clients} clients\n")
    print("| | |\n|---|---|")
    print(f"| accepted | {len(set(ids))} in {accepted:.1f} s |")
    print(f"| ended | {dict(states)} after {ended:.1f} s |")
    print(f"| lost | {uploads - sum(states.values())} |")
    print(f"| run twice | {twice} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=SHARED / "data" / "images" / "portrait.jpg")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), ANONYMIZER_LEASE="30s") as server:
        latency(server, arguments.picture, arguments.runs)
        load(server, arguments.uploads, arguments.clients)


if __name__ == "__main__":
    main()
