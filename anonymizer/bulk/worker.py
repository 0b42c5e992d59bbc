"""What an actor does: it holds the models, reads originals, and writes their results."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from anonymizer.bulk.attempts import MOST_ATTEMPTS
from anonymizer.bulk.manifest import rows_table
from anonymizer.bulk.places import Place
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.jobs.job import Job, Outcome, State
from anonymizer.pipeline.jobs.processing import JobRunner
from anonymizer.pipeline.jobs.workers import set_threads
from anonymizer.pipeline.options.options import Options

__all__ = ["FileWorker", "WorkerSetup"]


@dataclass(frozen=True)
class WorkerSetup:
    """What every actor is given.

    Attributes:
        source, target: the places of originals and of results.
        options: what to detect and how to redact it.
        make_anonymizer: is called once in each actor.
        threads: of each actor.
        together: the most images that go through the detectors together.
        ledger: the actor that counts attempts.
    """

    source: Place
    target: Place
    options: Options
    make_anonymizer: Callable[[], Anonymizer]
    threads: int
    together: int
    ledger: Any


class FileWorker:
    """The class of the actors: Ray Data makes one object in each, and calls it with batches of names.

    Args:
        setup: what to do.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        # waiting threads of torch sleep, as in the local command
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        set_threads(setup.threads)
        self._setup = setup
        self._anonymizer = setup.make_anonymizer()
        # the manifest has decided what is done: what is here is made again
        self._runner = JobRunner(setup.options, overwrite=True)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Process a batch.

        Args:
            batch: with a column `input`, the names of files.

        Returns:
            The rows of the manifest, in the same order.
        """
        import ray

        ledger, names = self._setup.ledger, batch["input"].to_pylist()
        if self._setup.together > 1 and not any(ray.get(ledger.begun.remote(names))):
            ray.get(ledger.begin.remote(names))
            rows = self._process(names)
            ledger.end.remote(names)
            return rows_table(rows)
        # one at a time: if a process died with this batch before, the file that is to blame is found
        rows = []
        for name in names:
            (before,) = ray.get(ledger.begin.remote([name]))
            rows += [_refused(name, before)] if before >= MOST_ATTEMPTS else self._process([name])
            ledger.end.remote([name])
        return rows_table(rows)

    def _process(self, names: Sequence[str]) -> list[dict[str, object]]:
        """The rows of some files. A failure is a row too."""
        rows: dict[str, dict[str, object]] = {}
        jobs: dict[str, Job] = {}
        with tempfile.TemporaryDirectory(prefix="anonymizer-") as folder:
            for number, name in enumerate(names):
                rows[name] = {"input": name}
                try:
                    job = self._job(name, Path(folder, str(number)))
                    found = FileSum.of_file(job.source)
                except OSError as error:
                    rows[name] |= _failed(error)
                else:
                    rows[name] |= {"size": found.size, "sum": found.sha256}
                    jobs[name] = job
            for name, outcome in zip(jobs, self._outcomes([*jobs.values()]), strict=True):
                try:
                    rows[name] |= self._finished(name, outcome)
                except OSError as error:
                    rows[name] |= _failed(error)
        return list(rows.values())

    def _outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        if len(jobs) > 1:
            return self._runner.run_together(self._anonymizer, jobs, batch_size=self._setup.together)
        return (self._runner.run(self._anonymizer, job) for job in jobs)

    def _job(self, name: str, folder: Path) -> Job:
        """The original on a disk of this machine, and the path of its result there.

        Raises:
            OSError: the original cannot be copied.
        """
        source, target, file = self._setup.source.local, self._setup.target.local, PurePosixPath(name).name
        original = folder / "in" / file if source is None else source / name
        if source is None:
            original.parent.mkdir(parents=True)
            self._setup.source.fetch(name, original)
        return Job(original, folder / "out" / file if target is None else target / name)

    def _finished(self, name: str, outcome: Outcome) -> dict[str, object]:
        """The part of the row that tells of the work. Results of another place are brought there before.

        Raises:
            OSError: they cannot be written.
        """
        local, output = self._setup.target.local, outcome.output
        if output is None:
            return _row(outcome, None)
        return _row(outcome, self._deliver(name, output) if local is None else output.relative_to(local).as_posix())

    def _deliver(self, name: str, output: Path) -> str:
        """Upload all files of a result, that which shows that there is one last; returns its name.

        Raises:
            FileExistsError: an original has the name of the result.
            OSError: a file cannot be written.
        """
        parent = PurePosixPath(name).parent
        made = str(parent / output.name)
        if output.name != PurePosixPath(name).name and self._setup.source.has(made):
            raise FileExistsError(f"its result would have the name of another one's: {output.name}")
        for file in sorted(output.parent.iterdir(), key=lambda file: file == output):
            self._setup.target.deliver(file, str(parent / file.name))
        return made


def _refused(name: str, before: int) -> dict[str, object]:
    sentence = f"The process that worked on it died {before} times, perhaps because memory ran out."
    return {"input": name, "error": sentence, "seconds": 0.0}


def _failed(error: OSError) -> dict[str, object]:
    """It cannot be read from its place, or its result cannot be written to the other one."""
    return {"result": None, "error": str(error) or type(error).__name__, "seconds": 0.0}


def _row(outcome: Outcome, made: str | None) -> dict[str, object]:
    failed = outcome.state is State.FAILED
    return {
        "result": None if failed else made,
        "result_sum": None if failed or outcome.output is None else FileSum.of_file(outcome.output).sha256,
        "counts": list(outcome.counts.items()),
        "models": list(outcome.models),
        "warnings": list(outcome.warnings),
        "error": (outcome.detail or "It failed.") if failed else None,
        "seconds": outcome.seconds,
    }
