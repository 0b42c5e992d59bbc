"""Make thumbnails, contact sheets and side-by-side clips in a worker, and ask a worker for them."""

from __future__ import annotations

import logging
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.cache import caches
from django.db import IntegrityError, transaction

from anonymizer.models import File, FileKind, Kind, Status, Task
from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia
from anonymizer.pipeline.images.io import encode_png
from anonymizer.pipeline.outputs.previews import thumbnail, thumbnail_of_pixels
from anonymizer.service import engine, files
from anonymizer.service.queueing import queue
from anonymizer.service.queueing.connections import give_back

if TYPE_CHECKING:
    from anonymizer.pipeline.results import ImageResult

__all__ = ["CLIP_SECONDS", "PREVIEW_OF", "ask_for_clip", "ask_for_preview", "make_clip", "make_preview", "of_result"]

log = logging.getLogger(__name__)
THUMBNAIL_SIDE = 160
SHEET_WIDTH = 480
CLIP_SECONDS = 30
#: a job is asked for again after this time, if it brought nothing
ASK_AGAIN_S = 60
PAUSE_S = 0.1
FAILED = "failed: "
#: which preview shows which file
PREVIEW_OF = {FileKind.PREVIEW_BEFORE: FileKind.ORIGINAL, FileKind.PREVIEW_AFTER: FileKind.ANONYMISED}


def of_result(result: ImageResult) -> Iterator[files.Artefact]:
    """Return the thumbnails of an image that a worker has decoded anyway.

    Args:
        result: with the image before and after.
    """
    picture = result.picture
    yield _artefact(FileKind.PREVIEW_BEFORE, thumbnail_of_pixels(picture.rgb(), THUMBNAIL_SIDE))
    yield _artefact(FileKind.PREVIEW_AFTER, thumbnail_of_pixels(picture.rgb(result.pixels), THUMBNAIL_SIDE))


def ask_for_preview(task: Task, kind: FileKind, *, wait_s: float = 0.0) -> File | None:
    """Return a preview. If there is none yet, have a worker make it.

    Args:
        kind: `preview-before` or `preview-after`.
        wait_s: how long to wait for the worker, in seconds.

    Returns:
        None if the worker has not made it in this time.

    Raises:
        BrokenMedia: a worker could not make it.
    """
    if (ready := _find(task, kind)) is not None:
        return ready
    name = f"{task.pk}-{kind}"
    _ask(name, "make_preview", task, str(kind))
    return _wait(task, kind, "", name, wait_s)


def ask_for_clip(task: Task, start_s: float, *, wait_s: float = 0.0) -> File | None:
    """Return the clip that shows a video before and after, side by side. If there is none yet, have a worker make it.

    Args:
        start_s: where it begins, in seconds.
        wait_s: how long to wait for the worker, in seconds.

    Returns:
        None if the worker has not made it in this time.

    Raises:
        BrokenMedia: a worker could not make it.
    """
    # a task has one clip at a time: its key tells where it begins
    if (ready := _find(task, FileKind.SIDE_BY_SIDE, _clip_name(start_s))) is not None:
        return ready
    name = f"{task.pk}-clip-{start_s}"
    _ask(name, "make_clip", task, repr(start_s))
    return _wait(task, FileKind.SIDE_BY_SIDE, _clip_name(start_s), name, wait_s)


def make_preview(task_id: str, kind: str) -> str:
    """Make a thumbnail of an image, or a sheet of six frames of a video; django-q2 calls this.

    Returns:
        The outcome in words, which django-q2 shows.
    """
    preview = FileKind(kind)
    task, source = _source(task_id, PREVIEW_OF[preview])
    if task is None or source is None or task.file(preview) is not None:
        return "nothing to do"
    try:
        content = _sheet(source) if source.media_type.startswith("video/") else _thumbnail(source)
    except (AnonymizerError, OSError) as error:
        return f"{FAILED}{error}"
    return _keep(task, [_artefact(preview, content)])


def make_clip(task_id: str, start: str) -> str:
    """Make the clip that shows a video before and after, side by side; django-q2 calls this.

    Args:
        start: where it begins, in seconds.

    Returns:
        The outcome in words, which django-q2 shows.
    """
    from anonymizer.examples.clips import side_by_side

    start_s = float(start)
    task, before = _source(task_id, FileKind.ORIGINAL)
    after = None if task is None else task.file(FileKind.ANONYMISED)
    if task is None or before is None or after is None or task.kind != Kind.VIDEO:
        return "nothing to do"
    # the clip shows the original: if this process is killed, the clean-up and a deletion must find it
    with files.working_folder(task, f"clip-{uuid.uuid4().hex}") as folder:
        clip = folder / _clip_name(start_s)
        try:
            with files.local_path(before, folder) as left, files.local_path(after, folder) as right:
                side_by_side(left, right, clip, start_s=start_s, seconds=CLIP_SECONDS)
        except (AnonymizerError, OSError, ValueError) as error:
            return f"{FAILED}{error}"
        old = task.file(FileKind.SIDE_BY_SIDE)
        if old is not None:
            old.delete()
        return _keep(task, [files.Artefact(FileKind.SIDE_BY_SIDE, clip, "video/mp4", f"-{start_s:g}.mp4")])


def _clip_name(start_s: float) -> str:
    return f"{FileKind.SIDE_BY_SIDE}-{start_s:g}.mp4"


def _artefact(kind: FileKind, content: bytes) -> files.Artefact:
    return files.Artefact(kind, content, "image/png", ".png")


def _ask(name: str, function: str, task: Task, argument: str) -> None:
    """Send a job to the queue of the task's kind, once in a while."""
    if caches["local"].add(f"preview-{name}", True, ASK_AGAIN_S):
        queue.call(Kind(task.kind), name, f"{__name__}.{function}", str(task.pk), argument)


def _find(task: Task, kind: FileKind, ending: str = "") -> File | None:
    return File.objects.filter(task=task, kind=kind, key__endswith=ending).first()


def _wait(task: Task, kind: FileKind, ending: str, name: str, wait_s: float) -> File | None:
    until = time.monotonic() + wait_s
    while True:
        if (found := _find(task, kind, ending)) is not None:
            return found
        if (outcome := queue.outcome(name)).startswith(FAILED):
            raise BrokenMedia(outcome.removeprefix(FAILED))
        if time.monotonic() >= until:
            return None
        give_back()
        time.sleep(PAUSE_S)


def _source(task_id: str, kind: FileKind) -> tuple[Task | None, File | None]:
    task = Task.objects.exclude(status=Status.DELETED).prefetch_related("files").filter(pk=task_id).first()
    return task, None if task is None else task.file(kind)


def _thumbnail(source: File) -> bytes:
    return thumbnail(source.read(), THUMBNAIL_SIDE, limits=engine.limits())


def _sheet(source: File) -> bytes:
    from anonymizer.examples.clips import contact_sheet

    with tempfile.TemporaryDirectory(prefix="anonymizer-") as folder, files.local_path(source, Path(folder)) as path:
        return encode_png(contact_sheet(path, columns=3, rows=2, width=SHEET_WIDTH))


def _keep(task: Task, artefacts: list[files.Artefact]) -> str:
    """Store what was made, unless the task was deleted meanwhile."""
    stored = files.put(task, f"preview-{uuid.uuid4().hex}", artefacts)
    try:
        with transaction.atomic():
            # the row is locked: a deletion waits, and then finds the files
            alive = Task.objects.select_for_update().filter(pk=task.pk).exclude(status=Status.DELETED).exists()
            for file in stored if alive else ():
                file.save()
    except IntegrityError:
        alive = False
    if not alive:
        files.discard(stored)
    return "done" if alive else "dropped: the task was deleted, or another worker was faster"
