"""The admin of workers: which workers are alive, and which models they have loaded."""

from __future__ import annotations

from django.contrib import admin

from anonymizer.admin.read_only import ReadOnlyAdmin
from anonymizer.models import Worker

__all__ = ["WorkerAdmin"]


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """List the workers."""

    list_display = ("name", "queue", "ready", "device", "served", "models", "problem", "warning", "started", "seen")

    @admin.display(description="serves")
    def served(self, worker: Worker) -> str:
        """The object types, each with the models that serve it."""
        return ", ".join(f"{name} {'+'.join(ids)}" for name, ids in worker.serves.items()) or "-"

    @admin.display(description="loaded")
    def models(self, worker: Worker) -> str:
        """The loaded models, each with its device."""
        return ", ".join(f"{name} on {device}" for name, device in worker.loaded.items()) or "-"
