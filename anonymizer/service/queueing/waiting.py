"""Wait for a task to end, for callers who want the result in the response."""

from __future__ import annotations

import time

from anonymizer.models import Status, Task
from anonymizer.service.queueing.changes import DatabaseChanges

__all__ = ["wait"]

ENDED = (Status.DONE, Status.FAILED, Status.DELETED)
PAUSE_S = 0.01


def wait(task: Task, timeout_s: float) -> Task:
    """Wait until the task has ended or the timeout has passed, and return its current row."""
    until = time.monotonic() + timeout_s
    changes = DatabaseChanges()
    while time.monotonic() < until:
        if changes.may_have_changed():
            status = Task.objects.filter(pk=task.pk).values_list("status", flat=True).first()
            if status is None or status in ENDED:
                break
        time.sleep(PAUSE_S)
    return Task.objects.prefetch_related("files").filter(pk=task.pk).first() or task
