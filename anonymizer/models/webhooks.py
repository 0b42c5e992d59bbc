"""Webhooks that must be sent, and every try to send one. These rows hold the true state of a webhook."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from anonymizer.models.tasks import Task

__all__ = ["WebhookDelivery", "WebhookTry"]


class WebhookDelivery(models.Model):
    """The webhook of one task that has ended. Its id is that of the header `X-Anonymizer-Delivery`, on every try."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="delivery")
    host = models.CharField(max_length=300, blank=True, help_text="Host and port of the receiver.")
    failures = models.PositiveSmallIntegerField(default=0, help_text="Tries that ended without a 2xx answer.")
    starts = models.PositiveSmallIntegerField(default=0, help_text="Tries that began, those of lost processes too.")
    next_try = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When to try next. Empty if nothing is left to do."
    )
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ["-created"]

    def __str__(self) -> str:
        return str(self.id)


class WebhookTry(models.Model):
    """One try to send a webhook."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="tries")
    started = models.DateTimeField(default=timezone.now)
    ended = models.DateTimeField(null=True, blank=True, help_text="Empty while it runs, or if its process was lost.")
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The HTTP status of the answer.")
    error = models.CharField(max_length=300, blank=True, help_text="Why there is no answer.")
    answer = models.TextField(blank=True, help_text="The first 1024 bytes of the answer.")

    class Meta:
        verbose_name_plural = "webhook tries"
        ordering = ["id"]

    def __str__(self) -> str:
        return str(self.status or self.error or "no end")
