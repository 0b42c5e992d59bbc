"""The rows that a task's life is made of. The `Task` row is the truth; the broker is only a bell."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import PurePosixPath

from django.core.files.storage import Storage, storages
from django.db import models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

__all__ = ["File", "FileKind", "Kind", "Profile", "Status", "Task", "WebhookStatus", "Worker"]


def time_ordered_id() -> uuid.UUID:
    """A UUID of version 7 (RFC 9562): milliseconds first, so that ids sort by age."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


class Status(models.TextChoices):
    NEW = "new"
    QUEUED = "queued"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    DELETED = "deleted"


class Kind(models.TextChoices):
    IMAGE = "image"
    VIDEO = "video"


class WebhookStatus(models.TextChoices):
    EMPTY = "empty"
    SET = "set"
    SENT = "sent"
    FAILED = "failed"


class FileKind(models.TextChoices):
    ORIGINAL = "original"
    ANONYMISED = "anonymised"
    BINARY_MASK = "binary-mask"
    INSTANCE_MASK = "instance-mask"
    METADATA = "metadata"
    DETECTIONS = "detections"


class Task(models.Model):
    """One upload's life."""

    id = models.UUIDField(primary_key=True, default=time_ordered_id, editable=False)
    status = models.CharField(max_length=12, choices=Status, default=Status.NEW, db_index=True)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.IMAGE)
    name = models.CharField(max_length=255, blank=True)
    progress = models.FloatField(default=0.0)
    video = models.JSONField(null=True, blank=True, help_text="of a video: frames done of total, rate, seconds left")
    created = models.DateTimeField(default=timezone.now, db_index=True)
    started = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True, db_index=True)
    duration = models.FloatField(null=True, blank=True, help_text="seconds of detection and redaction")

    options = models.JSONField(default=dict, help_text="what differs from the defaults")
    object_types = models.JSONField(default=list)
    detections = models.JSONField(default=dict, help_text="how many were redacted, by object type")
    review_counts = models.JSONField(default=dict, help_text="what a reviewer would want to look at, in numbers")
    model_ids = models.JSONField(default=list, help_text="the models that made the result")
    detector_keys = models.JSONField(default=dict, help_text="what the kept detections depend on")
    warnings = models.JSONField(default=list)
    failure_cause = models.CharField(max_length=40, null=True, blank=True)
    error = models.TextField(null=True, blank=True)
    endpoint = models.CharField(max_length=500, blank=True, help_text="what the task's addresses begin with")

    webhook_url = models.URLField(max_length=2000, blank=True)
    webhook_header_name = models.CharField(max_length=200, blank=True)
    webhook_header_value = models.CharField(max_length=2000, blank=True)
    webhook_status = models.CharField(max_length=8, choices=WebhookStatus, default=WebhookStatus.EMPTY)
    webhook_delivery = models.UUIDField(null=True, blank=True, editable=False)

    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    notified_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="when a worker was last told of it"
    )
    leases = models.PositiveSmallIntegerField(default=0, help_text="how often a worker took it up")
    worker = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ["-created", "-id"]
        permissions = [("view_original", "Can see originals")]

    def __str__(self) -> str:
        return f"{self.name or self.id} ({self.status})"

    @property
    def method(self) -> str:
        return str(self.options.get("method", "blur"))

    @property
    def profile(self) -> str | None:
        """The name of the threshold profile that was used, if one was."""
        name: str | None = self.options.get("profile")
        return name

    def file(self, kind: FileKind) -> File | None:
        """The stored artefact of that kind, if there is one. Prefetched files are looked at, not asked for again."""
        return next((each for each in self.files.all() if each.kind == kind), None)


class File(models.Model):
    """One stored artefact of a task. When the row goes, the bytes go."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="files")
    kind = models.CharField(max_length=16, choices=FileKind)
    storage_alias = models.CharField(max_length=16, choices=[("input", "input"), ("output", "output")])
    key = models.CharField(max_length=500)
    media_type = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["task", "kind"], name="one_file_a_kind")]

    def __str__(self) -> str:
        return f"{self.kind} ({self.size} bytes)"

    @property
    def storage(self) -> Storage:
        return storages[self.storage_alias]

    @property
    def name(self) -> str:
        """What it is called where it is downloaded: the task's name, with an ending that says what it is."""
        if self.kind == FileKind.ORIGINAL:
            return self.task.name
        ending = PurePosixPath(self.key).suffix
        if self.kind == FileKind.ANONYMISED:
            original = self.task.file(FileKind.ORIGINAL)
            # a video may have come in a container that is not written
            kept = original is None or PurePosixPath(original.key).suffix == ending
            return self.task.name if kept else self.task.name + ending
        part = "" if self.kind == FileKind.METADATA else f".{self.kind}"
        return f"{self.task.name}{part}{ending}"

    def read(self) -> bytes:
        """Its bytes; for what is small.

        Raises:
            FileNotFoundError: they are gone.
        """
        with self.storage.open(self.key) as stored:
            return bytes(stored.read())

    def remove_bytes(self) -> None:
        """Remove what is stored, and the folders that this leaves empty."""
        self.storage.delete(self.key)
        for folder in list(PurePosixPath(self.key).parents)[:-1]:
            try:
                self.storage.delete(str(folder))
            except OSError:
                # another file of the task is still in it
                break


@receiver(post_delete, sender=File)
def _remove_bytes(sender: type[File], instance: File, **kwargs: object) -> None:
    # on commit: a deletion that is rolled back must not have taken the bytes along;
    # robust: one file that cannot be removed must not keep the others, and is swept later
    transaction.on_commit(instance.remove_bytes, robust=True)


class Worker(models.Model):
    """One worker process that is alive, what it has loaded and where."""

    name = models.CharField(primary_key=True, max_length=100)
    queue = models.CharField(max_length=16)
    parent = models.PositiveIntegerField(default=0, editable=False, help_text="process number of its cluster's guard")
    started = models.DateTimeField(default=timezone.now)
    seen = models.DateTimeField(default=timezone.now, db_index=True)
    ready = models.BooleanField(default=False)
    device = models.CharField(max_length=40, blank=True)
    serves = models.JSONField(default=dict, help_text="which models serve which object type")
    loaded = models.JSONField(default=dict, help_text="the device of each model that is loaded")
    problem = models.TextField(blank=True)
    warning = models.TextField(blank=True, help_text="what could be better; it works all the same")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.device or 'starting'})"


class Profile(models.Model):
    """A threshold profile, and whether requests that name none get it."""

    name = models.CharField(primary_key=True, max_length=63)
    data = models.JSONField(help_text="the profile as JSON has it, name and all")
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
