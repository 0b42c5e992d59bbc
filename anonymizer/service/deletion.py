"""Delete tasks: the files go at once, the record stays with the status `deleted`."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from anonymizer.models import Status, Task
from anonymizer.pipeline.errors import StorageFailed
from anonymizer.service import files

__all__ = ["delete_files", "delete_tasks"]


def delete_tasks(tasks: QuerySet[Task]) -> int:
    """Delete the files of every task, and cancel tasks that are not done.

    Returns:
        The number of tasks that were not deleted before.

    Raises:
        StorageFailed: all tasks are deleted, but some of their files could not be removed.
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
    """Delete the files of one task, and cancel it if it is not done.

    A worker that works on the task notices that its claim is void, and publishes nothing.

    Returns:
        False if the task was deleted already.

    Raises:
        StorageFailed: the task is deleted, but some of its files could not be removed.
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
        # a living worker removes its own folder; a killed worker left it behind
        files.remove_working_folders(task)
    remaining = [file.key for file in stored if file.storage.exists(file.key)]
    if remaining:
        raise StorageFailed(
            f"Task {task.pk} is deleted, but {len(remaining)} of its files could not be removed: "
            f"{', '.join(remaining)}. The scheduled clean-up tries again."
        )
    return True
