"""The admin of the audit log and of deletion receipts. Nobody can change or delete them here."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from anonymizer.admin.read_only import ReadOnlyAdmin
from anonymizer.models import AuditEvent, DeletionReceipt

__all__ = ["AuditEventAdmin", "DeletionReceiptAdmin"]


class _Kept(ReadOnlyAdmin):
    """Show rows that nobody may delete."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(AuditEvent)
class AuditEventAdmin(_Kept):
    """List who uploaded, saw, downloaded and deleted what."""

    list_display = ("time", "action", "task", "file", "actor", "reason")
    list_filter = ("action", "time")
    search_fields = ("task", "actor")
    date_hierarchy = "time"


@admin.register(DeletionReceipt)
class DeletionReceiptAdmin(_Kept):
    """List what was deleted, and when its bytes were seen to be gone."""

    list_display = ("time", "task", "number_of_files", "actor", "reason", "confirmed")
    list_filter = (("confirmed", admin.EmptyFieldListFilter), "time")
    search_fields = ("task", "actor")

    @admin.display(description="files")
    def number_of_files(self, receipt: DeletionReceipt) -> int:
        """How many files the deletion removed."""
        return len(receipt.files)
