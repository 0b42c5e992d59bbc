"""Whole folders: every picture and video below one, into the same places below another."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaKind, sniff
from anonymizer.pipeline.options.options import Method, Options

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoProgress, VideoResult

__all__ = ["Job", "Outcome", "Shown", "State", "jobs", "run"]

#: With these endings a file is meant to be a picture or a video: one that is none is a failure, not passed over.
#: `.ts` and `.mts` are endings of programs too: such videos are known by their bytes.
MEANT_ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .heic .heif .avif .gif "
    ".mp4 .m4v .mov .mkv .webm .avi .m2ts".split()
)
#: what a video's result may be where its own container is not written
OTHER_ENDINGS = (".mp4", ".mkv")


class State(StrEnum):
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One picture or video and where its result goes; a video's may get an ending appended to its name."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job."""

    job: Job
    state: State
    detail: str = ""
    counts: dict[str, int] = field(default_factory=dict)


#: is told how far the video of a job is
Shown = Callable[[Job, "VideoProgress"], None]


def jobs(source: Path, target: Path) -> tuple[list[Job], int]:
    """The pictures and videos of a folder and its sub-folders, and how many other files there are.

    Args:
        source: a folder, or one file.
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
    if file.suffix.lower() in MEANT_ENDINGS:
        return True
    try:
        with file.open("rb") as opened:
            sniff(opened.read(HEAD_BYTES))
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
    shown: Shown | None = None,
) -> Iterator[Outcome]:
    """Work on every job; outcomes come as they are reached, a failure ends no other job.

    Args:
        workers: processes; the cores are divided among them.
        overwrite: redo what has a result.
        make: called once in each worker.
        shown: told of the progress within a video, where there is one worker only.
    """
    if workers == 1:
        anonymizer = make()
        for job in todo:
            yield _one(anonymizer, job, options, overwrite=overwrite, shown=shown)
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


def _one(anonymizer: Anonymizer, job: Job, options: Options, *, overwrite: bool, shown: Shown | None = None) -> Outcome:
    try:
        with job.source.open("rb") as opened:
            kind = sniff(opened.read(HEAD_BYTES)).kind
        if not overwrite and any(each.exists() for each in _marks(job, kind, options)):
            return Outcome(job, State.SKIPPED, "has a result")
        if kind is MediaKind.VIDEO:
            counts = _video(anonymizer, job, options, shown)
        else:
            counts = _image(anonymizer, job, options)
    except (AnonymizerError, OSError) as error:
        return Outcome(job, State.FAILED, str(error))
    except Exception as error:
        # the outer edge of one file: the others go on, and this one has no result
        return Outcome(job, State.FAILED, f"{type(error).__name__}: {error}")
    return Outcome(job, State.DONE, counts=counts)


def _marks(job: Job, kind: MediaKind, options: Options) -> list[Path]:
    """The files any of which shows that there is a result."""
    if options.method is Method.DETECT:
        return [_beside(job.target, ".json")]
    others = OTHER_ENDINGS if kind is MediaKind.VIDEO else ()
    return [job.target, *(_beside(job.target, each) for each in others)]


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _image(anonymizer: Anonymizer, job: Job, options: Options) -> dict[str, int]:
    result = anonymizer.image(job.source, options)
    result.save_extras(job.target.parent, job.target.name)
    if options.method is not Method.DETECT:
        # last, and by its bytes: the ending may be another than what the file is
        result.save(job.target, any_ending=True)
    return result.counts


def _video(anonymizer: Anonymizer, job: Job, options: Options, shown: Shown | None) -> dict[str, int]:
    target = job.target
    target.parent.mkdir(parents=True, exist_ok=True)
    # on the same disk: each file appears whole or not at all
    with tempfile.TemporaryDirectory(prefix=".anonymizer-", dir=target.parent) as folder:
        result = anonymizer.video(
            job.source,
            folder,
            options,
            name=job.source.name,
            progress=None if shown is None else lambda progress: shown(job, progress),
        )
        for made, ending in (
            (result.binary_mask, ".binary-mask.mkv"),
            (result.instance_mask, ".instance-mask.mkv"),
            (result.metadata, ".json"),
        ):
            if made is not None:
                made.replace(_beside(target, ending))
        if result.anonymised is not None:
            # last: it is what shows that there is a result
            result.anonymised.replace(_place(job, result))
    return result.counts


def _place(job: Job, result: VideoResult) -> Path:
    with job.source.open("rb") as opened:
        if sniff(opened.read(HEAD_BYTES)).format == result.info.format:
            return job.target
    ending = result.info.extension
    if _beside(job.source, ending).exists():
        raise FileExistsError(f"its result would have the name of another one's: {job.target.name}{ending}")
    return _beside(job.target, ending)
