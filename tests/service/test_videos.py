"""The video of a task in this process: progress, an end in the middle, failures, and what is left of them."""

from __future__ import annotations

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
    return [each for each in folder.rglob("*") if each.is_file()]


def test_a_video_is_done_with_all_that_the_contract_promises(task: Task, media: Path) -> None:
    assert (task.kind, task.status) == ("video", Status.QUEUED)
    assert work.process(str(task.pk)) == "done"
    task = Task.objects.get(pk=task.pk)
    assert (task.status, task.progress, task.object_types) == (Status.DONE, 1.0, ["face"])
    assert task.detections["face"] >= 1
    assert task.model_ids == ["fake"]
    assert task.video is not None
    assert (task.video["frames"], task.video["frames_copied"]) == (10, 0)
    found = {each.kind: each for each in task.files.all()}
    assert found.keys() == set(FileKind.values) - {"detections"}
    assert frame_count(Path(found["anonymised"].storage.path(found["anonymised"].key))) == 10
    assert len(json.loads(found["metadata"].read())) == 10
    assert [found[each].media_type for each in ("anonymised", "binary-mask")] == ["video/mp4", "video/x-matroska"]
    for each in found.values():
        assert each.size == len(each.read())
    # nothing is left of where it was made
    assert len(stored(media)) == 5
    assert not list((media / "output").rglob("work"))


def test_the_progress_is_in_the_row_while_it_is_worked_on(
    task: Task, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anonymizer.pipeline.results import VideoProgress

    mine = claims.claim(str(task.pk), "here")
    assert mine is not None
    watch = videos._Watch(mine)
    watch.show(VideoProgress(3, 10, 4.567, 1.53))
    shown = Task.objects.get(pk=task.pk)
    assert shown.progress == 0.3
    assert shown.video == {
        "frames": 3, "total": 10, "frames_per_second": 4.57, "seconds_left": 1.5, "frames_copied": None,
    }  # fmt: skip
    watch.show(VideoProgress(4, 10, 4.567, 1.53))
    assert Task.objects.get(pk=task.pk).progress == 0.3, "more than once a second"
    assert not watch.stop()
    deletion.delete_files(task)
    assert watch.stop()


def test_deleting_ends_the_work_and_leaves_nothing(task: Task, detector: FakeDetector, media: Path) -> None:
    detector.during = lambda: bool(deletion.delete_files(task)) or None  # type: ignore[func-returns-value]
    assert work.process(str(task.pk)).startswith("dropped")
    assert Task.objects.get(pk=task.pk).status == Status.DELETED
    assert stored(media) == []
    assert list((media / "output").rglob("*")) == []


def test_a_detector_that_fails_leaves_no_result(task: Task, detector: FakeDetector, media: Path) -> None:
    detector.error = DetectorFailed("The detector fake failed.")
    work.process(str(task.pk))
    task.refresh_from_db()
    assert (task.status, task.failure_cause) == (Status.FAILED, "detector_failed")
    assert stored(media / "output") == []


def test_an_original_that_is_gone_is_said(task: Task, media: Path) -> None:
    shutil.rmtree(media / "input")
    assert work.process(str(task.pk)) == "failed: The original is gone."


def test_work_that_takes_too_long_is_a_failure_and_is_not_tried_again(
    task: Task, monkeypatch: pytest.MonkeyPatch, media: Path
) -> None:
    def alarm(*args: object) -> None:
        raise TimeoutException

    monkeypatch.setattr(videos, "run", alarm)
    with pytest.raises(TimeoutException):
        work.process(str(task.pk))
    task.refresh_from_db()
    assert (task.status, task.failure_cause) == (Status.FAILED, "timeout")
    assert list((media / "output").rglob("*")) == []


def test_what_a_killed_worker_left_goes_with_the_next_attempt_or_with_the_task(task: Task, media: Path) -> None:
    left = media / "output" / str(task.pk) / files.WORK / "lost" / "anonymised.mp4"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert work.process(str(task.pk)) == "done"
    assert not left.exists()
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
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


def test_running_again_shares_the_bytes_and_looks_again(task: Task, detector: FakeDetector, media: Path) -> None:
    work.process(str(task.pk))
    calls = detector.calls
    options = Options(method="pixelate", face=True, save_mask="none")  # type: ignore[arg-type]
    new = submit.again(Task.objects.get(pk=task.pk), options)
    before, after = (
        media / "input" / each.file(FileKind.ORIGINAL).key  # type: ignore[union-attr]
        for each in (task, Task.objects.get(pk=new.pk))
    )
    assert before.stat().st_ino == after.stat().st_ino
    assert work.process(str(new.pk)) == "done"
    assert detector.calls > calls
    deletion.delete_files(task)
    assert not before.exists()
    assert after.exists()


def test_a_storage_far_away_is_read_through_a_copy(task: Task, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(storage: object, key: str) -> None:
        return None

    monkeypatch.setattr(files, "_path", nowhere)
    assert work.process(str(task.pk)) == "done"
    new = submit.again(Task.objects.get(pk=task.pk))
    assert new.file(FileKind.ORIGINAL).sha256 == task.file(FileKind.ORIGINAL).sha256  # type: ignore[union-attr]


def test_the_types_are_those_of_the_upload(task: Task, detector: FakeDetector) -> None:
    # a video may wait while the server is started with other types
    Task.objects.filter(pk=task.pk).update(options={"method": "blacken"})
    work.process(str(task.pk))
    assert Task.objects.get(pk=task.pk).detections.keys() == {"face"}


def test_tasks_that_are_handed_back_are_rung_for_and_their_lease_does_not_count(task: Task) -> None:
    OrmQ.objects.all().delete()
    assert claims.claim(str(task.pk), "here:1") is not None
    assert claims.hand_back(["here:2"]) == 0
    assert claims.hand_back(["here:1"]) == 1
    task.refresh_from_db()
    assert (task.status, task.leases, task.lease_token) == (Status.QUEUED, 0, None)
    claims.notify_again(Kind.IMAGE)
    assert OrmQ.objects.count() == 0
    claims.notify_again(Kind.VIDEO)
    assert [each.key for each in OrmQ.objects.all()] == ["videos"]
    assert claims.claim(str(task.pk), "here:3") is not None


def test_those_that_wait_for_long_are_rung_for_seldom(task: Task) -> None:
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
