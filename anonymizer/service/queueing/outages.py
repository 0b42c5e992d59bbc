"""A database that is away or locked for a while: connect again, try again, and log one line, not one for each try."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

__all__ = ["AWAY", "Outage", "forget_broken_connection", "insist"]

log = logging.getLogger(__name__)
T = TypeVar("T")
#: errors of a database that cannot be reached, has closed the connection, or is locked; others do not pass by waiting
AWAY = (OperationalError, InterfaceError)
FIRST_PAUSE_S, MOST_PAUSE_S = 0.1, 2.0
#: a database that stays away is named again after this time
REMIND_S = 60.0


def forget_broken_connection() -> None:
    """Close this thread's connection if it is of no use any more. The next query connects again."""
    if not connection.in_atomic_block:
        connection.errors_occurred = True
        try:
            connection.close_if_unusable_or_obsolete()
        except AWAY:
            connection.close()
        if connection.vendor == "postgresql":
            # the others of the pool broke with it
            connection.pool.check()  # type: ignore[attr-defined]


class Outage:
    """Log that the database is away, once and then once a minute, and that it is back.

    Args:
        subject: what has to wait, as the beginning of a sentence.
        part: what is away.
    """

    def __init__(self, subject: str, part: str = "the database") -> None:
        self._subject, self._part = subject, part
        self._began_s: float | None = None
        self._named_s = 0.0

    def note(self, error: Exception) -> None:
        """Note a failed try, and close a broken connection."""
        now = time.monotonic()
        if self._began_s is None:
            self._began_s = now
        if self._began_s == now or now - self._named_s >= REMIND_S:
            self._named_s = now
            log.warning("%s waits for %s (%s).", self._subject, self._part, type(error).__name__)
        if isinstance(error, AWAY):
            forget_broken_connection()

    def end(self) -> None:
        """Note that a try worked."""
        if self._began_s is not None:
            away_s = time.monotonic() - self._began_s
            log.warning("%s reached %s again after %.0f s.", self._subject, self._part, away_s)
            self._began_s = None


def insist(
    action: Callable[[], T],
    subject: str,
    *,
    seconds: float,
    pause: Callable[[float], object] = time.sleep,
    away: tuple[type[Exception], ...] = AWAY,
    awaited: str = "the database",
) -> T:
    """Call a function again and again, until the database answers it, or something else that may be away.

    Args:
        action: the function. It must be safe to call again: a lost connection does not tell whether a commit was made.
        subject: what has to wait, as the beginning of a sentence in the log.
        seconds: how long to try.
        pause: how to wait between the tries.
        away: the errors that pass by waiting. Default: those of the database.
        awaited: what is away, for the log.

    Returns:
        What the function returns.

    Raises:
        OperationalError: the database did not answer in that time; or InterfaceError, or another error of `away`.
    """
    deadline = time.monotonic() + seconds
    outage, wait_s = Outage(subject, awaited), FIRST_PAUSE_S
    while True:
        try:
            result = action()
        except away as error:
            outage.note(error)
            if connection.in_atomic_block or time.monotonic() + wait_s > deadline:
                raise
            pause(wait_s)
            wait_s = min(2 * wait_s, MOST_PAUSE_S)
        else:
            outage.end()
            return result
