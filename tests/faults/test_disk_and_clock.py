"""The database finds no room, or the clock jumps by an hour: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone

from anonymizer.models import DeletionReceipt, Status, Task, WebhookStatus
from anonymizer.service import claims, work, workers
from anonymizer.service.webhooks import sender
from tests.fakes import FakeDetector
from tests.faults.recovery import is_done_once, on_disk, recovered, rows, submitted, swept
from tests.pictures import encoded
from tests.service.conftest import detector  # noqa: F401 (fixture)
from tests.service.webhooks.conftest import on_loopback, receiver  # noqa: F401 (fixtures)
from tests.service.webhooks.receivers import Receiver, answer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("detector")]
HOUR = timedelta(hours=1)
Jump = Callable[[timedelta], None]


def limit_database(*, full: bool) -> None:
    """Let the database of this connection grow no more, as on a full disk; or let it grow again."""
    with connection.cursor() as cursor:
        if full:
            # without it, what earlier tests deleted would be room
            cursor.execute("VACUUM")
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
        cursor.execute(f"PRAGMA max_page_count = {pages if full else 2**30}")


def posted() -> Any:
    upload = SimpleUploadedFile("a.jpg", encoded())
    return Client().post("/v1/file?face=1", {"fileobject": upload}, headers={"x-is-async": "1"})


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Set the clock of this process forwards or back."""
    true_now = timezone.now

    def by(offset: timedelta) -> None:
        def now() -> datetime:
            return true_now() + offset

        monkeypatch.setattr(timezone, "now", now)

    return by


def test_an_upload_that_finds_no_room_in_the_database_is_refused_and_leaves_nothing(media: Path) -> None:
    limit_database(full=True)
    try:
        # a few rows fit in pages that are there
        answers = [posted()]
        while answers[-1].status_code == 202 and len(answers) < 100:
            answers.append(posted())
        refused = answers.pop()
        assert (refused.status_code, refused.json()["code"]) == (507, "no_room")
        assert refused.headers["Retry-After"]
        assert Task.objects.count() == len(answers)
        assert on_disk(media) == rows()
    finally:
        limit_database(full=False)
    assert posted().status_code == 202
    recovered(0)
    assert set(Task.objects.values_list("status", "leases")) == {(Status.DONE, 1)}
    swept(media)


def test_a_result_that_finds_no_room_in_the_database_waits_for_it(media: Path, settings: Any) -> None:
    # a result waits for ten of them
    settings.LEASE = timedelta(seconds=0.05)
    tasks = [submitted() for _ in range(6)]
    limit_database(full=True)
    try:
        # a few rows fit in pages that are there
        outcomes = ["done"]
        while outcomes[-1] == "done":
            outcomes.append(work.process(str(tasks[len(outcomes) - 1].pk)))
    finally:
        limit_database(full=False)
    assert "waits for another worker" in outcomes[-1]
    assert not Task.objects.filter(status=Status.FAILED).exists()
    claims.end_leases([workers.name()])
    recovered(0)
    for task in tasks:
        is_done_once(task, media)


def test_a_deletion_that_finds_no_room_in_the_database_is_whole_or_nothing(media: Path) -> None:
    tasks = [submitted() for _ in range(8)]
    recovered(0)
    limit_database(full=True)
    try:
        codes = [Client().delete(f"/v1/task/{task.pk}").status_code for task in tasks]
    finally:
        limit_database(full=False)
    assert 507 in codes
    assert set(codes) <= {200, 507}
    assert [Task.objects.get(pk=task.pk).status == Status.DELETED for task in tasks] == [code == 200 for code in codes]
    assert on_disk(media) == rows()
    assert {Client().delete(f"/v1/task/{task.pk}").status_code for task in tasks} == {200}
    swept(media)
    assert on_disk(media) == set()
    assert DeletionReceipt.objects.exclude(confirmed=None).count() == len(tasks)


def test_a_clock_that_jumps_forwards_in_the_middle_of_a_task_makes_one_result(
    detector: FakeDetector, receiver: Any, media: Path, jump: Jump  # noqa: F811
) -> None:  # fmt: skip
    told: Receiver = receiver(answer(200))
    task = submitted(webhook=told.url)

    def jumps() -> None:
        detector.during = lambda: None
        jump(HOUR)
        # for all others the lease has run out long ago
        another = threading.Thread(target=recovered, args=(0,))
        another.start()
        another.join()

    detector.during = jumps
    assert work.process(str(task.pk)).startswith("dropped")
    is_done_once(task, media)
    assert Task.objects.get(pk=task.pk).leases == 2
    assert (sender.send_due(), sender.send_due(), len(told.requests)) == (1, 0, 1)


def test_a_clock_that_jumps_back_loses_no_task_and_no_webhook(receiver: Any, media: Path, jump: Jump) -> None:  # noqa: F811
    told: Receiver = receiver(answer(500), answer(200))
    begun, lost, waiting = submitted(webhook=told.url), submitted(), submitted()
    assert work.process(str(begun.pk)) == "done"
    assert (sender.send_due(), len(told.requests)) == (1, 1)
    # killed on another machine, whose guard cannot end its lease here
    assert claims.claim(str(lost.pk), "elsewhere:1") is not None
    jump(-HOUR)
    recovered(0)
    is_done_once(waiting, media)
    assert Task.objects.get(pk=lost.pk).status == Status.PROCESSING
    # the clock comes to where it was
    jump(timedelta(minutes=2))
    recovered(0)
    is_done_once(lost, media)
    assert (sender.send_due(), sender.send_due(), len(told.requests)) == (1, 0, 2)
    assert len({told.header("X-Anonymizer-Delivery", each) for each in (0, 1)}) == 1
    assert Task.objects.get(pk=begun.pk).webhook_status == WebhookStatus.SENT


def test_a_worker_that_is_killed_before_the_clock_jumps_back_is_replaced_at_once(media: Path, jump: Jump) -> None:
    task = submitted()
    assert claims.claim(str(task.pk), workers.name(1)) is not None
    jump(-HOUR)
    recovered(1)
    is_done_once(task, media)
