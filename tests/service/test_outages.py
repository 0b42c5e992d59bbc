"""A database that is locked, or that closes the connection, while a worker publishes."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from anonymizer.models import FileKind, Status, Task
from anonymizer.service import claims, work
from anonymizer.service.queueing import outages
from tests.fakes import FakeDetector

pytestmark = pytest.mark.django_db(transaction=True)
Upload = Callable[..., Task]


@pytest.fixture
def impatient() -> Iterator[None]:
    """Queries of this thread wait for a lock for a moment only."""
    if connection.vendor != "sqlite":
        pytest.skip("one writer locks all others out in SQLite only")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 20")
    yield
    connection.close()


@contextlib.contextmanager
def locked_for(seconds: float) -> Iterator[None]:
    """Keep all others from writing for that long, from another thread."""
    ready = threading.Event()

    def hold() -> None:
        database = sqlite3.connect(str(connection.settings_dict["NAME"]), isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        ready.set()
        time.sleep(seconds)
        database.execute("ROLLBACK")
        database.close()

    holding = threading.Thread(target=hold)
    holding.start()
    ready.wait()
    try:
        yield
    finally:
        holding.join()


def test_a_result_waits_for_a_locked_database_and_few_lines_are_logged(
    upload: Upload, detector: FakeDetector, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    task = upload()
    with contextlib.ExitStack() as stack, caplog.at_level(logging.WARNING, "anonymizer"):
        detector.during = lambda: detector.calls > 1 or stack.enter_context(locked_for(1.5))
        assert work.process(str(task.pk)) == "done"
    assert Task.objects.get(pk=task.pk).status == Status.DONE
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("anonymizer") and record.levelno >= logging.WARNING
    ]
    assert lines[0] == f"Task {task.pk} waits for the database (OperationalError)."
    assert lines[-1].startswith(f"Task {task.pk} reached the database again")
    assert len(lines) == 2


def test_a_notification_that_meets_a_locked_database_is_not_lost(
    upload: Upload, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = upload()
    with locked_for(1):
        assert work.process(str(task.pk)) == "done"
    other = upload()
    monkeypatch.setattr(work, "CLAIM_S", 0.2)
    with locked_for(1):
        assert work.process(str(other.pk)) == "the database does not answer: the task waits"
    # an idle worker finds it
    found = work.find()
    assert found is not None and found["args"] == (str(other.pk),)
    assert work.process(*found["args"]) == "done"
    assert work.find() is None


def test_a_result_that_was_published_stays_if_the_connection_is_lost_in_that_moment(
    upload: Upload, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = upload()
    commit, lost = connection.commit, []

    def lose() -> None:
        commit()
        if not lost and Task.objects.filter(pk=task.pk, status=Status.DONE).exists():
            lost.append(True)
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "commit", lose)
    assert work.process(str(task.pk)) == "done"
    assert lost
    done = Task.objects.get(pk=task.pk)
    assert done.status == Status.DONE
    for kind in FileKind:
        file = done.file(kind)
        assert file is None or file.read()
    assert done.file(FileKind.ANONYMISED) is not None


def test_a_claim_that_was_made_is_kept_if_the_connection_is_lost_in_that_moment(
    upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = upload()
    claim, lost = work.claim_next, []

    def lose(*args: object) -> object:
        taken = claim(*args)  # type: ignore[arg-type]
        if not lost:
            lost.append(taken)
            raise OperationalError("server closed the connection unexpectedly")
        return taken

    monkeypatch.setattr(work, "claim_next", lose)
    assert work.process(str(task.pk)) == "done"
    assert Task.objects.get(pk=task.pk).leases == 1


def test_other_errors_are_not_tried_again() -> None:
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise ValueError

    with pytest.raises(ValueError):
        outages.insist(broken, "A test", seconds=60)
    assert calls == [1]


def test_the_lease_is_renewed_as_soon_as_the_database_answers(upload: Upload, impatient: None) -> None:
    task = upload()
    claim = claims.claim(str(task.pk), "here")
    assert claim is not None
    before = Task.objects.get(pk=task.pk).lease_until
    with pytest.raises(OperationalError), locked_for(0.5):
        claim.renew()
    assert claim.renew()
    after = Task.objects.get(pk=task.pk).lease_until
    assert before is not None and after is not None and after > before
