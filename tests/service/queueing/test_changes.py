"""`DatabaseChanges`: the times of the database's files take the place of queries."""

from __future__ import annotations

import time

import pytest

from anonymizer.models import Worker
from anonymizer.service.queueing import changes
from anonymizer.service.queueing.broker import QuietORMBroker
from anonymizer.service.queueing.changes import DatabaseChanges

pytestmark = pytest.mark.django_db(transaction=True)
SETTLED_S = changes.RECENT_S + 0.05


@pytest.fixture
def settled() -> DatabaseChanges:
    """Changes of a database that was queried a moment ago, and in which nothing happens."""
    time.sleep(SETTLED_S)
    watched = DatabaseChanges()
    assert watched.may_have_changed()
    return watched


def test_nothing_has_changed(settled: DatabaseChanges) -> None:
    assert not settled.may_have_changed()
    assert not settled.may_have_changed()


def test_a_new_row_is_a_change_until_the_clock_has_ticked(settled: DatabaseChanges) -> None:
    Worker.objects.create(name="a", queue="images")
    assert settled.may_have_changed()
    # a second change within one tick of the clock would look like the first
    assert settled.may_have_changed()
    time.sleep(SETTLED_S)
    settled.may_have_changed()
    assert not settled.may_have_changed()


def test_there_is_a_query_from_time_to_time_whatever_the_files_say(
    settled: DatabaseChanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not settled.may_have_changed()
    monkeypatch.setattr(changes, "MAX_INTERVAL_S", 0.0)
    assert settled.may_have_changed()


def test_the_broker_gives_what_is_put_into_the_queue() -> None:
    broker = QuietORMBroker("somewhere")
    time.sleep(SETTLED_S)
    assert not broker.dequeue()
    assert not broker.dequeue()
    broker.enqueue("a task")
    ((_, payload),) = broker.dequeue()
    assert payload == "a task"
