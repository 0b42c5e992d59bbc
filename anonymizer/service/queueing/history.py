"""What django-q2 keeps of calls that have ended."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from django_q.models import Task as Call

__all__ = ["prune"]

#: calls that ended longer ago are forgotten: what became of a file is in the row of its task
KEEP = timedelta(days=7)
#: the most failures that are kept; the setting `save_limit` does the same for successes, at each call
MOST_FAILURES = 250
BATCH = 500


def prune() -> str:
    """Delete old rows of django-q2 in batches; django-q2 calls this on a schedule.

    Returns:
        What was done, which django-q2 shows.
    """
    old = Call.objects.filter(stopped__lt=timezone.now() - KEEP)
    newest = Call.objects.filter(success=False).order_by("-stopped").values_list("pk", flat=True)
    too_many = newest[MOST_FAILURES : MOST_FAILURES + BATCH]
    deleted = 0
    for rows in (old.order_by().values_list("pk", flat=True)[:BATCH], too_many):
        # the keys first: a query that is still open would keep SQLite from writing
        while keys := list(rows.all()):
            deleted += Call.objects.filter(pk__in=keys).delete()[0]
    return f"{deleted} call(s) forgotten"
