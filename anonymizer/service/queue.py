"""Ringing the bell: the broker only says that a task waits."""

from __future__ import annotations

from django.db import transaction
from django_q.tasks import async_task

from anonymizer.models import Kind, Task

__all__ = ["QUEUES", "call_on_commit", "notify", "notify_on_commit"]

QUEUES = {Kind.IMAGE: "images", Kind.VIDEO: "videos"}


def notify(task: Task) -> None:
    """Tell a worker of the task's queue that it waits. Ringing twice does no harm."""
    async_task("anonymizer.service.work.process", str(task.pk), cluster=QUEUES[Kind(task.kind)], task_name=str(task.pk))


def notify_on_commit(task: Task) -> None:
    """The same, once the row can be seen. A bell that fails is logged: the row waits, and `recover` rings again."""
    transaction.on_commit(lambda: notify(task), robust=True)


def call_on_commit(function: str, *args: str) -> None:
    """Have a worker of the image queue call a function of ours, once the transaction is through."""
    transaction.on_commit(lambda: async_task(function, *args, cluster=QUEUES[Kind.IMAGE]), robust=True)
