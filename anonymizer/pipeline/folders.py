"""Whole folders: every image and video below one folder, with results at the same places below another."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.errors import NotFullyAnalysed
from anonymizer.pipeline.files.walk import OnLeftAlone, OnUnsearched
from anonymizer.pipeline.files.whole import remove_leftovers
from anonymizer.pipeline.jobs.job import Job, OnProgress, Outcome, State
from anonymizer.pipeline.jobs.listing import list_jobs, refuse_originals
from anonymizer.pipeline.jobs.processing import JobRunner
from anonymizer.pipeline.jobs.workers import NoWorker, WorkerPool
from anonymizer.pipeline.options.options import Options

__all__ = [
    "Job",
    "NoWorker",
    "NotFullyAnalysed",
    "OnLeftAlone",
    "OnProgress",
    "OnUnsearched",
    "Outcome",
    "State",
    "list_jobs",
    "refuse_originals",
    "run_jobs",
]


def run_jobs(
    jobs: Iterable[Job],
    options: Options,
    *,
    workers: int = 0,
    overwrite: bool = False,
    strict: bool = False,
    make_anonymizer: Callable[[], Anonymizer] = Anonymizer,
    on_progress: OnProgress | None = None,
) -> Generator[Outcome, None, None]:
    """Process every job, and yield its outcome as soon as it ends. A failed job does not end the others.

    First it removes temporary files that a killed run left in the folders of the results. When the generator is closed,
    or an exception ends it, the worker processes end too: within five seconds, and without leaving anything.

    Args:
        jobs: the files and the paths of their results.
        options: what to detect and how to redact it.
        workers: number of processes. They share the cores. If one of them dies, the file that it worked on has failed,
            and another process takes its place. With 0, this process works, and a crash ends it.
        overwrite: process files again that already have a result.
        strict: a file that is not fully analysed fails and gets no result; also if `strict` of the options is set.
        make_anonymizer: is called once in each process; it must be picklable if there are `workers`.
        on_progress: is called with the progress within a video, if one process works.

    Raises:
        NoWorker: no worker process can be started.
    """
    runner = JobRunner(replace(options, strict=options.strict or strict), overwrite=overwrite)
    jobs = list(jobs)
    remove_leftovers(job.target.parent for job in jobs)
    places = {job.target for job in jobs}
    ready = []
    for job in jobs:
        taken = next((place for place in runner.mask_places(job) if place in places), None)
        if taken is None:
            ready.append(job)
        else:
            detail = f"Its mask would have the name of another one's result: {taken.name}."
            yield Outcome(job, State.FAILED, detail)
    if workers == 0:
        anonymizer = make_anonymizer()
        for job in ready:
            yield runner.run(anonymizer, job, on_progress)
        return
    threads = None if workers == 1 else max(1, len(os.sched_getaffinity(0)) // workers)
    pool = WorkerPool(workers, make_anonymizer, runner, threads=threads)
    yield from pool.outcomes(ready, on_progress if workers == 1 else None)
