"""Waiting for a task to end, for callers that want the result in the answer."""

from __future__ import annotations

import time

from anonymizer.models import Status, Task
from anonymizer.service.changes import Changes

__all__ = ["wait"]

ENDED = (Status.DONE, Status.FAILED, Status.DELETED)
PAUSE_S = 0.01


def wait(task: Task, timeout_s: float) -> Task:
    """The task as it is when it has ended, or after the time given."""
    until = time.monotonic() + timeout_s
    changes = Changes()
    while time.monotonic() < until:
        if changes.possible():
            status = Task.objects.filter(pk=task.pk).values_list("status", flat=True).first()
            if status is None or status in ENDED:
                break
        time.sleep(PAUSE_S)
    return Task.objects.prefetch_related("files").filter(pk=task.pk).first() or task
