"""The worker processes that are alive."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

__all__ = ["Worker"]


class Worker(models.Model):
    """One living worker process, the models it has loaded, and the devices they run on."""

    name = models.CharField(primary_key=True, max_length=100)
    queue = models.CharField(max_length=16)
    host = models.CharField(
        max_length=90, default="", editable=False, help_text="The machine, with a code of its start and the container."
    )
    started = models.DateTimeField(default=timezone.now)
    seen = models.DateTimeField(default=timezone.now, db_index=True)
    ready = models.BooleanField(default=False)
    device = models.CharField(max_length=40, blank=True)
    serves = models.JSONField(default=dict, help_text="The models that serve each object type.")
    loaded = models.JSONField(default=dict, help_text="The device of each loaded model.")
    problem = models.TextField(blank=True)
    warning = models.TextField(blank=True, help_text="Something that should be better, although the worker works.")

    class Meta:
        ordering = ["name"]
        permissions = [("fetch_models", "Can fetch models")]

    def __str__(self) -> str:
        return f"{self.name} ({self.device or 'starting'})"
