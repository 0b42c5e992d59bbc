"""Notify a worker that a task waits. The broker carries nothing but this notification."""

from __future__ import annotations

from django.db import transaction
from django_q.tasks import async_task

from anonymizer.models import Kind, Task

__all__ = ["QUEUES", "notify", "notify_on_commit"]

#: the queue of each kind of file; running installs have these names in their databases
QUEUES = {Kind.IMAGE: "images", Kind.VIDEO: "videos"}


def notify(task: Task) -> None:
    """Tell a worker of the task's queue that the task waits. A second notification does no harm."""
    async_task("anonymizer.service.work.process", str(task.pk), cluster=QUEUES[Kind(task.kind)], task_name=str(task.pk))


def notify_on_commit(task: Task) -> None:
    """Notify a worker as soon as other processes can see the row.

    If the notification fails, the error is logged. The row waits, and `claims.recover` sends the notification again.
    """
    transaction.on_commit(lambda: notify(task), robust=True)
