"""The life of a webhook: one id, six tries, and nothing lost when a process dies in between."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from anonymizer.models import Status, Task, WebhookDelivery, WebhookStatus, WebhookTry
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.service import claims, deletion, work
from anonymizer.service.webhooks import deliveries, sender
from tests.pictures import drawn, encoded
from tests.service.webhooks.receivers import Receiver, answer

pytestmark = pytest.mark.django_db(transaction=True)
Ended = Callable[..., Task]
Start = Callable[..., Receiver]
Later = Callable[[], None]


def now_of(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def delivery_of(task: Task) -> WebhookDelivery:
    return WebhookDelivery.objects.get(task=task)


@pytest.mark.parametrize("status", [Status.DONE, Status.FAILED])
def test_the_receiver_gets_the_task_with_all_headers(
    ended: Ended, receiver: Start, settings: Any, status: Status
) -> None:
    settings.WEBHOOK_SECRET = "shared"
    good = receiver(answer(204))
    task = ended(good.url, status, "X-Key", "secret")
    assert sender.send_due() == 1
    assert good.requests[0].startswith(b"POST /hook?a=1 HTTP/1.1\r\n")
    assert good.header("Host") == f"127.0.0.1:{good.port}"
    assert good.header("X-Anonymizer-Event") == f"task.{status}"
    assert good.header("X-Anonymizer-Delivery") == str(delivery_of(task).pk)
    assert good.header("X-Key") == "secret"
    # over the bytes as they came, not over JSON that was written again
    digest = hmac.new(b"shared", good.body(), hashlib.sha256).hexdigest()
    assert good.header("X-Anonymizer-Signature") == f"sha256={digest}"
    told = json.loads(good.body())
    assert (told["id"], told["status"], told["name"]) == (str(task.pk), status, "a.jpg")
    after = now_of(task)
    assert (after.webhook_status, after.webhook_header_value) == (WebhookStatus.SENT, "")
    assert sender.send_due() == 0


def test_six_tries_over_about_an_hour_have_one_id_and_then_it_is_given_up(
    ended: Ended, receiver: Start, later: Later
) -> None:
    bad = receiver(answer(503, b"down"))
    task = ended(bad.url, header="X-Key", value="secret")
    waits = []
    for number in range(1, 7):
        before = timezone.now()
        assert sender.send_due() == 1, number
        delivery = delivery_of(task)
        if number < 6:
            assert now_of(task).webhook_status == WebhookStatus.SET
            assert now_of(task).webhook_header_value == "secret"
            assert delivery.next_try is not None
            waits.append((delivery.next_try - before).total_seconds())
            assert sender.send_due() == 0
        later()
    after = now_of(task)
    assert (after.webhook_status, after.webhook_header_value) == (WebhookStatus.FAILED, "")
    assert sender.send_due() == 0
    assert len(bad.requests) == 6
    assert len({bad.header("X-Anonymizer-Delivery", number) for number in range(6)}) == 1
    assert waits == sorted(waits)
    assert 0.8 * 3600 < sum(waits) < 1.2 * 3700
    tries = list(WebhookTry.objects.filter(delivery__task=task).values_list("status", "answer"))
    assert tries == [(503, "down")] * 6


def test_the_waits_are_not_the_same_for_all(ended: Ended, receiver: Start) -> None:
    bad = receiver(answer(500))
    for _ in range(4):
        ended(bad.url)
    sender.send_due()
    following = list(WebhookDelivery.objects.values_list("next_try", flat=True))
    spread = max(following) - min(following)  # type: ignore[type-var, operator]
    assert spread > timedelta(seconds=0.05)


def test_a_later_try_can_succeed(ended: Ended, receiver: Start, later: Later) -> None:
    shaky = receiver(answer(500), answer(200))
    task = ended(shaky.url)
    sender.send_due()
    later()
    sender.send_due()
    assert now_of(task).webhook_status == WebhookStatus.SENT
    statuses = WebhookTry.objects.filter(delivery__task=task).values_list("status", flat=True)
    assert list(statuses) == [500, 200]


def test_a_process_that_dies_in_the_middle_of_a_try_leaves_it_to_another(
    ended: Ended, receiver: Start, later: Later
) -> None:
    good = receiver(answer(200))
    task = ended(good.url)
    lost = deliveries.take_due()
    assert lost is not None
    # while its lease lasts, no other process has it
    assert deliveries.take_due() is None
    later()
    assert sender.send_due() == 1
    assert good.header("X-Anonymizer-Delivery") == str(lost.delivery.pk)
    # it was no failure: none of the six tries is lost
    assert delivery_of(task).failures == 0
    first, second = WebhookTry.objects.filter(delivery__task=task)
    assert (first.ended, second.status) == (None, 200)
    # the process that was thought to be lost ends late, and changes nothing
    deliveries.end(lost, deliveries.Answer(500))
    assert now_of(task).webhook_status == WebhookStatus.SENT


def test_a_delivery_that_ends_its_process_each_time_is_given_up(ended: Ended, later: Later) -> None:
    task = ended("http://127.0.0.1:9/")
    for _ in range(deliveries.MAX_STARTS):
        assert deliveries.take_due() is not None
        later()
    assert deliveries.take_due() is None
    assert now_of(task).webhook_status == WebhookStatus.FAILED


def test_recover_makes_a_delivery_that_is_missing(ended: Ended, receiver: Start) -> None:
    good = receiver(answer(200))
    task = ended(good.url)
    WebhookDelivery.objects.all().delete()
    running = Task.objects.create(status=Status.PROCESSING, webhook_url=good.url, webhook_status=WebhookStatus.SET)
    claims.recover()
    claims.recover()
    assert [delivery.task_id for delivery in WebhookDelivery.objects.all()] == [task.pk]
    assert sender.send_due() == 1
    assert now_of(running).webhook_status == WebhookStatus.SET


@pytest.mark.parametrize("how", ["lost", "overdue"])
def test_a_task_that_is_given_up_is_told_of_at_once(
    upload: Callable[..., Task], settings: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    # what finds missing deliveries must not hide that this one is missing
    monkeypatch.setattr(deliveries, "recover", lambda: 0)
    task = upload()
    Task.objects.filter(pk=task.pk).update(webhook_url="http://127.0.0.1:9/", webhook_status=WebhookStatus.SET)
    for _ in range(settings.MAX_LEASES):
        assert claims.claim(str(task.pk), "worker") is not None
        Task.objects.filter(pk=task.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    if how == "lost":
        claims.recover()
    else:
        claims.fail_overdue("worker")
    assert now_of(task).failure_cause == {"lost": "worker_lost", "overdue": "timeout"}[how]
    assert delivery_of(task).next_try is not None


def test_a_task_that_fails_is_told_of_at_once(upload: Callable[..., Task]) -> None:
    task = upload(encoded(drawn(1000, 600)), format="whole", strict=True)
    Task.objects.filter(pk=task.pk).update(webhook_url="http://127.0.0.1:9/", webhook_status=WebhookStatus.SET)
    assert work.process(str(task.pk)).startswith("failed")
    assert delivery_of(task).next_try is not None


def test_the_end_of_a_try_is_written_down_when_the_database_is_back(
    ended: Ended, receiver: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "DATABASE_PAUSE_S", 0.01)
    good = receiver(answer(200))
    task = ended(good.url)
    real, calls = deliveries.end, []

    def away(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) < 3:
            raise DatabaseError("database is locked")
        real(*arguments)

    monkeypatch.setattr(deliveries, "end", away)
    sender.send_due()
    assert (len(calls), len(good.requests), now_of(task).webhook_status) == (3, 1, WebhookStatus.SENT)


def test_a_task_that_is_deleted_is_not_told_of(ended: Ended, receiver: Start) -> None:
    good = receiver(answer(200))
    task = ended(good.url, header="X-Key", value="secret")
    taken = deliveries.take_due()
    deletion.delete_files(task)
    assert taken is not None
    sender.send_one(taken)
    after = now_of(task)
    assert (after.webhook_url, after.webhook_header_name, after.webhook_header_value) == ("", "", "")
    assert (WebhookDelivery.objects.count(), WebhookTry.objects.count(), good.requests) == (0, 0, [])


def test_one_receiver_does_not_get_all_the_tries(ended: Ended) -> None:
    ended("http://127.0.0.1:1/a")
    ended("http://127.0.0.1:2/b")
    taken = deliveries.take_due(["127.0.0.1:1"])
    assert taken is not None and taken.delivery.host == "127.0.0.1:2"
    assert deliveries.take_due(["127.0.0.1:1"]) is None


class TestSendingAgain:
    def test_it_begins_anew_with_the_same_id(self, ended: Ended, receiver: Start) -> None:
        good = receiver(answer(200))
        task = ended(good.url)
        sender.send_due()
        deliveries.send_again(now_of(task))
        assert now_of(task).webhook_status == WebhookStatus.SET
        assert sender.send_due() == 1
        assert now_of(task).webhook_status == WebhookStatus.SENT
        assert good.header("X-Anonymizer-Delivery", 0) == good.header("X-Anonymizer-Delivery", 1)

    def test_the_value_of_the_header_is_needed_again(self, ended: Ended, receiver: Start) -> None:
        good = receiver(answer(200))
        task = ended(good.url, header="X-Key", value="secret")
        sender.send_due()
        with pytest.raises(InvalidParameter, match="the value of the header X-Key"):
            deliveries.send_again(now_of(task))
        deliveries.send_again(now_of(task), "new secret")
        sender.send_due()
        assert (good.header("X-Key"), now_of(task).webhook_header_value) == ("new secret", "")

    def test_there_must_be_a_webhook_and_an_end(self, ended: Ended) -> None:
        without = Task.objects.create(status=Status.DONE)
        running = Task.objects.create(status=Status.QUEUED, webhook_url="http://127.0.0.1:9/", webhook_status="set")
        deleted = ended("http://127.0.0.1:9/")
        deletion.delete_files(deleted)
        for task in (without, running, deleted):
            with pytest.raises(deliveries.NoWebhook, match=str(task.pk)):
                deliveries.send_again(task)
