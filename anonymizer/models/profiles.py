"""Threshold profiles."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

__all__ = ["Profile"]


class Profile(models.Model):
    """A threshold profile, and whether it is the default profile of requests."""

    name = models.CharField(primary_key=True, max_length=63)
    data = models.JSONField(help_text="The whole profile as JSON, with its name.")
    active = models.BooleanField(default=False)
    created = models.DateTimeField(default=timezone.now)
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "threshold profile"
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["active"], condition=models.Q(active=True), name="one_active_profile")
        ]

    def __str__(self) -> str:
        return f"{self.name} (active)" if self.active else self.name
