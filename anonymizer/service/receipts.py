"""Receipts of tasks: made when a result is published, and kept when its files are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from anonymizer.models import File, FileKind, KeptReceipt, Task
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.receipts.receipt import Receipt, make_receipt
from anonymizer.pipeline.receipts.signing import SigningKey
from anonymizer.service import files

if TYPE_CHECKING:
    from anonymizer.pipeline.results import ImageResult, VideoResult

__all__ = ["artefact", "keep", "keep_content", "kept", "make", "signing_key"]

#: what a client can download; previews and stored detections only serve this server
_OUTPUTS = (FileKind.ANONYMISED, FileKind.BINARY_MASK, FileKind.INSTANCE_MASK, FileKind.METADATA)


def signing_key() -> SigningKey | None:
    """Load the key that the setting names; None if it names none.

    Raises:
        InvalidParameter: the key cannot be used. `serve` then does not start, and a task fails.
    """
    if not settings.RECEIPT_KEY:
        return None
    return SigningKey.load(settings.RECEIPT_KEY, parameter="ANONYMIZER_RECEIPT_KEY")


def make(
    task: Task, result: ImageResult | VideoResult, stored: Sequence[File], finished: datetime, *, version: int = 1
) -> Receipt:
    """Make the receipt of a result.

    Args:
        task: its times and its original are used. Its name is not part of a receipt.
        result: of the work on it.
        stored: the files of the result.
        finished: when the work ended.
        version: of the result.

    Raises:
        InvalidParameter: the key cannot be used.
    """
    original = task.file(FileKind.ORIGINAL)
    times = {"created": task.created, "started": task.started, "finished": finished}
    return make_receipt(
        result,
        kind=str(task.kind),
        source=None if original is None else FileSum(original.sha256, original.size),
        outputs={file.kind: FileSum(file.sha256, file.size) for file in stored if file.kind in _OUTPUTS},
        key=signing_key(),
        times={name: _time(value) for name, value in times.items()},
        task=str(task.pk),
        version=version,
    )


def artefact(receipt: Receipt) -> files.Artefact:
    """Return the file of a receipt, ready to be stored."""
    return files.Artefact(FileKind.RECEIPT, receipt.data, "application/json", ".json")


def keep(task: Task, receipt: Receipt) -> None:
    """Keep a receipt beside the task, in place of an older one."""
    keep_content(task, receipt.data.decode())


def keep_content(task: Task, content: str) -> None:
    """Keep the file of a receipt beside the task, in place of an older one."""
    values = {"content": content, "created": timezone.now()}
    KeptReceipt.objects.update_or_create(task=task, defaults=values)


def kept(task: Task) -> bytes | None:
    """Return the receipt of a task whose files are deleted; None if the files are there or it never had a receipt."""
    if task.file(FileKind.RECEIPT) is not None:
        return None
    receipt = KeptReceipt.objects.filter(task=task).first()
    return None if receipt is None else receipt.content.encode()


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
