"""django-q2's database broker, which queries the database only when it may have changed, and outlives its outages."""

from __future__ import annotations

import functools
import logging
import os
import time
from typing import Any

from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.scheduler import scheduler

from anonymizer.service.queueing.changes import DatabaseChanges
from anonymizer.service.queueing.outages import AWAY, Outage, insist

__all__ = ["QuietORMBroker"]

log = logging.getLogger(__name__)
#: the pause while the database is away
AWAY_S = 1.0
#: how long to try to acknowledge; a notification that was not acknowledged comes again, which does no harm
ACKNOWLEDGE_S = 60.0
#: how often the jobs on a schedule are looked for
SCHEDULE_S = 30.0


class QuietORMBroker(ORM):  # type: ignore[misc]
    """Answer as quickly as django-q2's ORM broker, at a fraction of the cost of an idle queue.

    Attributes:
        schedules: whether `dequeue` also starts the jobs that are due. The guard of a queue asks for it.
    """

    schedules = False
    _scheduled_s = 0.0

    @functools.cached_property
    def _changes(self) -> DatabaseChanges:
        return DatabaseChanges()

    @functools.cached_property
    def _parent(self) -> int:
        return os.getppid()

    @functools.cached_property
    def _outage(self) -> Outage:
        return Outage(f"The queue {self.list_key}")

    def dequeue(self) -> Any:
        """Return the notifications that wait, or None after a short pause. Start the jobs that are due."""
        if os.getppid() != self._parent:
            # the guard was killed: a notification that is taken here would never reach a worker
            os._exit(1)
        try:
            self._schedule()
            found = super().dequeue() if self._changes.may_have_changed() else None
        except AWAY as error:
            self._outage.note(error)
            time.sleep(AWAY_S)
            return None
        self._outage.end()
        if found is None:
            time.sleep(Conf.POLL)
        return found

    def _schedule(self) -> None:
        if self.schedules and time.monotonic() - self._scheduled_s >= SCHEDULE_S:
            self._scheduled_s = time.monotonic()
            scheduler(broker=self)

    def acknowledge(self, task_id: Any) -> Any:
        """Remove a notification that a worker has dealt with."""
        try:
            return insist(lambda: self.delete(task_id), f"The queue {self.list_key}", seconds=ACKNOWLEDGE_S)
        except AWAY as error:
            log.warning("Notification %s could not be acknowledged (%s).", task_id, type(error).__name__)
            return None
