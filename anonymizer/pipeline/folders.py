"""Whole folders: every image and video below one folder, with results at the same places below another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.errors import AnonymizerError, NotFullyAnalysed
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.pipeline.options.options import Method, Options

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoProgress, VideoResult

__all__ = ["Job", "NotFullyAnalysed", "OnProgress", "Outcome", "State", "list_jobs", "run_jobs"]

#: A file with one of these endings should be an image or a video. If it is neither, it fails; it is not passed over.
MEDIA_ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .heic .heif .avif .gif "
    ".mp4 .m4v .mov .mkv .webm .avi .m2ts .m2t .3gp .3g2 .wmv .asf .flv .f4v "
    ".mpg .mpeg .vob .mxf .ogv .divx .dv".split()
)
#: these are endings of programs too: text with such an ending is no video
PROGRAM_ENDINGS = frozenset((".ts", ".mts"))
#: the endings that the result of a video may get if its own container cannot be written
OTHER_ENDINGS = (".mp4", ".mkv")


class State(StrEnum):
    """How a job ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One image or video and the path of its result; the result of a video may get another ending appended."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one job ended.

    Attributes:
        detail: why it failed or was skipped, as a sentence.
        counts: by object type, how many objects were redacted.
        warnings: what a user should know about the analysis of the file.
        output: the file with the result; None if there is none.
        seconds: how long the job took.
    """

    job: Job
    state: State
    detail: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    output: Path | None = None
    seconds: float = 0.0


#: is called with a folder that was not searched, and the reason as a sentence
OnUnsearched = Callable[[Path, str], None]
#: is called with a job and the progress within its video
OnProgress = Callable[[Job, "VideoProgress"], None]


def list_jobs(source: Path, target: Path, *, on_unsearched: OnUnsearched | None = None) -> tuple[list[Job], int]:
    """List the images and videos of a folder and its sub-folders, and count the other files.

    Hidden files, files in hidden folders, and what is no regular file (a FIFO, a device) are counted as other files.

    Args:
        source: a folder, or one file.
        target: a folder. Sub-folders of the source are kept below it. Files in it are never taken as input.
        on_unsearched: is called for each sub-folder that cannot be read or is a link; default: an error.

    Returns:
        The jobs in the order of their names, and the number of files that are neither images nor videos.

    Raises:
        ValueError: the target is the source or holds it, so that results could replace originals.
        OSError: a folder cannot be read or is a link, and there is no `on_unsearched`.
    """
    unsearched = on_unsearched or _refuse_folder
    if source.is_file():
        if (target / source.name).resolve() == source.resolve():
            raise ValueError("the output folder is where the input lies: results would replace originals")
        return [Job(source, target / source.name)], 0
    if source.resolve() == target.resolve():
        raise ValueError("the output folder is the input folder: results would replace originals")
    if source.resolve().is_relative_to(target.resolve()):
        raise ValueError("the output folder holds the input folder: results could replace originals")
    found, others = [], 0
    for folder, sub_folders, names in os.walk(source, onerror=lambda error: _tell_unreadable(error, unsearched)):
        sub_folders[:] = sorted(name for name in sub_folders if (Path(folder) / name).resolve() != target.resolve())
        for link in (Path(folder) / name for name in sub_folders):
            if link.is_symlink():
                # os.walk does not follow it: it may lead back to where it lies
                unsearched(link, "The folder is a link, which is not followed.")
        for name in sorted(names):
            file = Path(folder) / name
            if not _is_hidden(file.relative_to(source)) and _is_media(file):
                found.append(Job(file, target / file.relative_to(source)))
            else:
                others += 1
    return found, others


def _refuse_folder(folder: Path, reason: str) -> None:
    raise OSError(f"{folder}: {reason}")


def _tell_unreadable(error: OSError, unsearched: OnUnsearched) -> None:
    unsearched(Path(error.filename), f"The folder cannot be read: {error.strerror}.")


def _is_hidden(relative: Path) -> bool:
    """Whether a file or one of its folders is hidden, as the AppleDouble files of macOS (`._IMG_1.jpg`) are."""
    return any(part.startswith(".") for part in relative.parts)


def _is_media(file: Path) -> bool:
    ending = file.suffix.lower()
    try:
        # before it is opened: opening a FIFO waits for a writer
        if not stat.S_ISREG(file.stat().st_mode):
            return False
        if ending in PROGRAM_ENDINGS:
            with file.open("rb") as opened:
                if b"\0" in opened.read(HEAD_BYTES):
                    return True
        if ending not in MEDIA_ENDINGS:
            _media_info(file)
    except AnonymizerError:
        return False
    except OSError:
        # a broken link or a file without the right to read it: it fails as a job, which names it
        return ending in MEDIA_ENDINGS | PROGRAM_ENDINGS
    return True


def run_jobs(
    jobs: Iterable[Job],
    options: Options,
    *,
    workers: int = 1,
    overwrite: bool = False,
    strict: bool = False,
    make_anonymizer: Callable[[], Anonymizer] = Anonymizer,
    on_progress: OnProgress | None = None,
) -> Iterator[Outcome]:
    """Process every job, and yield its outcome as soon as it ends. A failed job does not end the others.

    Args:
        jobs: the files and the paths of their results.
        options: what to detect and how to redact it.
        workers: number of processes. They share the cores.
        overwrite: process files again that already have a result.
        strict: a file that is not fully analysed fails and gets no result; also if `strict` of the options is set.
        make_anonymizer: is called once in each process; it must be picklable if there are several.
        on_progress: is called with the progress within a video, if there is one process only.
    """
    runner = _JobRunner(replace(options, strict=options.strict or strict), overwrite=overwrite)
    if workers == 1:
        anonymizer = make_anonymizer()
        for job in jobs:
            yield runner.run(anonymizer, job, on_progress)
        return
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (make_anonymizer, threads)) as pool:
        waiting = iter(jobs)
        running: set[Future[Outcome]] = set()
        try:
            while True:
                running |= {
                    pool.submit(_run_in_worker, runner, job) for job in islice(waiting, 2 * workers - len(running))
                }
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_worker_anonymizer: Anonymizer | None = None
_interrupted = False


def _start_worker(make_anonymizer: Callable[[], Anonymizer], threads: int) -> None:
    global _worker_anonymizer
    import cv2
    import torch

    # Ctrl-C reaches every process of the terminal: one that has no job must not answer with a traceback
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _worker_anonymizer = make_anonymizer()


def _run_in_worker(runner: _JobRunner, job: Job) -> Outcome:
    global _interrupted
    assert _worker_anonymizer is not None
    if _interrupted:
        raise KeyboardInterrupt
    try:
        # during a job, Ctrl-C ends the job, so that its temporary files are removed
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return runner.run(_worker_anonymizer, job)
    except KeyboardInterrupt:
        _interrupted = True
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _JobRunner:
    """What is done with every job."""

    def __init__(self, options: Options, *, overwrite: bool) -> None:
        self.options = options
        self.overwrite = overwrite

    def run(self, anonymizer: Anonymizer, job: Job, on_progress: OnProgress | None = None) -> Outcome:
        started = time.perf_counter()
        try:
            outcome = self._process(anonymizer, job, on_progress)
        except NotFullyAnalysed as error:
            outcome = Outcome(job, State.FAILED, str(error), warnings=error.warnings)
        except (AnonymizerError, OSError) as error:
            outcome = Outcome(job, State.FAILED, str(error))
        except Exception as error:
            # the outer edge of one file: the others go on, and this one has no result
            outcome = Outcome(job, State.FAILED, f"{type(error).__name__}: {error}")
        return replace(outcome, seconds=time.perf_counter() - started)

    def _process(self, anonymizer: Anonymizer, job: Job, on_progress: OnProgress | None) -> Outcome:
        kind = _media_info(job.source).kind
        if not self.overwrite and (existing := self._existing_result(job, kind)):
            return Outcome(job, State.SKIPPED, "It already has a result.", output=existing)
        if kind is MediaKind.VIDEO:
            return self._process_video(anonymizer, job, on_progress)
        return self._process_image(anonymizer, job)

    def _existing_result(self, job: Job, kind: MediaKind) -> Path | None:
        """The file that shows that there is a result."""
        if self.options.method is Method.DETECT:
            candidates = [_append(job.target, ".json")]
        else:
            others = OTHER_ENDINGS if kind is MediaKind.VIDEO else ()
            candidates = [job.target, *(_append(job.target, ending) for ending in others)]
        return next((path for path in candidates if path.exists()), None)

    def _process_image(self, anonymizer: Anonymizer, job: Job) -> Outcome:
        result = anonymizer.image(job.source, self.options)
        result.save_extras(job.target.parent, job.target.name)
        if self.options.method is Method.DETECT:
            output = _append(job.target, ".json")
        else:
            # last, as it shows that there is a result; the ending of the name may be wrong
            result.save(job.target, any_ending=True)
            output = job.target
        return Outcome(job, State.DONE, counts=result.counts, warnings=result.warnings, output=output)

    def _process_video(self, anonymizer: Anonymizer, job: Job, on_progress: OnProgress | None) -> Outcome:
        output = _append(job.target, ".json")
        job.target.parent.mkdir(parents=True, exist_ok=True)
        # on the same disk: each file appears complete or not at all
        with tempfile.TemporaryDirectory(prefix=".anonymizer-", dir=job.target.parent) as folder:
            result = anonymizer.video(
                # FFmpeg takes the colon in a relative path for the end of a protocol's name
                job.source.absolute(),
                folder,
                self.options,
                name=job.source.name,
                progress=None if on_progress is None else lambda progress: on_progress(job, progress),
            )
            for made, ending in (
                (result.binary_mask, ".binary-mask.mkv"),
                (result.instance_mask, ".instance-mask.mkv"),
                (result.metadata, ".json"),
            ):
                if made is not None:
                    made.replace(_append(job.target, ending))
            if result.anonymised is not None:
                # last, as it shows that there is a result
                output = result.anonymised.replace(_video_target(job, result))
        return Outcome(job, State.DONE, counts=result.counts, warnings=result.warnings, output=output)


def _media_info(file: Path) -> MediaInfo:
    with file.open("rb") as opened:
        return sniff(opened.read(HEAD_BYTES))


def _append(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _video_target(job: Job, result: VideoResult) -> Path:
    """The path of a video's result: with another ending if its container is another one."""
    if _media_info(job.source).format == result.info.format:
        return job.target
    ending = result.info.extension
    if _append(job.source, ending).exists():
        raise FileExistsError(f"its result would have the name of another one's: {job.target.name}{ending}")
    return _append(job.target, ending)
