"""Remove what deleted rows leave in the files of the database."""

from __future__ import annotations

import logging

from django.db import DatabaseError, connection

__all__ = ["forget_free_pages"]

log = logging.getLogger(__name__)
#: how long to wait for processes that read, in milliseconds
WAIT_MS = 200


def forget_free_pages() -> bool:
    """Empty SQLite's write-ahead log, which still holds old pages with deleted rows.

    The database itself is clean: the setting `secure_delete` overwrites deleted rows. Other databases are left alone.

    Returns:
        False if another process was reading: a later call does it.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return connection.vendor != "sqlite"
    try:
        with connection.cursor() as cursor:
            usual_ms = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
            cursor.execute(f"PRAGMA busy_timeout = {WAIT_MS}")
            try:
                busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {usual_ms}")
    except DatabaseError as error:
        log.warning("The write-ahead log was not emptied (%s). The next clean-up tries again.", type(error).__name__)
        return False
    return not busy
