"""Finished pictures and videos with their metadata and originals, for labels in other tools and for labelled sets."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from django.db.models import Q

from anonymizer.models import AuditAction, File, FileKind, Kind, Review, Status, Task
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.service import files
from anonymizer.service.accounting import audit

__all__ = ["FinishedPicture", "finished_pictures"]


@dataclass(frozen=True)
class FinishedPicture:
    """One finished task with a picture or a video.

    Attributes:
        task: the task.
        metadata: what was found, as the API gives it; after a review, what the reviewer left. Of a video it is a list.
        original: the stored original; None if it was deleted.
    """

    task: Task
    metadata: Any
    original: File | None

    @property
    def name(self) -> str:
        """A file name that no other task has: the id of the task and the name of the picture."""
        return f"{self.task.pk}-{PurePosixPath(self.task.name.replace(chr(92), '/')).name or 'picture'}"

    def open_original(self, folder: Path) -> AbstractContextManager[Path]:
        """Give the original as a file, and write into the audit log that it was seen.

        Args:
            folder: for a copy, where the storage is no folder of this machine.

        Raises:
            FileNotFoundError: it was deleted.
        """
        if self.original is None:
            raise FileNotFoundError(f"The original of task {self.task.pk} was deleted.")
        audit.record(AuditAction.ORIGINAL_SEEN, self.task.pk, audit.COMMAND, file=FileKind.ORIGINAL, reason="labels")
        return files.local_path(self.original, folder)


def finished_pictures(
    ids: Sequence[str] = (), *, reviewed: bool = False, kinds: Sequence[Kind] = (Kind.IMAGE,)
) -> Iterator[FinishedPicture]:
    """List finished tasks with pictures, oldest first.

    Args:
        ids: of the tasks; default: all.
        reviewed: only tasks that a person has reviewed.
        kinds: of the tasks; default: pictures.

    Raises:
        InvalidParameter: an id is none, or no finished task of these kinds has it.
    """
    tasks = Task.objects.filter(status=Status.DONE, kind__in=kinds).order_by("created", "id")
    if reviewed:
        # a person has changed the result, or approved it as it was
        tasks = tasks.filter(Q(version__gt=1) | Q(review=Review.APPROVED))
    if ids:
        wanted = {_id(text) for text in ids}
        tasks = tasks.filter(pk__in=wanted)
        if missing := wanted - set(tasks.values_list("pk", flat=True)):
            of_kinds = " or ".join("video" if kind == Kind.VIDEO else "picture" for kind in kinds)
            state = "reviewed" if reviewed else "finished"
            raise InvalidParameter("task", str(min(missing)), f"the id of a {state} {of_kinds}")
    for task in tasks.prefetch_related("files").iterator(chunk_size=200):
        stored = task.file(FileKind.METADATA)
        if stored is not None:
            yield FinishedPicture(task, json.loads(stored.read()), task.file(FileKind.ORIGINAL))


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise InvalidParameter("task", text, "the id of a task") from None
