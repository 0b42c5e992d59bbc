"""Put files into the storages, and make the rows that say where they are. No large file is ever held in memory."""

from __future__ import annotations

import atexit
import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.base import File as DjangoFile
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import DatabaseError

from anonymizer.models import File, FileKind, Task
from anonymizer.pipeline.errors import BrokenMedia, StorageAway
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.files.whole import remove_leftovers, temporary_folder
from anonymizer.stores import store
from anonymizer.stores.streamed import StreamedUpload
from celantur_site.secret_key import make_private

__all__ = [
    "UPLOADS",
    "Artefact",
    "as_path",
    "copy_original",
    "discard",
    "is_full",
    "local_path",
    "put",
    "put_original",
    "remove_scratch",
    "remove_working_folders",
    "uploads_folder",
    "working_folder",
]

T = TypeVar("T")
#: what the system says of a disk, a quota or a file that may not grow any more
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: the folder of the input storage that uploads are received in
UPLOADS = ".uploads"
#: the folder beside a task's results that a worker writes its files in
WORK = "work"
#: by process and place, the folder for uploads that are no task yet; it is locked as long as the process lives
_upload_folders: dict[tuple[int, Path], Path] = {}
_held = ExitStack()
atexit.register(_held.close)


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file to be stored. If the storage is a folder of this machine, a path is moved there, not copied."""

    kind: FileKind
    data: bytes | Path
    media_type: str
    extension: str


class _Movable(DjangoFile):  # type: ignore[type-arg]
    """A file that a storage may move instead of copying it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb"), name=str(path))

    def temporary_file_path(self) -> str:
        """Return the file's path; Django's file storage moves files that have this method."""
        return str(self.name)


def _once(action: Callable[[], T]) -> T:
    return action()


def put(
    task: Task,
    attempt: str,
    artefacts: Iterable[Artefact],
    *,
    insist: Callable[[Callable[[], File]], File] = _once,
) -> list[File]:
    """Store the artefacts of one attempt at a task, in a folder of its own.

    Two attempts at one task never touch each other's files, so a transaction always makes a complete result visible.

    Args:
        attempt: the name of the attempt's folder.
        insist: calls a function that stores one artefact, again if that failed. Default: it is called once.

    Returns:
        The rows, not saved yet.

    Raises:
        StorageAway: the storage does not answer.
    """
    stored: list[File] = []
    try:
        for artefact in artefacts:
            stored.append(insist(partial(_put_one, task, attempt, artefact)))
    except BaseException:
        discard(stored)
        raise
    return stored


def _put_one(task: Task, attempt: str, artefact: Artefact) -> File:
    key = f"{task.pk}/{attempt}/{artefact.kind}{artefact.extension}"
    with _Movable(artefact.data) if isinstance(artefact.data, Path) else ContentFile(artefact.data) as content:
        return _store(task, artefact.kind, "output", key, content, artefact.media_type)


def put_original(task: Task, upload: BinaryIO | DjangoFile[bytes], media_type: str, extension: str) -> File:
    """Store an upload. An upload on disk is moved if the storage is a folder of this machine.

    Returns:
        The row, not saved yet.

    Raises:
        StorageAway: the storage does not answer.
    """
    if isinstance(upload, StreamedUpload):
        upload.finish()
        return File(
            task=task, kind=FileKind.ORIGINAL, storage_alias="input", key=upload.key, media_type=media_type,
            size=upload.size, sha256=upload.sha256,
        )  # fmt: skip
    content = upload if isinstance(upload, DjangoFile) else DjangoFile(upload)
    return _store(task, FileKind.ORIGINAL, "input", f"{task.pk}/original{extension}", content, media_type)


def copy_original(original: File, task: Task) -> File:
    """Make the original of one task the original of another task, too.

    If the storage is a folder, both tasks share the bytes. This is safe because stored files are never changed.

    Returns:
        The row, not saved yet.

    Raises:
        StorageAway: the storage does not answer.
    """
    extension = Path(original.key).suffix
    path = original.store.path(original.key)
    if path is not None and original.storage_alias == "input":
        twin = uploads_folder() / f"{uuid.uuid4().hex}.upload"
        try:
            os.link(path, twin)
        except FileNotFoundError:
            raise
        except OSError:
            # the file system has no hard links
            shutil.copyfile(path, twin)
        try:
            # the link has the time of the old upload: the clean-up must not take it for an old file without a task
            os.utime(twin)
            with _Movable(twin) as content:
                return put_original(task, content, original.media_type, extension)
        finally:
            twin.unlink(missing_ok=True)
    key = f"{task.pk}/original{extension}"
    if original.storage_alias == "input" and original.store.duplicate(original.key, key):
        return File(
            task=task, kind=FileKind.ORIGINAL, storage_alias="input", key=key, media_type=original.media_type,
            size=original.size, sha256=original.sha256,
        )  # fmt: skip
    with original.storage.open(original.key) as content:
        return put_original(task, content, original.media_type, extension)


def _store(
    task: Task, kind: FileKind, alias: str, key: str, content: DjangoFile[bytes] | ContentFile[bytes], media_type: str
) -> File:
    content.seek(0)
    # before the file is stored, because a file that was moved is gone from here
    digest = hashlib.file_digest(content.file, "sha256").hexdigest()  # type: ignore[arg-type]
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    file = File(task=task, kind=kind, storage_alias=alias, key=key, media_type=media_type, size=size, sha256=digest)
    try:
        file.key = store(alias).save(key, content, media_type)
    except BaseException:
        # a disk that is full leaves a part of the file; no other file has its name, which has the task's id
        with suppress(OSError, StorageAway):
            file.remove_bytes()
        raise
    return file


def is_full(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, says that there is no room on a disk."""
    causes: BaseException | None = error
    while causes is not None:
        if isinstance(causes, OSError) and causes.errno in _FULL:
            return True
        # SQLite has no number for it
        if isinstance(causes, DatabaseError) and "disk is full" in str(causes):
            return True
        causes = causes.__cause__ or causes.__context__
    return False


def discard(stored: Iterable[File]) -> None:
    """Remove the bytes of rows that were not saved. What a storage that is away keeps, the clean-up removes."""
    for file in stored:
        with suppress(StorageAway):
            file.remove_bytes()


@contextmanager
def as_path(upload: BinaryIO | DjangoFile[bytes]) -> Iterator[Path]:
    """Give a path to an upload, for code that reads only paths.

    The path is that of the upload itself, or of a copy that exists while the block runs.
    """
    if isinstance(upload, TemporaryUploadedFile):
        yield Path(upload.temporary_file_path())
        return
    # among the uploads, where the clean-up finds what a killed process left
    with tempfile.NamedTemporaryFile(suffix=".upload", dir=uploads_folder()) as copy:
        upload.seek(0)
        shutil.copyfileobj(upload, copy, 2**20)
        copy.flush()
        yield Path(copy.name)


@contextmanager
def local_path(stored: File, folder: Path, *, insist: Callable[[Callable[[], None]], None] = _once) -> Iterator[Path]:
    """Give a path to a stored file while the block runs.

    Args:
        folder: gets a copy of the file if the storage is not a folder of this machine.
        insist: calls a function that fetches the file, again if that failed. Default: it is called once.

    Raises:
        FileNotFoundError: the file does not exist any more.
        BrokenMedia: its bytes are not those that were stored.
        StorageAway: the storage does not answer.
    """
    path = stored.store.path(stored.key)
    if path is not None:
        yield path
        return
    copy = folder / f"{stored.kind}{Path(stored.key).suffix}"
    try:
        insist(partial(stored.store.fetch, stored.key, copy))
        if FileSum.of_file(copy) != FileSum(stored.sha256, stored.size):
            raise BrokenMedia(f"The stored {stored.kind} of this task has other bytes than it had when it was stored.")
        yield copy
    finally:
        copy.unlink(missing_ok=True)


@contextmanager
def working_folder(task: Task, attempt: str) -> Iterator[Path]:
    """Give a private folder that a worker makes its files in; `put` moves them from there.

    The folder is removed at the end of the block, with all that is still in it. If the output storage is a folder,
    the private folder is inside it: on the same disk, and in a place that `cleanup` knows. Otherwise it is in the
    folder `scratch` of this machine, where the next task removes what a killed worker left.
    """
    path = store("output").path(f"{task.pk}/{WORK}/{attempt}")
    if path is None:
        remove_scratch()
        with temporary_folder(_scratch()) as folder:
            yield folder
        return
    make_private(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        for parent in (path.parent, path.parent.parent):
            with suppress(OSError):
                # other files of the task may be in it
                parent.rmdir()


def remove_working_folders(task: Task) -> None:
    """Remove the working folders that killed workers left behind."""
    path = store("output").path(f"{task.pk}/{WORK}")
    if path is None:
        remove_scratch()
    elif path.exists():
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.parent.rmdir()


def uploads_folder() -> Path:
    """Return the folder that uploads are received in: on the disk that they stay on, or that of this machine."""
    path = store("input").path(UPLOADS)
    if path is not None:
        make_private(path)
        return path
    place = (os.getpid(), _scratch())
    if place not in _upload_folders:
        remove_scratch()
        _upload_folders[place] = _held.enter_context(_kept_folder(place[1]))
    return _upload_folders[place]


@contextmanager
def _kept_folder(parent: Path) -> Iterator[Path]:
    """A temporary folder up to the end of this process. It may be gone before."""
    with suppress(FileNotFoundError), temporary_folder(parent) as folder:
        yield folder


def remove_scratch() -> None:
    """Remove the files that killed processes of this machine left in its folder for temporary copies."""
    remove_leftovers([_scratch()])


def _scratch() -> Path:
    folder = Path(settings.DATA_DIR) / "scratch"
    make_private(folder)
    return folder
