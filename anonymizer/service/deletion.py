"""Deleting: the files go at once, the record stays as a tombstone."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from anonymizer.models import Status, Task
from anonymizer.pipeline.errors import StorageFailed
from anonymizer.service import files

__all__ = ["delete_files", "delete_tasks"]


def delete_tasks(tasks: QuerySet[Task]) -> int:
    """Delete every task's files and cancel what is not done; the number that was not deleted before.

    Raises:
        StorageFailed: all are deleted, and some bytes could not be removed.
    """
    deleted, failed = 0, []
    for task in tasks.exclude(status=Status.DELETED).iterator():
        try:
            deleted += delete_files(task)
        except StorageFailed as error:
            failed.append(str(error))
    if failed:
        raise StorageFailed(" ".join(failed))
    return deleted


def delete_files(task: Task) -> bool:
    """Delete one task's files and cancel it where it is not done; False where it was deleted already.

    A worker that has it sees that its claim is void, and publishes nothing.

    Raises:
        StorageFailed: the task is deleted, and some of its bytes could not be removed.
    """
    stored = list(task.files.all())
    with transaction.atomic():
        working = Task.objects.filter(pk=task.pk, lease_until__gt=timezone.now(), status=Status.PROCESSING).exists()
        deleted = (
            Task.objects.filter(pk=task.pk)
            .exclude(status=Status.DELETED)
            .update(status=Status.DELETED, lease_token=None, lease_until=None, webhook_header_value="")
        )
        if not deleted:
            return False
        Task.objects.filter(pk=task.pk, finished=None).update(finished=timezone.now())
        task.files.all().delete()
    if not working:
        # a worker removes its own; one that was killed left it
        files.remove_workplaces(task)
    left = [each.key for each in stored if each.storage.exists(each.key)]
    if left:
        raise StorageFailed(
            f"Task {task.pk} is deleted, but {len(left)} of its files could not be removed: {', '.join(left)}. "
            "Removing them is tried again by the clock."
        )
    return True
