"""The admin of the queue: which notifications wait for a worker. It takes the place of django-q2's own pages.

Those let staff start any function of Python, such as `os.system`.
"""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success

from anonymizer.admin.read_only import ReadOnlyAdmin

__all__ = ["QueueAdmin"]

for _model in (Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(OrmQ)
class QueueAdmin(ReadOnlyAdmin):
    """List the notifications. Their content is not shown: it would have to be unpickled here."""

    list_display = ("id", "queue", "state", "lock")
    list_display_links = None
    list_filter = ("key",)
    ordering = ("id",)
    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse to delete notifications: tasks are deleted on their own page."""
        return False

    @admin.display(description="queue", ordering="key")
    def queue(self, row: OrmQ) -> str:
        """The queue, which has workers of its own."""
        return str(row.key)

    @admin.display(description="state")
    def state(self, row: OrmQ) -> str:
        """Whether a worker has it. It comes again if that worker has not acknowledged it by the time of `lock`."""
        return "with a worker" if row.lock is not None and row.lock > timezone.now() else "waits"
