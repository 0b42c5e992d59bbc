"""Bytes into the storages, and the rows that say where they are. Nothing large is ever held in memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.core.files.base import ContentFile
from django.core.files.base import File as DjangoFile
from django.core.files.storage import Storage, storages
from django.core.files.uploadedfile import TemporaryUploadedFile

from anonymizer.models import File, FileKind, Task

__all__ = [
    "UPLOADS",
    "Artefact",
    "as_path",
    "copy_original",
    "discard",
    "local",
    "put",
    "put_original",
    "remove_workplaces",
    "uploads_folder",
    "workplace",
]

#: the folder in the input storage for what is just being received
UPLOADS = ".uploads"
#: the folder beside a task's results for what is just being made
WORK = "work"


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file to be stored; a path is moved from there where the storage is a folder of this machine."""

    kind: FileKind
    data: bytes | Path
    media_type: str
    extension: str


class _Movable(DjangoFile):  # type: ignore[type-arg]
    """A file that a storage may take away instead of copying it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb"), name=str(path))

    def temporary_file_path(self) -> str:
        """Where it lies; how Django's file storage asks."""
        return str(self.name)


def put(task: Task, attempt: str, artefacts: Iterable[Artefact]) -> list[File]:
    """Store artefacts under a folder of the attempt's own; the rows are returned unsaved.

    Two attempts at one task never touch each other's files, so that what a transaction makes visible is whole.
    """
    stored: list[File] = []
    try:
        for each in artefacts:
            key = f"{task.pk}/{attempt}/{each.kind}{each.extension}"
            with _Movable(each.data) if isinstance(each.data, Path) else ContentFile(each.data) as content:
                stored.append(_store(task, each.kind, "output", key, content, each.media_type))
    except BaseException:
        discard(stored)
        raise
    return stored


def put_original(task: Task, upload: BinaryIO | DjangoFile[bytes], media_type: str, extension: str) -> File:
    """Store an upload; the row is returned unsaved. An upload on disk is moved where the storage is a folder."""
    content = upload if isinstance(upload, DjangoFile) else DjangoFile(upload)
    return _store(task, FileKind.ORIGINAL, "input", f"{task.pk}/original{extension}", content, media_type)


def copy_original(original: File, task: Task) -> File:
    """The original of one task as that of another; the row is returned unsaved.

    Where the storage is a folder, both share the bytes: nothing is ever written into a stored file.
    """
    extension = Path(original.key).suffix
    folder = uploads_folder()
    if folder is not None and original.storage_alias == "input":
        twin = folder / f"{uuid.uuid4().hex}.upload"
        try:
            os.link(original.storage.path(original.key), twin)
        except FileNotFoundError:
            raise
        except OSError:
            # a file system without links
            shutil.copyfile(original.storage.path(original.key), twin)
        try:
            with _Movable(twin) as content:
                return put_original(task, content, original.media_type, extension)
        finally:
            twin.unlink(missing_ok=True)
    with original.storage.open(original.key) as content:
        return put_original(task, content, original.media_type, extension)


def _store(
    task: Task, kind: FileKind, alias: str, key: str, content: DjangoFile[bytes] | ContentFile[bytes], media_type: str
) -> File:
    content.seek(0)
    # before it is stored: what is moved is gone from here
    digest = hashlib.file_digest(content.file, "sha256").hexdigest()  # type: ignore[arg-type]
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    return File(
        task=task,
        kind=kind,
        storage_alias=alias,
        key=storages[alias].save(key, content),
        media_type=media_type,
        size=size,
        sha256=digest,
    )


def discard(stored: Iterable[File]) -> None:
    """Remove the bytes of rows that were never saved."""
    for each in stored:
        each.remove_bytes()


@contextmanager
def as_path(upload: BinaryIO | DjangoFile[bytes]) -> Iterator[Path]:
    """A path to what was uploaded, for what reads only paths: its own, or that of a copy while the block lasts."""
    if isinstance(upload, TemporaryUploadedFile):
        yield Path(upload.temporary_file_path())
        return
    with tempfile.NamedTemporaryFile(suffix=".upload") as copy:
        upload.seek(0)
        shutil.copyfileobj(upload, copy, 2**20)
        copy.flush()
        yield Path(copy.name)


@contextmanager
def local(stored: File, folder: Path) -> Iterator[Path]:
    """A path to a stored file: where it lies, or a copy in a folder where the storage is far away.

    Raises:
        FileNotFoundError: its bytes are gone.
    """
    path = _path(stored.storage, stored.key)
    if path is not None:
        yield path
        return
    copy = folder / f"{stored.kind}{Path(stored.key).suffix}"
    with stored.storage.open(stored.key) as content, copy.open("wb") as file:
        shutil.copyfileobj(content, file, 2**20)
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)


@contextmanager
def workplace(task: Task, attempt: str) -> Iterator[Path]:
    """A private folder for what is being made, from which `put` moves it; what is left in it goes with it.

    Where the output storage is a folder it lies there: on the same disk, and in a place that `cleanup` knows.
    """
    path = _path(storages["output"], f"{task.pk}/{WORK}/{attempt}")
    if path is None:
        with tempfile.TemporaryDirectory(prefix="anonymizer-") as folder:
            yield Path(folder)
        return
    path.mkdir(mode=0o700, parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        for each in (path.parent, path.parent.parent):
            with suppress(OSError):
                # other files of the task may be in it
                each.rmdir()


def remove_workplaces(task: Task) -> None:
    """Remove what killed workers left of a task."""
    path = _path(storages["output"], f"{task.pk}/{WORK}")
    if path is not None and path.exists():
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.parent.rmdir()


def uploads_folder() -> Path | None:
    """Where uploads are received, on the disk that they stay on; None where that is no folder of this machine."""
    path = _path(storages["input"], UPLOADS)
    if path is not None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _path(storage: Storage, key: str) -> Path | None:
    try:
        return Path(storage.path(key))
    except NotImplementedError:
        return None
