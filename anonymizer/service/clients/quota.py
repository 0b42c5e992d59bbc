"""How much a client may upload on one day (UTC)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.db.models import F, Q
from django.utils import timezone

from anonymizer.models import Token, TokenUsage
from anonymizer.service.clients.errors import QuotaExceeded

__all__ = ["check", "count", "forget_old", "used_today"]

#: how long the use of a day is kept
KEPT_FOR = timedelta(days=31)


def used_today(token: Token) -> tuple[int, int]:
    """Return the number of uploads of today and their bytes."""
    used = TokenUsage.objects.filter(token=token, day=_today()).values_list("tasks", "bytes").first()
    return used or (0, 0)


def check(token: Token, size: int) -> None:
    """Make sure that a client may upload a file of this size. Nothing is counted.

    Args:
        token: the client.
        size: size of the upload in bytes; 0 if it is not known.

    Raises:
        QuotaExceeded: the client used its quota of today, or would do so with this upload.
    """
    if token.tasks_a_day is None and token.bytes_a_day is None:
        return
    tasks, used_bytes = used_today(token)
    if token.tasks_a_day is not None and tasks >= token.tasks_a_day:
        raise _exceeded(f"{token.tasks_a_day} files a day")
    if token.bytes_a_day is not None and used_bytes + size > token.bytes_a_day:
        raise _exceeded(f"{token.bytes_a_day} bytes a day")


def count(token: Token, size: int) -> None:
    """Count one upload. Call this in the transaction that makes the task.

    Args:
        token: the client.
        size: size of the file in bytes.

    Raises:
        QuotaExceeded: the client may not upload it. Two uploads at the same time cannot exceed the quota together.
    """
    today = _today()
    TokenUsage.objects.get_or_create(token=token, day=today)
    within = Q()
    if token.tasks_a_day is not None:
        within &= Q(tasks__lt=token.tasks_a_day)
    if token.bytes_a_day is not None:
        within &= Q(bytes__lte=token.bytes_a_day - size)
    if not TokenUsage.objects.filter(within, token=token, day=today).update(
        tasks=F("tasks") + 1, bytes=F("bytes") + size
    ):
        check(token, size)
        raise _exceeded("no more today")


def forget_old() -> None:
    """Delete what clients used on days that are long over."""
    TokenUsage.objects.filter(day__lt=_today() - KEPT_FOR).delete()


def _today() -> date:
    return timezone.now().astimezone(UTC).date()


def _exceeded(limit: str) -> QuotaExceeded:
    now = timezone.now().astimezone(UTC)
    tomorrow = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    return QuotaExceeded(
        f"This client may upload {limit}. The quota begins anew at 00:00 UTC.",
        retry_after=max(1, int((tomorrow - now).total_seconds()) + 1),
    )
