"""`Changes`: a look at the database's files instead of a question."""

from __future__ import annotations

import time

import pytest

from anonymizer.models import Worker
from anonymizer.service import changes
from anonymizer.service.broker import PatientORM
from anonymizer.service.changes import Changes

pytestmark = pytest.mark.django_db(transaction=True)
SETTLED_S = changes.RECENT_S + 0.05


@pytest.fixture
def settled() -> Changes:
    """One that has just looked at a database in which nothing has happened for a moment."""
    time.sleep(SETTLED_S)
    watch = Changes()
    assert watch.possible()
    return watch


def test_nothing_new_is_not_asked_for(settled: Changes) -> None:
    assert not settled.possible()
    assert not settled.possible()


def test_a_row_that_was_written_is_asked_for_until_it_has_settled(settled: Changes) -> None:
    Worker.objects.create(name="a", queue="images")
    assert settled.possible()
    # within one tick of the clock a second change would look like the first
    assert settled.possible()
    time.sleep(SETTLED_S)
    settled.possible()
    assert not settled.possible()


def test_it_is_asked_from_time_to_time_whatever_the_files_say(
    settled: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not settled.possible()
    monkeypatch.setattr(changes, "LATEST_S", 0.0)
    assert settled.possible()


def test_the_broker_sees_what_is_put_into_the_queue() -> None:
    broker = PatientORM("somewhere")
    time.sleep(SETTLED_S)
    assert not broker.dequeue()
    assert not broker.dequeue()
    broker.enqueue("a task")
    ((_, payload),) = broker.dequeue()
    assert payload == "a task"
