"""Bytes into the storages, and the rows that say where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from django.core.files.base import ContentFile
from django.core.files.base import File as DjangoFile
from django.core.files.storage import storages

from anonymizer.models import File, FileKind, Task

__all__ = ["Artefact", "discard", "put", "put_original"]


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file to be stored."""

    kind: FileKind
    data: bytes
    media_type: str
    extension: str


def put(task: Task, attempt: str, artefacts: Iterable[Artefact]) -> list[File]:
    """Store artefacts under a folder of the attempt's own; the rows are returned unsaved.

    Two attempts at one task never touch each other's files, so that what a transaction makes visible is whole.
    """
    stored: list[File] = []
    try:
        for each in artefacts:
            key = f"{task.pk}/{attempt}/{each.kind}{each.extension}"
            stored.append(
                File(
                    task=task,
                    kind=each.kind,
                    storage_alias="output",
                    key=storages["output"].save(key, ContentFile(each.data)),
                    media_type=each.media_type,
                    size=len(each.data),
                    sha256=hashlib.sha256(each.data).hexdigest(),
                )
            )
    except BaseException:
        discard(stored)
        raise
    return stored


def put_original(task: Task, upload: BinaryIO, media_type: str, extension: str) -> File:
    """Store an upload; the row is returned unsaved."""
    upload.seek(0)
    digest = hashlib.file_digest(upload, "sha256").hexdigest()  # type: ignore[arg-type]
    size = upload.tell()
    upload.seek(0)
    key = storages["input"].save(f"{task.pk}/original{extension}", DjangoFile(upload))
    return File(
        task=task,
        kind=FileKind.ORIGINAL,
        storage_alias="input",
        key=key,
        media_type=media_type,
        size=size,
        sha256=digest,
    )


def discard(stored: Iterable[File]) -> None:
    """Remove the bytes of rows that were never saved."""
    for each in stored:
        each.remove_bytes()
