"""django-q2's brokers, quiet while nothing waits: they outlive outages of the database and of Redis.

What a broker carries only tells that work waits. The rows of the tasks are the truth, and idle workers look at them.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django_q.brokers import Broker
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from anonymizer.service.queueing.changes import FileWatch, watch
from anonymizer.service.queueing.flags import Flag
from anonymizer.service.queueing.notices import QUEUE, NoticeWatch, announce
from anonymizer.service.queueing.outages import AWAY, Outage, insist

__all__ = ["QuietORMBroker", "QuietRedisBroker", "problem"]

log = logging.getLogger(__name__)
#: the pause while the database is away
AWAY_S = 1.0
#: how long one wait may take: the pusher looks in between whether it should end
TURN_S = 1.0
#: how long to try to acknowledge; a notification that was not acknowledged comes again, which does no harm
ACKNOWLEDGE_S = 60.0
#: how often the jobs on a schedule are looked for
SCHEDULE_S = 30.0
#: a Redis that did not answer is left alone for so long: uploads do not wait for it one after the other
SILENT_S = 1.0


class _Quiet(Broker):  # type: ignore[misc]
    """What both brokers do in the pusher: start the jobs that are due, and end with the guard.

    Attributes:
        schedules: whether `dequeue` also starts the jobs that are due. The guard of a queue asks for it.
        away: is raised while no notifications come, so that idle workers look more often.
    """

    schedules = False
    away: Flag | None = None
    _scheduled_s = 0.0

    @functools.cached_property
    def _parent(self) -> int:
        return os.getppid()

    @functools.cached_property
    def _outage(self) -> Outage:
        return Outage(f"The queue {self.list_key}", "Redis" if settings.BROKER_URL else "the database")

    def _end_with_guard(self) -> None:
        if os.getppid() != self._parent:
            # the guard was killed: a notification that is taken here would never reach a worker
            os._exit(1)

    def _schedule(self) -> None:
        if self.schedules and time.monotonic() - self._scheduled_s >= SCHEDULE_S:
            self._scheduled_s = time.monotonic()
            if Schedule.objects.filter(next_run__lt=timezone.now()).exists():
                scheduler(broker=self)


class QuietORMBroker(_Quiet, ORM):  # type: ignore[misc]
    """Answer as quickly as django-q2's ORM broker, at a fraction of the cost of an idle queue."""

    _found_some = False

    @functools.cached_property
    def _watch(self) -> NoticeWatch | FileWatch:
        return watch(QUEUE, self.list_key)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """Return the rows of the queue. A connection that broke is replaced where the error is met."""
        return OrmQ.objects.using(Conf.ORM)

    def enqueue(self, task: Any) -> Any:
        """Put a notification into the queue, and wake who waits for it."""
        with transaction.atomic():
            key = super().enqueue(task)
            announce(QUEUE, self.list_key)
        return key

    def dequeue(self) -> Any:
        """Return the notifications that wait, or None after a short pause. Start the jobs that are due."""
        self._end_with_guard()
        try:
            self._schedule()
            worthwhile = self._found_some or self._watch.wait(TURN_S)
            found = self._take() if worthwhile else None
        except AWAY as error:
            self._outage.note(error)
            time.sleep(AWAY_S)
            return None
        self._outage.end()
        self._found_some = bool(found)
        return found

    def _take(self) -> Any:
        if connection.vendor != "postgresql":
            return super().dequeue()
        now = timezone.now()
        with transaction.atomic():
            waiting = self.get_connection().filter(key=self.list_key, lock__lt=now).order_by("pk")
            # clusters do not wait for each other
            taken = list(waiting.select_for_update(skip_locked=True)[: Conf.BULK])
            if taken:
                waiting.filter(pk__in=[row.pk for row in taken]).update(lock=self.timeout(None))
        return [(row.pk, row.payload) for row in taken]

    def acknowledge(self, task_id: Any) -> Any:
        """Remove a notification that a worker has dealt with."""
        try:
            return insist(lambda: self.delete(task_id), f"The queue {self.list_key}", seconds=ACKNOWLEDGE_S)
        except AWAY as error:
            log.warning("Notification %s could not be acknowledged (%s).", task_id, type(error).__name__)
            return None


@functools.cache
def _redis(url: str) -> Any:
    """The client of this process; it connects anew in a forked child."""
    import redis

    from celantur_site.backends import REDIS_ANSWER_S, REDIS_CONNECT_S

    return redis.Redis.from_url(url, socket_connect_timeout=REDIS_CONNECT_S, socket_timeout=REDIS_ANSWER_S)


class _Silence:
    """Redis did not answer this process: notifications are dropped for a moment."""

    def __init__(self) -> None:
        self._outage = Outage("A notification that is lost", "Redis")
        self._until_s = 0.0

    def lasts(self) -> bool:
        """Return whether Redis is not asked again yet."""
        return time.monotonic() < self._until_s

    def note(self, error: Exception) -> None:
        """Note that Redis did not answer."""
        self._until_s = time.monotonic() + SILENT_S
        self._outage.note(error)

    def end(self) -> None:
        """Note that Redis has answered."""
        self._outage.end()


_silence = _Silence()


class QuietRedisBroker(_Quiet):
    """Carry notifications in lists of Redis. One that is lost costs no task: idle workers look at the rows."""

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key or Conf.CLUSTER_NAME)
        self._key = f"anonymizer:{self.list_key}"

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._key = f"anonymizer:{self.list_key}"

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """Return the client of Redis."""
        return _redis(settings.BROKER_URL)

    def enqueue(self, task: Any) -> Any:
        """Put a notification into the queue. If Redis is away, it is lost, and the log says so."""
        import redis

        if _silence.lasts():
            return None
        try:
            length = self.connection.rpush(self._key, task)
        except redis.RedisError as error:
            _silence.note(error)
            return None
        _silence.end()
        return length

    def dequeue(self) -> Any:
        """Return the notification that waits the longest, or None after a short pause. Start the jobs that are due."""
        import redis

        self._end_with_guard()
        try:
            self._schedule()
            found = self.connection.blpop([self._key], TURN_S)
        except (redis.RedisError, *AWAY) as error:
            self._note_away(raised=True)
            self._outage.note(error)
            time.sleep(AWAY_S)
            return None
        self._note_away(raised=False)
        self._outage.end()
        return [(None, found[1])] if found else None

    def _note_away(self, *, raised: bool) -> None:
        if self.away is not None:
            self.away.set(raised=raised)

    def queue_size(self) -> int:
        """Return the number of notifications."""
        return int(self.connection.llen(self._key))

    def lock_size(self) -> int:
        """Return 0: Redis hands out each notification once."""
        return 0

    def purge_queue(self) -> Any:
        """Forget all notifications."""
        return self.connection.delete(self._key)

    def ping(self) -> bool:
        """Return whether Redis answers."""
        return bool(self.connection.ping())

    def info(self) -> str:
        """Return what the admin shows of the broker."""
        return "Redis"


def problem() -> str:
    """Return what is wrong with the broker; empty if it answers, or if it is the database."""
    if not settings.BROKER_URL:
        return ""
    import redis

    try:
        _redis(settings.BROKER_URL).ping()
    except redis.RedisError as error:
        return f"the broker does not answer ({type(error).__name__}); workers look for tasks themselves"
    return ""
