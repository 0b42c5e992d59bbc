"""Files that belong to no task, and rows of files that are gone: what crashes and broken disks leave behind."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.core.files.storage import Storage, storages
from django.db import transaction
from django.db.models import Q

from anonymizer.models import AuditAction, File, Status, Task
from anonymizer.models.batches import key_batches
from anonymizer.service import files
from anonymizer.service.accounting import audit

__all__ = ["Orphan", "drop_lost_rows", "files_without_rows", "remove", "rows_without_files"]

log = logging.getLogger(__name__)
ALIASES = ("input", "output")
#: folders that are compared with the database at once
FOLDERS = 200
#: More lost files than this, or than this share, mean that a disk is missing, not that files are.
MOST_LOST = 10
MOST_LOST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file in a folder of the service that has no row."""

    alias: str
    key: str
    size: int


def files_without_rows(before: datetime) -> Iterator[Orphan]:
    """Find old files in the folders of tasks or among uploads that have no row.

    No other files are considered: operators may keep files of their own in the same folder.

    Args:
        before: younger files are left out, because a worker may be about to publish them.
    """
    for alias in ALIASES:
        storage = storages[alias]
        for folders in _batches(_own_folders(storage)):
            tasks = [uuid.UUID(folder) for folder in folders if folder != files.UPLOADS]
            busy = _busy(tasks)
            known = set(File.objects.filter(storage_alias=alias, task__in=tasks).values_list("key", flat=True))
            for key in (key for folder in folders if folder not in busy for key in _walk(storage, folder)):
                if key not in known and (size := _size_of_old(storage, key, before)) is not None:
                    yield Orphan(alias, key, size)


def remove(orphan: Orphan, before: datetime) -> int | None:
    """Remove a file without a row, if it is still one: a task may have taken it meanwhile.

    Args:
        orphan: as `files_without_rows` found it.
        before: a file that was changed later is left alone.

    Returns:
        Its size in bytes, or None if it was left alone.
    """
    folder = orphan.key.partition("/")[0]
    has_row = File.objects.filter(storage_alias=orphan.alias, key=orphan.key).exists()
    if has_row or (folder != files.UPLOADS and _busy([uuid.UUID(folder)])):
        return None
    size = _size_of_old(storages[orphan.alias], orphan.key, before)
    if size is not None:
        try:
            File(storage_alias=orphan.alias, key=orphan.key).remove_bytes()
        except OSError as error:
            log.warning("%s could not be removed (%s).", orphan.key, type(error).__name__)
            return None
    return size


def rows_without_files(before: datetime) -> Iterator[File]:
    """Find old rows of files that are not in their storage.

    Args:
        before: younger rows are left out.
    """
    for keys in key_batches(File.objects.filter(created__lt=before), 1000):
        for file in File.objects.filter(pk__in=keys):
            if not file.storage.exists(file.key):
                yield file


def drop_lost_rows(before: datetime) -> int:
    """Delete the rows of files that are gone, and say so in their tasks and in the audit log.

    If many files are gone at once, a disk is missing. Then nothing is deleted, and the log says it.

    Args:
        before: younger rows are left alone.

    Returns:
        The number of lost files.
    """
    lost = list(rows_without_files(before))
    checked = File.objects.filter(created__lt=before).count()
    if len(lost) > max(MOST_LOST, MOST_LOST_SHARE * checked):
        log.error("%d of %d stored files are missing. Is a disk missing? Their rows are kept.", len(lost), checked)
        return len(lost)
    for file in lost:
        with transaction.atomic():
            # the row may be gone meanwhile, because the task was deleted
            if File.objects.filter(pk=file.pk).delete()[0]:
                task = Task.objects.select_for_update().get(pk=file.task_id)
                task.warnings = [*task.warnings, f"The stored {file.kind} was lost."]
                task.save(update_fields=["warnings"])
                audit.record(AuditAction.LOST, file.task_id, audit.SERVER, file=file.kind)
    return len(lost)


def _busy(tasks: list[uuid.UUID]) -> set[str]:
    """The folders of tasks that a worker works on: its files have no rows yet, and may be unchanged for hours."""
    working = Task.objects.filter(Q(status=Status.PROCESSING) | Q(review_status="rendering"), pk__in=tasks)
    return {str(pk) for pk in working.values_list("pk", flat=True)}


def _size_of_old(storage: Storage, key: str, before: datetime) -> int | None:
    """The size of a file in bytes; None if it was changed later, or is gone."""
    try:
        return storage.size(key) if storage.get_modified_time(key) < before else None
    except FileNotFoundError:
        return None


def _batches(folders: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for folder in folders:
        batch.append(folder)
        if len(batch) == FOLDERS:
            yield batch
            batch = []
    yield batch


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
