"""Turn an upload into a task that waits for a worker."""

from __future__ import annotations

import logging
import os
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias

from django.conf import settings
from django.core.files.base import File as DjangoFile
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import transaction
from django.utils import timezone

from anonymizer.models import AuditAction, FileKind, Kind, Review, Status, Task, Token, WebhookStatus
from anonymizer.models.tasks import time_ordered_id
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia, TooLarge, UnsupportedMedia
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.video.io.truncation import find_truncation
from anonymizer.service import engine, files
from anonymizer.service.accounting import audit
from anonymizer.service.clients import idempotency, quota
from anonymizer.service.inspection import inspect_picture, inspect_video
from anonymizer.service.queueing import queue
from anonymizer.stores.streamed import StreamedUpload

__all__ = ["Upload", "Webhook", "check_size", "clean_name", "kind_of", "run_again", "submit"]

log = logging.getLogger(__name__)
#: an uploaded file: any seekable binary file, or one of Django's file objects
Upload: TypeAlias = "BinaryIO | DjangoFile[Any]"


@dataclass(frozen=True, slots=True)
class Webhook:
    """The address that gets the task when it ends, and a header to send along."""

    url: str = ""
    header_name: str = ""
    header_value: str = ""


def check_size(head: bytes, size: int) -> None:
    """Make sure that a file is not larger than this server accepts. The file need not be of a supported kind.

    Args:
        head: the first bytes of the file, which tell its kind.
        size: its size so far, in bytes.

    Raises:
        TooLarge: the file is too large.
    """
    try:
        is_video = sniff(head).kind is MediaKind.VIDEO
    except AnonymizerError:
        # an unsupported file is refused when it has arrived completely
        is_video = False
    limits = engine.limits()
    max_bytes = limits.video_bytes if is_video else limits.bytes
    if size > max_bytes:
        subject = "video" if is_video else "file"
        raise TooLarge(f"The {subject} has more than the {max_bytes} bytes that this server accepts.")


def kind_of(upload: Upload) -> Kind:
    """Tell from its first bytes whether an upload is an image or a video.

    Raises:
        AnonymizerError: the file is empty, too large, or of a kind that this server does not accept.
    """
    return Kind(_check_head(upload).kind.value)


def _check_head(upload: Upload) -> MediaInfo:
    if isinstance(upload, StreamedUpload):
        size, head = upload.size, upload.head
    else:
        size = upload.seek(0, os.SEEK_END)
        upload.seek(0)
        head = upload.read(HEAD_BYTES)
        upload.seek(0)
    if size == 0:
        raise BrokenMedia("The file is empty.")
    check_size(head, size)
    info = sniff(head)
    if info.kind is MediaKind.VIDEO and not engine.takes_videos():
        raise UnsupportedMedia(f"The file is a video ({info.format}). This server takes no videos, only images.")
    return info


def submit(
    upload: Upload,
    options: Options,
    object_types: tuple[ObjectType, ...],
    *,
    name: str = "",
    endpoint: str = "",
    webhook: Webhook = Webhook(),
    warnings: Sequence[str] = (),
    owner: Token | None = None,
    key: idempotency.Key | None = None,
    ttl: timedelta | None = None,
    review: bool = False,
) -> Task:
    """Store an upload as a task, and notify a worker.

    Decoders run only in workers, because a file may be made to crash them. Here only its bytes are looked at.
    Of a video that was streamed into the storage only the beginning is here: the worker that takes it checks the rest.

    Args:
        upload: a seekable binary file, or one of Django's file objects. Only its bytes tell what it is.
            A file on disk may be moved into the storage.
        options: how to anonymise the file.
        object_types: the types to detect; this server must serve them.
        name: the name in lists and metadata; `clean_name` makes it safe. Default: made from the file's kind.
        endpoint: the beginning of the task's URLs.
        webhook: where to send the task when it ends. Default: nowhere.
        warnings: sentences about the request, shown with the task.
        owner: the client that uploads the file. Default: none.
        key: of an upload that the client may repeat. Default: every upload is a new task.
        ttl: the time after which the files are deleted, whether the task has ended or not. Default: the setting.
        review: whether the result is served only when a person has approved it. Default: the setting.

    Returns:
        The new task; if the client made the same upload with this key before, the task of that one.

    Raises:
        AnonymizerError: the file is too large or not supported, a model is missing, or the client may not upload it.
    """
    engine.require_models(object_types, options)
    info = _check_head(upload)
    if isinstance(upload, StreamedUpload):
        if (where := find_truncation(upload.beginning, info.format, upload.size)) is not None:
            raise BrokenMedia(f"The video ends early: {where}.")
    elif info.kind is MediaKind.VIDEO:
        with files.as_path(upload) as path:
            info = inspect_video(path, limits=engine.limits())
    else:
        inspect_picture(_source(upload), limits=engine.limits())
    task = Task(
        pk=upload.task_id if isinstance(upload, StreamedUpload) else time_ordered_id(),
        kind=info.kind.value,
        name=clean_name(name) or f"{info.kind}{info.extension}",
        options=options.as_params(),
        object_types=[object_type.value for object_type in object_types],
        warnings=list(warnings),
        owner=owner,
        endpoint=endpoint,
        webhook_url=webhook.url,
        webhook_header_name=webhook.header_name,
        webhook_header_value=webhook.header_value,
        webhook_status=WebhookStatus.SET if webhook.url else WebhookStatus.EMPTY,
        expires=_expiry(ttl),
        **_review_fields(required=review or settings.REVIEW),
    )
    original = files.put_original(task, upload, info.media_type, info.extension)
    try:
        with transaction.atomic():
            task.status = Status.QUEUED
            task.save(force_insert=True)
            original.save()
            if key is not None:
                idempotency.remember(key, task, original.sha256)
            if owner is not None:
                quota.count(owner, original.size)
            audit.record(AuditAction.UPLOADED, task.pk, audit.client(owner))
            queue.notify_on_commit(task)
    except idempotency.Repeated as repeated:
        files.discard([original])
        return repeated.task
    except BaseException:
        files.discard([original])
        raise
    log.info("Received: %s, %d bytes.", info.format, original.size, extra={"task": task.pk})
    return task


def _source(upload: Upload) -> Path | bytes:
    """The path of an upload on disk, or the bytes of one in memory."""
    if isinstance(upload, TemporaryUploadedFile):
        return Path(upload.temporary_file_path())
    upload.seek(0)
    content = bytes(upload.read())
    upload.seek(0)
    return content


def run_again(
    task: Task,
    options: Options | None = None,
    object_types: tuple[ObjectType, ...] | None = None,
    *,
    warnings: Sequence[str] = (),
    actor: str = audit.COMMAND,
) -> Task:
    """Run the original of a task once more, as a new task.

    The new task of an image gets the raw detections of the old one. If these are enough for the new options, no
    detector runs. A video is always analysed again.

    Args:
        task: the task to run again.
        options: default: the options of the old task.
        object_types: default: the types of the old task.
        warnings: sentences about the new options, shown with the new task.
        actor: who runs it again, for the audit log.

    Raises:
        AnonymizerError: the original was deleted, or a model is missing.
    """
    original = task.file(FileKind.ORIGINAL)
    if original is None:
        raise BrokenMedia(f"The original of task {task.pk} was deleted; the task cannot be run again.")
    if options is None:
        options = Options.from_params(task.options)[0]
    wanted = object_types or tuple(ObjectType(name) for name in task.object_types)
    engine.require_models(wanted, options)
    new = Task(
        kind=task.kind,
        name=task.name,
        options=options.as_params(),
        object_types=[object_type.value for object_type in wanted],
        warnings=list(warnings),
        owner=task.owner,
        endpoint=task.endpoint,
        # the bytes of the original must not stay longer than its client wants
        expires=task.expires or _expiry(None),
        detector_keys=task.detector_keys,
        **_review_fields(required=task.review_required or settings.REVIEW),
    )
    stored = []
    try:
        stored.append(files.copy_original(original, new))
        detections = task.file(FileKind.DETECTIONS)
        if detections is not None and task.kind == Kind.IMAGE:
            copy = files.Artefact(FileKind.DETECTIONS, detections.read(), detections.media_type, ".npz")
            stored += files.put(new, uuid.uuid4().hex, [copy])
        with transaction.atomic():
            new.status = Status.QUEUED
            new.save(force_insert=True)
            for file in stored:
                file.save()
            audit.record(AuditAction.UPLOADED, new.pk, actor, reason=f"run again: {task.pk}")
            queue.notify_on_commit(new)
    except BaseException:
        files.discard(stored)
        raise
    return new


def _review_fields(*, required: bool) -> dict[str, Any]:
    return {"review_required": required, "review": Review.REQUIRED if required else Review.NONE}


def _expiry(ttl: timedelta | None) -> datetime | None:
    """When the files of a task that is made now will be deleted; None: never."""
    wanted = ttl or settings.TTL
    times = [time for time in (wanted, settings.MAX_TTL) if time is not None]
    return timezone.now() + min(times) if times else None


def clean_name(name: str) -> str:
    """Return a file name that is safe to show and to log: no folders, no control characters, at most 255 characters."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(char for char in base if unicodedata.category(char)[0] != "C").strip(" .") if base else ""
    if len(printable) <= 255:
        return printable
    suffix = PurePosixPath(printable).suffix[:16]
    return printable[: 255 - len(suffix)] + suffix
