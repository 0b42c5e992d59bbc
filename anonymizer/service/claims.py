"""Who works on a task: a lease that one conditional UPDATE takes, a heartbeat renews, and `recover` finds lost."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from anonymizer.models import Kind, Status, Task, WebhookStatus
from anonymizer.service import queue, webhooks

__all__ = ["Claim", "Heartbeat", "claim", "hand_back", "recover", "notify_again"]

log = logging.getLogger(__name__)
#: leases after which a bell that was not answered counts as lost
BELL_LOST_AFTER = 10


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a task, for as long as the lease is renewed."""

    task: Task
    token: uuid.UUID

    def update(self, **values: object) -> bool:
        """Change the task, if it is still ours."""
        mine = Task.objects.filter(pk=self.task.pk, lease_token=self.token, status=Status.PROCESSING)
        return mine.update(**values) == 1

    def is_void(self) -> bool:
        """Whether the task was deleted, or another worker has it."""
        mine = Task.objects.filter(pk=self.task.pk, lease_token=self.token, status=Status.PROCESSING)
        return not mine.exists()

    def renew(self, **values: object) -> bool:
        """Put the lease's end off, if it is still ours."""
        return self.update(lease_until=timezone.now() + settings.LEASE, **values)


def claim(task_id: str, worker: str) -> Claim | None:
    """Take a waiting task, or one whose worker was lost; None where another has it or there is nothing to do."""
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
    """Renews a claim in a thread of its own while the work goes on."""

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
                log.exception("could not renew the lease of task %s", self._claim.task.pk)
        connection.close()


def recover() -> int:
    """Ring again for tasks whose worker or bell was lost; fail those that lost three workers. The number rung for."""
    now = timezone.now()
    lost = Task.objects.filter(status=Status.PROCESSING, lease_until__lt=now)
    for task in lost.filter(leases__gte=settings.MAX_LEASES):
        _give_up(task)
    waiting = Task.objects.filter(
        # a long queue is no loss: those in it have their bells, and must not be given new ones each minute
        Q(status__in=[Status.NEW, Status.QUEUED], notified_at__lt=now - BELL_LOST_AFTER * settings.LEASE)
        | Q(status=Status.PROCESSING, lease_until__lt=now, notified_at__lt=now - settings.LEASE)
    )
    notified_at = 0
    for task in waiting.order_by("created").iterator():
        if task.status != Status.PROCESSING and now - task.notified_at < task.notified_at - task.created:
            # seldomer and seldomer: behind a long video many may wait for hours, each with its bell
            continue
        Task.objects.filter(pk=task.pk).update(notified_at=now)
        queue.notify(task)
        notified_at += 1
    if notified_at:
        log.warning("rang again for %d task(s)", notified_at)
    return notified_at


def notify_again(kind: Kind) -> None:
    """Ring for every waiting task of a kind: bells that an earlier cluster had taken were lost if it was killed."""
    for task in Task.objects.filter(status__in=[Status.NEW, Status.QUEUED], kind=kind):
        Task.objects.filter(pk=task.pk).update(notified_at=timezone.now())
        queue.notify(task)


def hand_back(workers: Collection[str]) -> int:
    """Free the tasks of workers that were stopped; that lease does not count. How many there were."""
    handed = 0
    for task in Task.objects.filter(status=Status.PROCESSING, worker__in=workers):
        mine = Task.objects.filter(pk=task.pk, status=Status.PROCESSING, lease_token=task.lease_token)
        handed += mine.update(status=Status.QUEUED, lease_token=None, lease_until=None, leases=F("leases") - 1)
    return handed


def _give_up(task: Task) -> None:
    with transaction.atomic():
        given_up = Task.objects.filter(
            pk=task.pk, status=Status.PROCESSING, lease_until__lt=timezone.now(), leases__gte=settings.MAX_LEASES
        ).update(
            status=Status.FAILED,
            finished=timezone.now(),
            failure_cause="worker_lost",
            error=f"The worker was lost {settings.MAX_LEASES} times while it worked on this file.",
        )
        if given_up and task.webhook_status == WebhookStatus.SET:
            webhooks.notify_on_commit(task)
