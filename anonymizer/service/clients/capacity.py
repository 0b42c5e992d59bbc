"""Whether this server has room for one more upload: in its queue and on its disks."""

from __future__ import annotations

import shutil

from django.conf import settings

from anonymizer.models import Kind, Status, Task, Token
from anonymizer.service.clients.errors import NoRoom, QueueFull
from anonymizer.stores import store

__all__ = ["check"]

#: seconds after which a client may try again
QUEUE_RETRY_S = 30
DISK_RETRY_S = 300


def check(owner: Token | None, size: int) -> None:
    """Make sure that one more upload fits. This is asked before its bytes are received.

    Args:
        owner: the client. It may fill half of the queue, so that there is room for others.
        size: size of the upload in bytes; 0 if it is not known.

    Raises:
        QueueFull: too many files wait.
        NoRoom: a disk would have too little room left.
    """
    # `kind` lets the database count in the index alone
    waiting = Task.objects.filter(status__in=[Status.QUEUED, Status.NEW], kind__in=Kind.values)
    most = settings.MAX_QUEUE
    if waiting.count() >= most:
        raise QueueFull(f"{most} files wait already. Try again later.", retry_after=QUEUE_RETRY_S)
    half = max(1, most // 2)
    if owner is not None and waiting.filter(owner=owner).count() >= half:
        raise QueueFull(f"{half} files of this client wait already. Try again later.", retry_after=QUEUE_RETRY_S)
    for alias in ("input", "output"):
        free = _free_bytes(alias)
        if free is not None and free - size < settings.MIN_FREE_BYTES:
            # the size of the disk is not told: it is nobody's business
            raise NoRoom("The server has too little room on its disk. Try again later.", retry_after=DISK_RETRY_S)


def _free_bytes(alias: str) -> int | None:
    """Free bytes on the disk of a storage; None if the storage is not a folder of this machine."""
    folder = store(alias).path("")
    if folder is None:
        return None
    folder = folder.absolute()
    while not folder.exists():
        # the storage creates its folder with the first file
        folder = folder.parent
    return shutil.disk_usage(folder).free
