"""What `anonymizer folder --ray` prints: the progress with its rate and the time left, failures, and a summary."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from django.core.management.base import OutputWrapper
from tqdm import tqdm

from anonymizer.management.run_report import count_text, printable

if TYPE_CHECKING:
    import pyarrow as pa

    from anonymizer.bulk.summary import BulkSummary

__all__ = ["BulkReport"]

#: seconds between two lines of progress where there is no terminal
_LINE_S = 30.0


class BulkReport:
    """Prints a bulk run: a bar on a terminal, a line now and then elsewhere, and a line for each failure.

    Args:
        as_json: print one JSON object for each file on `stdout`, and everything else on `stderr`.
    """

    def __init__(self, *, stdout: OutputWrapper, stderr: OutputWrapper, as_json: bool) -> None:
        self._stdout, self._lines = stdout, stderr if as_json else stdout
        self._as_json = as_json
        self._next_s = time.monotonic() + _LINE_S
        # None: only on a terminal
        self._bar = tqdm(unit="file", disable=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, rows: pa.Table, summary: BulkSummary) -> None:
        """Print what new rows of the manifest say."""
        with tqdm.external_write_mode():
            for row in rows.to_pylist():
                if self._as_json:
                    self._stdout.write(json.dumps(row | {"counts": dict(row["counts"] or ())}))
                if row["error"] is not None:
                    self._lines.write(printable(f"FAILED {row['input']}: {row['error']}"))
                for warning in row["warnings"] or ():
                    self._lines.write(printable(f"warning {row['input']}: {warning}"))
            if self._bar.disable and time.monotonic() >= self._next_s:
                self._next_s = time.monotonic() + _LINE_S
                self._lines.write(progress_line(summary))
            self._lines.flush()
        self._bar.total = summary.total - summary.skipped
        self._bar.update(len(rows))


def progress_line(summary: BulkSummary) -> str:
    """Describe how far a run is, with its rate and the time left."""
    left = "" if summary.seconds_left is None else f", {timedelta(seconds=round(summary.seconds_left))} left"
    return (
        f"{summary.processed} of {summary.processed + summary.left} file(s), {summary.rate:.1f} a second{left}, "
        f"{summary.failed} failed"
    )


def summary_line(summary: BulkSummary) -> str:
    """Describe the whole run in one sentence."""
    return (
        f"{summary.done} done, {summary.skipped} skipped (have a result), {summary.failed} failed, "
        f"{summary.left_alone} other file(s) left alone, in {summary.seconds:.1f} s ({summary.rate:.1f} a second); "
        f"found: {count_text(summary.objects)}; manifest: {summary.manifest}"
    )
