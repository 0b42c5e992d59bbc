"""Clients of the API: their tokens, what they used today, and the keys that make their uploads repeatable."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

__all__ = ["IdempotencyKey", "Token", "TokenUsage"]

#: as Django REST framework reads it
RATE = RegexValidator(
    r"^[1-9][0-9]{0,8}/(s|sec|second|m|min|minute|h|hour|d|day)\Z", "A rate is a number and a period, such as 60/min."
)


class Token(models.Model):
    """One client of the API. The token itself is shown once, when it is made; only its hash is stored."""

    name = models.CharField(max_length=100, unique=True, help_text="Name of the client.")
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the token.")
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires = models.DateTimeField(null=True, blank=True, help_text="When the token ends. Empty: never.")
    revoked = models.DateTimeField(null=True, blank=True, editable=False, help_text="When the token was revoked.")
    last_used = models.DateTimeField(null=True, blank=True, editable=False, help_text="To the minute.")
    rate = models.CharField(
        max_length=20, blank=True, validators=[RATE], help_text="Most requests, such as 60/min. Empty: no limit."
    )
    tasks_a_day = models.PositiveIntegerField(null=True, blank=True, help_text="Most uploads a day. Empty: no limit.")
    bytes_a_day = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Most uploaded bytes a day. Empty: no limit."
    )
    reads_metrics = models.BooleanField(
        default=False, help_text="Whether the client may read /metrics, which counts the tasks of all clients."
    )
    reviews = models.BooleanField(
        default=False, help_text="Whether the client may review and approve results, also those of other clients."
    )
    sees_originals = models.BooleanField(
        default=False,
        help_text="Whether a client that reviews may see the originals of other clients' tasks that need a review.",
    )
    served = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When a worker last began a task of this client."
    )

    class Meta:
        verbose_name = "API token"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:
        """Whether requests with this token are answered."""
        return self.revoked is None and (self.expires is None or self.expires > timezone.now())


class TokenUsage(models.Model):
    """What a client uploaded on one day. Deleting a task does not lower it."""

    token = models.ForeignKey(Token, on_delete=models.CASCADE, related_name="usage")
    day = models.DateField(help_text="The day in UTC.")
    tasks = models.PositiveIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-day"]
        constraints = [models.UniqueConstraint(fields=["token", "day"], name="one_usage_a_day")]

    def __str__(self) -> str:
        return f"{self.token} on {self.day}: {self.tasks} task(s), {self.bytes} bytes"


class IdempotencyKey(models.Model):
    """The header `Idempotency-Key` of an upload, and the task that the upload made."""

    owner = models.ForeignKey(Token, null=True, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the parameters and the bytes.")
    task = models.ForeignKey("anonymizer.Task", on_delete=models.CASCADE)
    created = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "key"], name="one_task_a_key"),
            # databases hold two empty owners for different ones
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(owner=None), name="one_task_a_key_without_owner"
            ),
        ]

    def __str__(self) -> str:
        return self.key
