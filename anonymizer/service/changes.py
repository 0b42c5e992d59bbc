"""Whether the database may have changed: a look at its files, where it is SQLite, instead of a question each time.

Waiting for a row by asking for it a hundred times a second costs a tenth of a core, which the detectors next door lack.
"""

from __future__ import annotations

import time
from pathlib import Path

from django.db import connection

__all__ = ["Changes"]

#: file times are no finer than the kernel's clock ticks: what changed so recently may have changed again
RECENT_S = 0.05
#: ask at least so often, whatever the files say
LATEST_S = 1.0


class Changes:
    """Remembers what the database's files looked like."""

    def __init__(self) -> None:
        name = str(connection.settings_dict["NAME"])
        # a database in memory has no file to look at
        on_disk = connection.vendor == "sqlite" and Path(name).is_file()
        self._files = [Path(name), Path(f"{name}-wal")] if on_disk else []
        self._seen: list[tuple[int, int]] = []
        self._asked = 0.0

    def possible(self) -> bool:
        """Whether it is worth asking: always, but for an SQLite file that is as it was at the last time."""
        now = time.monotonic()
        seen = [self._look(each) for each in self._files]
        recent = any(time.time() - changed / 1e9 < RECENT_S for changed, _ in seen)
        if seen and seen == self._seen and not recent and now - self._asked < LATEST_S:
            return False
        self._seen, self._asked = seen, now
        return True

    @staticmethod
    def _look(file: Path) -> tuple[int, int]:
        try:
            found = file.stat()
        except OSError:
            # no log: nothing was written since all was put into the database itself
            return 0, 0
        return found.st_mtime_ns, found.st_size
