"""What PostgreSQL announces with NOTIFY. One connection of this process listens for all threads that wait.

An announcement only wakes: whoever is woken looks at the rows. While the connection is broken, all look regularly.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from django.db import connection

__all__ = ["CHANNELS", "ENDED", "QUEUE", "WEBHOOKS", "NoticeWatch", "announce", "forget", "session"]

log = logging.getLogger(__name__)
#: the end of a task, with its id; a notification in a queue, with its name; a webhook that is due sooner
ENDED, QUEUE, WEBHOOKS = CHANNELS = ("anonymizer_ended", "anonymizer_queue", "anonymizer_webhooks")
#: how often the listening thread looks whether anybody still waits
TURN_S = 5.0
#: the pause before the next try to connect
RECONNECT_S = 1.0
#: how often a waiting thread looks by itself, and how often while nothing can be heard
MAX_INTERVAL_S, DEAF_INTERVAL_S = 60.0, 1.0


def announce(channel: str, payload: str = "") -> None:
    """Wake all who wait at a channel, when the current transaction is committed. Other databases know no channels."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [channel, payload])


@contextmanager
def session() -> Iterator[Any]:
    """A connection of psycopg outside of the pool, in autocommit mode: for what belongs to one session.

    Raises:
        psycopg.Error: the database cannot be reached.
    """
    import psycopg

    parameters = {**connection.get_connection_params(), "autocommit": True}
    opened = psycopg.connect(**parameters)
    try:
        yield opened
    finally:
        opened.close()


class _Listener:
    """The listening connection, in a thread that lives as long as anybody waits."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._watches: set[NoticeWatch] = set()
        self._running = False
        self.hears = False

    def add(self, watch: NoticeWatch) -> None:
        """Wake a watch from now on."""
        with self._lock:
            self._watches.add(watch)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="notices", daemon=True).start()

    def remove(self, watch: NoticeWatch) -> None:
        """Leave a watch alone."""
        with self._lock:
            self._watches.discard(watch)

    def _run(self) -> None:
        import psycopg

        pause, failed = threading.Event(), False
        while True:
            try:
                with session() as opened:
                    for channel in CHANNELS:
                        opened.execute(f"LISTEN {channel}")
                    failed, self.hears = False, True
                    # whatever was announced before is not known
                    self._wake()
                    if self._listen(opened):
                        return
            except psycopg.Error as error:
                if not failed:
                    log.warning("The announcements of the database cannot be heard (%s).", type(error).__name__)
                failed = True
            self.hears = False
            self._wake()
            pause.wait(RECONNECT_S)

    def _listen(self, opened: Any) -> bool:
        """Wake the watches. Return True when nobody waits any more."""
        while True:
            for notice in opened.notifies(timeout=TURN_S):
                self._wake(notice.channel, notice.payload)
            with self._lock:
                if not self._watches:
                    self._running = self.hears = False
                    return True

    def _wake(self, channel: str | None = None, payload: str = "") -> None:
        with self._lock:
            for watch in self._watches:
                if channel is None or watch.wants(channel, payload):
                    watch.wake()


_listener = _Listener()


def forget() -> None:
    """Forget the listening connection of the parent process; a forked child calls this."""
    global _listener
    _listener = _Listener()


class NoticeWatch:
    """Wait for the announcements of a channel.

    Args:
        channel: one of `CHANNELS`.
        payload: what the announcement must hold. Default: anything.
    """

    def __init__(self, channel: str, payload: str = "") -> None:
        self._channel, self._payload = channel, payload
        self._event = threading.Event()
        # nobody has looked yet
        self._event.set()
        self._waited_s = 0.0
        self._listener = _listener
        self._listener.add(self)

    def __enter__(self) -> NoticeWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.remove(self)

    def wants(self, channel: str, payload: str) -> bool:
        """Return whether this watch waits for an announcement."""
        return channel == self._channel and self._payload in ("", payload)

    def wake(self) -> None:
        """Have the next `wait` return True."""
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait until a look at the rows is worthwhile, for so many seconds at most. Return whether it is."""
        woken = self._event.wait(seconds)
        self._event.clear()
        self._waited_s += seconds
        if not woken and self._waited_s < (MAX_INTERVAL_S if self._listener.hears else DEAF_INTERVAL_S):
            return False
        self._waited_s = 0.0
        return True
