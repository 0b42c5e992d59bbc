"""Notify a worker that a task waits. The broker carries nothing but this notification."""

from __future__ import annotations

from django.db import transaction
from django_q.tasks import async_task

from anonymizer.models import Kind, Task

__all__ = ["QUEUES", "call", "call_on_commit", "notify", "notify_on_commit", "outcome"]

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


def call(kind: Kind, name: str, function: str, *args: str) -> None:
    """Have a worker call one of our functions.

    Args:
        kind: of which files the worker is.
        name: of the job, to find its outcome; at most 100 characters.
        function: the function's dotted path.
    """
    async_task(function, *args, cluster=QUEUES[kind], task_name=name)


def outcome(name: str) -> str:
    """Return what the last job of this name returned; an empty text if none has ended, or its row was pruned."""
    from django_q.models import Task as Job

    result = Job.objects.filter(name=name).order_by("-stopped").values_list("result", flat=True).first()
    return str(result or "")


def call_on_commit(function: str, *args: str) -> None:
    """Have a worker of the image queue call one of our functions, once the transaction is committed.

    Args:
        function: the function's dotted path.
    """
    transaction.on_commit(lambda: async_task(function, *args, cluster=QUEUES[Kind.IMAGE]), robust=True)
