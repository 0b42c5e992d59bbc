"""After a deletion nothing of a task is found again: no byte of its file, no name, no address, no secret."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django_q.models import OrmQ
from PIL.PngImagePlugin import PngInfo

from anonymizer.models import DeletionReceipt, FileKind, Status, Task
from anonymizer.service import deletion, work
from anonymizer.service.accounting.free_pages import forget_free_pages
from anonymizer.service.webhooks import sender
from tests.fakes import FakeDetector
from tests.pictures import drawn
from tests.service.conftest import detector  # noqa: F401 (fixture)
from tests.service.webhooks.conftest import receiver  # noqa: F401 (fixture)
from tests.service.webhooks.receivers import Receiver, answer

pytestmark = pytest.mark.django_db(transaction=True)
#: what must not be found again: name, bytes of the file, header, address, and what the receiver said
NAME, TEXT, SECRET, PATH, ECHO = (f"marker{each}0815" for each in ("name", "text", "secret", "path", "echo"))


def marked_picture() -> bytes:
    note, out = PngInfo(), io.BytesIO()
    note.add_text("Comment", TEXT)
    drawn().save(out, "PNG", pnginfo=note)
    return out.getvalue()


def places(*folders: Path) -> list[str]:
    """The files, and the queue, in which a marker is found."""
    database = str(connection.settings_dict["NAME"])
    files = [Path(database), Path(f"{database}-wal"), Path(f"{database}-journal")]
    files += [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    found = [f"{path.name}: {each}" for path in files if path.exists() for each in _markers(path.read_bytes())]
    queued = [f"queue: {each}" for row in OrmQ.objects.all() for each in _markers(repr(row.task).encode())]
    return found + queued + [f"name: {path}" for path in files if "marker" in path.name]


def _markers(content: bytes) -> list[str]:
    return [each for each in (NAME, TEXT, SECRET, PATH, ECHO) if each.encode() in content]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def marked(
    detector: FakeDetector,  # noqa: F811
    receiver: Callable[..., Receiver],  # noqa: F811
    temporary: Path,
    settings: Any,
) -> Task:
    """A task that was uploaded, processed, told of without success, and downloaded; all of it with markers."""
    settings.HOST = "127.0.0.1"
    bad = receiver(answer(500, f"no {ECHO}".encode()))
    query = (
        f"face=1&webhook=http://127.0.0.1:{bad.port}/{PATH}&web-auth-header-name=X-Key&web-auth-header-value={SECRET}"
        f"&unknown-{NAME}=1"
    )
    upload = SimpleUploadedFile(f"{NAME}.png", marked_picture(), "image/png")
    posted = Client().post(f"/v1/file?{query}", {"fileobject": upload}, headers={"x-is-async": "1"})
    assert posted.status_code == 202, posted.content
    task_id = posted.json()["id"]
    assert work.process(task_id) == "done"
    sender.send_due()
    for kind in ("anonymised", "original", "metadata"):
        download = Client().get(f"/v1/file/{task_id}/{kind}")
        assert (download.status_code, len(b"".join(download.streaming_content)) > 0) == (200, True)  # type: ignore[attr-defined]
        download.close()
    return Task.objects.get(pk=task_id)


def test_nothing_is_found_after_a_deletion(marked: Task, media: Path) -> None:
    before = " ".join(places(media))
    # the search finds what there is: otherwise it proves nothing
    for each in (NAME, TEXT, SECRET, PATH, ECHO):
        assert each in before, each
    assert Client().delete(f"/v1/task/{marked.pk}").status_code == 200
    assert places(media) == []
    after = Task.objects.get(pk=marked.pk)
    assert (after.status, after.name, after.webhook_url, after.warnings) == (Status.DELETED, "", "", [])


def test_nothing_is_found_after_a_deletion_in_the_admin(marked: Task, media: Path) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    form = {"action": "delete_with_files", "_selected_action": [str(marked.pk)], "post": "yes"}
    assert client.post("/admin/anonymizer/task/", form).status_code == 302
    assert not Task.objects.filter(pk=marked.pk).exists()
    forget_free_pages()
    assert places(media) == []


def test_a_receipt_says_what_went_and_that_it_is_gone(marked: Task) -> None:
    sums = {file.kind: file.sha256 for file in marked.files.all()}
    deletion.delete_files(marked, actor="client:one", reason="test")
    receipt = DeletionReceipt.objects.get(task=marked.pk)
    assert (receipt.actor, receipt.reason, receipt.left) == ("client:one", "test", [])
    assert {file["kind"]: file["sha256"] for file in receipt.files} == sums
    assert {FileKind.ORIGINAL, FileKind.ANONYMISED, FileKind.METADATA, FileKind.RECEIPT} <= sums.keys()
    assert receipt.confirmed is not None


def test_an_old_log_in_use_is_emptied_later(marked: Task) -> None:
    assert forget_free_pages()
