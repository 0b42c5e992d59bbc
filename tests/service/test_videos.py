"""The video of a task, processed in this process: progress, deletion during the work, failures, and leftovers."""

from __future__ import annotations

import gc
import io
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from django_q.exceptions import TimeoutException
from django_q.models import OrmQ

from anonymizer.models import File, FileKind, Kind, Status, Task
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.options.options import Options
from anonymizer.service import claims, cleanup, deletion, engine, files, submit, videos, work
from anonymizer.stores.folders import FolderStore
from tests.fakes import FakeDetector
from tests.videos import frame_count, moving_square

pytestmark = pytest.mark.django_db(transaction=True)
Upload = Callable[..., Task]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return moving_square(tmp_path_factory.mktemp("videos") / "clip.mp4", seconds=0.4).read_bytes()


@pytest.fixture
def task(upload: Upload, clip: bytes) -> Task:
    return upload(clip, method="blacken", face=True)


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_video_is_done_with_all_that_the_contract_promises(task: Task, media: Path) -> None:
    assert (task.kind, task.status) == ("video", Status.QUEUED)
    assert work.process(str(task.pk)) == "done"
    task = Task.objects.get(pk=task.pk)
    assert (task.status, task.progress, task.object_types) == (Status.DONE, 1.0, ["face"])
    assert task.detections["face"] >= 1
    assert task.model_ids == ["fake"]
    assert task.video is not None
    assert (task.video["frames"], task.video["frames_copied"]) == (10, 0)
    stored_files = {file.kind: file for file in task.files.all()}
    assert stored_files.keys() == set(FileKind.values) - {
        "preview-before", "preview-after", "side-by-side",
    }  # fmt: skip
    assert frame_count(Path(stored_files["anonymised"].storage.path(stored_files["anonymised"].key))) == 10
    assert len(json.loads(stored_files["metadata"].read())) == 10
    assert [stored_files[kind].media_type for kind in ("anonymised", "binary-mask")] == [
        "video/mp4",
        "video/x-matroska",
    ]
    for file in stored_files.values():
        assert file.size == len(file.read())
    # the working folder is gone
    assert len(stored(media)) == 7
    assert not list((media / "output").rglob("work"))


def test_the_progress_is_in_the_row_during_the_work(
    task: Task, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anonymizer.pipeline.results import VideoProgress

    claim = claims.claim(str(task.pk), "here")
    assert claim is not None
    progress = videos._VideoProgress(claim)
    progress.update(VideoProgress(3, 10, 4.567, 1.53))
    shown = Task.objects.get(pk=task.pk)
    assert shown.progress == 0.3
    assert shown.video == {
        "frames": 3, "total": 10, "frames_per_second": 4.57, "seconds_left": 1.5, "frames_copied": None,
    }  # fmt: skip
    progress.update(VideoProgress(4, 10, 4.567, 1.53))
    assert Task.objects.get(pk=task.pk).progress == 0.3, "more than once a second"
    progress._updated_s = 0.0
    progress.update(VideoProgress(10, 10, 4.567, 0.0))
    assert Task.objects.get(pk=task.pk).progress == 0.99, "after the last frame the file is still checked"
    assert not progress.is_unwanted()
    deletion.delete_files(task)
    assert progress.is_unwanted()


def test_deleting_ends_the_work_and_leaves_nothing(task: Task, detector: FakeDetector, media: Path) -> None:
    detector.during = lambda: bool(deletion.delete_files(task)) or None  # type: ignore[func-returns-value]
    assert work.process(str(task.pk)).startswith("dropped")
    assert Task.objects.get(pk=task.pk).status == Status.DELETED
    assert stored(media) == []
    assert list((media / "output").rglob("*")) == []


# no file may be left open
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_task_whose_original_is_gone_when_the_rendering_starts_is_dropped(
    task: Task, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anonymizer.pipeline.video import job

    def start_analysis(*args: object, **kwargs: object) -> None:
        deletion.delete_files(task)

    monkeypatch.setattr(job, "start_analysis", start_analysis)
    assert work.process(str(task.pk)).startswith("dropped")
    gc.collect()
    assert Task.objects.get(pk=task.pk).status == Status.DELETED


def test_a_detector_that_fails_leaves_no_result(task: Task, detector: FakeDetector, media: Path) -> None:
    detector.error = DetectorFailed("The detector fake failed.")
    work.process(str(task.pk))
    task.refresh_from_db()
    assert (task.status, task.failure_cause) == (Status.FAILED, "detector_failed")
    assert stored(media / "output") == []


def test_a_missing_original_is_named(task: Task, media: Path) -> None:
    shutil.rmtree(media / "input")
    assert work.process(str(task.pk)) == "failed: The original file of this task does not exist any more."


def test_work_that_takes_too_long_is_a_failure_and_is_not_tried_again(
    task: Task, monkeypatch: pytest.MonkeyPatch, media: Path
) -> None:
    def alarm(*args: object, **others: object) -> None:
        raise TimeoutException

    monkeypatch.setattr(videos, "run", alarm)
    with pytest.raises(TimeoutException):
        work.process(str(task.pk))
    task.refresh_from_db()
    assert (task.status, task.failure_cause) == (Status.FAILED, "timeout")
    assert list((media / "output").rglob("*")) == []


def test_what_a_killed_worker_left_goes_with_the_next_attempt_or_with_the_task(task: Task, media: Path) -> None:
    leftover = media / "output" / str(task.pk) / files.WORK / "lost" / "anonymised.mp4"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    assert work.process(str(task.pk)) == "done"
    assert not leftover.exists()
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    deletion.delete_files(task)
    assert stored(media) == []


def test_files_of_a_task_that_is_worked_on_are_no_orphans(task: Task, media: Path) -> None:
    made = media / "output" / str(task.pk) / files.WORK / "attempt" / "binary-mask.mkv"
    made.parent.mkdir(parents=True)
    made.write_bytes(b"part")
    assert claims.claim(str(task.pk), "here") is not None
    assert cleanup.cleanup(None, orphan_age=timedelta(0)).orphans == 0
    Task.objects.filter(pk=task.pk).update(status=Status.FAILED)
    assert cleanup.cleanup(None, orphan_age=timedelta(0)).orphans == 1


def test_an_upload_that_was_broken_off_is_an_orphan(media: Path) -> None:
    folder = files.uploads_folder()
    assert folder is not None
    (folder / "x.upload").write_bytes(b"part")
    assert cleanup.cleanup(None).orphans == 0
    assert cleanup.cleanup(None, orphan_age=timedelta(0)).orphans == 1
    assert stored(media) == []


def test_running_again_shares_the_bytes_and_detects_again(task: Task, detector: FakeDetector, media: Path) -> None:
    work.process(str(task.pk))
    calls = detector.calls
    options = Options(method="pixelate", face=True, save_mask="none")  # type: ignore[arg-type]
    new = submit.run_again(Task.objects.get(pk=task.pk), options)
    before, after = (
        media / "input" / row.file(FileKind.ORIGINAL).key  # type: ignore[union-attr]
        for row in (task, Task.objects.get(pk=new.pk))
    )
    assert before.stat().st_ino == after.stat().st_ino
    assert work.process(str(new.pk)) == "done"
    assert detector.calls > calls
    deletion.delete_files(task)
    assert not before.exists()
    assert after.exists()


def test_a_storage_far_away_is_read_through_a_copy(task: Task, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(store: object, key: str) -> None:
        return None

    monkeypatch.setattr(FolderStore, "path", nowhere)
    assert work.process(str(task.pk)) == "done"
    new = submit.run_again(Task.objects.get(pk=task.pk))
    assert new.file(FileKind.ORIGINAL).sha256 == task.file(FileKind.ORIGINAL).sha256  # type: ignore[union-attr]


def test_the_types_are_those_of_the_upload(task: Task, detector: FakeDetector) -> None:
    # a video may wait while the server is restarted with other types
    Task.objects.filter(pk=task.pk).update(options={"method": "blacken"})
    work.process(str(task.pk))
    assert Task.objects.get(pk=task.pk).detections.keys() == {"face"}


def test_workers_find_released_tasks_and_their_lease_does_not_count(task: Task) -> None:
    OrmQ.objects.all().delete()
    assert claims.claim(str(task.pk), "here:1") is not None
    assert claims.release_tasks(["here:2"]) == 0
    assert claims.release_tasks(["here:1"]) == 1
    task.refresh_from_db()
    assert (task.status, task.leases, task.lease_token) == (Status.QUEUED, 0, None)
    # workers of other hosts may sleep for long; idle workers of its kind find it without that notification, too
    assert OrmQ.objects.count() == 1
    assert claims.next_waiting(Kind.IMAGE) is None
    assert claims.next_waiting(Kind.VIDEO) == str(task.pk)
    assert claims.claim(str(task.pk), "here:3") is not None


def test_notifications_of_a_task_that_waits_for_long_get_rarer(task: Task) -> None:
    now = timezone.now()
    Task.objects.filter(pk=task.pk).update(created=now - timedelta(hours=3), notified_at=now - timedelta(hours=1))
    assert claims.recover() == 0
    Task.objects.filter(pk=task.pk).update(notified_at=now - timedelta(hours=2))
    assert claims.recover() == 1
    assert claims.recover() == 0


def test_a_video_in_memory_is_judged_like_one_on_disk(detector: FakeDetector, clip: bytes) -> None:
    with pytest.raises(submit.BrokenMedia):
        submit.submit(io.BytesIO(clip[:-2000]), Options(), Options().object_types())
    assert File.objects.count() == 0


def test_the_limits_are_those_of_the_settings(settings: Any) -> None:
    settings.MAX_VIDEO_BYTES, settings.MAX_VIDEO_LENGTH = 10, timedelta(minutes=2)
    assert (engine.limits().video_bytes, engine.limits().seconds) == (10, 120)
