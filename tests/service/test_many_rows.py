"""Thousands of tasks on SQLite, while other processes write: deletion, clean-up and recovery."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from anonymizer.models import AuditEvent, DeletionReceipt, File, FileKind, Kind, Status, Task, Worker
from anonymizer.models.batches import key_batches
from anonymizer.service import claims, deletion
from anonymizer.service.cleanup import cleanup, expire

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 5000
#: one more than a cursor of SQLite reads at once: the fault began there
FEWER = 2001
LONG_AGO = timezone.now() - timedelta(days=100)


def fill(rows: int = ROWS, **values: Any) -> None:
    defaults = {"status": Status.DONE, "created": LONG_AGO, "finished": LONG_AGO, "name": "a.jpg"}
    made = [Task(**defaults | values) for _ in range(rows)]
    for number, task in enumerate(made):
        if task.finished is not None:
            # one after the other
            task.finished -= timedelta(seconds=number)
    tasks = Task.objects.bulk_create(made, 500)
    files = [
        File(task=task, kind=FileKind.ORIGINAL, storage_alias="input", key=f"{task.pk}/original.jpg", size=1)
        for task in tasks
    ]
    File.objects.bulk_create(files, 500)


@pytest.fixture
def writer() -> Iterator[Callable[[], int]]:
    """A thread that writes all the time, as workers do. The fixture gives the number of its writes."""
    end, errors = threading.Event(), []
    writes = 0

    def write() -> None:
        nonlocal writes
        try:
            while not end.wait(0.005):
                Worker.objects.update_or_create(name="busy", defaults={"seen": timezone.now()})
                writes += 1
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    yield lambda: writes
    end.set()
    thread.join()
    assert errors == []


def left() -> int:
    return Task.objects.exclude(status=Status.DELETED).count()


def test_all_of_5000_tasks_are_deleted_while_others_write(writer: Callable[[], int]) -> None:
    fill()
    before = writer()
    assert deletion.delete_tasks(Task.objects.all()) == ROWS
    assert (left(), File.objects.count()) == (0, 0)
    assert (AuditEvent.objects.count(), DeletionReceipt.objects.exclude(confirmed=None).count()) == (ROWS, ROWS)
    # the other process got its turn between the batches
    assert writer() > before + 5


def test_clean_up_deletes_old_tasks_and_then_their_records(writer: Callable[[], int]) -> None:
    fill(FEWER)
    assert cleanup(timedelta(days=7)).tasks == FEWER
    assert left() == 0
    assert cleanup(timedelta(days=7)).tombstones == FEWER
    assert Task.objects.count() == 0


def test_all_lost_notifications_are_sent_again(writer: Callable[[], int]) -> None:
    fill(FEWER, status=Status.QUEUED, finished=None, notified_at=LONG_AGO)
    assert claims.recover() == FEWER
    assert OrmQ.objects.count() == FEWER
    assert claims.recover() == 0


def plans(action: Callable[[], object]) -> list[str]:
    """How the database finds the tasks of each query of an action, once it knows how many there are of which kind."""
    is_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as queries:
        action()
    found = []
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            if query["sql"].startswith(("SELECT", "UPDATE")) and '"anonymizer_task"' in query["sql"]:
                cursor.execute(("EXPLAIN " if is_postgresql else "EXPLAIN QUERY PLAN ") + query["sql"])
                found.append(" ".join(str(row[-1]) for row in cursor.fetchall()))
        if not is_postgresql:
            # other tests do without, as a service does
            cursor.execute("DELETE FROM sqlite_stat1")
    return found


def test_recovery_and_claims_do_not_go_through_the_tasks_that_have_ended() -> None:
    fill()
    fill(5, status=Status.QUEUED, created=timezone.now(), finished=None)

    def claim() -> None:
        found = claims.next_waiting(Kind.IMAGE)
        assert found and claims.claim(found, "worker")

    found = plans(claims.recover) + plans(claim) + plans(expire)
    assert len(found) >= 8
    whole = ("SCAN anonymizer_task", "Seq Scan on anonymizer_task", "Backward using anonymizer_task_pkey")
    assert [plan for plan in found if any(words in plan for words in whole)] == []


def test_a_deletion_that_was_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(350)
    real, calls = deletion._delete_batch, []

    def dies(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(deletion, "_delete_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        deletion.delete_tasks(Task.objects.all())
    assert left() == 150
    assert deletion.delete_tasks(Task.objects.all()) == 150
    assert left() == 0


def test_expired_tasks_are_deleted_in_batches_too() -> None:
    fill(250, expires=LONG_AGO)
    fill(1, expires=timezone.now() + timedelta(hours=1))
    assert expire() == 250
    assert left() == 1


def test_rows_that_are_added_meanwhile_do_not_keep_the_loop_going() -> None:
    fill(5)
    seen: list[uuid.UUID] = []
    for keys in key_batches(Task.objects.all(), 2):
        assert len(keys) <= 2
        seen += keys
        Task.objects.create()
    assert len(seen) == len(set(seen)) == 5
    assert list(key_batches(Task.objects.none())) == []
