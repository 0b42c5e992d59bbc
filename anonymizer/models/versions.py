"""The versions of a task's result: the first one, and one for each review that was rendered."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from anonymizer.models.tasks import Task

__all__ = ["RenderStatus", "ResultVersion"]


class RenderStatus(models.TextChoices):
    """Whether the files of a version are there."""

    RENDERING = "rendering"
    DONE = "done"
    FAILED = "failed"


class ResultVersion(models.Model):
    """One version of a result, and the review that made it. A task without any review has no row here."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(help_text="From 1 up. 1 is what was made of the upload.")
    base = models.PositiveIntegerField(default=0, help_text="The version that was reviewed; 0 for the first one.")
    created = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=200, help_text="Who reviewed: client:NAME, admin:NAME, anonymous or server.")
    comment = models.TextField(blank=True)
    state = models.JSONField(default=dict, help_text="Everything that reviews changed so far.")
    counts = models.JSONField(default=dict, help_text="Objects added, dropped, left visible and changed.")
    outcome = models.JSONField(default=dict, help_text="Fields of the task, for when this version is restored.")
    approved = models.BooleanField(default=False)
    approve_when_done = models.BooleanField(default=False, editable=False)

    status = models.CharField(max_length=10, choices=RenderStatus, default=RenderStatus.RENDERING, db_index=True)
    error = models.TextField(blank=True)
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    leases = models.PositiveSmallIntegerField(default=0, help_text="How many times a worker started to render it.")
    notified_at = models.DateTimeField(default=timezone.now, editable=False)
    worker = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["task", "number"], name="one_version_a_number")]

    def __str__(self) -> str:
        return f"version {self.number} of {self.task_id}"
