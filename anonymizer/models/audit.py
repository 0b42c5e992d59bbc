"""Who did what with whose files, and what was deleted. These rows stay when the task is gone."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models
from django.utils import timezone

__all__ = ["AuditAction", "AuditEvent", "DeletionReceipt"]


class AuditAction(models.TextChoices):
    """What is written into the audit log."""

    UPLOADED = "uploaded"
    ORIGINAL_SEEN = "original_seen"
    DOWNLOADED = "downloaded"
    REVIEWED = "reviewed"
    APPROVED = "approved"
    APPROVAL_WITHDRAWN = "not_approved"
    RESTORED = "restored"
    DELETED = "deleted"
    LOST = "lost"


class _AppendOnly(models.QuerySet[Any]):
    """Rows that are only added. Whoever may write to the database itself can still change them."""

    def update(self, **values: Any) -> NoReturn:
        raise TypeError("The audit log is append-only: its rows cannot be changed.")

    def delete(self) -> NoReturn:
        raise TypeError("The audit log is append-only: its rows cannot be deleted.")


class AuditEvent(models.Model):
    """One event of the audit log. It names the task by its id, and holds neither file names nor addresses."""

    time = models.DateTimeField(default=timezone.now, db_index=True)
    action = models.CharField(max_length=16, choices=AuditAction)
    task = models.UUIDField(db_index=True, help_text="The id of the task. The task itself may be gone.")
    file = models.CharField(max_length=16, blank=True, help_text="The kind of file. Empty: the whole task.")
    actor = models.CharField(max_length=200, help_text="Who: client:NAME, admin:NAME, anonymous, command or server.")
    reason = models.CharField(max_length=100, blank=True)

    objects = _AppendOnly.as_manager()

    class Meta:
        verbose_name = "event of the audit log"
        verbose_name_plural = "audit log"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.task} {self.action} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the row.

        Raises:
            TypeError: the row exists already.
        """
        if not self._state.adding:
            raise TypeError("The audit log is append-only: its rows cannot be changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to delete the row.

        Raises:
            TypeError: always.
        """
        raise TypeError("The audit log is append-only: its rows cannot be deleted.")


class DeletionReceipt(models.Model):
    """What one deletion removed, and when its bytes were seen to be gone."""

    task = models.UUIDField(db_index=True)
    time = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=100, blank=True)
    files = models.JSONField(default=list, help_text="Kind, size in bytes and SHA-256 of each file.")
    left = models.JSONField(default=list, help_text="Storage and key of files whose bytes were still there.")
    confirmed = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When all bytes were seen to be gone."
    )

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.task} ({len(self.files)} files)"
