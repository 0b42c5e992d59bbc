"""Tell whether the database may have changed, without a query: PostgreSQL announces it, SQLite's file times show it.

A query every 10 ms costs a tenth of a core, and the detectors on the same machine need that core.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from django.db import connection

from anonymizer.service.queueing.notices import NoticeWatch

__all__ = ["DatabaseChanges", "FileWatch", "watch"]

#: File times are no finer than the kernel's clock ticks: a file that changed so recently may have changed again.
RECENT_S = 0.05
#: query at least this often, whatever the files say
MAX_INTERVAL_S = 1.0
#: how often the files are looked at
LOOK_S = 0.01


def watch(channel: str, payload: str = "") -> NoticeWatch | FileWatch:
    """Return what waits for changes of this database. It is a context manager.

    Args:
        channel: of `notices`; the files of SQLite do not tell what has changed.
        payload: what an announcement must hold. Default: anything.
    """
    return NoticeWatch(channel, payload) if connection.vendor == "postgresql" else FileWatch()


class DatabaseChanges:
    """Remember the times and sizes of the database's files."""

    def __init__(self) -> None:
        name = str(connection.settings_dict["NAME"])
        # a database in memory has no file
        on_disk = connection.vendor == "sqlite" and Path(name).is_file()
        self._files = [Path(name), Path(f"{name}-wal")] if on_disk else []
        self._last_states: list[tuple[int, int]] = []
        self._last_true_s = 0.0

    def may_have_changed(self) -> bool:
        """Return whether a query is worthwhile: False only if the SQLite files are as they were at the last call."""
        now = time.monotonic()
        states = [self._state(file) for file in self._files]
        recent = any(time.time() - modified_ns / 1e9 < RECENT_S for modified_ns, _ in states)
        if states and states == self._last_states and not recent and now - self._last_true_s < MAX_INTERVAL_S:
            return False
        self._last_states, self._last_true_s = states, now
        return True

    @staticmethod
    def _state(file: Path) -> tuple[int, int]:
        """The file's modification time in nanoseconds and its size in bytes."""
        try:
            stat = file.stat()
        except OSError:
            # no write-ahead log: nothing was written since its content was moved into the database
            return 0, 0
        return stat.st_mtime_ns, stat.st_size


class FileWatch:
    """Wait for changes of the files of SQLite."""

    def __init__(self) -> None:
        self._changes = DatabaseChanges()
        self._first = True

    def __enter__(self) -> FileWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        """Wait until a look at the rows is worthwhile, for so many seconds at most. Return whether it is."""
        until = time.monotonic() + seconds
        if not self._first:
            # a change within the last tick of the clock looks like a new one
            time.sleep(min(LOOK_S, seconds))
        self._first = False
        while not self._changes.may_have_changed():
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK_S)
        return True
