"""Files that belong to no task, and rows of files that are gone: what crashes and broken disks leave behind."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from anonymizer.models import AuditAction, File, Status, Task
from anonymizer.models.batches import key_batches
from anonymizer.pipeline.errors import StorageAway
from anonymizer.service import files
from anonymizer.service.accounting import audit
from anonymizer.stores import ALIASES, Store, StoredBytes, store

__all__ = ["Orphan", "drop_lost_rows", "files_without_rows", "remove", "remove_all", "rows_without_files"]

log = logging.getLogger(__name__)
#: files that are compared with the database at once
FILES = 1000
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
        for found in _batches(store(alias).walk(_is_own)):
            tasks = [uuid.UUID(folder) for folder in {_folder(each.key) for each in found} if folder != files.UPLOADS]
            busy = _busy(tasks)
            known = set(File.objects.filter(storage_alias=alias, task__in=tasks).values_list("key", flat=True))
            for each in found:
                if each.key not in known and _folder(each.key) not in busy and each.modified < before:
                    yield Orphan(alias, each.key, each.size)


def remove(orphan: Orphan, before: datetime) -> int | None:
    """Remove a file without a row, as `remove_all` does. Return its size in bytes, or None if it was left alone."""
    return next(iter(remove_all([orphan], before)), None)


def remove_all(orphans: Sequence[Orphan], before: datetime) -> list[int]:
    """Remove files without a row, if they still are: a task may have taken one meanwhile.

    Args:
        orphans: as `files_without_rows` found them.
        before: a file that was changed later is left alone.

    Returns:
        The sizes in bytes of those that were removed.
    """
    sizes: list[int] = []
    for alias in {orphan.alias for orphan in orphans}:
        of_alias = [orphan for orphan in orphans if orphan.alias == alias]
        keys = [orphan.key for orphan in of_alias]
        rows = set(File.objects.filter(storage_alias=alias, key__in=keys).values_list("key", flat=True))
        busy = _busy([uuid.UUID(folder) for folder in map(_folder, keys) if folder != files.UPLOADS])
        free = [each for each in of_alias if each.key not in rows and _folder(each.key) not in busy]
        if store(alias).removes_together:
            sizes += _removed(store(alias), free)
        else:
            # one at a time: a file that cannot be removed does not keep the others
            old = [each for each in free if _is_old(store(alias), each.key, before)]
            sizes += [size for each in old for size in _removed(store(alias), [each])]
    return sizes


def _removed(place: Store, orphans: Sequence[Orphan]) -> list[int]:
    """Remove files, and return their sizes in bytes; those of none if the storage refuses."""
    try:
        place.remove([each.key for each in orphans])
    except (OSError, StorageAway) as error:
        names = ", ".join(each.key for each in orphans[:5])
        log.warning("%d file(s) could not be removed (%s): %s.", len(orphans), type(error).__name__, names)
        return []
    return [each.size for each in orphans]


def _is_old(place: Store, key: str, before: datetime) -> bool:
    found = place.look(key)
    return found is not None and found.modified < before


def rows_without_files(before: datetime) -> Iterator[File]:
    """Find old rows of files that are not in their storage.

    Args:
        before: younger rows are left out.
    """
    for keys in key_batches(File.objects.filter(created__lt=before), 1000):
        rows = list(File.objects.filter(pk__in=keys))
        there = {
            alias: store(alias).existing([row.key for row in rows if row.storage_alias == alias]) for alias in ALIASES
        }
        yield from (row for row in rows if row.key not in there[row.storage_alias])


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
            # the task before its rows, as a deletion does: two transactions must not wait for each other
            task = Task.objects.select_for_update().filter(pk=file.task_id).first()
            # the row may be gone meanwhile, because the task was deleted
            if task is not None and File.objects.filter(pk=file.pk).delete()[0]:
                task.warnings = [*task.warnings, f"The stored {file.kind} was lost."]
                task.save(update_fields=["warnings"])
                audit.record(AuditAction.LOST, file.task_id, audit.SERVER, file=file.kind)
    return len(lost)


def _busy(tasks: list[uuid.UUID]) -> set[str]:
    """The folders of tasks that a worker works on: its files have no rows yet, and may be unchanged for hours."""
    working = Task.objects.filter(Q(status=Status.PROCESSING) | Q(review_status="rendering"), pk__in=tasks)
    return {str(pk) for pk in working.values_list("pk", flat=True)}


def _batches(found: Iterator[StoredBytes]) -> Iterator[list[StoredBytes]]:
    while batch := list(itertools.islice(found, FILES)):
        yield batch


def _folder(key: str) -> str:
    return key.partition("/")[0]


def _is_own(folder: str) -> bool:
    """Whether the service made a folder: that of uploads, or one of a task."""
    try:
        return folder == files.UPLOADS or str(uuid.UUID(folder)) == folder
    except ValueError:
        return False
