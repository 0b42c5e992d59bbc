"""Wait for a task to end, for callers who want the result in the response."""

from __future__ import annotations

import time

from anonymizer.models import Status, Task
from anonymizer.service.queueing.changes import watch
from anonymizer.service.queueing.connections import give_back
from anonymizer.service.queueing.notices import ENDED
from anonymizer.service.queueing.outages import AWAY, Outage

__all__ = ["wait"]

OVER = (Status.DONE, Status.FAILED, Status.DELETED)
#: the pause while the database is away
AWAY_S = 1.0
#: how long one wait for an announcement may take
TURN_S = 5.0


def wait(task: Task, timeout_s: float) -> Task:
    """Wait until the task has ended or the timeout has passed, and return its current row."""
    until = time.monotonic() + timeout_s
    outage = Outage(f"A request that waits for task {task.pk}")
    with watch(ENDED, str(task.pk)) as watched:
        while (left_s := until - time.monotonic()) > 0:
            if not watched.wait(min(left_s, TURN_S)):
                continue
            try:
                status = Task.objects.filter(pk=task.pk).values_list("status", flat=True).first()
            except AWAY as error:
                # the task was accepted: an error would make the client send the file again
                outage.note(error)
                time.sleep(AWAY_S)
                continue
            outage.end()
            if status is None or status in OVER:
                break
            # requests may wait for minutes
            give_back()
    try:
        return Task.objects.prefetch_related("files").filter(pk=task.pk).first() or task
    except AWAY as error:
        outage.note(error)
        return task
