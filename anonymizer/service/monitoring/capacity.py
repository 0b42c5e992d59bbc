"""How much waits in the queues, and how much room the disks have."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from django.db.models import Count, Min

from anonymizer.models import Kind, Status, Task
from anonymizer.stores import store

__all__ = ["Queue", "disk_usage", "queues", "running"]

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


def running() -> dict[Kind, int]:
    """Return how many tasks of each kind a worker has."""
    rows = Task.objects.filter(status=Status.PROCESSING).order_by().values_list("kind").annotate(Count("id"))
    found = dict(rows)
    return {kind: found.get(kind, 0) for kind in Kind}


def disk_usage(alias: str) -> tuple[int, int] | None:
    """Return the bytes of a storage's disk that are used, and those that are free; None if it is no local folder.

    Args:
        alias: the name of the storage, `input` or `output`.
    """
    folder = store(alias).path("")
    if folder is None:
        return None
    # the folder is made with the first file
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.used, usage.free
