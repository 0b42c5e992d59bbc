"""How long files stay: `ttl`, servers that keep no originals, and the sweeps for what belongs to nobody."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from anonymizer.models import (
    AuditAction,
    AuditEvent,
    DeletionReceipt,
    File,
    FileKind,
    IdempotencyKey,
    Kind,
    Status,
    Task,
)
from anonymizer.pipeline.errors import BrokenMedia, DetectorFailed
from anonymizer.service import claims, files, submit, work
from anonymizer.service.accounting import orphans
from anonymizer.service.cleanup import cleanup, expire
from tests.fakes import FakeDetector
from tests.pictures import encoded
from tests.service.conftest import detector, upload  # noqa: F401 (fixtures)

pytestmark = pytest.mark.django_db(transaction=True)
Upload = Callable[..., Task]


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def now_of(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


class TestTimeToLive:
    def post(self, query: str) -> Any:
        content = SimpleUploadedFile("a.jpg", encoded(), "image/jpeg")
        return Client().post(f"/v1/file?face=1&{query}", {"fileobject": content}, headers={"x-is-async": "1"})

    def expiry(self, query: str) -> timedelta | None:
        """The time to live of an upload with this query."""
        posted = self.post(query)
        assert posted.status_code == 202, posted.content
        task = Task.objects.get(pk=posted.json()["id"])
        return None if task.expires is None else task.expires - task.created

    def test_the_upload_or_the_setting_says_how_long(self, settings: Any, detector: FakeDetector) -> None:  # noqa: F811
        second = timedelta(seconds=1)
        assert self.expiry("") is None
        assert abs(self.expiry("ttl=60") - timedelta(minutes=1)) < second  # type: ignore[operator, arg-type]
        settings.TTL, settings.MAX_TTL = timedelta(hours=1), timedelta(days=1)
        assert abs(self.expiry("") - timedelta(hours=1)) < second  # type: ignore[operator, arg-type]
        assert abs(self.expiry("ttl=86400") - timedelta(days=1)) < second  # type: ignore[operator, arg-type]
        settings.TTL = None
        assert abs(self.expiry("") - timedelta(days=1)) < second  # type: ignore[operator, arg-type]

    @pytest.mark.parametrize("value", ["0", "-1", "1.5", "1e3", "1_0", "\u0661", "soon", "86401", "9" * 30])
    def test_other_values_are_refused(self, settings: Any, value: str) -> None:
        settings.MAX_TTL = timedelta(days=1)
        posted = self.post(f"ttl={value}")
        assert (posted.status_code, posted.json()["code"]) == (400, "invalid_parameter")
        assert "ttl is" in posted.json()["error"] and "from 1 to 86400" in posted.json()["error"]

    @pytest.mark.parametrize("processed", [True, False])
    def test_files_go_when_it_is_over(self, upload: Upload, media: Path, processed: bool) -> None:  # noqa: F811
        over, other = upload(), upload()
        if processed:
            work.process(str(over.pk))
        Task.objects.filter(pk=over.pk).update(expires=timezone.now() - timedelta(seconds=1))
        Task.objects.filter(pk=other.pk).update(expires=timezone.now() + timedelta(minutes=1))
        assert expire() == 1
        assert expire() == 0
        assert (now_of(over).status, now_of(other).status) == (Status.DELETED, Status.QUEUED)
        assert len(stored(media)) == 1
        event = AuditEvent.objects.get(task=over.pk, action=AuditAction.DELETED)
        assert (event.actor, event.reason) == ("server", "ttl")

    def test_running_again_makes_no_original_stay_longer(self, upload: Upload) -> None:  # noqa: F811
        task = upload()
        soon = timezone.now() + timedelta(minutes=1)
        Task.objects.filter(pk=task.pk).update(expires=soon)
        assert submit.run_again(now_of(task)).expires == soon


class TestServerWithoutOriginals:
    @pytest.fixture(autouse=True)
    def setting(self, settings: Any) -> None:
        settings.KEEP_ORIGINALS = False

    @pytest.mark.parametrize("error", [None, DetectorFailed("The detector fake failed.")])
    def test_the_original_goes_when_the_task_has_ended(
        self, upload: Upload, detector: FakeDetector, media: Path, error: Exception | None  # noqa: F811
    ) -> None:  # fmt: skip
        detector.error = error
        task = upload()
        assert len(stored(media / "input")) == 1
        work.process(str(task.pk))
        task = now_of(task)
        assert task.status == (Status.FAILED if error else Status.DONE)
        assert stored(media / "input") == []
        assert task.file(FileKind.ORIGINAL) is None
        receipt = DeletionReceipt.objects.get(task=task.pk)
        # the small picture of the original shows faces, too
        shown = {"original"} if error else {"original", "preview-before"}
        assert ({file["kind"] for file in receipt.files}, receipt.actor) == (shown, "server")
        assert task.file(FileKind.PREVIEW_BEFORE) is None
        assert receipt.confirmed is not None
        with pytest.raises(BrokenMedia, match="was deleted"):
            submit.run_again(task)

    def test_the_original_stays_while_its_worker_was_lost(self, upload: Upload, media: Path) -> None:  # noqa: F811
        task = upload()
        assert work.claim_next(str(task.pk), "lost") is not None
        assert len(stored(media / "input")) == 1

    def test_the_original_of_a_task_that_is_given_up_goes(self, upload: Upload, media: Path) -> None:  # noqa: F811
        task = upload()
        assert claims.claim(str(task.pk), "worker") is not None
        claims.fail_overdue("worker")
        assert now_of(task).status == Status.FAILED
        assert stored(media / "input") == []

    def test_a_video_keeps_the_ending_of_its_result(self) -> None:
        task = Task.objects.create(kind=Kind.VIDEO, name="clip.avi", status=Status.DONE)
        result = File(task=task, kind=FileKind.ANONYMISED, key=f"{task.pk}/x/anonymised.mp4")
        assert result.name == "clip.avi.mp4"
        task.name = "clip.MP4"
        assert result.name == "clip.MP4"


class TestFreshRunAgain:
    """The original of a task that is run again is a hard link to an old file."""

    def old(self, upload: Upload, media: Path) -> Task:  # noqa: F811
        task = upload()
        work.process(str(task.pk))
        for path in stored(media):
            os.utime(path, (0, 0))
        return now_of(task)

    def test_its_original_is_no_orphan_before_its_row_is_there(self, upload: Upload, media: Path) -> None:  # noqa: F811
        old = self.old(upload, media)
        original = old.file(FileKind.ORIGINAL)
        assert original is not None
        # the clean-up comes between the link and the row
        copy = files.copy_original(original, Task())
        assert cleanup(None).orphans == 0
        assert copy.storage.exists(copy.key)

    def test_a_row_that_came_after_the_search_saves_its_file(self, upload: Upload, media: Path) -> None:  # noqa: F811
        task = self.old(upload, media)
        kept = task.file(FileKind.ORIGINAL)
        assert kept is not None
        row = File.objects.get(pk=kept.pk)
        File.objects.filter(pk=kept.pk).update(key="elsewhere")
        (found,) = orphans.files_without_rows(timezone.now())
        File.objects.filter(pk=kept.pk).update(key=row.key)
        assert orphans.remove(found, timezone.now()) is None
        assert row.storage.exists(row.key)

    def test_a_worker_that_began_after_the_search_keeps_its_files(self, media: Path) -> None:
        task = Task.objects.create(status=Status.QUEUED)
        path = media / "output" / str(task.pk) / "attempt" / "anonymised.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"being written")
        os.utime(path, (0, 0))
        (found,) = orphans.files_without_rows(timezone.now())
        Task.objects.filter(pk=task.pk).update(status=Status.PROCESSING)
        assert orphans.remove(found, timezone.now()) is None
        assert path.exists()


class TestRowsWithoutFiles:
    def test_a_lost_file_is_said_to_be_lost(self, upload: Upload, media: Path) -> None:  # noqa: F811
        task = upload()
        work.process(str(task.pk))
        File.objects.update(created=timezone.now() - timedelta(days=1))
        lost = now_of(task).file(FileKind.BINARY_MASK)
        assert lost is not None
        (media / "output" / lost.key).unlink()
        assert cleanup(None, dry_run=True).lost == 1
        assert cleanup(None).lost == 1
        assert cleanup(None).lost == 0
        task = now_of(task)
        assert task.file(FileKind.BINARY_MASK) is None
        assert task.warnings == ["The stored binary-mask was lost."]
        assert AuditEvent.objects.get(action=AuditAction.LOST).file == "binary-mask"

    def test_a_missing_disk_loses_no_rows(self, media: Path) -> None:
        task = Task.objects.create(status=Status.DONE)
        day = timezone.now() - timedelta(days=1)
        for _ in range(11):
            other = Task.objects.create(status=Status.DONE)
            for owner in (task, other):
                values = {
                    "kind": f"{File.objects.count()}",
                    "storage_alias": "input",
                    "key": f"{owner.pk}/x",
                    "size": 1,
                }
                File.objects.create(task=owner, created=day, **values)
        assert cleanup(None).lost == 22
        assert File.objects.count() == 22

    def test_a_file_that_is_being_made_is_not_lost(self, media: Path) -> None:
        task = Task.objects.create(status=Status.DONE)
        File.objects.create(task=task, kind="original", storage_alias="input", key=f"{task.pk}/x", size=1)
        assert cleanup(None).lost == 0


def test_an_upload_that_is_cut_off_is_swept_away(media: Path) -> None:
    folder = files.uploads_folder()
    assert folder is not None
    part = folder / "half.upload"
    part.write_bytes(io.BytesIO(b"half").getvalue())
    assert cleanup(None).orphans == 0
    os.utime(part, (0, 0))
    assert cleanup(None).orphans == 1
    assert not part.exists()


def test_keys_of_repeated_uploads_are_forgotten_after_a_day() -> None:
    task, now = Task.objects.create(), timezone.now()
    for hours in (1, 25):
        IdempotencyKey.objects.create(key=f"{hours}", task=task, created=now - timedelta(hours=hours))
    cleanup(None)
    assert [each.key for each in IdempotencyKey.objects.all()] == ["1"]
