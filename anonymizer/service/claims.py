"""Who works on a task: one conditional UPDATE takes a lease, a heartbeat renews it, and `recover` finds lost leases."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from anonymizer.models import Kind, Status, Task
from anonymizer.models.batches import key_batches
from anonymizer.service import deletion
from anonymizer.service.monitoring import counters
from anonymizer.service.queueing import queue
from anonymizer.service.queueing.outages import AWAY, Outage
from anonymizer.service.reviewing import leases
from anonymizer.service.webhooks import deliveries

__all__ = [
    "Claim",
    "Heartbeat",
    "claim",
    "claimed",
    "end_leases",
    "fail_overdue",
    "next_waiting",
    "recover",
    "release_tasks",
]

log = logging.getLogger(__name__)
#: a notification counts as lost when no worker took the task within this many lease durations
NOTIFICATION_LOST_AFTER = 10
#: a lease that could not be renewed is tried again after this time
RETRY_S = 1.0


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


def claim(task_id: str, worker: str, token: uuid.UUID | None = None) -> Claim | None:
    """Take a task that waits, or one whose worker was lost.

    Args:
        task_id: the task.
        worker: who takes it, as `workers.name` gives it.
        token: of the lease; `claimed` finds the task by it. Default: a new one.

    Returns:
        The claim, or None if another worker has the task or there is nothing to do.
    """
    token = token or uuid.uuid4()
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
    return claimed(token) if taken == 1 else None


def claimed(token: uuid.UUID) -> Claim | None:
    """Return the claim that was made with a token, or None. A lost connection does not tell whether it was made."""
    task = Task.objects.filter(status=Status.PROCESSING, lease_token=token).prefetch_related("files").first()
    return None if task is None else Claim(task, token)


def next_waiting(kind: Kind) -> str | None:
    """Return the id of the task of a kind that a worker should take next, or None if none waits.

    Tasks of lost workers come first: they have waited longest. No notification is needed for a task to be found.
    """
    free = Task.objects.filter(kind=kind, leases__lt=settings.MAX_LEASES).order_by("created")
    lost = free.filter(status=Status.PROCESSING, lease_until__lt=timezone.now())
    # SQLite would lock the whole database for a transaction
    with transaction.atomic() if connection.vendor == "postgresql" else nullcontext():
        # one status at a time, for which an index has the tasks
        for tasks in (lost, free.filter(status=Status.QUEUED), free.filter(status=Status.NEW)):
            found = tasks.values_list("pk", flat=True).first()
            if found is not None:
                return str(found)
    return None


class Renewable(Protocol):
    """What a heartbeat renews: a claim to a task, or to a review of it."""

    @property
    def task(self) -> Task: ...

    def renew(self) -> bool:
        """Extend the lease, if it still holds. Return whether it did."""
        ...


class Heartbeat:
    """Renew a claim from a thread of its own while the block runs."""

    def __init__(self, claim: Renewable) -> None:
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
        usual_s = settings.LEASE.total_seconds() / 4
        outage, pause_s = Outage(f"The lease of task {self._claim.task.pk}"), usual_s
        while not self._ended.wait(pause_s):
            try:
                if not self._claim.renew():
                    break
            except AWAY as error:
                # an outage must not end the work: nobody else can take the task either while it lasts
                outage.note(error)
                pause_s = min(RETRY_S, usual_s)
            else:
                outage.end()
                pause_s = usual_s
        connection.close()


def recover(*, notify: bool = True) -> int:
    """Notify workers again of tasks whose worker or notification was lost. Fail tasks that lost too many workers.

    Args:
        notify: False for a worker that starts: it looks for tasks itself, and the notifications of a backlog stay few.

    Returns:
        The number of tasks that a new notification was sent for.
    """
    now = timezone.now()
    lost = Task.objects.filter(status=Status.PROCESSING, lease_until__lt=now)
    for keys in key_batches(lost.filter(leases__gte=settings.MAX_LEASES)):
        for task in Task.objects.filter(pk__in=keys):
            _fail_lost_task(task)
    notified = _notify_overdue(now) + leases.recover() if notify else 0
    deliveries.recover()
    if notified:
        log.warning("Workers were notified again of %d task(s).", notified)
    return notified


def _notify_overdue(now: datetime) -> int:
    waiting = Task.objects.filter(
        # tasks in a long queue are not lost: each has its notification, and must not get a new one every minute
        Q(status__in=[Status.NEW, Status.QUEUED], notified_at__lt=now - NOTIFICATION_LOST_AFTER * settings.LEASE)
        | Q(status=Status.PROCESSING, lease_until__lt=now, notified_at__lt=now - settings.LEASE),
        # the others have ended; without it, databases go through the ids of all tasks of months
        finished=None,
    )
    notified = 0
    # ids begin with the time, so the oldest task comes first
    for keys in key_batches(waiting):
        with transaction.atomic():
            # the pauses grow: behind a long video many tasks may wait for hours, each with its notification
            overdue = [
                task
                # a task that a worker is taking, or that another process notifies of, is left to them
                for task in waiting.filter(pk__in=keys).select_for_update(skip_locked=True)
                if task.status == Status.PROCESSING or now - task.notified_at >= task.notified_at - task.created
            ]
            Task.objects.filter(pk__in=[task.pk for task in overdue]).update(notified_at=now)
            for task in overdue:
                queue.notify(task)
        notified += len(overdue)
    return notified


def release_tasks(workers: Collection[str]) -> int:
    """Put the tasks of stopped workers back into the queue. The lease that ends here does not count.

    Args:
        workers: names of the workers, as `workers.name` gives them.

    Returns:
        The number of tasks that were put back.
    """
    released = leases.release(workers)
    # no more than one task a worker: all of them fit in a list
    for task in list(Task.objects.filter(status=Status.PROCESSING, worker__in=workers, lease_until__isnull=False)):
        owned = Task.objects.filter(pk=task.pk, status=Status.PROCESSING, lease_token=task.lease_token)
        if owned.update(status=Status.QUEUED, lease_token=None, lease_until=None, leases=F("leases") - 1):
            released += 1
            # workers of other hosts may be idle
            queue.notify(task)
    return released


def end_leases(workers: Collection[str]) -> int:
    """End the leases of workers that have died, so that nobody waits for them. Each lease counts.

    Args:
        workers: names of the workers, as `workers.name` gives them.

    Returns:
        The number of tasks whose lease was ended.
    """
    leases.end_leases(workers)
    owned = Task.objects.filter(status=Status.PROCESSING, worker__in=workers, lease_until__isnull=False)
    return owned.update(lease_until=timezone.now())


def fail_overdue(worker: str) -> None:
    """Fail the task of a worker that was killed because the task took too long. Others would try for just as long."""
    leases.fail_overdue(worker)
    for task in Task.objects.filter(status=Status.PROCESSING, worker=worker, lease_until__isnull=False):
        owned = Q(status=Status.PROCESSING, lease_token=task.lease_token)
        _fail(task, owned, "timeout", "The work on this file took longer than this server allows.")


def _fail_lost_task(task: Task) -> None:
    lost = Q(status=Status.PROCESSING, lease_until__lt=timezone.now(), leases__gte=settings.MAX_LEASES)
    _fail(task, lost, "worker_lost", f"The worker was lost {settings.MAX_LEASES} times while it worked on this file.")


def _fail(task: Task, state: Q, cause: str, sentence: str) -> None:
    """Fail a task that nobody works on, if it is still in this state."""
    with transaction.atomic():
        failed = Task.objects.filter(state, pk=task.pk).update(
            status=Status.FAILED, finished=timezone.now(), failure_cause=cause, error=sentence
        )
        if failed:
            deletion.drop_original(task)
            deliveries.enqueue(task)
    if failed:
        counters.count_end(task.kind, Status.FAILED.value, cause)
