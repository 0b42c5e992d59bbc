"""Which reviews wait for a worker: the leases of versions, as `claims` has those of tasks."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from anonymizer.models import Kind, RenderStatus, ResultVersion, Status, Task
from anonymizer.service.queueing import queue

__all__ = ["RenderClaim", "claim", "end_leases", "fail", "fail_overdue", "find", "free", "notify", "recover", "release"]

#: what a worker calls with the key of a version
RENDER = "anonymizer.service.reviewing.renders.render"
LOST = "The worker was lost {} times while it rendered this review."


@dataclass(frozen=True, slots=True)
class RenderClaim:
    """The right to render a version, for as long as the lease is renewed."""

    version: ResultVersion
    task: Task
    token: uuid.UUID

    def update(self, **values: object) -> bool:
        """Write nothing, as the task shows the version that is served. Return whether this claim still owns it."""
        return self._owned().exists()

    def is_void(self) -> bool:
        """Return whether the task was deleted, or another worker has the version."""
        return not self._owned().exclude(task__status=Status.DELETED).exists()

    def renew(self, **values: object) -> bool:
        """Extend the lease, if this claim still owns the version. Return whether it did."""
        return self._owned().update(lease_until=timezone.now() + settings.LEASE) == 1

    def _owned(self) -> QuerySet[ResultVersion]:
        return ResultVersion.objects.filter(pk=self.version.pk, lease_token=self.token, status=RenderStatus.RENDERING)


def notify(version: ResultVersion, task: Task) -> None:
    """Tell a worker that a version waits to be rendered. A second notification does no harm."""
    queue.call(Kind(task.kind), f"{task.pk}-v{version.number}", RENDER, str(version.pk))


def find(kind: Kind) -> dict[str, Any] | None:
    """Return a version that waits for a worker of this kind, packed as django-q2 does it, or None."""
    waiting = free().filter(task__kind=kind).order_by("created").values_list("pk", flat=True).first()
    return None if waiting is None else queue.pack(RENDER, str(waiting), name=f"version-{waiting}")


def free() -> QuerySet[ResultVersion]:
    """Return the versions that a worker may take: none works on them."""
    free = Q(lease_until=None) | Q(lease_until__lt=timezone.now())
    return ResultVersion.objects.filter(free, status=RenderStatus.RENDERING, leases__lt=settings.MAX_LEASES)


def claim(key: int, worker: str) -> RenderClaim | None:
    """Take a version that waits. None: another worker has it, or there is nothing to do.

    Args:
        key: of the version.
        worker: who takes it, as `workers.name` gives it.
    """
    token = uuid.uuid4()
    taken = free().filter(pk=key).update(
        lease_token=token, lease_until=timezone.now() + settings.LEASE, leases=F("leases") + 1, worker=worker
    )  # fmt: skip
    if not taken:
        return None
    version = ResultVersion.objects.get(pk=key)
    return RenderClaim(version, Task.objects.prefetch_related("files").get(pk=version.task_id), token)


def fail(version: ResultVersion, sentence: str, token: uuid.UUID | None = None) -> str:
    """Write down why a version could not be rendered. The version before it stays the served one.

    Args:
        version: that is rendered.
        sentence: why, for people.
        token: of the lease that must still hold. Default: nobody works on it.
    """
    with transaction.atomic():
        mine = ResultVersion.objects.filter(pk=version.pk, status=RenderStatus.RENDERING)
        if token is not None:
            mine = mine.filter(lease_token=token)
        if mine.update(status=RenderStatus.FAILED, error=sentence, lease_token=None, lease_until=None):
            Task.objects.filter(pk=version.task_id).update(review_status=sentence)
    return f"failed: {sentence}"


def recover() -> int:
    """Notify workers again of versions that wait for long. Fail those that lost too many workers.

    Returns:
        The number of versions that a new notification was sent for.
    """
    now, notified = timezone.now(), 0
    for version in ResultVersion.objects.filter(status=RenderStatus.RENDERING).select_related("task"):
        is_free = version.lease_until is None or version.lease_until < now
        if is_free and version.leases >= settings.MAX_LEASES:
            fail(version, LOST.format(settings.MAX_LEASES))
        elif is_free and version.notified_at < now - settings.LEASE:
            ResultVersion.objects.filter(pk=version.pk).update(notified_at=now)
            notify(version, version.task)
            notified += 1
    return notified


def release(names: Collection[str]) -> int:
    """Let other workers render what stopped workers did not finish. The lease that ends here does not count."""
    waiting = ResultVersion.objects.filter(status=RenderStatus.RENDERING, worker__in=names, lease_until__isnull=False)
    return waiting.update(lease_token=None, lease_until=None, leases=F("leases") - 1)


def end_leases(names: Collection[str]) -> int:
    """End the leases of workers that have died. Each lease counts."""
    waiting = ResultVersion.objects.filter(status=RenderStatus.RENDERING, worker__in=names, lease_until__isnull=False)
    return waiting.update(lease_until=timezone.now())


def fail_overdue(worker: str) -> None:
    """Fail the review of a worker that was killed because it took too long."""
    for version in ResultVersion.objects.filter(
        status=RenderStatus.RENDERING, worker=worker, lease_until__isnull=False
    ):
        fail(version, "The work on this review took longer than this server allows.", version.lease_token)
