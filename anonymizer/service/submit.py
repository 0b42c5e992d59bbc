"""From an upload to a task that waits."""

from __future__ import annotations

import os
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TypeAlias, cast

from django.core.files.base import File as DjangoFile
from django.db import transaction

from anonymizer.models import FileKind, Kind, Status, Task, WebhookStatus
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia, TooLarge, UnsupportedMedia
from anonymizer.pipeline.images.io import check_header
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.pipeline.options.options import Options
from anonymizer.service import engine, files, queue

__all__ = ["Upload", "Webhook", "again", "check_size", "clean_name", "kind_of", "submit"]

#: what is sent: any binary file that can be sought, or Django's for one
Upload: TypeAlias = "BinaryIO | DjangoFile[Any]"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to send the task when it ends, and a header to send with it."""

    url: str = ""
    header_name: str = ""
    header_value: str = ""


def check_size(head: bytes, size: int) -> None:
    """Make sure that what begins with these bytes may be so large; what it is need not be supported.

    Raises:
        TooLarge: it may not.
    """
    try:
        is_video = sniff(head).kind is MediaKind.VIDEO
    except AnonymizerError:
        # said when all of it is there
        is_video = False
    limits = engine.limits()
    most = limits.video_bytes if is_video else limits.bytes
    if size > most:
        what = "video" if is_video else "file"
        raise TooLarge(f"The {what} has more than the {most} bytes that this server takes.")


def kind_of(upload: Upload) -> Kind:
    """What an upload is, by its first bytes.

    Raises:
        AnonymizerError: it is empty, too large, or nothing that this server takes.
    """
    return Kind(_judged(upload).kind.value)


def _judged(upload: Upload) -> MediaInfo:
    size = upload.seek(0, os.SEEK_END)
    upload.seek(0)
    head = upload.read(HEAD_BYTES)
    if size == 0:
        raise BrokenMedia("The file is empty.")
    check_size(head, size)
    info = sniff(head)
    if info.kind is MediaKind.VIDEO and not engine.takes_videos():
        raise UnsupportedMedia(f"The file is a video ({info.format}); this server takes no videos, only pictures.")
    upload.seek(0)
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
) -> Task:
    """Store an upload as a task and ring for a worker.

    Args:
        upload: a binary file that can be sought, or Django's for one; what it holds is judged by its bytes.
            One on disk may be moved into the storage.
        object_types: what to look for, already checked against what is served.
        name: shown in lists and metadata, made harmless here.
        endpoint: what the task's addresses begin with.

    Raises:
        AnonymizerError: the file is too large, nothing that is supported, or a model is missing.
    """
    engine.require_models(object_types)
    info = _judged(upload)
    if info.kind is MediaKind.VIDEO:
        # only now: pictures need none of it
        from anonymizer.pipeline.video.io.reader import check_video

        with files.as_path(upload) as path:
            info = check_video(path, limits=engine.limits())
    else:
        check_header(cast("BinaryIO", getattr(upload, "file", upload)), limits=engine.limits())
    task = Task(
        kind=info.kind.value,
        name=clean_name(name) or f"{info.kind}{info.extension}",
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
            queue.notify_on_commit(task)
    except BaseException:
        files.discard([original])
        raise
    return task


def again(
    task: Task,
    options: Options | None = None,
    object_types: tuple[ObjectType, ...] | None = None,
    *,
    warnings: Sequence[str] = (),
) -> Task:
    """Run a task's original once more as a task of its own, with the same options or others.

    A picture's raw detections go along: where the new options need nothing that the detectors did not see, none runs.
    A video is analysed anew.

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
        warnings=list(warnings),
        endpoint=task.endpoint,
        detector_keys=task.detector_keys,
    )
    stored = []
    try:
        stored.append(files.copy_original(original, new))
        detections = task.file(FileKind.DETECTIONS)
        if detections is not None:
            copy = files.Artefact(FileKind.DETECTIONS, detections.read(), detections.media_type, ".npz")
            stored += files.put(new, uuid.uuid4().hex, [copy])
        with transaction.atomic():
            new.status = Status.QUEUED
            new.save(force_insert=True)
            for each in stored:
                each.save()
            queue.notify_on_commit(new)
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
