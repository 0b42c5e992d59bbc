"""A list of very many tasks: their number is right, and is not counted one by one each time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from anonymizer.api import pagination
from anonymizer.models import Status, Task
from anonymizer.service.clients import tokens

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def long_from_five(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pagination, "LONG_LIST", 5)
    caches["local"].clear()
    yield
    caches["local"].clear()


def fill(count: int, **values: Any) -> None:
    defaults = {"status": Status.DONE, "created": timezone.now() - timedelta(days=1)}
    Task.objects.bulk_create([Task(**defaults | values) for _ in range(count)])


def counted(query: str = "", **headers: str) -> tuple[int, str]:
    """The number of tasks that a list tells, and the queries that counted them."""
    with CaptureQueriesContext(connection) as queries:
        page = Client().get(f"/v1/task/list?page_size=1{query}", headers=headers).json()
    counts = [each["sql"] for each in queries.captured_queries if "COUNT(" in each["sql"]]
    return page["count"], " ".join(counts)


def test_only_new_tasks_of_a_long_list_are_counted_again() -> None:
    fill(8)
    assert counted()[0] == 8
    fill(2, created=timezone.now())
    again, sql = counted()
    assert again == 10
    assert sql.count("COUNT(") == sql.count('"created" >') == 1
    assert counted("&kind=video")[0] == 0
    assert counted("&kind=image")[0] == 10


def test_a_short_list_is_counted_each_time() -> None:
    fill(4)
    assert counted()[0] == 4
    fill(1)
    assert counted()[0] == 5


def test_states_change_and_are_counted_each_time() -> None:
    fill(8)
    assert counted("&status=done")[0] == 8
    Task.objects.filter(pk__in=Task.objects.values("pk")[:3]).update(status=Status.DELETED)
    assert counted("&status=done")[0] == 5


def test_each_client_has_a_number_of_its_own() -> None:
    (one, secret), (other, other_secret) = tokens.create("one"), tokens.create("other")
    fill(8, owner=one)
    fill(7, owner=other)
    for _ in range(2):
        assert counted(Authorization=f"Bearer {secret}")[0] == 8
        assert counted(Authorization=f"Bearer {other_secret}")[0] == 7
