"""What a client sees after a fault, what the service does to recover, and what must be left in the end."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.test import Client
from django_q.models import OrmQ

from anonymizer.models import File, FileKind, Status, Task
from anonymizer.pipeline.options.options import Options
from anonymizer.service import claims, submit, work, workers
from anonymizer.service.cleanup import cleanup
from tests.pictures import encoded

__all__ = ["is_done_once", "no_part_is_seen", "on_disk", "recovered", "rows", "submitted", "swept"]


def submitted(content: bytes | None = None, *, webhook: str = "", **options: Any) -> Task:
    chosen = Options(face=True, **options)
    return submit.submit(
        io.BytesIO(content or encoded()), chosen, chosen.object_types(), name="a.jpg", endpoint="http://here",
        webhook=submit.Webhook(webhook),
    )  # fmt: skip


def on_disk(media: Path) -> set[str]:
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


def rows() -> set[str]:
    return {f"{file.storage_alias}/{file.key}" for file in File.objects.all()}


def no_part_is_seen(task_id: UUID | str) -> None:
    """A client gets whole files of a task that is done, and none of others."""
    shown = Client().get(f"/v1/task/{task_id}").json()
    stored = {file.kind: file for file in File.objects.filter(task__pk=task_id)}
    for kind in (FileKind.ANONYMISED, FileKind.BINARY_MASK, FileKind.METADATA, FileKind.RECEIPT):
        video = "video/" if shown["kind"] == "video" and kind != FileKind.RECEIPT else ""
        answered = Client().get(f"/v1/file/{task_id}/{video}{kind}")
        if shown["status"] == "deleted" and kind == FileKind.RECEIPT:
            # its row stays: it says what was made of a file, and shows nothing of it
            assert answered.status_code == 200
        elif shown["status"] != "done":
            assert answered.status_code in (404, 409, 410), (kind, shown["status"])
        elif kind in stored:
            assert answered.status_code == 200, answered.content
            content = b"".join(answered.streaming_content)  # type: ignore[attr-defined]
            assert hashlib.sha256(content).hexdigest() == stored[kind].sha256
        answered.close()


def recovered(pid: int) -> None:
    """What the guard does when a worker has died, and then the work of one that lives."""
    claims.end_leases([workers.name(pid)])
    claims.recover()
    for notification in list(OrmQ.objects.all()):
        work.process(notification.task["args"][0])
        notification.delete()
    while found := work.find():
        work.process(found["args"][0])


def swept(media: Path) -> None:
    """The clean-up leaves what has a row, and nothing else."""
    cleanup(None, orphan_age=timedelta(0))
    assert on_disk(media) == rows()


def is_done_once(task: Task, media: Path) -> None:
    no_part_is_seen(task.pk)
    now = Task.objects.get(pk=task.pk)
    assert (now.status, now.failure_cause, now.progress) == (Status.DONE, None, 1.0)
    results = {file.key.split("/")[1] for file in now.files.filter(storage_alias="output")}
    assert len(results) == 1, "files of two attempts"
    assert {FileKind.ORIGINAL, FileKind.ANONYMISED, FileKind.RECEIPT} <= {file.kind for file in now.files.all()}
    swept(media)
