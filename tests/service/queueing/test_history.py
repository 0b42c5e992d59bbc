"""Rows that django-q2 keeps of calls are forgotten after a while."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import Task as Call

from anonymizer.service.queueing import history

pytestmark = pytest.mark.django_db(transaction=True)


def ended(days: float, *, success: bool) -> Call:
    stopped = timezone.now() - timedelta(days=days)
    return Call.objects.create(
        id=uuid.uuid4().hex, name="a", func="anonymizer.service.work.process", started=stopped, stopped=stopped,
        success=success,
    )  # fmt: skip


def test_old_calls_and_too_many_failures_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_FAILURES", 3)
    monkeypatch.setattr(history, "BATCH", 2)
    kept = {ended(day, success=False).pk for day in (1, 2, 3)} | {ended(6, success=True).pk}
    for day in (4, 5, 6):
        ended(day, success=False)
    for success in (True, False):
        ended(8, success=success)
    assert history.prune() == "5 call(s) forgotten"
    assert set(Call.objects.values_list("pk", flat=True)) == kept
    assert history.prune() == "0 call(s) forgotten"
