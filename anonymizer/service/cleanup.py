"""Periodic clean-up: old tasks' files, old tombstones, files that no row knows, rows that know no task."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.files.storage import Storage, storages
from django.utils import timezone

from anonymizer.models import File, Status, Task
from anonymizer.service import deletion, files

__all__ = ["Cleaned", "cleanup", "scheduled"]

log = logging.getLogger(__name__)
#: a file without a row may be one that a worker is about to publish
ORPHAN_AGE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed, or would be."""

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
) -> Cleaned:
    """Delete the files of tasks that ended before `older_than` ago, tombstones of that age, and orphaned files.

    Args:
        older_than: None leaves tasks and tombstones alone and removes orphaned files only.
        statuses: `done`, `failed` or both.
        dry_run: only count.
        orphan_age: files without a row are removed when they are older than this.
    """
    ended = Task.objects.none() if older_than is None else Task.objects.filter(finished__lt=timezone.now() - older_than)
    old, tombstones = ended.filter(status__in=statuses), ended.filter(status=Status.DELETED)
    size = sum(File.objects.filter(task__in=old).values_list("size", flat=True))
    orphans = list(_orphans(timezone.now() - orphan_age))
    counted = Cleaned(old.count(), tombstones.count(), len(orphans), size + sum(each.size for each in orphans))
    if not dry_run:
        tombstones.delete()
        deletion.delete_tasks(old)
        for each in orphans:
            each.remove_bytes()
    return counted


def scheduled() -> str:
    """By the clock, called by django-q2: files that no row knows go in any case, old tasks if a setting asks for it."""
    return str(cleanup(settings.CLEANUP_AFTER if settings.CLEANUP_SCHEDULED else None))


def _orphans(before: datetime) -> Iterator[File]:
    """Old files below folders of tasks, or among uploads, that no row knows; as rows that were never saved.

    Nothing else is looked at: the folder may be one that the operator keeps files of their own in.
    """
    for alias in ("input", "output"):
        storage = storages[alias]
        # what a worker is making has no row yet, and may lie still for longer than an hour
        busy = {str(pk) for pk in Task.objects.filter(status=Status.PROCESSING).values_list("pk", flat=True)}
        known = set(File.objects.filter(storage_alias=alias).values_list("key", flat=True))
        for key in (key for folder in _our_folders(storage) if folder not in busy for key in _walk(storage, folder)):
            try:
                if key not in known and storage.get_modified_time(key) < before:
                    yield File(storage_alias=alias, key=key, size=storage.size(key))
            except FileNotFoundError:
                continue


def _our_folders(storage: Storage) -> Iterator[str]:
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
    for each in folders:
        yield from _walk(storage, f"{folder}/{each}".lstrip("/"))
