"""Repeated uploads with the same `Idempotency-Key` are one task. So a client whose connection broke may try again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from anonymizer.models import IdempotencyKey, Task, Token
from anonymizer.service.clients.errors import KeyReused

__all__ = ["KEPT_FOR", "Key", "Repeated", "forget_old", "is_known", "remember"]

#: how long a key stands for its task
KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Key:
    """The key of an upload.

    Attributes:
        value: 1 to 255 characters that the client chose.
        parameters: everything besides the bytes that must be the same when the upload is repeated, as one text.
    """

    value: str
    parameters: str


class Repeated(Exception):
    """The upload was made before; `task` is its task."""

    def __init__(self, task: Task) -> None:
        super().__init__(str(task.pk))
        self.task = task


def is_known(owner: Token | None, value: str) -> bool:
    """Return whether this client used a key within the last 24 hours."""
    since = timezone.now() - KEPT_FOR
    return IdempotencyKey.objects.filter(owner=owner, key=value, created__gte=since).exists()


def forget_old() -> None:
    """Delete the keys that stand for nothing any more."""
    IdempotencyKey.objects.filter(created__lt=timezone.now() - KEPT_FOR).delete()


def remember(key: Key, task: Task, sha256: str) -> None:
    """Make a key stand for a task. Call this in the transaction that makes the task.

    Args:
        key: the key of the upload.
        task: the new task, already in the database.
        sha256: of the uploaded bytes.

    Raises:
        Repeated: the client made the same upload before. The new task must be rolled back.
        KeyReused: the client used the key for other bytes or parameters.
    """
    fingerprint = hashlib.sha256(f"{sha256}\n{key.parameters}".encode(errors="surrogateescape")).hexdigest()
    # only this key: two uploads that both delete the old keys of all would wait for each other
    IdempotencyKey.objects.filter(owner=task.owner, key=key.value, created__lt=timezone.now() - KEPT_FOR).delete()
    try:
        with transaction.atomic():
            # the database decides which of two uploads at the same time is the first, and the second waits for it
            IdempotencyKey.objects.create(owner=task.owner, key=key.value, fingerprint=fingerprint, task=task)
    except IntegrityError:
        earlier = IdempotencyKey.objects.select_related("task").get(owner=task.owner, key=key.value)
        if earlier.fingerprint != fingerprint:
            raise KeyReused(
                "The Idempotency-Key was used within the last 24 hours for an upload with other bytes or parameters."
            ) from None
        raise Repeated(earlier.task) from None
