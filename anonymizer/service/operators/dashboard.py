"""What the first page of the admin shows: queues, the last day, failures, storage, workers and reviews."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone

from anonymizer.models import File, Review, Status, Task, Worker
from anonymizer.service.monitoring import capacity

__all__ = ["Dashboard", "DueFiles", "Hour", "dashboard"]

HOURS = 24
#: files whose end is nearer than this are due
SOON = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Hour:
    """The tasks that ended within one hour.

    Attributes:
        start: the beginning of the hour.
        done, failed: how many of them.
    """

    start: datetime
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class DueFiles:
    """Tasks whose files the server will delete by itself within a day.

    Attributes:
        tasks: their number.
        bytes: the size of their files.
    """

    tasks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The state of the service.

    Attributes:
        queues: kind of file, number of waiting tasks, and the age of the oldest in seconds or None.
        processing: tasks that workers work on.
        hours: the last 24 hours, the oldest first.
        failures: cause and number of the failed tasks of the last day, the most frequent first.
        stored: kind of file, number and bytes of what is stored.
        due: what is deleted within a day, because its `ttl` ends.
        free_bytes: room on the disk of results; None if they are not in a local folder.
        workers: all living workers.
        reviews: tasks that wait for a person.
    """

    queues: tuple[tuple[str, int, float | None], ...]
    processing: int
    hours: tuple[Hour, ...]
    failures: tuple[tuple[str, int], ...]
    stored: tuple[tuple[str, int, int], ...]
    due: DueFiles
    free_bytes: int | None
    workers: tuple[Worker, ...]
    reviews: int

    @property
    def stored_bytes(self) -> int:
        """The bytes of all stored files."""
        return sum(size for _, _, size in self.stored)

    @property
    def ended(self) -> int:
        """The tasks that ended within the last day."""
        return sum(hour.done + hour.failed for hour in self.hours)


def dashboard() -> Dashboard:
    """Read the state of the service from the database."""
    now = timezone.now()
    waiting = Q(status=Status.PROCESSING, review=Review.REQUIRED, lease_until=None)
    usage = capacity.disk_usage("output")
    return Dashboard(
        queues=tuple(_queues(now)),
        processing=Task.objects.filter(status=Status.PROCESSING).exclude(waiting).count(),
        hours=tuple(_hours(now)),
        failures=tuple(_failures(now)),
        stored=tuple(
            (kind, number, size or 0)
            for kind, number, size in File.objects.order_by()
            .values_list("kind")
            .annotate(number=Count("id"), bytes=Sum("size"))
            .order_by("-bytes")
        ),
        due=_due(now),
        free_bytes=None if usage is None else usage[1],
        workers=tuple(Worker.objects.order_by("queue", "name")),
        reviews=Task.objects.filter(waiting).count(),
    )


def _queues(now: datetime) -> list[tuple[str, int, float | None]]:
    return [
        (kind.value, queue.length, None if queue.oldest is None else max(0.0, now.timestamp() - queue.oldest))
        for kind, queue in capacity.queues().items()
    ]


def _ended_since(since: datetime) -> Q:
    return Q(finished__gte=since, status__in=(Status.DONE, Status.FAILED))


def _hours(now: datetime) -> list[Hour]:
    first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    rows = (
        Task.objects.filter(_ended_since(first))
        .order_by()
        .values_list(TruncHour("finished"), "status")
        .annotate(Count("id"))
    )
    ended: Counter[tuple[datetime, str]] = Counter({(hour, status): number for hour, status, number in rows})
    hours = [first + timedelta(hours=number) for number in range(HOURS)]
    return [Hour(hour, ended[hour, Status.DONE], ended[hour, Status.FAILED]) for hour in hours]


def _failures(now: datetime) -> list[tuple[str, int]]:
    rows = (
        Task.objects.filter(status=Status.FAILED, finished__gte=now - timedelta(days=1))
        .order_by()
        .values_list("failure_cause")
        .annotate(number=Count("id"))
        .order_by("-number", "failure_cause")
    )
    return [(cause or "unknown", number) for cause, number in rows]


def _due(now: datetime) -> DueFiles:
    tasks = Task.objects.filter(expires__lte=now + SOON).exclude(status=Status.DELETED)
    size = File.objects.filter(task__in=tasks).aggregate(total=Sum("size"))["total"]
    return DueFiles(tasks.count(), size or 0)
