"""Periodic clean-up: files of old and expired tasks, old records of deleted tasks, and files that belong to no task."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from anonymizer.models import File, IdempotencyKey, Status, Task
from anonymizer.models.batches import key_batches
from anonymizer.pipeline.errors import StorageAway, StorageFailed
from anonymizer.service import deletion, files
from anonymizer.service.accounting import audit, orphans
from anonymizer.service.accounting.free_pages import forget_free_pages
from anonymizer.service.clients import idempotency, quota
from anonymizer.stores import ALIASES, store

__all__ = ["CleanupReport", "cleanup", "expire", "scheduled"]

log = logging.getLogger(__name__)
#: a younger file without a row may be one that a worker is about to publish
ORPHAN_AGE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What was removed, or what a dry run would remove.

    Attributes:
        tasks: old tasks whose files were deleted.
        tombstones: old records of deleted tasks.
        orphans: files that belong to no task.
        bytes: the size of all these files.
        lost: files of tasks that are not in their storage any more.
        unconfirmed: deletions of which some bytes are still there.
    """

    tasks: int
    tombstones: int
    orphans: int
    bytes: int
    lost: int = 0
    unconfirmed: int = 0


def cleanup(
    older_than: timedelta | None,
    statuses: Sequence[Status] = (Status.DONE, Status.FAILED),
    *,
    dry_run: bool = False,
    orphan_age: timedelta = ORPHAN_AGE,
    actor: str = audit.SERVER,
) -> CleanupReport:
    """Delete the files of old tasks, old records of deleted tasks, and files that belong to no task.

    Args:
        older_than: a task is old when it ended longer ago than this. If None, only files without a task are removed.
        statuses: `done`, `failed` or both.
        dry_run: count, but delete nothing.
        orphan_age: a file without a task is removed when it is older than this.
        actor: who cleans up, for the audit log.
    """
    ended = Task.objects.none() if older_than is None else Task.objects.filter(finished__lt=timezone.now() - older_than)
    old, tombstones = ended.filter(status__in=statuses), ended.filter(status=Status.DELETED)
    before = timezone.now() - orphan_age
    if dry_run:
        size = File.objects.filter(task__in=old).aggregate(size=Sum("size"))["size"] or 0
        found = [orphan.size for orphan in orphans.files_without_rows(before)]
        lost = sum(1 for _ in orphans.rows_without_files(before))
        return CleanupReport(old.count(), tombstones.count(), len(found), size + sum(found), lost)
    removed = sum(_delete_rows(keys) for keys in key_batches(tombstones))
    size, deleted = 0, 0
    try:
        for keys in key_batches(old):
            batch = old.filter(pk__in=keys)
            size += File.objects.filter(task__in=batch).aggregate(size=Sum("size"))["size"] or 0
            deleted += deletion.delete_tasks(batch, actor=actor, reason="clean-up of old tasks")
    except StorageFailed as error:
        # the next clean-up finds these files without a row, and the receipts stay open
        log.error("%s", error)
    freed, lost = _sweep(before)
    # nobody repeats an upload with them any more
    IdempotencyKey.objects.filter(created__lt=timezone.now() - idempotency.KEPT_FOR).delete()
    forget_free_pages()
    return CleanupReport(deleted, removed, len(freed), size + sum(freed), lost, deletion.confirm_receipts())


def _sweep(before: datetime) -> tuple[list[int], int]:
    """Compare the storages with the database. Return the sizes of files that were removed, and the number of lost."""
    files.remove_scratch()
    freed: list[int] = []
    try:
        found = orphans.files_without_rows(before)
        while batch := list(itertools.islice(found, orphans.FILES)):
            freed += orphans.remove_all(batch, before)
        for alias in ALIASES:
            store(alias).abort_receptions(before)
        return freed, orphans.drop_lost_rows(before)
    except StorageAway:
        log.warning("The storage of files does not answer. The next clean-up compares it with the database.")
        return freed, 0


def scheduled() -> str:
    """Clean up on schedule; django-q2 calls this.

    Files without a task are always removed. Old tasks are removed only if the setting `CLEANUP_SCHEDULED` says so.
    """
    idempotency.forget_old()
    quota.forget_old()
    return str(cleanup(settings.CLEANUP_AFTER if settings.CLEANUP_SCHEDULED else None))


def expire() -> int:
    """Delete the files of tasks whose `ttl` is over; django-q2 calls this every minute.

    Returns:
        The number of tasks that were deleted.
    """
    over = Task.objects.filter(expires__lte=timezone.now()).exclude(status=Status.DELETED)
    return deletion.delete_tasks(over, actor=audit.SERVER, reason="ttl")


def _delete_rows(keys: Sequence[uuid.UUID]) -> int:
    with transaction.atomic():
        Task.objects.filter(pk__in=keys, status=Status.DELETED).delete()
    return len(keys)
