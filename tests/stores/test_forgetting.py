"""After a deletion, or when its time is over, nothing of a task is found in the bucket or on this machine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from anonymizer.models import AuditAction, AuditEvent, DeletionReceipt, Status, Task
from anonymizer.pipeline.errors import StorageFailed
from anonymizer.service import work
from anonymizer.service.cleanup import cleanup, expire
from tests import s3
from tests.api.clients import ApiClient, error
from tests.pictures import drawn, encoded
from tests.service.accounting.test_forgetting import NAME, TEXT, marked_picture
from tests.service.conftest import detector  # noqa: F401 (a fixture)
from tests.stores.test_objects import client, far, larger  # noqa: F401 (fixtures)
from tests.videos import moving_square

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def marked(bucket: s3.S3, prefix: str, folder: Path) -> list[str]:
    """The objects and the files of this machine in which a marker is found."""
    found = {key: bucket.bytes_of(key) for key in bucket.objects(prefix)}
    found |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [
        name
        for name, content in found.items()
        if any(each.encode() in name.encode() + content for each in (NAME, TEXT))
    ]


def overdue(client: ApiClient, folder: Path) -> list[str]:  # noqa: F811
    """A picture that is done, one that waits, and a large video that was streamed; the time of all is over."""
    clip = larger(moving_square(folder / "clip.mp4", seconds=0.4).read_bytes())
    ids = [client.task(content=encoded(drawn(300, 200)), query="face=1&ttl=60") for _ in range(2)]
    ids.append(client.task(content=clip, query="face=1&ttl=60"))
    assert work.process(ids[0]) == work.process(ids[2]) == "done"
    Task.objects.update(expires=timezone.now() - timedelta(seconds=1))
    return ids


@pytest.fixture(autouse=True)
def streaming(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FILE_UPLOAD_HANDLERS = ["anonymizer.api.uploads.DiskUploadHandler"]
    monkeypatch.setattr("anonymizer.stores.streamed.LOCAL_BYTES", 2**20)


def test_no_marker_is_found_after_a_deletion(
    bucket: s3.S3, client: ApiClient, far: str, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    upload = SimpleUploadedFile(f"{NAME}.png", marked_picture(), "image/png")
    posted = client.http.post("/v1/file?face=1", {"fileobject": upload}, headers={"x-is-async": "1"})
    task_id = posted.json()["id"]
    assert work.process(task_id) == "done"
    # the search finds what there is: otherwise it proves nothing
    assert len(marked(bucket, far, tmp_path)) > 1
    assert client.http.delete(f"/v1/task/{task_id}").status_code == 200
    assert marked(bucket, far, tmp_path) == []
    assert bucket.objects(far) == {}
    assert DeletionReceipt.objects.get(task=task_id).confirmed is not None


def test_files_go_when_their_time_is_over(
    bucket: s3.S3, client: ApiClient, far: str, tmp_path: Path, settings: Any  # noqa: F811
) -> None:  # fmt: skip
    ids = overdue(client, tmp_path)
    kept = client.task(content=encoded(drawn(300, 200)), query="face=1&ttl=60")
    settings.PRESIGNED = timedelta(minutes=1)
    sent = client.get(f"/v1/file/{ids[2]}/video/anonymised")["Location"]
    assert requests.get(sent, timeout=20).status_code == 200
    assert expire() == 3
    assert [*bucket.objects(far)] == [f"{far}/input/{kept}/original.jpg"]
    # an address that was given out before leads to nothing
    # S3 does not tell a stranger whether a file is missing or refused
    assert requests.get(sent, timeout=20).status_code in (403, 404)
    assert client.get(f"/v1/file/{ids[0]}/anonymised").status_code == 410
    for task_id in ids:
        assert Task.objects.get(pk=task_id).status == Status.DELETED
        assert AuditEvent.objects.get(task=task_id, action=AuditAction.DELETED).reason == "ttl"
        assert DeletionReceipt.objects.get(task=task_id).confirmed is not None
    assert expire() == 0


def test_files_whose_time_is_over_while_the_storage_is_away_go_later(
    bucket: s3.S3, client: ApiClient, far: str, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    ids = overdue(client, tmp_path)
    own = client.task(content=encoded(drawn(300, 200)))
    with bucket.gate.closed():
        with pytest.raises(StorageFailed, match=f"Task {ids[0]} is deleted, but .* of its files could not be removed"):
            expire()
        # nobody gets them any more, and what is left is known
        assert client.get(f"/v1/file/{ids[0]}/anonymised").status_code == 410
        assert DeletionReceipt.objects.filter(confirmed=None).count() == 3
        # a client is told the same of its own deletion
        assert error(client.http.delete(f"/v1/task/{own}")) == (500, "storage_failed")
    assert len(bucket.objects(far)) > 3
    assert expire() == 0
    report = cleanup(None, orphan_age=timedelta(seconds=-60))
    assert report.unconfirmed == 0
    assert bucket.objects(far) == {}
    assert set(Task.objects.values_list("status", flat=True)) == {Status.DELETED}
    assert DeletionReceipt.objects.filter(confirmed=None).count() == 0
