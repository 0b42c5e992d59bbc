"""Notify a worker that a task waits. The broker carries nothing but this notification."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_q.tasks import async_task

from anonymizer.models import Kind, Task

__all__ = ["QUEUES", "call", "notify", "notify_on_commit", "outcome", "pack"]

log = logging.getLogger(__name__)
#: the queue of each kind of file; running installs have these names in their databases
QUEUES = {Kind.IMAGE: "images", Kind.VIDEO: "videos"}
#: what a worker calls with the id of a task
PROCESS = "anonymizer.service.work.process"


def notify(task: Task) -> None:
    """Tell a worker of the task's queue that the task waits. A second notification does no harm."""
    async_task(PROCESS, str(task.pk), cluster=QUEUES[Kind(task.kind)], task_name=str(task.pk))


def pack(function: str, *args: str, name: str) -> dict[str, Any]:
    """Pack a call as django-q2's pusher hands it to a worker, for work that was found without a notification.

    Args:
        function: the function's dotted path.
        args: its arguments.
        name: shown in the log.
    """
    return {
        "id": uuid.uuid4().hex, "name": name, "func": function, "args": args, "kwargs": {}, "started": timezone.now(),
    }  # fmt: skip


def notify_on_commit(task: Task) -> None:
    """Notify a worker as soon as other processes can see the row. The caller has a transaction open.

    If the notification fails, the error is logged. The row waits, and idle workers find it.
    """
    if settings.BROKER_URL:
        transaction.on_commit(lambda: notify(task), robust=True)
        return
    try:
        # the queue is in the same database: both appear together, and SQLite is locked once
        with transaction.atomic():
            notify(task)
    except Exception:
        log.exception("Workers were not notified of task %s. Idle workers find it.", task.pk)


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
