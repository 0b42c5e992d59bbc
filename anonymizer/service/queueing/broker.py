"""django-q2's database broker, which queries the database only when it may have changed."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

from django_q.brokers.orm import ORM
from django_q.conf import Conf

from anonymizer.service.queueing.changes import DatabaseChanges

__all__ = ["QuietORMBroker"]


class QuietORMBroker(ORM):  # type: ignore[misc]
    """Answer as quickly as django-q2's ORM broker, at a fraction of the cost of an idle queue."""

    @functools.cached_property
    def _changes(self) -> DatabaseChanges:
        return DatabaseChanges()

    @functools.cached_property
    def _parent(self) -> int:
        return os.getppid()

    def dequeue(self) -> Any:
        """Return the tasks that wait, or None after a short pause."""
        if os.getppid() != self._parent:
            # the cluster was killed: a task that is taken here would never reach a worker
            os._exit(1)
        if self._changes.may_have_changed():
            return super().dequeue()
        time.sleep(Conf.POLL)
        return None
