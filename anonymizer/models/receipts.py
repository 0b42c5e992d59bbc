"""Receipts that stay when the files of their task are deleted."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from anonymizer.models.tasks import Task

__all__ = ["KeptReceipt"]


class KeptReceipt(models.Model):
    """The receipt of a task that was done. It holds no pixels and no names, so it stays when the files are deleted."""

    task = models.OneToOneField(Task, on_delete=models.CASCADE, primary_key=True, related_name="receipt")
    content = models.TextField(help_text="The file, byte for byte.")
    created = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"receipt of {self.task_id}"
