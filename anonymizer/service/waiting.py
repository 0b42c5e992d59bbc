"""Waiting for a task to end, for callers that want the result in the answer."""

from __future__ import annotations

import time

from anonymizer.models import Status, Task

__all__ = ["wait"]

ENDED = (Status.DONE, Status.FAILED, Status.DELETED)
#: from one look at the row to the next: the first decide what a small picture costs, the later ones spare the database
FIRST_S, LAST_S = 0.01, 0.1


def wait(task: Task, timeout_s: float) -> Task:
    """The task as it is when it has ended, or after the time given."""
    until = time.monotonic() + timeout_s
    pause = FIRST_S
    while time.monotonic() < until:
        status = Task.objects.filter(pk=task.pk).values_list("status", flat=True).first()
        if status is None or status in ENDED:
            break
        time.sleep(pause)
        pause = min(pause * 1.05, LAST_S)
    return Task.objects.prefetch_related("files").filter(pk=task.pk).first() or task
