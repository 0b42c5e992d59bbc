"""Deleting: the files go at once, the record stays as a tombstone."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from anonymizer.models import Status, Task

__all__ = ["delete_files", "delete_tasks"]


def delete_tasks(tasks: QuerySet[Task]) -> int:
    """Delete every task's files and cancel what is not done; the number that was not deleted before."""
    return sum(delete_files(task) for task in tasks.exclude(status=Status.DELETED).iterator())


def delete_files(task: Task) -> bool:
    """Delete one task's files and cancel it where it is not done; False where it was deleted already.

    A worker that has it sees that its claim is void, and publishes nothing.
    """
    with transaction.atomic():
        deleted = (
            Task.objects.filter(pk=task.pk)
            .exclude(status=Status.DELETED)
            .update(status=Status.DELETED, lease_token=None, lease_until=None, webhook_header_value="")
        )
        if not deleted:
            return False
        Task.objects.filter(pk=task.pk, finished=None).update(finished=timezone.now())
        task.files.all().delete()
    return True
