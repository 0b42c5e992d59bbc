"""Whole folders: every picture below one, into the same places below another."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.errors import AnonymizerError, UnsupportedMedia
from anonymizer.pipeline.image_io import MediaKind, sniff
from anonymizer.pipeline.options import Method, Options

__all__ = ["Job", "Outcome", "State", "jobs", "run"]

#: with these endings a file is meant to be a picture: one that is none is a failure, not passed over
PICTURE_ENDINGS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .heic .heif .avif .gif".split())


class State(StrEnum):
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One picture and where its result goes."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job."""

    job: Job
    state: State
    detail: str = ""
    counts: dict[str, int] = field(default_factory=dict)


def jobs(source: Path, target: Path) -> tuple[list[Job], int]:
    """The pictures (and videos) of a folder and its sub-folders, and how many other files there are.

    Args:
        source: a folder, or one picture.
        target: a folder; sub-folders are kept. What lies in it is never taken as input.

    Raises:
        ValueError: the target is the source, so that results would replace originals.
    """
    if source.is_file():
        if (target / source.name).resolve() == source.resolve():
            raise ValueError("the output folder is where the input lies: results would replace originals")
        return [Job(source, target / source.name)], 0
    if source.resolve() == target.resolve():
        raise ValueError("the output folder is the input folder: results would replace originals")
    found, others = [], 0
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(each for each in folders if (Path(folder) / each).resolve() != target.resolve())
        for name in sorted(names):
            file = Path(folder) / name
            if _is_meant(file):
                found.append(Job(file, target / file.relative_to(source)))
            else:
                others += 1
    return found, others


def _is_meant(file: Path) -> bool:
    if file.suffix.lower() in PICTURE_ENDINGS:
        return True
    try:
        with file.open("rb") as opened:
            sniff(opened.read(4096))
    except (AnonymizerError, OSError):
        return False
    return True


def run(
    todo: list[Job],
    options: Options,
    *,
    workers: int = 1,
    overwrite: bool = False,
    make: Callable[[], Anonymizer] = Anonymizer,
) -> Iterator[Outcome]:
    """Work on every job; outcomes come as they are reached, a failure ends no other job.

    Args:
        workers: processes; the cores are divided among them.
        overwrite: redo what has a result.
        make: called once in each worker.
    """
    if workers == 1:
        anonymizer = make()
        for job in todo:
            yield _one(anonymizer, job, options, overwrite=overwrite)
        return
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (make, threads)) as pool:
        waiting = iter(todo)
        running: dict[Future[Outcome], Job] = {}
        while True:
            for job in islice(waiting, 2 * workers - len(running)):
                running[pool.submit(_in_worker, job, options, overwrite=overwrite)] = job
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                yield future.result()


_mine: Anonymizer | None = None


def _start(make: Callable[[], Anonymizer], threads: int) -> None:
    global _mine
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _mine = make()


def _in_worker(job: Job, options: Options, *, overwrite: bool) -> Outcome:
    assert _mine is not None
    return _one(_mine, job, options, overwrite=overwrite)


def _one(anonymizer: Anonymizer, job: Job, options: Options, *, overwrite: bool) -> Outcome:
    mark = job.target if options.method is not Method.DETECT else job.target.with_name(f"{job.target.name}.json")
    if mark.exists() and not overwrite:
        return Outcome(job, State.SKIPPED, "has a result")
    try:
        with job.source.open("rb") as opened:
            info = sniff(opened.read(4096))
        if info.kind is MediaKind.VIDEO:
            raise UnsupportedMedia(f"The file is a video ({info.format}); only images are supported.")
        result = anonymizer.image(job.source, options)
        result.save_extras(job.target.parent, job.target.name)
        if options.method is not Method.DETECT:
            # last, and by its bytes: the ending may be another than what the file is
            result.save(job.target, any_ending=True)
    except (AnonymizerError, OSError) as error:
        return Outcome(job, State.FAILED, str(error))
    except Exception as error:
        # the outer edge of one picture: the others go on, and this one has no result
        return Outcome(job, State.FAILED, f"{type(error).__name__}: {error}")
    return Outcome(job, State.DONE, counts=result.counts)
