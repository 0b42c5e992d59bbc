"""Tasks whose files are objects of a real S3 server: every step of their lives, and a server that is away."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import av
import pytest
import requests
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from anonymizer.models import DeletionReceipt, File, FileKind, Status, Task
from anonymizer.pipeline.errors import StorageAway
from anonymizer.pipeline.options.options import Options
from anonymizer.service import cleanup, health, submit, work
from anonymizer.service.accounting import orphans
from anonymizer.stores import store
from celantur_site import storage_url
from tests import s3
from tests.api.clients import ApiClient, error
from tests.fakes import FakeDetector
from tests.pictures import drawn, encoded
from tests.service.conftest import detector  # noqa: F401 (a fixture)
from tests.videos import moving_square

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def far(bucket: s3.S3, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Iterator[str]:
    """Keep the files of this test in the bucket, under a prefix of its own. Return the prefix."""
    prefix = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    for name, value in s3.KEYS.items():
        monkeypatch.setenv(name, value)
    url = storage_url.StorageURL.parse(bucket.storage_url(prefix))
    settings.STORAGES = settings.STORAGES | storage_url.storages_of(url)
    settings.DATA_DIR = tmp_path
    yield prefix


@pytest.fixture
def client(detector: FakeDetector) -> ApiClient:  # noqa: F811
    return ApiClient()


def submitted(content: bytes) -> Task:
    options = Options()
    return submit.submit(io.BytesIO(content), options, options.object_types(), name="a.jpg")


def test_a_picture_lives_and_dies_in_the_bucket(bucket: s3.S3, client: ApiClient, far: str, settings: Any) -> None:
    task_id = client.task(content=encoded(drawn(300, 200)), query="face=1&mask-scale=50")
    assert [*bucket.objects(far)] == [f"{far}/input/{task_id}/original.jpg"]
    assert work.process(task_id) == "done"
    task = Task.objects.get(pk=task_id)
    rows = {FileKind(row.kind): row for row in task.files.all()}
    kept = {f"{far}/{row.storage_alias}/{row.key}": row for row in rows.values()}
    assert bucket.objects(far) == {key: row.size for key, row in kept.items()}
    for key, row in kept.items():
        assert hashlib.sha256(bucket.bytes_of(key)).hexdigest() == row.sha256

    # whole, as a range that S3 cuts, and not at all
    path, row = f"/v1/file/{task_id}/anonymised", rows[FileKind.ANONYMISED]
    whole = client.get(path)
    assert (whole.status_code, hashlib.sha256(whole.body).hexdigest()) == (200, row.sha256)
    assert (whole["Content-Length"], whole["ETag"]) == (str(row.size), f'"{row.sha256}"')
    part = client.get(path, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.body) == (206, whole.body[100:200])
    assert part["Content-Range"] == f"bytes 100-199/{row.size}"
    assert client.get(path, headers={"Range": "bytes=-7"}).body == whole.body[-7:]
    assert client.get(path, headers={"Range": f"bytes={row.size}-"}).status_code == 416
    asked = len(bucket.gate.requests)
    assert client.get(path, headers={"If-None-Match": f'"{row.sha256}"'}).status_code == 304
    assert len(bucket.gate.requests) == asked, "304 asks the storage for nothing"
    assert json.loads(client.get(f"/v1/file/{task_id}/metadata").body)["filename"] == "a.jpg"
    assert client.get(f"/v1/file/{task_id}/binary-mask").body.startswith(b"\x89PNG")

    # an address of the storage itself; scripts of pages get the bytes from here
    settings.PRESIGNED = timedelta(minutes=1)
    sent = client.get(path, headers={"Range": "bytes=0-9"})
    assert (sent.status_code, sent["Cache-Control"]) == (302, "private, no-store")
    fetched = requests.get(sent["Location"], timeout=20)
    assert (fetched.status_code, fetched.content) == (200, whole.body)
    assert fetched.headers["Content-Type"] == "image/jpeg"
    assert fetched.headers["Content-Disposition"] == 'inline; filename="a.jpg"'
    assert requests.get(sent["Location"], headers={"Range": "bytes=0-9"}, timeout=20).content == whole.body[:10]
    assert client.get(path, headers={"If-None-Match": "*"}).status_code == 304
    assert client.get(path, headers={"Sec-Fetch-Mode": "cors"}).body == whole.body
    assert client.get(path, headers={"Sec-Fetch-Dest": "video"}).body == whole.body
    assert client.http.head(path).status_code == 200

    # a new task of the same original is copied within the bucket
    again = submit.run_again(Task.objects.get(pk=task_id))
    assert bucket.bytes_of(f"{far}/input/{again.pk}/original.jpg") == encoded(drawn(300, 200))
    # all files of both tasks go with one request each for uploads and results
    asked = len(bucket.gate.requests)
    assert client.http.delete("/v1/task/list").json() == {"deleted": 2}
    assert len([line for line in bucket.gate.requests[asked:] if line.startswith(b"POST")]) == 2
    assert bucket.objects(far) == {}
    assert DeletionReceipt.objects.filter(confirmed=None).count() == 0
    assert client.get(path).status_code == 410


def test_a_video_is_sent_on_while_it_is_received(
    bucket: s3.S3, client: ApiClient, far: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.FILE_UPLOAD_HANDLERS = ["anonymizer.api.uploads.DiskUploadHandler"]
    settings.KEEP_ORIGINALS = False
    monkeypatch.setattr("anonymizer.stores.objects.PART_BYTES", 5 * 2**20)
    monkeypatch.setattr("anonymizer.stores.streamed.LOCAL_BYTES", 2**20)
    clip = moving_square(tmp_path / "clip.mp4", seconds=0.4).read_bytes()
    padded = clip + (11 * 2**20 + 8).to_bytes(4, "big") + b"free" + bytes(11 * 2**20)
    asked = len(bucket.gate.requests)
    task_id = client.task(content=padded)
    parts = [line for line in bucket.gate.requests[asked:] if b"partNumber=" in line]
    assert len(parts) == 3
    original = Task.objects.get(pk=task_id).file(FileKind.ORIGINAL)
    assert original is not None
    assert (original.size, original.sha256) == (len(padded), hashlib.sha256(padded).hexdigest())
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    assert work.process(task_id) == "done"
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    # the original is gone with the end of its task
    assert f"{far}/input/{original.key}" not in bucket.objects(far)
    (row,) = File.objects.filter(task=task_id, kind=FileKind.ANONYMISED)
    assert client.get(f"/v1/file/{task_id}/video/anonymised", headers={"Range": "bytes=4-7"}).body == b"ftyp"
    assert hashlib.sha256(bucket.bytes_of(f"{far}/output/{row.key}")).hexdigest() == row.sha256

    # and of what is refused nothing stays
    assert client.upload(content=clip, query="face=maybe").status_code == 400
    assert bucket.unfinished() == 0
    client.http.delete("/v1/task/list")
    assert bucket.objects(far) == {}


def larger(clip: bytes, *, before: bytes = b"", megabytes: int = 2) -> bytes:
    """A clip that is larger than what is received on this machine, by a part that players skip."""
    size = megabytes * 2**20
    return before + clip + (size + 8).to_bytes(4, "big") + b"free" + bytes(size)


def posted(client: ApiClient, content: bytes) -> Any:
    """The answer to an upload that says that it is a video."""
    upload = SimpleUploadedFile("video.mp4", content, "video/mp4")
    return client.http.post("/v1/file?face=1", {"fileobject": upload}, headers={"x-is-async": "true"})


@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
def test_what_is_no_sound_video_is_refused_at_once(
    bucket: s3.S3,
    client: ApiClient,
    far: str,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    is_large: bool,
) -> None:
    settings.FILE_UPLOAD_HANDLERS = ["anonymizer.api.uploads.DiskUploadHandler"]
    monkeypatch.setattr("anonymizer.stores.streamed.LOCAL_BYTES", 2**20 if is_large else 2**30)
    clip = moving_square(tmp_path / "clip.mp4", seconds=0.4).read_bytes()
    index = clip.index(b"moov") - 4
    # the index of this one is at its beginning, as for players that play while they load
    fast = tmp_path / "fast.mp4"
    with av.open(str(tmp_path / "clip.mp4")) as one, av.open(str(fast), "w", options={"movflags": "faststart"}) as two:
        stream = two.add_stream_from_template(one.streams.video[0])
        for packet in one.demux(one.streams.video[0]):
            if packet.size:
                packet.stream = stream
                two.mux(packet)
    first = fast.read_bytes()
    assert first.index(b"moov") < first.index(b"mdat")
    mkv = moving_square(tmp_path / "clip.mkv", seconds=0.4).read_bytes()
    whole = larger(clip)
    refused = {
        "nothing": (b"", "broken_media"),
        "noise": (hashlib.sha256(b"").digest() * 2**16, "unsupported_media"),
        "a box that is none": (clip[:32] + bytes(2**21), "broken_media"),
        "an index of zeros": (larger(first.replace(b"trak", bytes(4))), "unsupported_media"),
        "cut off": (whole[:-1000], "broken_media"),
        "a segment of noise": (mkv[:300] + hashlib.sha256(b"").digest() * 2**16, "broken_media"),
        "a codec of nobody": (larger(first.replace(b"avc1", b"zzzz")), "unsupported_media"),
    }
    for name, (content, code) in refused.items():
        status = {"broken_media": 422, "unsupported_media": 415}[code]
        assert error(posted(client, content)) == (status, code), name
    # a picture is one, whatever its name is
    answer = posted(client, encoded(drawn(300, 200)))
    assert (answer.status_code, answer.json()["kind"]) == (202, "image")
    sound = [client.task(content=content) for content in (whole, larger(first), mkv)]
    assert {work.process(task_id) for task_id in sound} == {"done"}
    # what stands in the middle of a large video is seen by the worker; a small one is looked at whole
    late = posted(client, larger(clip[:index].replace(b"\0\0\0\1", b"\0\0\0\0") + clip[index + 8 :]))
    if is_large:
        assert work.process(late.json()["id"]).startswith("failed: ")
        assert Task.objects.get(pk=late.json()["id"]).failure_cause == "broken_media"
    else:
        assert error(late) == (422, "broken_media")
    assert bucket.unfinished() == 0
    client.http.delete("/v1/task/list")
    assert bucket.objects(far) == {}
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


def test_sweeps_look_both_ways_and_end_what_was_never_finished(
    bucket: s3.S3, client: ApiClient, far: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = client.task()
    work.process(task_id)
    # more than S3 lists or removes with one request
    monkeypatch.setattr("anonymizer.stores.objects.MOST_KEYS", 10)
    for number in range(23):
        bucket.client.put_object(Bucket=s3.BUCKET, Key=f"{far}/output/{task_id}/old/{number}.png", Body=b"x")
    bucket.client.put_object(Bucket=s3.BUCKET, Key=f"{far}/output/of-the-operator/a.png", Body=b"x")
    store("input").receive(f"{task_id}/original.mp4", "video/mp4")
    lost = Task.objects.get(pk=task_id).file(FileKind.METADATA)
    assert lost is not None
    bucket.client.delete_object(Bucket=s3.BUCKET, Key=f"{far}/output/{lost.key}")
    assert bucket.unfinished() == 1
    asked = len(bucket.gate.requests)
    report = cleanup.cleanup(None, orphan_age=timedelta(seconds=-60))
    assert (report.orphans, report.lost) == (23, 1)
    assert len(bucket.gate.requests) - asked < 23
    assert bucket.unfinished() == 0
    rows = {f"{far}/{row.storage_alias}/{row.key}" for row in File.objects.all()}
    assert bucket.objects(far).keys() == rows | {f"{far}/output/of-the-operator/a.png"}
    assert Task.objects.get(pk=task_id).file(FileKind.METADATA) is None
    assert [*orphans.files_without_rows(timezone.now() + timedelta(minutes=1))] == []


def test_a_storage_that_is_away_costs_no_task(
    bucket: s3.S3,
    client: ApiClient,
    far: str,
    detector: FakeDetector,  # noqa: F811
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = client.task(), client.task()
    assert health.readiness()["storage"] == "ok"
    monkeypatch.setattr("anonymizer.stores.objects.PROBE_S", 0.0)
    with bucket.gate.closed():
        answer = client.upload()
        assert error(answer) == (503, "storage_unavailable")
        assert int(answer["Retry-After"]) > 0
        assert "does not answer" in health.readiness()["storage"]
    # a worker waits for the original, and with the result
    gate = bucket.gate
    gate.close()
    threading.Timer(3, gate.open).start()
    assert work.process(first) == "done"

    def close_once() -> None:
        detector.during = lambda: None
        gate.close()
        threading.Timer(3, gate.open).start()

    detector.during = close_once
    assert work.process(second) == "done"
    # away for longer than the worker waits: the task goes back, and the lease does not count
    third = client.task()
    settings.LEASE = timedelta(seconds=0.05)
    with gate.closed():
        assert work.process(third) == "the storage does not answer: the task waits"
        task = Task.objects.get(pk=third)
        assert (task.status, task.leases) == (Status.QUEUED, 0)
        assert error(client.get(f"/v1/file/{first}/anonymised")) == (503, "storage_unavailable")
        # a deletion says what is left
        assert client.http.delete(f"/v1/task/{first}").status_code == 500
        with pytest.raises(StorageAway):
            store("output").save("x/y.txt", ContentFile(b"x"), "text/plain")
    settings.LEASE = timedelta(seconds=30)
    assert work.process(third) == "done"
    assert DeletionReceipt.objects.filter(confirmed=None).count() == 1
    report = cleanup.cleanup(None, orphan_age=timedelta(seconds=-60))
    assert report.orphans > 0
    assert report.unconfirmed == 0
    assert Client(SERVER_NAME="localhost").delete("/v1/task/list").status_code == 200
    assert bucket.objects(far) == {}
