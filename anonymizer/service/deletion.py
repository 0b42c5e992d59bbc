"""Delete tasks: the files go at once, the record stays with the status `deleted`, and a receipt says what went."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from anonymizer.models import AuditAction, DeletionReceipt, File, FileKind, ResultVersion, Status, Task, WebhookDelivery
from anonymizer.models.batches import key_batches
from anonymizer.pipeline.errors import StorageFailed
from anonymizer.service import files
from anonymizer.service.accounting import audit
from anonymizer.service.accounting.free_pages import forget_free_pages

__all__ = ["confirm_receipts", "delete_files", "delete_single_files", "delete_tasks", "drop_original"]

#: What a deleted task keeps: its id, times, counts, options and outcome. Names, addresses and texts go.
FORGOTTEN: dict[str, Any] = {
    "status": Status.DELETED,
    "lease_token": None,
    "lease_until": None,
    "expires": None,
    "review_status": None,
    "name": "",
    "error": None,
    "warnings": [],
    "webhook_url": "",
    "webhook_header_name": "",
    "webhook_header_value": "",
}
#: files in which the original can be seen
SHOWS_ORIGINAL = (FileKind.ORIGINAL, FileKind.PREVIEW_BEFORE, FileKind.SIDE_BY_SIDE)


def delete_tasks(tasks: QuerySet[Task], *, actor: str = audit.ANONYMOUS, reason: str = "") -> int:
    """Delete the files of every task, and cancel tasks that are not done.

    The tasks are deleted in batches, each in a transaction of its own. A deletion that was interrupted leaves no task
    half deleted, and the same call goes on where it ended.

    Args:
        actor: who deletes, for the audit log.
        reason: why, for the audit log.

    Returns:
        The number of tasks that were not deleted before.

    Raises:
        StorageFailed: all tasks are deleted, but some of their files could not be removed.
    """
    deleted, failed = 0, []
    for keys in key_batches(tasks.exclude(status=Status.DELETED)):
        receipts = _delete_batch(keys, actor, reason)
        deleted += len(receipts)
        failed += [_sentence(receipt) for receipt in receipts if receipt.left]
    forget_free_pages()
    if failed:
        raise StorageFailed(" ".join(failed))
    return deleted


def delete_files(task: Task, *, actor: str = audit.ANONYMOUS, reason: str = "") -> bool:
    """Delete the files of one task, and cancel it if it is not done.

    A worker that works on the task notices that its claim is void, and publishes nothing.

    Args:
        actor: who deletes, for the audit log.
        reason: why, for the audit log.

    Returns:
        False if the task was deleted already.

    Raises:
        StorageFailed: the task is deleted, but some of its files could not be removed.
    """
    receipts = _delete_batch([task.pk], actor, reason)
    forget_free_pages()
    if receipts and receipts[0].left:
        raise StorageFailed(_sentence(receipts[0]))
    return bool(receipts)


def delete_single_files(rows: Sequence[File], *, actor: str, reason: str = "") -> None:
    """Delete some files of one task, which stays as it is. A transaction that is open may still be rolled back.

    Args:
        rows: stored files of the same task.
        actor: who deletes, for the audit log.
        reason: why, for the audit log.
    """
    if not rows:
        return
    with transaction.atomic():
        receipt = _new_receipt(rows[0].task_id, rows, actor, reason)
        receipt.save()
        for row in rows:
            audit.record(AuditAction.DELETED, row.task_id, actor, file=row.kind, reason=reason)
            row.delete()
        # after the bytes: callbacks run in the order in which they were added
        transaction.on_commit(lambda: _confirm(receipt), robust=True)


def drop_original(task: Task) -> None:
    """Delete the original of a task that ends, if this server keeps none. The caller has a transaction open."""
    if not settings.KEEP_ORIGINALS:
        # read again at each try: a deletion that was rolled back leaves objects without a key
        originals = list(File.objects.filter(task=task.pk, kind__in=SHOWS_ORIGINAL))
        delete_single_files(originals, actor=audit.SERVER, reason="originals are not kept")


def confirm_receipts() -> int:
    """Look again for files that could not be removed at their deletion, and confirm receipts whose files are gone.

    Returns:
        The number of receipts that are still not confirmed.
    """
    waiting = DeletionReceipt.objects.filter(confirmed=None)
    for keys in key_batches(waiting):
        for receipt in DeletionReceipt.objects.filter(pk__in=keys):
            _confirm(receipt)
    return waiting.count()


def _delete_batch(keys: Sequence[uuid.UUID], actor: str, reason: str) -> list[DeletionReceipt]:
    """Delete some tasks in one transaction. Return a receipt for each that was not deleted before."""
    now = timezone.now()
    with transaction.atomic():
        # the lock is for PostgreSQL; a transaction of SQLite locks the whole database when it begins
        rows = Task.objects.select_for_update().filter(pk__in=keys).exclude(status=Status.DELETED)
        tasks = list(rows.order_by("pk"))
        found = [task.pk for task in tasks]
        stored: dict[uuid.UUID, list[File]] = {key: [] for key in found}
        for file in File.objects.filter(task__in=found):
            stored[file.task_id].append(file)
        deleted = Task.objects.filter(pk__in=found)
        deleted.update(**FORGOTTEN)
        deleted.filter(finished=None).update(finished=now)
        WebhookDelivery.objects.filter(task__in=found).delete()
        File.objects.filter(task__in=found).delete()
        # comments, and where a person saw something
        ResultVersion.objects.filter(task__in=found).delete()
        receipts = [_new_receipt(key, stored[key], actor, reason) for key in found]
        DeletionReceipt.objects.bulk_create(receipts)
        audit.record_all(AuditAction.DELETED, found, actor, reason=reason)
    for task, receipt in zip(tasks, receipts, strict=True):
        if task.status != Status.PROCESSING or task.lease_until is None or task.lease_until <= now:
            # a living worker removes its own folder; a killed worker left it behind
            files.remove_working_folders(task)
        receipt.left = _remaining(receipt.left)
    gone = [receipt.pk for receipt in receipts if not receipt.left]
    DeletionReceipt.objects.filter(pk__in=gone).update(left=[], confirmed=timezone.now())
    return receipts


def _new_receipt(task: uuid.UUID, rows: Sequence[File], actor: str, reason: str) -> DeletionReceipt:
    """A receipt that is not saved, and is not confirmed: all files are listed as left."""
    return DeletionReceipt(
        task=task,
        actor=actor[:200],
        reason=reason,
        files=[{"kind": row.kind, "bytes": row.size, "sha256": row.sha256} for row in rows],
        left=[[row.storage_alias, row.key] for row in rows],
    )


def _confirm(receipt: DeletionReceipt) -> None:
    left = _remaining(receipt.left)
    DeletionReceipt.objects.filter(pk=receipt.pk).update(left=left, confirmed=None if left else timezone.now())


def _remaining(places: Sequence[Sequence[str]]) -> list[list[str]]:
    """Those of the places, each a storage and a key, that still hold a file."""
    return [[alias, key] for alias, key in places if storages[alias].exists(key)]


def _sentence(receipt: DeletionReceipt) -> str:
    return (
        f"Task {receipt.task} is deleted, but {len(receipt.left)} of its files could not be removed: "
        f"{', '.join(key for _, key in receipt.left)}. The scheduled clean-up tries again."
    )
