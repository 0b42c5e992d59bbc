"""Measure what Ray costs beside the local command, and what is lost when a node and the driver die.

    python -m benchmarks.bulk [--pictures 2000] [--side 480] [--killed 2000] [--folder FOLDER]

It makes small copies of real pictures and anonymises them three times with as many processes of one thread each: with
worker processes of this machine, on a Ray cluster of two nodes of this machine, and on such a cluster that loses a node
in the middle and its driver after three quarters, after which a second run does the rest. It prints Markdown tables:
seconds of the clock and of the processors (which a busy machine changes less), and whether the results are equal byte
for byte. `--listing N` measures the memory of the driver for a listing of N files instead.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from anonymizer import Anonymizer, Options
from anonymizer.bulk import BulkSummary, anonymise
from anonymizer.bulk.local_cluster import LocalCluster
from anonymizer.pipeline.folders import list_jobs, run_jobs
from tests.conftest import SHARED

#: the noise of both ways is made from it
KEY = b"a secret for the noise of a benchmark"
NODES = 2


class Clock:
    """Seconds of the clock, and of the processors over this process and all that it started.

    Processes that end in between count with what they had used at the last look, twice a second.
    """

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self._used: dict[tuple[int, float], float] = {}
        self._stop = threading.Event()

    def look(self) -> float:
        here = psutil.Process()
        for process in (here, *here.children(recursive=True)):
            try:
                times = process.cpu_times()
                self._used[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                continue
        return sum(self._used.values())

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.look()


@contextmanager
def clock() -> Iterator[Clock]:
    made = Clock()
    started, before = time.perf_counter(), made.look()
    threading.Thread(target=made._watch, daemon=True).start()
    try:
        yield made
    finally:
        made._stop.set()
        made.wall_s, made.cpu_s = time.perf_counter() - started, made.look() - before


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Small copies of real pictures, each file another one: the quality differs where a picture comes again."""
    folder.mkdir()
    found = sorted(path for path in (SHARED / "data" / "val").rglob("*.*") if path.suffix in (".jpg", ".webp"))
    sources = found[:: max(1, len(found) // count)]
    assert sources, "there are no pictures"
    for number, source in zip(range(count), itertools.cycle(sources), strict=False):
        with Image.open(source) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((side, side))
        picture.save(folder / f"{number:05d}.jpg", quality=80 + number // len(sources))


def differences(first: Path, second: Path) -> list[str]:
    """The names of pictures of the second folder that are not the same bytes in the first one, or are not in it."""
    names = {path.name for path in second.glob("*.jpg")}
    return sorted(name for name in names if _bytes(first / name) != _bytes(second / name))


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def run_local(source: Path, target: Path) -> None:
    make = partial(Anonymizer, noise_key=KEY)
    outcomes = run_jobs(list_jobs(source, target)[0], Options(), workers=NODES, make_anonymizer=make)
    for number, outcome in enumerate(outcomes):
        assert outcome.state == "done", outcome
        show(number + 1)


def show(done: int) -> None:
    if done % 100 < 16:
        print(f"\r{done} ", end="", file=sys.stderr, flush=True)


def race(source: Path, folder: Path, count: int) -> None:
    with clock() as local:
        run_local(source, folder / "local")
    with LocalCluster(NODES), clock() as bulk:
        summary = anonymise(
            source, output=folder / "bulk", noise_key=KEY, on_rows=lambda _, summary: show(summary.processed)
        )
    assert (summary.done, summary.failed) == (count, 0), summary
    print(f"\n{count} pictures, {NODES} processes of one thread, load {os.getloadavg()[0]:.0f}:\n")
    print("| | seconds | pictures/s | processor seconds | a picture |\n|---|---|---|---|---|")
    for name, took in (("local", local), ("Ray", bulk)):
        each = took.cpu_s / count * 1000
        print(f"| {name} | {took.wall_s:.0f} | {count / took.wall_s:.1f} | {took.cpu_s:.0f} | {each:.1f} ms |")
    print(f"| overhead | {bulk.wall_s / local.wall_s - 1:+.1%} | | {bulk.cpu_s / local.cpu_s - 1:+.1%} | |")
    print(
        f"\nPictures that are not equal byte for byte: {len(differences(folder / 'local', folder / 'bulk'))}",
        flush=True,
    )


def break_and_resume(source: Path, folder: Path, count: int) -> None:
    """Kill a node in the middle and stop the driver after three quarters, then go on."""
    seen: list[str] = []
    target, killed = folder / "killed", False
    with LocalCluster(NODES) as cluster:

        def on_rows(rows: Any, summary: BulkSummary) -> None:
            nonlocal killed
            seen.extend(rows["input"].to_pylist())
            show(len(seen))
            if not killed and len(seen) >= count // 2:
                killed = True
                cluster.kill_node()
            if len(seen) >= count * 3 // 4:
                raise KeyboardInterrupt

        try:
            anonymise(source, output=target, noise_key=KEY, on_rows=on_rows)
        except KeyboardInterrupt:
            print(f"\nA node was killed after {count // 2} pictures, the run was stopped after {len(seen)}.")
    before = len(seen)
    with LocalCluster(NODES):
        rest = anonymise(
            source, output=target, noise_key=KEY, on_rows=lambda rows, _: seen.extend(rows["input"].to_pylist())
        )
    print(f"The second run skipped {rest.skipped}, did {rest.done} of {count - before} left, failed {rest.failed}.")
    print(f"Files with a row: {len(set(seen))} of {count}; with more than one: {len(seen) - len(set(seen))}.")
    if count <= len(list((folder / "local").glob("*.jpg"))):
        print(f"Pictures that differ from the local ones: {len(differences(folder / 'local', target))}")


def measure_listing(count: int) -> None:
    import pyarrow as pa

    from anonymizer.bulk.listing import without_done

    process = psutil.Process()
    before = process.memory_info().rss
    names = pa.array([f"2026/07/drive-{number // 1000:06d}/camera-3/{number:012d}.jpg" for number in range(count)])
    table = pa.table([names, pa.array(range(count), pa.int64())], names=["input", "size"])
    started = time.perf_counter()
    left = without_done(table, table.slice(0, count // 2))
    took = time.perf_counter() - started
    peak = (process.memory_info().rss - before) / count
    print(f"{count} files: {peak:.0f} bytes a file in memory, {took:.1f} s to leave out what is done, {len(left)} left")


def measure_cost(count: int) -> None:
    import cv2
    import torch

    from anonymizer.examples import samples
    from anonymizer.pipeline.images.io import load_image

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    anonymizer = Anonymizer(noise_key=KEY)
    networks = Timed(anonymizer)
    streets = [path for path in samples.pictures(SHARED / "data", 400) if "dashcam" in str(path)][:count]
    print("| picture | options | processor seconds | of that in networks | MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for street, (words, options) in itertools.product(streets, CHOICES.items()):
            pixels = load_image(street)
            scale = (24e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
            large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            source = Path(folder, "street.jpg")
            Image.fromarray(large).save(source, quality=92)
            # the first one of a size prepares the networks for it
            for _ in range(2):
                networks.seconds, started = 0.0, time.process_time()
                anonymizer.image(source, options).save(Path(folder, "result.jpg"))
                took = time.process_time() - started
            print(
                f"| {street.name} | {words} | {took:.2f} | {networks.seconds:.2f} | {source.stat().st_size / 1e6:.1f} |"
            )


CHOICES = {"faces and plates": Options(face=True, license_plate=True), "all types": Options()}


class Timed:
    """Adds up the processor seconds in the networks of an anonymizer."""

    def __init__(self, anonymizer: Anonymizer) -> None:
        self.seconds = 0.0
        for detector in anonymizer.store.detectors(tuple(anonymizer.store.serves())):
            object.__setattr__(detector, "detect", self._timed(detector.detect))

    def _timed(self, work: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - started

        return timed


def _first_pictures(all_of_them: Path, some: Path, given: argparse.Namespace) -> None:
    """So many of the pictures that were anonymised before, so that the results can be compared; else new ones."""
    if given.killed > given.pictures:
        make_pictures(some, given.killed, given.side)
        return
    some.mkdir()
    for path in sorted(all_of_them.iterdir())[: given.killed]:
        os.link(path, some / path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=480, help="pixels of the longer side")
    parser.add_argument("--killed", type=int, default=2000, help="pictures of the run that is broken; 0: none")
    parser.add_argument("--listing", type=int, metavar="N")
    parser.add_argument("--cost", type=int, metavar="N")
    parser.add_argument("--folder", type=Path, help="where files are kept; default: a temporary folder")
    given = parser.parse_args()
    if given.listing:
        measure_listing(given.listing)
        return
    if given.cost:
        measure_cost(given.cost)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if given.pictures:
            make_pictures(folder / "in", given.pictures, given.side)
            race(folder / "in", folder, given.pictures)
        if given.killed:
            source = folder / "in"
            if given.killed != given.pictures:
                source = folder / "in-killed"
                _first_pictures(folder / "in", source, given)
            break_and_resume(source, folder, given.killed)


if __name__ == "__main__":
    main()
