"""Only one process migrates the database at a time, on however many hosts the service starts."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import OperationalError, connection

from anonymizer.service.queueing.notices import session

__all__ = ["one_at_a_time"]

log = logging.getLogger(__name__)
#: of the lock in PostgreSQL; any number that no other program uses
LOCK = 0x616E6F6E
#: how long to wait for another process, in seconds
WAIT_S = 600.0
PAUSE_S = 0.2


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Run the block while no other process runs it with the same database.

    Raises:
        OperationalError: another process did not end it within ten minutes.
    """
    if connection.vendor == "postgresql":
        # the lock belongs to a session: it ends with its process, however that ends
        with session() as opened:
            _until(lambda: bool(opened.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()[0]))
            yield
    elif connection.vendor == "sqlite" and (file := Path(connection.settings_dict["NAME"])).parent.is_dir():
        descriptor = os.open(file.with_name("migrate.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _until(lambda: _lock(descriptor))
            yield
        finally:
            os.close(descriptor)
    else:
        yield


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(locked: Callable[[], bool]) -> None:
    deadline, named = time.monotonic() + WAIT_S, False
    while not locked():
        if time.monotonic() > deadline:
            raise OperationalError(f"Another process migrates the database for more than {WAIT_S:.0f} s.")
        if not named:
            log.warning("Another process migrates the database. This one waits.")
            named = True
        time.sleep(PAUSE_S)
