"""Who works on a task: one conditional UPDATE takes a lease, a heartbeat renews it, and `recover` finds lost leases."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from anonymizer.models import Kind, Status, Task, WebhookStatus
from anonymizer.service import webhooks
from anonymizer.service.monitoring import counters
from anonymizer.service.queueing import queue

__all__ = ["Claim", "Heartbeat", "claim", "notify_again", "recover", "release_tasks"]

log = logging.getLogger(__name__)
#: a notification counts as lost when no worker took the task within this many lease durations
NOTIFICATION_LOST_AFTER = 10


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a task, for as long as the lease is renewed."""

    task: Task
    token: uuid.UUID

    def update(self, **values: object) -> bool:
        """Change the task's row, if this claim still owns it. Return whether it did."""
        return self._owned().update(**values) == 1

    def is_void(self) -> bool:
        """Return whether the task was deleted, or another worker has it."""
        return not self._owned().exists()

    def renew(self, **values: object) -> bool:
        """Extend the lease, if this claim still owns the task. Return whether it did."""
        return self.update(lease_until=timezone.now() + settings.LEASE, **values)

    def _owned(self) -> QuerySet[Task]:
        return Task.objects.filter(pk=self.task.pk, lease_token=self.token, status=Status.PROCESSING)


def claim(task_id: str, worker: str) -> Claim | None:
    """Take a task that waits, or one whose worker was lost.

    Returns:
        The claim, or None if another worker has the task or there is nothing to do.
    """
    token = uuid.uuid4()
    now = timezone.now()
    free = Q(status__in=[Status.NEW, Status.QUEUED]) | Q(status=Status.PROCESSING, lease_until__lt=now)
    taken = Task.objects.filter(free, pk=task_id, leases__lt=settings.MAX_LEASES).update(
        status=Status.PROCESSING,
        lease_token=token,
        lease_until=now + settings.LEASE,
        leases=F("leases") + 1,
        progress=0.0,
        video=None,
        started=now,
        worker=worker,
    )
    if taken != 1:
        return None
    task = Task.objects.filter(pk=task_id, lease_token=token).prefetch_related("files").first()
    return None if task is None else Claim(task, token)


class Heartbeat:
    """Renew a claim from a thread of its own while the block runs."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(settings.LEASE.total_seconds() / 4):
            try:
                if not self._claim.renew():
                    break
            except Exception:
                # a database that is away for a moment must not end the heartbeat: the lease itself is the limit
                log.exception("The lease of task %s could not be renewed.", self._claim.task.pk)
        connection.close()


def recover() -> int:
    """Notify workers again of tasks whose worker or notification was lost. Fail tasks that lost too many workers.

    Returns:
        The number of tasks that a new notification was sent for.
    """
    now = timezone.now()
    lost = Task.objects.filter(status=Status.PROCESSING, lease_until__lt=now)
    for task in lost.filter(leases__gte=settings.MAX_LEASES):
        _fail_lost_task(task)
    waiting = Task.objects.filter(
        # tasks in a long queue are not lost: each has its notification, and must not get a new one every minute
        Q(status__in=[Status.NEW, Status.QUEUED], notified_at__lt=now - NOTIFICATION_LOST_AFTER * settings.LEASE)
        | Q(status=Status.PROCESSING, lease_until__lt=now, notified_at__lt=now - settings.LEASE)
    )
    notified = 0
    for task in waiting.order_by("created").iterator():
        if task.status != Status.PROCESSING and now - task.notified_at < task.notified_at - task.created:
            # the pauses grow: behind a long video many tasks may wait for hours, each with its notification
            continue
        Task.objects.filter(pk=task.pk).update(notified_at=now)
        queue.notify(task)
        notified += 1
    if notified:
        log.warning("Workers were notified again of %d task(s).", notified)
    return notified


def notify_again(kind: Kind) -> None:
    """Notify workers of every waiting task of a kind. A cluster that was killed lost the notifications it had taken."""
    for task in Task.objects.filter(status__in=[Status.NEW, Status.QUEUED], kind=kind):
        Task.objects.filter(pk=task.pk).update(notified_at=timezone.now())
        queue.notify(task)


def release_tasks(workers: Collection[str]) -> int:
    """Put the tasks of stopped workers back into the queue. The lease that ends here does not count.

    Args:
        workers: names of the workers, as `workers.name` gives them.

    Returns:
        The number of tasks that were put back.
    """
    released = 0
    for task in Task.objects.filter(status=Status.PROCESSING, worker__in=workers):
        owned = Task.objects.filter(pk=task.pk, status=Status.PROCESSING, lease_token=task.lease_token)
        released += owned.update(status=Status.QUEUED, lease_token=None, lease_until=None, leases=F("leases") - 1)
    return released


def _fail_lost_task(task: Task) -> None:
    with transaction.atomic():
        failed = Task.objects.filter(
            pk=task.pk, status=Status.PROCESSING, lease_until__lt=timezone.now(), leases__gte=settings.MAX_LEASES
        ).update(
            status=Status.FAILED,
            finished=timezone.now(),
            failure_cause="worker_lost",
            error=f"The worker was lost {settings.MAX_LEASES} times while it worked on this file.",
        )
        if failed:
            counters.count_end(task.kind, Status.FAILED.value, "worker_lost")
        if failed and task.webhook_status == WebhookStatus.SET:
            webhooks.notify_on_commit(task)
