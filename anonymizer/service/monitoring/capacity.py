"""Whether there is room for more work: in the queue and on the disks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.files.storage import storages
from django.db.models import Count, Min

from anonymizer.models import Kind, Status, Task
from anonymizer.pipeline.errors import StorageFull

__all__ = ["Queue", "disk_usage", "full_disk", "full_queue", "queues", "require_room"]

WAITING = (Status.NEW, Status.QUEUED)


@dataclass(frozen=True, slots=True)
class Queue:
    """The tasks of one kind that wait.

    Attributes:
        length: their number.
        oldest: when the oldest of them was created, in seconds since 1970; None if no task waits.
    """

    length: int
    oldest: float | None


def queues() -> dict[Kind, Queue]:
    """Return the queue of each kind of file."""
    rows = Task.objects.filter(status__in=WAITING).order_by().values_list("kind").annotate(Count("id"), Min("created"))
    found = {kind: Queue(length, oldest.timestamp()) for kind, length, oldest in rows}
    return {kind: found.get(kind, Queue(0, None)) for kind in Kind}


def full_queue() -> str:
    """Say that the queue is full, if it is; else return an empty text."""
    most = settings.MAX_QUEUE
    # counting stops at the limit, so that a long queue costs no more than that
    if not most or Task.objects.filter(status__in=WAITING).order_by()[:most].count() < most:
        return ""
    return f"The queue has {most} tasks, which is the most that this server takes. Try again later."


def disk_usage(alias: str) -> tuple[int, int] | None:
    """Return the bytes of a storage's disk that are used, and those that are free; None if it is no local folder.

    Args:
        alias: the name of the storage, `input` or `output`.
    """
    try:
        folder = Path(storages[alias].path(""))
    except NotImplementedError:
        return None
    # the folder is made with the first file
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.used, usage.free


def full_disk(size: int = 0) -> str:
    """Say which disk has too little room for a file, if one has; else return an empty text.

    Args:
        size: of the file, in bytes.
    """
    for alias in ("input", "output"):
        usage = disk_usage(alias)
        if usage is not None and usage[1] - size < settings.MIN_FREE_BYTES:
            free, needed = usage[1] // 2**20, (size + settings.MIN_FREE_BYTES) // 2**20
            return f"The disk of the {alias} storage has {free} MiB of room, but {needed} MiB are needed."
    return ""


def require_room(size: int) -> None:
    """Make sure that the disks have room for a file before it is received.

    Args:
        size: of the file, in bytes.

    Raises:
        StorageFull: there is too little room.
    """
    if full := full_disk(size):
        raise StorageFull(full)
