"""Tasks that have ended and have a webhook, on a server that listens on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from anonymizer.models import Status, Task, WebhookDelivery, WebhookStatus
from anonymizer.service.webhooks import deliveries
from tests.service.webhooks.receivers import Receiver, Script


@pytest.fixture(autouse=True)
def on_loopback(settings: Any) -> None:
    settings.HOST = "127.0.0.1"


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    """Start receivers that answer with scripts."""
    started: list[Receiver] = []

    def start(*scripts: Script, **kwargs: Any) -> Receiver:
        started.append(Receiver(*scripts, **kwargs))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def ended() -> Callable[..., Task]:
    """Make a task that has ended just now, with its delivery."""

    def make(url: str, status: Status = Status.DONE, header: str = "", value: str = "") -> Task:
        with transaction.atomic():
            task = Task.objects.create(
                status=status, finished=timezone.now(), name="a.jpg", webhook_url=url, webhook_header_name=header,
                webhook_header_value=value, webhook_status=WebhookStatus.SET, endpoint="http://here",
            )  # fmt: skip
            deliveries.enqueue(task)
        return task

    return make


@pytest.fixture
def later() -> Callable[[], None]:
    """Let the waits of all deliveries pass."""

    def pass_waits() -> None:
        waiting = WebhookDelivery.objects.exclude(next_try=None)
        waiting.update(next_try=timezone.now() - timedelta(seconds=1))

    return pass_waits
