"""A process is killed at each step of its work: nothing is lost, nothing is done twice, the sweep finds the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from anonymizer.models import (
    AuditAction,
    AuditEvent,
    DeletionReceipt,
    Status,
    Task,
    WebhookDelivery,
    WebhookStatus,
)  # fmt: skip
from anonymizer.service import claims, work, workers
from anonymizer.service.webhooks import sender
from tests.faults.recovery import is_done_once, no_part_is_seen, on_disk, recovered, submitted, swept
from tests.faults.victim import Step, Victim
from tests.pictures import drawn, encoded
from tests.service.conftest import detector  # noqa: F401 (fixture)
from tests.service.webhooks.conftest import later, on_loopback, receiver  # noqa: F401 (fixtures)
from tests.service.webhooks.receivers import Receiver, answer
from tests.videos import moving_square

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("detector")]
SERVICE = "anonymizer.service"
#: what is received on disk, as large uploads are
ON_DISK = {"FILE_UPLOAD_HANDLERS": ["anonymizer.api.uploads.DiskUploadHandler"]}

WORK = {
    "before the claim": Step(f"{SERVICE}.clients.turns:claim", "before"),
    "the claim": Step(f"{SERVICE}.clients.turns:claim"),
    "load": Step(f"{SERVICE}.work:load_picture"),
    "detect": Step("tests.fakes:FakeDetector.detect"),
    "save: half a file": Step("django.core.files.base:File.chunks", "half", call=2),
    "save: between two files": Step(f"{SERVICE}.files:_store", call=2),
    "save: the last file": Step(f"{SERVICE}.receipts:artefact"),
    "publish: before the first row": Step(f"{SERVICE}.claims:Claim.update", "before"),
    "publish: with half of the rows": Step("anonymizer.models:File.save", call=3),
    "publish: before the commit": Step(f"{SERVICE}.webhooks.deliveries:enqueue"),
    "publish: after the commit": Step(f"{SERVICE}.monitoring.counters:count_end", "before"),
}
WEBHOOK = {
    "taken": Step(f"{SERVICE}.webhooks.deliveries:take_due"),
    "before it is sent": Step(f"{SERVICE}.webhooks.sender:post", "before"),
    "sent, but not written down": Step(f"{SERVICE}.webhooks.sender:post"),
    "before the commit": Step(f"{SERVICE}.webhooks.deliveries:_finish_task"),
    "after the commit": Step(f"{SERVICE}.webhooks.deliveries:end"),
}
UPLOAD: dict[str, tuple[Step, dict[str, Any]]] = {
    "received": (Step("anonymizer.api.uploads:DiskUploadHandler.receive_data_chunk"), ON_DISK),
    "checked": (Step(f"{SERVICE}.submit:inspect_picture"), ON_DISK),
    "half of it is stored": (Step("django.core.files.uploadedfile:InMemoryUploadedFile.chunks", "half"), {}),
    "stored": (Step(f"{SERVICE}.files:put_original"), ON_DISK),
    "before the commit": (Step(f"{SERVICE}.accounting.audit:record"), ON_DISK),
    "before the notification": (Step(f"{SERVICE}.queueing.queue:notify", "before"), ON_DISK),
    "before the answer": (Step(f"{SERVICE}.queueing.queue:notify"), ON_DISK),
}
DELETION = {
    "before the commit": Step(f"{SERVICE}.accounting.audit:record_all"),
    "before the first file is removed": Step("anonymizer.models:File.remove_bytes", "before"),
    "between two files": Step("anonymizer.models:File.remove_bytes", call=2),
    "before the receipt is confirmed": Step(f"{SERVICE}.deletion:_there", "before"),
    "at the end": Step(f"{SERVICE}.deletion:forget_free_pages", "before"),
}


@pytest.fixture(scope="module")
def victim(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    started = Victim(str(connection.settings_dict["NAME"]), settings.SECRET_KEY, tmp_path_factory.mktemp("victim"))
    yield started
    started.end()


@pytest.fixture(autouse=True)
def temporary(media: Path) -> Path:
    (media / "tmp").mkdir()
    return media


@pytest.mark.parametrize("name", WORK)
def test_a_worker_that_is_killed(victim: Victim, receiver: Any, media: Path, name: str) -> None:  # noqa: F811
    told: Receiver = receiver(answer(200))
    task = submitted(webhook=told.url, save_mask="binary")
    pid = victim.dies("work", str(task.pk), step=WORK[name], media=media)
    no_part_is_seen(task.pk)
    recovered(pid)
    is_done_once(task, media)
    taken_once = name in ("before the claim", "publish: after the commit")
    assert Task.objects.get(pk=task.pk).leases == (1 if taken_once else 2)
    assert (sender.send_due(), sender.send_due(), len(told.requests)) == (1, 0, 1)


def test_a_worker_that_is_killed_as_it_writes_down_a_failure(victim: Victim, receiver: Any, media: Path) -> None:  # noqa: F811
    told: Receiver = receiver(answer(200))
    task = submitted(encoded(drawn(1000, 600)), webhook=told.url, format="whole", strict=True)
    pid = victim.dies("work", str(task.pk), step=WORK["publish: before the commit"], media=media)
    no_part_is_seen(task.pk)
    assert told.requests == []
    recovered(pid)
    now = Task.objects.get(pk=task.pk)
    assert (now.status, now.failure_cause) == (Status.FAILED, "not_fully_analysed")
    assert (sender.send_due(), told.header("X-Anonymizer-Event"), len(told.requests)) == (1, "task.failed", 1)
    swept(media)


@pytest.mark.parametrize("again", [True, False], ids=["done by another", "deleted"])
def test_a_worker_that_is_killed_in_the_middle_of_a_video(
    victim: Victim, media: Path, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    clip = moving_square(media / "tmp" / "clip.mp4", seconds=0.4)
    content = clip.read_bytes()
    clip.unlink()
    task = submitted(content)
    step = Step(f"{SERVICE}.videos:_VideoProgress.update", call=3)
    pid = victim.dies("work", str(task.pk), step=step, media=media, Q_CLUSTER_NAME="videos")
    assert any("/work/" in path for path in on_disk(media))
    no_part_is_seen(task.pk)
    if again:
        monkeypatch.setitem(os.environ, "Q_CLUSTER_NAME", "videos")
        recovered(pid)
        is_done_once(task, media)
    else:
        claims.end_leases([workers.name(pid)])
        assert Client().delete(f"/v1/task/{task.pk}").status_code == 200
        assert on_disk(media) == set()


@pytest.mark.parametrize("name", WEBHOOK)
def test_a_sender_that_is_killed(
    victim: Victim, receiver: Any, later: Callable[[], None], media: Path, name: str  # noqa: F811
) -> None:  # fmt: skip
    told: Receiver = receiver(answer(200))
    task = submitted(webhook=told.url)
    work.process(str(task.pk))
    victim.dies("send", step=WEBHOOK[name], media=media)
    # the lease of a try that nobody ended is over a minute later
    later()
    sent = sender.send_due()
    assert Task.objects.get(pk=task.pk).webhook_status == WebhookStatus.SENT
    assert WebhookDelivery.objects.get(task=task).next_try is None
    assert sent == (0 if name == "after the commit" else 1)
    # a receiver that was told twice knows it by the id
    assert len(told.requests) == (2 if name in ("sent, but not written down", "before the commit") else 1)
    assert len({told.header("X-Anonymizer-Delivery", each) for each in range(len(told.requests))}) == 1
    assert len({told.body(each) for each in range(len(told.requests))}) == 1
    later()
    assert sender.send_due() == 0
    is_done_once(task, media)


@pytest.mark.parametrize("name", UPLOAD)
def test_a_web_process_that_is_killed_at_an_upload(victim: Victim, media: Path, name: str) -> None:
    step, how = UPLOAD[name]
    content = encoded(drawn(600, 400))
    victim.dies("upload", content.hex(), "face=1", "one", step=step, media=media, **how)
    listed = [each["id"] for each in Client().get("/v1/task/list").json()["results"]]
    for task_id in listed:
        no_part_is_seen(task_id)
    # the client got no answer, and uploads it once more
    upload = SimpleUploadedFile("a.jpg", content)
    headers = {"x-is-async": "1", "Idempotency-Key": "one"}
    posted = Client().post("/v1/file?face=1", {"fileobject": upload}, headers=headers)
    assert posted.status_code in (200, 202), posted.content
    assert listed in ([], [posted.json()["id"]])
    recovered(0)
    (task,) = Task.objects.all()
    assert task.leases == 1
    assert AuditEvent.objects.filter(task=task.pk, action=AuditAction.UPLOADED).count() == 1
    is_done_once(task, media)


def test_a_web_process_that_is_killed_as_it_checks_a_small_video(victim: Victim, media: Path) -> None:
    content = moving_square(media / "clip.mp4", seconds=0.4).rename(media / "tmp" / "clip.mp4").read_bytes()
    (media / "tmp" / "clip.mp4").unlink()
    # it is held in memory, and a decoder of videos reads only files
    step = Step(f"{SERVICE}.submit:inspect_video")
    victim.dies("upload", content.hex(), "face=1", "one", step=step, media=media)
    assert len(on_disk(media)) == 1
    swept(media)
    assert on_disk(media) == set()


def test_a_worker_that_is_killed_as_it_makes_a_clip_that_shows_the_original(
    victim: Victim, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = moving_square(media / "tmp" / "clip.mp4", seconds=0.4)
    content = clip.read_bytes()
    clip.unlink()
    task = submitted(content)
    monkeypatch.setitem(os.environ, "Q_CLUSTER_NAME", "videos")
    work.process(str(task.pk))
    before = on_disk(media)
    victim.dies("clip", str(task.pk), step=Step("anonymizer.examples.clips:side_by_side"), media=media)
    assert len(on_disk(media) - before) == 1
    is_done_once(task, media)
    assert on_disk(media) == before


def test_a_process_that_is_killed_as_it_copies_an_original(victim: Victim, media: Path) -> None:
    task = submitted()
    work.process(str(task.pk))
    before = on_disk(media)
    victim.dies("again", str(task.pk), step=Step(f"{SERVICE}.files:put"), media=media)
    assert on_disk(media) > before
    is_done_once(task, media)
    assert (on_disk(media), Task.objects.count()) == (before, 1)


@pytest.mark.parametrize("name", DELETION)
def test_a_process_that_is_killed_at_a_deletion(victim: Victim, media: Path, name: str) -> None:
    task = submitted()
    work.process(str(task.pk))
    victim.dies("delete", str(task.pk), step=DELETION[name], media=media)
    no_part_is_seen(task.pk)
    # the client got no answer, and deletes it once more
    assert Client().delete(f"/v1/task/{task.pk}").status_code == 200
    no_part_is_seen(task.pk)
    swept(media)
    assert on_disk(media) == set()
    receipt = DeletionReceipt.objects.get(task=task.pk)
    assert (receipt.left, receipt.confirmed is not None) == ([], True)
    assert AuditEvent.objects.filter(task=task.pk, action=AuditAction.DELETED).count() == 1
