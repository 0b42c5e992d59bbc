"""Tell the caller that a task has ended. There is one attempt; the task's row shows its outcome."""

from __future__ import annotations

import logging
import uuid

import requests
from django.core.serializers.json import DjangoJSONEncoder

from anonymizer.models import Status, Task, WebhookStatus
from anonymizer.service import reports
from anonymizer.service.queueing import queue

__all__ = ["deliver", "notify_on_commit"]

log = logging.getLogger(__name__)
TIMEOUT_S = 10


def notify_on_commit(task: Task) -> None:
    """Have a worker send the task to its webhook, once other processes can see that the task has ended."""
    queue.call_on_commit("anonymizer.service.webhooks.deliver", str(task.pk))


def deliver(task_id: str) -> str:
    """POST the task to its webhook; django-q2 calls this with an id."""
    task = Task.objects.prefetch_related("files").filter(pk=task_id, webhook_status=WebhookStatus.SET).first()
    if task is None or task.status not in (Status.DONE, Status.FAILED):
        return "nothing to do"
    delivery = task.webhook_delivery or uuid.uuid4()
    Task.objects.filter(pk=task.pk).update(webhook_delivery=delivery)
    sent = _post(task, delivery)
    status = WebhookStatus.SENT if sent else WebhookStatus.FAILED
    Task.objects.filter(pk=task.pk, webhook_status=WebhookStatus.SET).update(webhook_status=status)
    return str(status)


def _post(task: Task, delivery: uuid.UUID) -> bool:
    headers = {
        "Content-Type": "application/json",
        "X-Anonymizer-Event": f"task.{task.status}",
        "X-Anonymizer-Delivery": str(delivery),
    }
    if task.webhook_header_name:
        headers[task.webhook_header_name] = task.webhook_header_value
    body = DjangoJSONEncoder().encode(reports.report(task)).encode()
    try:
        answer = requests.post(task.webhook_url, data=body, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)
    except (requests.RequestException, ValueError) as error:
        log.warning("The webhook of task %s could not be sent (%s).", task.pk, type(error).__name__)
        return False
    return answer.ok and not answer.is_redirect
