"""What `anonymizer run` prints while it works: a progress bar or a line for each file, and a summary."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from django.core.management.base import OutputWrapper
from tqdm import tqdm

from anonymizer.pipeline.folders import Job, Outcome, State

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoProgress

__all__ = ["RunReport", "count_text", "printable"]


class RunReport:
    """Prints the outcomes of a run.

    On a terminal it shows a progress bar, and a line for each failure and each warning; elsewhere also a line for each
    file that is done or skipped.

    Args:
        total: number of files.
        as_json: print one JSON object for each file, and for each folder that was not searched, on `stdout`, and
            everything else on `stderr`.
    """

    def __init__(self, total: int, *, stdout: OutputWrapper, stderr: OutputWrapper, as_json: bool) -> None:
        self.states: Counter[State] = Counter()
        self._stdout, self._stderr = stdout, stderr
        self._lines = stderr if as_json else stdout
        self._as_json = as_json
        self._objects: Counter[str] = Counter()
        self._left_alone = 0
        self._started = time.monotonic()
        # None: only on a terminal
        self._bar = tqdm(total=total, unit="file", disable=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def show_progress(self, job: Job, progress: VideoProgress) -> None:
        """Show how far the work on a video is."""
        left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
        self._bar.set_postfix_str(f"{job.source.name}: frame {progress.frames} of {progress.total or '?'}{left}")

    def add(self, outcome: Outcome) -> None:
        """Count and print the outcome of one file."""
        self.states[outcome.state] += 1
        self._objects.update(outcome.counts)
        self._bar.set_postfix_str("")
        # a bar that is on the screen is removed while lines are printed
        with tqdm.external_write_mode():
            self._write_json(
                outcome.job.source,
                outcome.state.value,
                output=outcome.output,
                counts=outcome.counts,
                warnings=outcome.warnings,
                error=outcome.detail if outcome.state is State.FAILED else None,
                seconds=outcome.seconds,
            )
            self._print_lines(outcome)
        self._bar.update()

    def add_unsearched(self, folders: Mapping[Path, str]) -> None:
        """Print the folders that were not searched, each with the reason."""
        with tqdm.external_write_mode():
            for folder, reason in folders.items():
                self._write_json(folder, "not searched", error=reason)
                self._stderr.write(printable(f"NOT SEARCHED {folder}: {reason}"))

    def add_left_alone(self, files: Sequence[Path]) -> None:
        """Count the files that are neither images nor videos; only JSON names each of them."""
        self._left_alone += len(files)
        with tqdm.external_write_mode():
            for file in files:
                self._write_json(file, "left alone")

    def summary(self) -> str:
        """Describe the whole run in one sentence."""
        seconds = time.monotonic() - self._started
        return (
            f"{self.states[State.DONE]} done, {self.states[State.SKIPPED]} skipped (have a result), "
            f"{self.states[State.FAILED]} failed, {self._left_alone} other file(s) left alone, in {seconds:.1f} s; "
            f"found: {count_text(self._objects)}"
        )

    def _write_json(
        self,
        path: Path,
        state: str,
        *,
        output: Path | None = None,
        counts: Mapping[str, int] = MappingProxyType({}),
        warnings: Sequence[str] = (),
        error: str | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Write the line of a file or folder, if JSON is asked for. All lines have the same keys."""
        if self._as_json:
            line = {
                "input": str(path),
                "output": None if output is None else str(output),
                "state": state,
                "counts": dict(counts),
                "warnings": list(warnings),
                "error": error,
                "seconds": round(seconds, 3),
            }
            self._stdout.write(json.dumps(line))
            self._stdout.flush()

    def _print_lines(self, outcome: Outcome) -> None:
        source = outcome.job.source
        if outcome.state is State.FAILED:
            self._lines.write(printable(f"FAILED {source}: {outcome.detail}"))
        elif self._bar.disable:
            what = outcome.detail if outcome.state is State.SKIPPED else count_text(outcome.counts)
            self._lines.write(printable(f"{outcome.state} {source}: {what} ({outcome.seconds:.1f} s)"))
        for warning in outcome.warnings:
            self._lines.write(printable(f"warning {source}: {warning}"))
        self._lines.flush()


def count_text(counts: Mapping[str, int]) -> str:
    """Counts in words: "2 face, 1 license plate"."""
    return ", ".join(f"{count} {name.replace('-', ' ')}" for name, count in counts.items() if count) or "nothing"


def printable(line: str) -> str:
    """Write a line as it can be printed: a name of a file may hold bytes that are no text."""
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
