"""The admin of workers: which are alive, and what they have loaded."""

from __future__ import annotations

from django.contrib import admin

from anonymizer.admin.read_only import ReadOnlyAdmin
from anonymizer.models import Worker

__all__ = ["WorkerAdmin"]


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("name", "queue", "ready", "device", "served", "models", "problem", "warning", "started", "seen")

    @admin.display(description="serves")
    def served(self, worker: Worker) -> str:
        return ", ".join(f"{name} {'+'.join(ids)}" for name, ids in worker.serves.items()) or "-"

    @admin.display(description="loaded")
    def models(self, worker: Worker) -> str:
        return ", ".join(f"{name} on {device}" for name, device in worker.loaded.items()) or "-"
