"""Tasks and their files. The `Task` row holds the true state of a task; the broker only notifies workers of it."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePosixPath
from typing import Any

from django.core.files.storage import Storage, storages
from django.db import models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from anonymizer.stores import Store, store

__all__ = [
    "File", "FileKind", "Kind", "Review", "Status", "Task", "WebhookStatus", "removed_together", "time_ordered_id",
]  # fmt: skip


def time_ordered_id() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562). It begins with the time in milliseconds, so ids sort by age."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


class Status(models.TextChoices):
    """The states of a task."""

    NEW = "new"
    QUEUED = "queued"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    DELETED = "deleted"


class Kind(models.TextChoices):
    """The kinds of files that can be uploaded."""

    IMAGE = "image"
    VIDEO = "video"


class WebhookStatus(models.TextChoices):
    """Whether a task has a webhook, and whether it was sent."""

    EMPTY = "empty"
    SET = "set"
    SENT = "sent"
    FAILED = "failed"


class Review(models.TextChoices):
    """Whether a person has to approve the result, or has done so."""

    NONE = ""
    REQUIRED = "required"
    APPROVED = "approved"


class FileKind(models.TextChoices):
    """The kinds of files that are stored for a task."""

    ORIGINAL = "original"
    ANONYMISED = "anonymised"
    BINARY_MASK = "binary-mask"
    INSTANCE_MASK = "instance-mask"
    METADATA = "metadata"
    DETECTIONS = "detections"
    RECEIPT = "receipt"
    PREVIEW_BEFORE = "preview-before"
    PREVIEW_AFTER = "preview-after"
    SIDE_BY_SIDE = "side-by-side"


#: what each version of a result has of its own
VERSIONED = (
    FileKind.ANONYMISED, FileKind.BINARY_MASK, FileKind.INSTANCE_MASK, FileKind.METADATA, FileKind.RECEIPT
)  # fmt: skip


class Task(models.Model):
    """One upload and its state, from its arrival to its deletion."""

    id = models.UUIDField(primary_key=True, default=time_ordered_id, editable=False)
    status = models.CharField(max_length=12, choices=Status, default=Status.NEW, db_index=True)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.IMAGE)
    name = models.CharField(max_length=255, blank=True)
    owner = models.ForeignKey(
        "anonymizer.Token",
        null=True,
        blank=True,
        editable=False,
        db_index=False,
        on_delete=models.PROTECT,
        related_name="tasks",
        help_text="The client that uploaded the file. Empty: it came without a token.",
    )
    progress = models.FloatField(default=0.0)
    video = models.JSONField(
        null=True,
        blank=True,
        help_text="Progress of a video: frames done, all frames, frames per second, seconds left.",
    )
    created = models.DateTimeField(default=timezone.now, db_index=True)
    started = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True, db_index=True)
    expires = models.DateTimeField(null=True, blank=True, db_index=True, help_text="When the files will be deleted.")
    duration = models.FloatField(null=True, blank=True, help_text="Seconds of detection and redaction.")

    options = models.JSONField(default=dict, help_text="The options that differ from the defaults.")
    object_types = models.JSONField(default=list)
    detections = models.JSONField(default=dict, help_text="Number of redacted objects of each type.")
    review_counts = models.JSONField(default=dict, help_text="Numbers of detections that a person should review.")
    model_ids = models.JSONField(default=list, help_text="The models that made the result.")
    detector_keys = models.JSONField(
        default=dict, help_text="The models and settings that the stored detections depend on."
    )
    warnings = models.JSONField(default=list)
    failure_cause = models.CharField(max_length=40, null=True, blank=True)
    error = models.TextField(null=True, blank=True)
    endpoint = models.CharField(max_length=500, blank=True, help_text="The beginning of the task's URLs.")

    webhook_url = models.URLField(max_length=2000, blank=True)
    webhook_header_name = models.CharField(max_length=200, blank=True)
    webhook_header_value = models.CharField(max_length=2000, blank=True)
    webhook_status = models.CharField(max_length=8, choices=WebhookStatus, default=WebhookStatus.EMPTY)

    version = models.PositiveIntegerField(default=1, help_text="The version of the result that is served.")
    review = models.CharField(max_length=8, choices=Review, blank=True, default=Review.NONE)
    review_required = models.BooleanField(
        default=False, help_text="Whether only versions that a person has approved are served."
    )
    review_status = models.TextField(
        null=True, blank=True, help_text="rendering, or why the last review could not be rendered."
    )

    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    notified_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="The last time when a worker was notified of the task."
    )
    leases = models.PositiveSmallIntegerField(
        default=0, help_text="How many times a worker started to work on the task."
    )
    worker = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ["-created", "-id"]
        permissions = [("view_original", "Can see originals"), ("review_task", "Can review results")]
        indexes = [
            # the list of all clients, and of one state
            models.Index(fields=["-created", "-id"], name="task_newest"),
            models.Index(fields=["status", "-created", "-id"], name="task_status_newest"),
            # `recover` looks for them every minute, among the tasks of months
            models.Index(fields=["status"], condition=models.Q(webhook_status="set"), name="tasks_with_webhook"),
            # the list of one client
            models.Index(fields=["owner", "-created", "-id"], name="task_of_owner"),
            # whose turn is it
            models.Index(fields=["status", "kind", "owner", "created"], name="task_waits"),
        ]

    def __str__(self) -> str:
        # without the file's name: the admin writes this into its own log, which outlives the task
        return f"{self.id} ({self.status})"

    @property
    def method(self) -> str:
        """The method of redaction."""
        return str(self.options.get("method", "blur"))

    @property
    def waits_for_review(self) -> bool:
        """Whether there is a result that is served only when a person has approved it. No worker works on the task."""
        is_made = self.status == Status.DONE or (self.status == Status.PROCESSING and self.lease_until is None)
        return self.review == Review.REQUIRED and is_made

    @property
    def profile(self) -> str | None:
        """The name of the threshold profile, or None if the task has none."""
        name: str | None = self.options.get("profile")
        return name

    def file(self, kind: FileKind, version: int | None = None) -> File | None:
        """Return the stored file of this kind, or None. Prefetched files save a query.

        Args:
            kind: the kind of the file.
            version: of the result, where each has a file of its own. Default: the one that is served.
        """
        wanted = (version or self.version) if kind in VERSIONED else 1
        return next((file for file in self.files.all() if file.kind == kind and file.version == wanted), None)


class File(models.Model):
    """One stored file of a task. When the row is deleted, the bytes are removed, too."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="files")
    kind = models.CharField(max_length=16, choices=FileKind)
    storage_alias = models.CharField(max_length=16, choices=[("input", "input"), ("output", "output")])
    key = models.CharField(max_length=500)
    media_type = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    version = models.PositiveIntegerField(default=1, help_text="Of the result; 1 for files that all versions share.")
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["task", "kind", "version"], name="one_file_a_version")]

    def __str__(self) -> str:
        return f"{self.kind} ({self.size} bytes)"

    @property
    def storage(self) -> Storage:
        """The storage that holds the bytes."""
        return storages[self.storage_alias]

    @property
    def store(self) -> Store:
        """The storage, as this service uses it."""
        return store(self.storage_alias)

    @property
    def name(self) -> str:
        """The file name for downloads: the task's name, with an ending that says which file it is."""
        if self.kind == FileKind.ORIGINAL:
            return self.task.name
        ending = PurePosixPath(self.key).suffix
        if self.kind == FileKind.ANONYMISED:
            original = self.task.file(FileKind.ORIGINAL)
            # the upload may be a video in a container that is never written
            if original is None:
                same_ending = self.task.kind == Kind.IMAGE or self.task.name.lower().endswith(ending)
            else:
                same_ending = PurePosixPath(original.key).suffix == ending
            return self.task.name if same_ending else self.task.name + ending
        part = "" if self.kind == FileKind.METADATA else f".{self.kind}"
        return f"{self.task.name}{part}{ending}"

    def read(self) -> bytes:
        """Return the bytes of a small file.

        Raises:
            FileNotFoundError: the file does not exist any more.
            StorageAway: the storage does not answer.
        """
        content = self.open()
        try:
            return bytes(content.read())
        finally:
            content.close()

    def open(self, first: int = 0, length: int | None = None) -> Any:
        """Open the file, or a part of it, as `Store.open` does."""
        return self.store.open(self.key, first, length)

    def remove_bytes(self) -> None:
        """Remove the bytes, and the folders that are empty afterwards."""
        self.store.remove([self.key])


#: what is made of these files, and is never kept longer
_MADE_OF = {
    FileKind.ORIGINAL.value: (FileKind.PREVIEW_BEFORE, FileKind.SIDE_BY_SIDE),
    FileKind.ANONYMISED.value: (FileKind.PREVIEW_AFTER, FileKind.SIDE_BY_SIDE),
}


@receiver(post_delete, sender=File)
def _remove_previews(sender: type[File], instance: File, **kwargs: object) -> None:
    if made := _MADE_OF.get(instance.kind):
        File.objects.filter(task=instance.task_id, kind__in=made).delete()


#: the files whose bytes are removed at the end of a block, by their storage
_together: ContextVar[dict[str, list[str]] | None] = ContextVar("together", default=None)


@contextmanager
def removed_together() -> Iterator[None]:
    """Remove the bytes of all rows that are deleted in the block with few requests, when the transaction is committed.

    A storage that needs a request for each file does as it does without the block. Use this within a transaction.
    """
    collected: dict[str, list[str]] = {}
    token = _together.set(collected)
    try:
        yield
    finally:
        _together.reset(token)
    for alias, keys in collected.items():
        _remove_on_commit(alias, keys)


def _remove_on_commit(alias: str, keys: list[str]) -> None:
    # no `partial`: Django asks a function that failed for its name
    transaction.on_commit(lambda: store(alias).remove(keys), robust=True)


@receiver(post_delete, sender=File)
def _remove_bytes(sender: type[File], instance: File, **kwargs: object) -> None:
    if (collected := _together.get()) is not None and instance.store.removes_together:
        collected.setdefault(instance.storage_alias, []).append(instance.key)
        return
    # on_commit: a deletion that is rolled back must not remove the bytes.
    # robust: if one file cannot be removed, the others still are, and the clean-up removes it later.
    transaction.on_commit(instance.remove_bytes, robust=True)
