"""Measure what the service costs beside the library, and whether it loses or doubles tasks under load.

    python -m benchmarks.service [--table latency|load|answers|large|small] [--picture FILE] [--runs 30] [--uploads 200]
                                 [--storage folders|s3]

It starts a service of its own and prints Markdown tables: milliseconds of one image in the library and in the service;
how many of many asynchronous uploads ended, were lost or ran twice; how long an asynchronous upload waits for its
answer while the workers are busy; and the memory of the processes over one large upload and over many small ones.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import http.client
import itertools
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests import s3
from tests.conftest import ROOT, SHARED, Server, serving
from tests.pictures import drawn, encoded
from tests.videos import moving_square

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


def answers(server: Server, requests_each: int, counts: tuple[int, ...] = (1, 8, 32)) -> None:
    """Time the answers to asynchronous uploads while the worker of images always has work."""
    stop, large = threading.Event(), encoded(drawn(2400, 1800), quality=85)

    def keep_busy() -> None:
        while not stop.is_set():
            server.until(server.upload_async(large, "format=auto"), "done", seconds=600)

    def one(content: bytes) -> tuple[float, int]:
        start = time.perf_counter()
        status = server.upload(content, "face=1", headers={"x-is-async": "true"}).status_code
        return (time.perf_counter() - start) * 1000, status

    print("\nAnswers to asynchronous uploads, the worker being busy\n")
    print("| clients | requests | p50 ms | p95 ms | p95 / p50 | other than 202 |\n|---|---|---|---|---|---|")
    busy = [threading.Thread(target=keep_busy) for _ in range(2)]
    for each in busy:
        each.start()
    try:
        for clients in counts:
            contents = [encoded(drawn(seed=n)) for n in range(max(requests_each, 4 * clients))]
            with concurrent.futures.ThreadPoolExecutor(clients) as pool:
                found = list(pool.map(one, contents))
            times = [time_ms for time_ms, _ in found]
            p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
            others = sum(status != 202 for _, status in found)
            print(f"| {clients} | {len(times)} | {p50:.0f} | {p95:.0f} | {p95 / p50:.1f} | {others} |", flush=True)
    finally:
        stop.set()
        for each in busy:
            each.join()


def processes(server: Server) -> dict[str, psutil.Process]:
    """The process that answers requests, and the workers of pictures and of videos."""
    children = psutil.Process(server.process.pid).children()
    (gunicorn,) = [each for each in children if "gunicorn" in each.cmdline()]
    workers = {f"worker of {queue}": psutil.Process(server.workers(queue)[0]) for queue in ("images", "videos")}
    return {"web": gunicorn.children()[0]} | workers


def megabytes(watched: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: process.memory_info().rss / 2**20 for name, process in watched.items()}


def large_upload(server: Server, folder: Path, gigabytes: float) -> None:
    """Upload a valid video, most of which is a box that players skip, and note the most memory meanwhile."""
    clip = moving_square(folder / "clip.mp4", seconds=0.4).read_bytes()
    padding = int(gigabytes * 2**30)
    box = (1).to_bytes(4, "big") + b"free" + (padding + 16).to_bytes(8, "big")
    watched = processes(server)
    before, most, stop = megabytes(watched), megabytes(watched), threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            for name, now in megabytes(watched).items():
                most[name] = max(most[name], now)

    boundary = "large"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="fileobject"; filename="a.mp4"\r\n\r\n'.encode()
    tail = f"\r\n--{boundary}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield head + clip + box
        part = bytes(2**20)
        for _ in range(padding // len(part)):
            yield part
        yield bytes(padding % len(part)) + tail

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=600)
    connection.request(
        "POST", "/v1/file?face=1&method=blacken", body(),
        {"Content-Type": f"multipart/form-data; boundary={boundary}", "x-is-async": "true",
         "Content-Length": str(len(head + clip + box + tail) + padding)},
    )  # fmt: skip
    response = connection.getresponse()
    status, content = response.status, response.read()
    connection.close()
    received_s = time.perf_counter() - began
    assert status == 202, content
    (task,) = server.get("/v1/task/list?kind=video").json()["results"]
    ended = server.until(task["id"], "done", "failed", seconds=900)
    stop.set()
    watcher.join()
    print(f"\nA video of {gigabytes:g} GB: received in {received_s:.0f} s, {ended['status']}\n")
    print("| process | MB before | most | after |\n|---|---|---|---|")
    for name, after in megabytes(watched).items():
        print(f"| {name} | {before[name]:.0f} | {most[name]:.0f} | {after:.0f} |")


def many_pictures(server: Server, count: int) -> None:
    """Note the memory after every hundred pictures."""
    watched = processes(server)
    watched.pop("worker of videos")
    print(f"\n{count} small pictures\n")
    print("| pictures | " + " | ".join(f"{name}, MB" for name in watched) + " |\n" + "|---" * (1 + len(watched)) + "|")
    contents = [encoded(drawn(seed=n)) for n in range(100)]
    for done in itertools.count(0, len(contents)):
        print(f"| {done} | " + " | ".join(f"{now:.0f}" for now in megabytes(watched).values()) + " |", flush=True)
        if done >= count:
            break
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ids = list(pool.map(lambda content: server.upload_async(content, "face=1"), contents))
        server.until(ids[-1], "done", "failed", seconds=600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=SHARED / "data" / "images" / "portrait.jpg")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of the large upload")
    parser.add_argument("--pictures", type=int, default=1000, help="of the table of memory")
    parser.add_argument("--table", choices=("latency", "load", "answers", "large", "small"), action="append")
    parser.add_argument("--storage", choices=("folders", "s3"), default="folders", help="s3: moto's server")
    arguments = parser.parse_args()
    tables = arguments.table or ["latency", "load", "answers", "large", "small"]
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        far = {}
        if arguments.storage == "s3":
            far = s3.KEYS | {"STORAGE_URL": stack.enter_context(s3.running()).storage_url()}
        server = stack.enter_context(serving(Path(name), ANONYMIZER_LEASE="30s", **far))
        if "latency" in tables:
            latency(server, arguments.picture, arguments.runs)
        if "load" in tables:
            load(server, arguments.uploads, arguments.clients)
        if "answers" in tables:
            answers(server, arguments.uploads)
        if "large" in tables:
            large_upload(server, Path(name), arguments.gigabytes)
        if "small" in tables:
            many_pictures(server, arguments.pictures)


if __name__ == "__main__":
    main()
