"""How a bulk run went."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["BulkSummary"]


@dataclass
class BulkSummary:
    """The figures of a run, while it goes on and at its end.

    Attributes:
        manifest: address of the manifest.
        total: number of images and videos in the input.
        skipped: how many of them had a row and a result already.
        done, failed: how many were processed in this run.
        left_alone: number of files that are neither images nor videos.
        unsearched: what was not searched or cannot be taken, and why.
        objects: by object type, how many were redacted in this run.
        warned: number of files with warnings.
    """

    manifest: str
    total: int = 0
    skipped: int = 0
    done: int = 0
    failed: int = 0
    left_alone: int = 0
    unsearched: dict[str, str] = field(default_factory=dict)
    objects: Counter[str] = field(default_factory=Counter)
    warned: int = 0
    _started_s: float = field(default_factory=time.monotonic, repr=False)
    _first_s: float | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._started_s

    @property
    def processed(self) -> int:
        """How many files were processed in this run."""
        return self.done + self.failed

    @property
    def left(self) -> int:
        """How many files are still to be processed."""
        return self.total - self.skipped - self.processed

    @property
    def rate(self) -> float:
        """Files per second since the models were loaded; 0 if it is not known."""
        if self._first_s is None or self.processed == 0:
            return 0.0
        return self.processed / max(time.monotonic() - self._first_s, 1e-3)

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds to the end; None if they are not known."""
        return self.left / self.rate if self.rate else None

    def start(self) -> None:
        """Note that the work on files begins."""
        self._first_s = time.monotonic()

    def add(self, rows: pa.Table) -> None:
        """Count rows of the manifest."""
        failed = pc.sum(pc.is_valid(rows["error"])).as_py() or 0
        self.failed += failed
        self.done += len(rows) - failed
        self.warned += pc.sum(pc.greater(pc.list_value_length(rows["warnings"]), 0)).as_py() or 0
        for counts in rows["counts"].to_pylist():
            self.objects.update(dict(counts or ()))
