"""Wait for a task to end, for callers who want the result in the response."""

from __future__ import annotations

import time

from anonymizer.models import Status, Task
from anonymizer.service.queueing.changes import DatabaseChanges
from anonymizer.service.queueing.outages import AWAY, Outage

__all__ = ["wait"]

ENDED = (Status.DONE, Status.FAILED, Status.DELETED)
PAUSE_S = 0.01
#: the pause while the database is away
AWAY_S = 1.0


def wait(task: Task, timeout_s: float) -> Task:
    """Wait until the task has ended or the timeout has passed, and return its current row."""
    until = time.monotonic() + timeout_s
    changes, outage = DatabaseChanges(), Outage(f"A request that waits for task {task.pk}")
    while time.monotonic() < until:
        if changes.may_have_changed():
            try:
                status = Task.objects.filter(pk=task.pk).values_list("status", flat=True).first()
            except AWAY as error:
                # the task was accepted: an error would make the client send the file again
                outage.note(error)
                time.sleep(AWAY_S)
                continue
            outage.end()
            if status is None or status in ENDED:
                break
        time.sleep(PAUSE_S)
    try:
        return Task.objects.prefetch_related("files").filter(pk=task.pk).first() or task
    except AWAY as error:
        outage.note(error)
        return task
