"""List, claim and recover in a database of many tasks, in a process of its own; `benchmarks.load` gives it orders.

    python -m benchmarks.many_rows ROWS

Each line of its input names an action, and each line of its output is the milliseconds that it took.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

__all__ = ["ACTIONS"]

#: tasks that wait, whatever the number of all: the others ended in the last weeks
WAITING = 200


def fill(rows: int) -> None:
    """Make tasks as a service leaves them in the course of weeks, a part of them with files."""
    from django.db import connection
    from django.utils import timezone

    from anonymizer.models import File, FileKind, Status, Task, WebhookStatus

    now = timezone.now()
    for first in range(0, rows, 5000):
        tasks = []
        for number in range(first, min(first + 5000, rows)):
            waits, age = number >= rows - WAITING, timedelta(minutes=rows - number)
            status = Status.QUEUED if waits else (Status.DONE, Status.DONE, Status.FAILED, Status.DELETED)[number % 4]
            ended = {} if waits else {"started": now - age, "finished": now - age, "leases": 1}
            hook = WebhookStatus.SENT if number % 3 else WebhookStatus.EMPTY
            tasks.append(Task(
                id=_id(now - age), status=status, name=f"{number}.jpg", created=now - age, notified_at=now,
                webhook_status=hook, object_types=["face"], **ended,
            ))  # fmt: skip
        Task.objects.bulk_create(tasks, 1000)
        files = [
            File(task=task, kind=kind, storage_alias="output", key=f"{task.pk}/{kind}", size=1000)
            for task in tasks for kind in (FileKind.ORIGINAL, FileKind.ANONYMISED, FileKind.METADATA)
            if task.status in (Status.DONE, Status.QUEUED)
        ]  # fmt: skip
        File.objects.bulk_create(files, 1000)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # as its autovacuum does; the service asks SQLite for no statistics
            cursor.execute("VACUUM ANALYZE")


def _id(created: Any) -> uuid.UUID:
    """An id as `time_ordered_id` makes it, of another time."""
    value = int(created.timestamp() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return uuid.UUID(int=(value & ~(0xF << 76) | 7 << 76) & ~(0x3 << 62) | 2 << 62)


def _get(path: str) -> None:
    from django.test import Client

    answer = Client(SERVER_NAME="localhost").get(path)
    assert answer.status_code == 200, answer.content


def list_all() -> None:
    _get("/v1/task/list")


def list_done() -> None:
    _get("/v1/task/list?status=done&kind=image")


def upload_check() -> None:
    from anonymizer.service.clients import capacity

    capacity.check(None, 1000)


def claim() -> None:
    from anonymizer.models import Kind
    from anonymizer.service.claims import next_waiting
    from anonymizer.service.clients.turns import claim_next

    found = next_waiting(Kind.IMAGE)
    assert found is not None
    assert claim_next(found, "benchmark") is not None


def recover() -> None:
    from anonymizer.service.claims import recover

    recover()


def expire() -> None:
    from anonymizer.service.cleanup import expire

    expire()


ACTIONS: dict[str, Callable[[], None]] = {
    "list": list_all, "list of one state": list_done, "room for an upload": upload_check, "claim": claim,
    "recover": recover, "expire": expire,
}  # fmt: skip


def main() -> None:
    """Run as a program."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.stand_in")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, skip_checks=True)
    fill(int(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        ACTIONS[line.strip()]()
        print((time.perf_counter() - started) * 1000, flush=True)


if __name__ == "__main__":
    main()
