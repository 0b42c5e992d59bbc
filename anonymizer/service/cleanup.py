"""Periodic clean-up: files of old tasks, old records of deleted tasks, and files that belong to no task."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.files.storage import Storage, storages
from django.utils import timezone

from anonymizer.models import File, Status, Task
from anonymizer.service import deletion, files

__all__ = ["CleanupReport", "cleanup", "scheduled"]

#: a younger file without a row may be one that a worker is about to publish
ORPHAN_AGE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What was removed, or what a dry run would remove."""

    tasks: int
    tombstones: int
    orphans: int
    bytes: int


def cleanup(
    older_than: timedelta | None,
    statuses: Sequence[Status] = (Status.DONE, Status.FAILED),
    *,
    dry_run: bool = False,
    orphan_age: timedelta = ORPHAN_AGE,
) -> CleanupReport:
    """Delete the files of old tasks, old records of deleted tasks, and files that belong to no task.

    Args:
        older_than: a task is old when it ended longer ago than this. If None, only files without a task are removed.
        statuses: `done`, `failed` or both.
        dry_run: count, but delete nothing.
        orphan_age: a file without a task is removed when it is older than this.
    """
    ended = Task.objects.none() if older_than is None else Task.objects.filter(finished__lt=timezone.now() - older_than)
    old, tombstones = ended.filter(status__in=statuses), ended.filter(status=Status.DELETED)
    size = sum(File.objects.filter(task__in=old).values_list("size", flat=True))
    orphans = list(_orphans(timezone.now() - orphan_age))
    report = CleanupReport(old.count(), tombstones.count(), len(orphans), size + sum(file.size for file in orphans))
    if not dry_run:
        tombstones.delete()
        deletion.delete_tasks(old)
        for file in orphans:
            file.remove_bytes()
    return report


def scheduled() -> str:
    """Clean up on schedule; django-q2 calls this.

    Files without a task are always removed. Old tasks are removed only if the setting `CLEANUP_SCHEDULED` says so.
    """
    return str(cleanup(settings.CLEANUP_AFTER if settings.CLEANUP_SCHEDULED else None))


def _orphans(before: datetime) -> Iterator[File]:
    """Old files in the folders of tasks or among uploads that have no row; as `File` objects that were never saved.

    No other files are considered: operators may keep files of their own in the same folder.
    """
    for alias in ("input", "output"):
        storage = storages[alias]
        # files that a worker is writing have no row yet, and may be unchanged for longer than an hour
        busy = {str(pk) for pk in Task.objects.filter(status=Status.PROCESSING).values_list("pk", flat=True)}
        known = set(File.objects.filter(storage_alias=alias).values_list("key", flat=True))
        for key in (key for folder in _own_folders(storage) if folder not in busy for key in _walk(storage, folder)):
            try:
                if key not in known and storage.get_modified_time(key) < before:
                    yield File(storage_alias=alias, key=key, size=storage.size(key))
            except FileNotFoundError:
                continue


def _own_folders(storage: Storage) -> Iterator[str]:
    """The folders that the service made: that of uploads, and one for each task."""
    try:
        folders, _ = storage.listdir("")
    except FileNotFoundError:
        return
    for folder in folders:
        try:
            if folder == files.UPLOADS or str(uuid.UUID(folder)) == folder:
                yield folder
        except ValueError:
            continue


def _walk(storage: Storage, folder: str) -> Iterator[str]:
    try:
        folders, names = storage.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        yield f"{folder}/{name}".lstrip("/")
    for subfolder in folders:
        yield from _walk(storage, f"{folder}/{subfolder}".lstrip("/"))
