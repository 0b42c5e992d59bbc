"""From an upload to a task that waits."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from django.conf import settings
from django.db import transaction

from anonymizer.models import FileKind, Status, Task, WebhookStatus
from anonymizer.pipeline.errors import BrokenMedia, TooLarge, UnsupportedMedia
from anonymizer.pipeline.image_io import MediaKind, check_header, sniff
from anonymizer.pipeline.objects import ObjectType
from anonymizer.pipeline.options import Options
from anonymizer.service import engine, files, queue

__all__ = ["Webhook", "again", "clean_name", "submit"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to send the task when it ends, and a header to send with it."""

    url: str = ""
    header_name: str = ""
    header_value: str = ""


def submit(
    upload: BinaryIO,
    options: Options,
    object_types: tuple[ObjectType, ...],
    *,
    name: str = "",
    endpoint: str = "",
    webhook: Webhook = Webhook(),
    warnings: Sequence[str] = (),
) -> Task:
    """Store an upload as a task and ring for a worker.

    Args:
        upload: a binary file that can be sought; what it holds is judged by its bytes.
        object_types: what to look for, already checked against what is served.
        name: shown in lists and metadata, made harmless here.
        endpoint: what the task's addresses begin with.

    Raises:
        AnonymizerError: the file is too large, no picture that is supported, or a model is missing.
    """
    engine.require_models(object_types)
    size = upload.seek(0, 2)
    if size == 0:
        raise BrokenMedia("The file is empty.")
    if size > settings.MAX_BYTES:
        raise TooLarge(f"The file has {size} bytes; this server takes up to {settings.MAX_BYTES}.")
    upload.seek(0)
    info = sniff(upload.read(4096))
    if info.kind is MediaKind.VIDEO:
        raise UnsupportedMedia(f"The file is a video ({info.format}); this server takes images only.")
    upload.seek(0)
    check_header(upload, limits=engine.limits())
    task = Task(
        kind=info.kind.value,
        name=clean_name(name) or f"image{info.extension}",
        options=options.as_params(),
        object_types=[each.value for each in object_types],
        warnings=list(warnings),
        endpoint=endpoint,
        webhook_url=webhook.url,
        webhook_header_name=webhook.header_name,
        webhook_header_value=webhook.header_value,
        webhook_status=WebhookStatus.SET if webhook.url else WebhookStatus.EMPTY,
    )
    original = files.put_original(task, upload, info.media_type, info.extension)
    try:
        with transaction.atomic():
            task.status = Status.QUEUED
            task.save(force_insert=True)
            original.save()
            queue.ring_on_commit(task)
    except BaseException:
        files.discard([original])
        raise
    return task


def again(task: Task, options: Options | None = None, object_types: tuple[ObjectType, ...] | None = None) -> Task:
    """Run a task's original once more as a task of its own, with the same options or others.

    The raw detections go along: where the new options need nothing that the detectors did not see, none runs.

    Raises:
        AnonymizerError: the original is gone, or what `submit` raises.
    """
    original = task.file(FileKind.ORIGINAL)
    if original is None:
        raise BrokenMedia(f"The original of task {task.pk} was deleted; there is nothing to run again.")
    if options is None:
        options = Options.from_params(task.options)[0]
    wanted = object_types or tuple(ObjectType(each) for each in task.object_types)
    engine.require_models(wanted)
    new = Task(
        kind=task.kind,
        name=task.name,
        options=options.as_params(),
        object_types=[each.value for each in wanted],
        endpoint=task.endpoint,
        detector_keys=task.detector_keys,
    )
    stored = []
    try:
        with original.storage.open(original.key) as upload:
            extension = PurePosixPath(original.key).suffix
            stored.append(files.put_original(new, cast("BinaryIO", upload.file), original.media_type, extension))
        detections = task.file(FileKind.DETECTIONS)
        if detections is not None:
            copy = files.Artefact(FileKind.DETECTIONS, detections.read(), detections.media_type, ".npz")
            stored += files.put(new, uuid.uuid4().hex, [copy])
        with transaction.atomic():
            new.status = Status.QUEUED
            new.save(force_insert=True)
            for each in stored:
                each.save()
            queue.ring_on_commit(new)
    except BaseException:
        files.discard(stored)
        raise
    return new


def clean_name(name: str) -> str:
    """A file name that is safe to show and to log: no folders, no control characters, at most 255 characters."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(each for each in base if unicodedata.category(each)[0] != "C").strip(" .") if base else ""
    if len(printable) <= 255:
        return printable
    suffix = PurePosixPath(printable).suffix[:16]
    return printable[: 255 - len(suffix)] + suffix
