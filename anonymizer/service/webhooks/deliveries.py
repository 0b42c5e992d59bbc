"""The rows of webhooks: made when a task ends, taken by one process at a time, and kept until they are sent."""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import F, Min
from django.utils import timezone

from anonymizer.models import Status, Task, WebhookDelivery, WebhookStatus, WebhookTry
from anonymizer.models.batches import key_batches
from anonymizer.pipeline.errors import AnonymizerError, InvalidParameter
from anonymizer.service.webhooks import targets
from anonymizer.service.webhooks.connection import Answer

__all__ = ["NoWebhook", "Taken", "end", "enqueue", "recover", "seconds_until_due", "send_again", "take_due"]

#: another process may try again after this time: one try and writing it down take much less
LEASE = timedelta(seconds=60)
#: each wait is made up to this share longer or shorter, so that many receivers are not called at the same moment
JITTER = 0.2
#: a delivery that ends its process each time must not be tried for ever
MAX_STARTS = 30
ENDED = (Status.DONE, Status.FAILED)


class NoWebhook(AnonymizerError):
    """The task has no webhook that could be sent again."""

    status = 409
    code = "no_such_result"


@dataclass(frozen=True, slots=True)
class Taken:
    """The right of this process to try a delivery once."""

    delivery: WebhookDelivery
    token: uuid.UUID
    try_id: int


def enqueue(task: Task) -> None:
    """Make the delivery of a task that ends, if the task has a webhook.

    The caller has a transaction open: the task never ends without its delivery. Its id is decided here, once.
    """
    if task.webhook_status == WebhookStatus.SET:
        defaults = {"next_try": timezone.now(), "host": _host(task.webhook_url)}
        WebhookDelivery.objects.get_or_create(task=task, defaults=defaults)


def recover() -> int:
    """Make the deliveries that are missing, such as those of a version that kept none.

    Returns:
        The number of deliveries that were made.
    """
    missing = Task.objects.filter(webhook_status=WebhookStatus.SET, status__in=ENDED, delivery=None)
    made = 0
    for keys in key_batches(missing):
        with transaction.atomic():
            for task in missing.filter(pk__in=keys):
                enqueue(task)
                made += 1
    return made


def send_again(task: Task, header_value: str | None = None) -> None:
    """Send the webhook of a task once more, with the same delivery id and all tries.

    Args:
        task: a task that has ended.
        header_value: the value of the task's own header. It is needed again once the webhook was sent or given up.

    Raises:
        NoWebhook: the task has no webhook, or has not ended.
        InvalidParameter: the header has a name, but no value, or one that cannot be sent.
    """
    if header_value is not None:
        targets.check_header_value(header_value)
    with transaction.atomic():
        current = Task.objects.select_for_update().filter(pk=task.pk, status__in=ENDED).exclude(webhook_url="").first()
        if current is None:
            raise NoWebhook(f"Task {task.pk} has no webhook that could be sent again.")
        value = current.webhook_header_value if header_value is None else header_value
        if current.webhook_header_name and not value:
            name = current.webhook_header_name
            allowed = f"the value of the header {name}, which the server forgot after the last try"
            raise InvalidParameter("web-auth-header-value", value, allowed)
        current.webhook_header_value, current.webhook_status = value, WebhookStatus.SET
        current.save(update_fields=["webhook_header_value", "webhook_status"])
        enqueue(current)
        WebhookDelivery.objects.filter(task=current).update(
            next_try=timezone.now(), failures=0, starts=0, lease_token=None
        )


def take_due(busy_hosts: Collection[str] = ()) -> Taken | None:
    """Take the delivery that is due for the longest time, and write down that a try begins.

    Args:
        busy_hosts: receivers that have enough tries at the moment.

    Returns:
        None if nothing is due.
    """
    due = WebhookDelivery.objects.filter(next_try__lte=timezone.now()).exclude(host__in=busy_hosts).order_by("next_try")
    while (delivery := due.first()) is not None:
        with transaction.atomic():
            token, now = uuid.uuid4(), timezone.now()
            _lock_task(delivery)
            mine = WebhookDelivery.objects.filter(pk=delivery.pk, next_try=delivery.next_try)
            if delivery.starts >= MAX_STARTS:
                if mine.update(next_try=None, lease_token=None):
                    _finish_task(delivery, WebhookStatus.FAILED)
                continue
            # a process that is killed leaves the delivery due again
            if mine.update(lease_token=token, next_try=now + LEASE, starts=F("starts") + 1):
                return Taken(delivery, token, WebhookTry.objects.create(delivery=delivery, started=now).pk)
    return None


def seconds_until_due(most: float) -> float:
    """Return how long nothing will be due, unless another delivery is made, in seconds.

    Args:
        most: the longest time to return.
    """
    due = WebhookDelivery.objects.filter(next_try__gt=timezone.now()).aggregate(Min("next_try"))["next_try__min"]
    return most if due is None else min(most, max(0.0, (due - timezone.now()).total_seconds()))


def end(taken: Taken, answer: Answer) -> None:
    """Write down how a try ended, and when the next one comes, if it failed."""
    now = timezone.now()
    with transaction.atomic():
        _lock_task(taken.delivery)
        WebhookTry.objects.filter(pk=taken.try_id).update(
            ended=now, status=answer.status, error=answer.error[:300], answer=answer.text
        )
        mine = WebhookDelivery.objects.filter(pk=taken.delivery.pk, lease_token=taken.token)
        if answer.ok:
            if mine.update(next_try=None, lease_token=None):
                _finish_task(taken.delivery, WebhookStatus.SENT)
            return
        failures = taken.delivery.failures + 1
        following = _next_try(failures, now)
        if mine.update(failures=failures, next_try=following, lease_token=None) and following is None:
            _finish_task(taken.delivery, WebhookStatus.FAILED)


def _lock_task(delivery: WebhookDelivery) -> None:
    """Lock the task before its rows, as a deletion does: two transactions must not wait for each other."""
    Task.objects.select_for_update().filter(pk=delivery.task_id).values_list("pk").first()


def _finish_task(delivery: WebhookDelivery, status: WebhookStatus) -> None:
    """Show how the webhook ended. The secret of the receiver is not needed any more."""
    Task.objects.filter(pk=delivery.task_id).exclude(status=Status.DELETED).update(
        webhook_status=status, webhook_header_value=""
    )


def _next_try(failures: int, now: datetime) -> datetime | None:
    """When to try again after so many failures; None: never."""
    waits: list[timedelta] = settings.WEBHOOK_WAITS
    if failures > len(waits):
        return None
    return now + waits[failures - 1] * random.uniform(1 - JITTER, 1 + JITTER)


def _host(url: str) -> str:
    """Host and port of an address, for counting tries by receiver."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()[:300]
