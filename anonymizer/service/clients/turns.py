"""Whose turn it is: workers take the tasks of clients in turn, so that no client waits for all files of another."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from anonymizer.models import Kind, Status, Task, Token
from anonymizer.service.claims import Claim, claim

__all__ = ["claim_next"]

#: how many times a task that another worker took meanwhile is replaced by the next one
TRIES = 8


def claim_next(task_id: str, worker: str, token: uuid.UUID | None = None) -> Claim | None:
    """Take the task that is next, at the notification of any task of its kind.

    Where clients have tokens, a notification says that a task waits, not which. Every task has its notification, so
    all tasks are taken, whatever their order. A client's own tasks are taken in the order of their uploads.

    Args:
        task_id: the task that the notification names.
        worker: the name of the worker.
        token: of the lease. Default: a new one.

    Returns:
        The claim, or None if no task waits.
    """
    named = Task.objects.filter(pk=task_id).values("status", "kind", "owner").first()
    if named is None:
        return None
    # a task whose worker was lost has waited long enough; tasks of before the first token have no client
    if named["owner"] is None or named["status"] == Status.PROCESSING:
        taken = claim(task_id, worker, token)
        if taken is not None or not Token.objects.exists():
            return taken
    for _ in range(TRIES):
        chosen = _next_task(Kind(named["kind"]))
        if chosen is None:
            return None
        if taken := claim(chosen, worker, token):
            if taken.task.owner_id is not None:
                Token.objects.filter(pk=taken.task.owner_id).update(served=timezone.now())
            return taken
    return None


def _next_task(kind: Kind) -> str | None:
    """The oldest task of the client that was served the longest time ago."""
    waiting = Task.objects.filter(
        status__in=[Status.QUEUED, Status.NEW], kind=kind, leases__lt=settings.MAX_LEASES
    ).order_by()
    owner = (
        Token.objects.filter(Exists(waiting.filter(owner=OuterRef("pk"))))
        .order_by(F("served").asc(nulls_first=True), "pk")
        .values_list("pk", flat=True)
        .first()
    )
    return _oldest(waiting.filter(owner=owner))


def _oldest(tasks: QuerySet[Task]) -> str | None:
    for status in (Status.QUEUED, Status.NEW):
        # one status at a time: the index has the tasks in this order, and nothing is sorted
        if (found := tasks.filter(status=status).order_by("created").values_list("pk", flat=True).first()) is not None:
            return str(found)
    return None
