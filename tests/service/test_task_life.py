"""A task from submission to its end, and what may come between."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError
from django.utils import timezone
from django_q.brokers import get_broker
from PIL import Image

from anonymizer.models import File, FileKind, Status, Task
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import DetectorFailed, StorageFailed, TooManyObjects
from anonymizer.service import claims, deletion, submit, work
from anonymizer.service.cleanup import cleanup
from anonymizer.service.queueing import queue
from tests.fakes import FakeDetector
from tests.pictures import decoded, drawn, encoded

pytestmark = pytest.mark.django_db(transaction=True)
Upload = Callable[..., Task]


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_picture_is_done_with_all_that_the_contract_promises(upload: Upload, media: Path) -> None:
    task = upload(encoded(drawn(), "PNG"), method="blacken", bbox=True, margin=0)
    assert task.status == Status.QUEUED
    assert get_broker().queue_size() == 1
    assert work.process(str(task.pk)) == "done"
    task = Task.objects.get(pk=task.pk)
    assert (task.status, task.progress, task.detections) == (
        Status.DONE,
        1.0,
        {"face": 1, "license-plate": 1, "person": 0, "vehicle": 0},
    )
    assert task.review_counts == {"found": 2, "near_threshold": 1, "small": 0, "at_border": 0}
    assert task.model_ids == ["fake"]
    assert task.duration is not None and task.duration > 0
    assert {file.kind for file in task.files.all()} == set(FileKind.values) - {"side-by-side"}
    before, after, mask = (
        drawn(),
        decoded(_bytes(task, FileKind.ANONYMISED)),
        decoded(_bytes(task, FileKind.BINARY_MASK)),
    )
    assert np.array_equal(np.asarray(before)[mask == 0], after[mask == 0])
    assert not after[mask == 255].any()
    assert mask[30, 30] == 255
    assert mask[110, 130] == 255


def test_strict_fails_what_is_only_warned_of_otherwise(upload: Upload) -> None:
    large = encoded(drawn(1000, 600))
    done, failed = upload(large, format="whole"), upload(large, format="whole", strict=True)
    assert work.process(str(done.pk)) == "done"
    assert "not fully analysed" in work.process(str(failed.pk))
    done, failed = Task.objects.get(pk=done.pk), Task.objects.get(pk=failed.pk)
    assert (failed.status, failed.failure_cause) == (Status.FAILED, "not_fully_analysed")
    # the failed task says what was analysed smaller
    assert failed.warnings == done.warnings and "analysed it at 320" in failed.warnings[0]
    assert [file.kind for file in failed.files.all()] == [FileKind.ORIGINAL]


def test_the_result_is_seen_only_when_it_is_whole(upload: Upload, detector: FakeDetector, media: Path) -> None:
    states: list[tuple[str, int]] = []
    task = upload()
    detector.during = lambda: states.append(
        (Task.objects.get(pk=task.pk).status, File.objects.filter(task=task).count())
    )
    work.process(str(task.pk))
    assert set(states) == {(Status.PROCESSING, 1)}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DetectorFailed("The detector fake failed."), "detector_failed"),
        (TooManyObjects("More than 5000 objects."), "too_many_objects"),
        (RuntimeError("a secret path"), "internal_error"),
        (MemoryError(), "out_of_memory"),
    ],
)
def test_a_detector_that_fails_leaves_no_result(
    upload: Upload, detector: FakeDetector, media: Path, error: Exception, cause: str
) -> None:
    detector.error = error
    task = upload()
    work.process(str(task.pk))
    task.refresh_from_db()
    assert (task.status, task.error is not None) == (Status.FAILED, True)
    assert task.failure_cause in (cause, "detector_failed")
    assert "secret" not in str(task.error)
    assert [file.kind for file in task.files.all()] == [FileKind.ORIGINAL]
    assert stored(media / "output") == []


def test_a_task_is_worked_on_once(upload: Upload, detector: FakeDetector) -> None:
    task = upload()
    assert work.process(str(task.pk)) == "done"
    calls = detector.calls
    assert work.process(str(task.pk)) == "nothing to do"
    assert detector.calls == calls


def test_an_id_that_is_gone_is_left_alone() -> None:
    assert work.process("0199f1c2-0000-7000-8000-000000000000") == "nothing to do"


def test_only_one_of_two_workers_gets_a_task(upload: Upload) -> None:
    task = upload()
    first, second = claims.claim(str(task.pk), "a"), claims.claim(str(task.pk), "b")
    assert first is not None
    assert second is None
    assert Task.objects.get(pk=task.pk).worker == "a"


def test_deleting_while_it_runs_leaves_nothing(upload: Upload, detector: FakeDetector, media: Path) -> None:
    task = upload()
    detector.during = lambda: bool(deletion.delete_files(task)) or None  # type: ignore[func-returns-value]
    assert work.process(str(task.pk)).startswith("dropped")
    assert Task.objects.get(pk=task.pk).status == Status.DELETED
    assert stored(media) == []
    assert list((media / "output").rglob("*")) == []


def test_files_that_cannot_be_removed_are_reported_and_removed_later(upload: Upload, media: Path) -> None:
    task = upload()
    work.process(str(task.pk))
    file = Task.objects.get(pk=task.pk).file(FileKind.ORIGINAL)
    assert file is not None
    # the file is replaced by a folder that is not empty: nobody can remove that as a file
    stubborn = media / "input" / file.key
    stubborn.unlink()
    stubborn.mkdir()
    (stubborn / "more").write_bytes(b"left")
    with pytest.raises(StorageFailed, match="1 of its files could not be removed"):
        deletion.delete_tasks(Task.objects.all())
    assert Task.objects.get(pk=task.pk).status == Status.DELETED
    assert stored(media) == [stubborn / "more"]
    cleanup(None, orphan_age=timedelta(0))
    assert stored(media) == []


def test_a_publication_that_is_rolled_back_leaves_no_bytes(
    upload: Upload, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = upload()
    save = File.save

    def fails(file: File, *args: Any, **kwargs: Any) -> None:
        if file.kind == FileKind.DETECTIONS:
            raise IntegrityError("full")
        save(file, *args, **kwargs)

    monkeypatch.setattr(File, "save", fails)
    assert work.process(str(task.pk)).startswith("failed")
    task.refresh_from_db()
    assert task.status == Status.FAILED
    assert stored(media / "output") == []


def test_a_notification_that_fails_loses_nothing(upload: Upload, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise ConnectionError("the broker is away")

    monkeypatch.setattr(queue, "async_task", away)
    task = upload()
    assert Task.objects.get(pk=task.pk).status == Status.QUEUED
    assert len(stored(media / "input")) == 1


def test_deleting_twice_returns_false(upload: Upload) -> None:
    task = upload()
    assert deletion.delete_files(task) is True
    assert deletion.delete_files(task) is False


@pytest.mark.parametrize("how", ["row", "queryset", "file"])
def test_deleting_rows_removes_bytes(upload: Upload, media: Path, how: str) -> None:
    task = upload()
    work.process(str(task.pk))
    assert len(stored(media)) == 9
    if how == "row":
        Task.objects.get(pk=task.pk).delete()
    elif how == "queryset":
        Task.objects.filter(pk=task.pk).delete()
    else:
        File.objects.all().delete()
    assert stored(media) == []


def test_a_lease_that_is_renewed_is_not_lost(upload: Upload, settings: Any, detector: FakeDetector) -> None:
    settings.LEASE = timedelta(seconds=0.8)
    task = upload()
    notified: list[int] = []

    def slow() -> None:
        time.sleep(1.5)
        notified.append(claims.recover())

    detector.during = slow
    assert work.process(str(task.pk)) == "done"
    assert sum(notified) == 0


def test_workers_are_notified_again_of_a_lost_task(upload: Upload, detector: FakeDetector) -> None:
    task = upload()
    get_broker().purge_queue()
    lost = claims.claim(str(task.pk), "lost")
    assert claims.recover() == 0
    an_hour_ago = timezone.now() - timedelta(hours=1)
    Task.objects.filter(pk=task.pk).update(lease_until=an_hour_ago, notified_at=an_hour_ago)
    assert claims.recover() == 1
    assert claims.recover() == 0
    assert get_broker().queue_size() == 1
    assert work.process(str(task.pk)) == "done"
    assert lost is not None
    assert lost.update(progress=0.5) is False


def test_workers_are_notified_once_more_when_a_notification_was_lost(upload: Upload) -> None:
    task = upload()
    get_broker().purge_queue()
    assert claims.recover() == 0
    Task.objects.filter(pk=task.pk).update(notified_at=timezone.now() - timedelta(hours=1))
    assert claims.recover() == 1
    assert claims.recover() == 0


def test_three_lost_leases_are_a_failure(upload: Upload, settings: Any) -> None:
    task = upload()
    for _ in range(settings.MAX_LEASES):
        assert claims.claim(str(task.pk), "lost") is not None
        Task.objects.filter(pk=task.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert claims.claim(str(task.pk), "fourth") is None
    claims.recover()
    task.refresh_from_db()
    assert (task.status, task.failure_cause) == (Status.FAILED, "worker_lost")


def test_a_late_worker_cannot_publish(upload: Upload, detector: FakeDetector, media: Path) -> None:
    task = upload()

    def lose() -> None:
        if detector.calls == 1:
            Task.objects.filter(pk=task.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
            other = threading.Thread(target=work.process, args=(str(task.pk),))
            other.start()
            other.join()

    detector.during = lose
    assert work.process(str(task.pk)).startswith("dropped")
    task.refresh_from_db()
    assert task.status == Status.DONE
    assert len(stored(media / "output")) == 8


@pytest.mark.parametrize("error", [None, DetectorFailed("The detector fake failed.")], ids=["publish", "fail"])
def test_a_late_worker_cannot_end_a_task_that_another_works_on(
    upload: Upload, detector: FakeDetector, media: Path, error: Exception | None
) -> None:
    task = upload()

    def lose() -> None:
        Task.objects.filter(pk=task.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
        assert claims.claim(str(task.pk), "another") is not None
        detector.during = lambda: None

    detector.during, detector.error = lose, error
    assert work.process(str(task.pk)).startswith("dropped")
    now = Task.objects.get(pk=task.pk)
    assert (now.status, now.worker, now.failure_cause) == (Status.PROCESSING, "another", None)
    assert stored(media / "output") == []


class TestRunningAgain:
    CHANGES = [
        {"face_threshold": 0.2},
        {"method": "blacken"},
        {"method": "pixelate", "face": True},
        {"ignores": [{"topLeftX": 10, "topLeftY": 10, "width": 40, "height": 40}]},
        {"bbox": True, "save_mask": "binary"},
    ]

    @pytest.mark.parametrize("changes", CHANGES)
    def test_no_detector_runs_and_the_bytes_are_those_of_a_fresh_upload(
        self, upload: Upload, detector: FakeDetector, changes: dict[str, Any]
    ) -> None:
        options = submit.Options(**changes)
        first = upload()
        work.process(str(first.pk))
        fresh = upload(**changes)
        work.process(str(fresh.pk))
        calls = detector.calls
        new = submit.run_again(Task.objects.get(pk=first.pk), options, options.object_types())
        assert work.process(str(new.pk)) == "done"
        assert detector.calls == calls
        new = Task.objects.get(pk=new.pk)
        fresh = Task.objects.get(pk=fresh.pk)
        assert (new.detections, new.review_counts, new.options) == (
            fresh.detections,
            fresh.review_counts,
            fresh.options,
        )
        for kind in (FileKind.ANONYMISED, FileKind.BINARY_MASK, FileKind.INSTANCE_MASK):
            assert (new.file(kind) is None) == (fresh.file(kind) is None)
            if fresh.file(kind):
                assert _bytes(new, kind) == _bytes(fresh, kind), kind

    def test_what_the_detectors_did_not_see_runs_them(self, upload: Upload, detector: FakeDetector) -> None:
        first = upload(face=True)
        work.process(str(first.pk))
        for options in (submit.Options(face=True, format="whole"), submit.Options(face=True, person=True)):
            calls = detector.calls
            new = submit.run_again(Task.objects.get(pk=first.pk), options, options.object_types())
            work.process(str(new.pk))
            assert detector.calls > calls

    def test_a_picture_with_transparency_that_was_looked_at_once_is_looked_at_again(
        self, upload: Upload, detector: FakeDetector
    ) -> None:
        first = upload(encoded(Image.merge("RGBA", [*drawn().split(), drawn(seed=1).split()[0]]), "PNG"))
        work.process(str(first.pk))
        calls = detector.calls
        work.process(str(submit.run_again(Task.objects.get(pk=first.pk)).pk))
        assert detector.calls == calls
        old = Task.objects.get(pk=first.pk)
        # as an older version kept it
        Task.objects.filter(pk=first.pk).update(
            detector_keys={key: value for key, value in old.detector_keys.items() if key != "looks"}
        )
        work.process(str(submit.run_again(Task.objects.get(pk=first.pk)).pk))
        assert detector.calls == 2 * calls

    def test_a_picture_without_objects_runs_no_detector_either(self, upload: Upload, detector: FakeDetector) -> None:
        detector.detect = lambda images, side: [Detections.empty() for _ in images]  # type: ignore[method-assign]
        first = upload()
        work.process(str(first.pk))
        del detector.detect  # type: ignore[attr-defined]
        new = submit.run_again(Task.objects.get(pk=first.pk))
        assert work.process(str(new.pk)) == "done"
        assert detector.calls == 0

    def test_a_deleted_original_cannot_be_run_again(self, upload: Upload) -> None:
        task = upload()
        deletion.delete_files(task)
        with pytest.raises(submit.BrokenMedia, match="was deleted"):
            submit.run_again(Task.objects.get(pk=task.pk))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("street.jpg", "street.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\me.jpg", "me.jpg"),
        ("a\x00b\nc\u202e.jpg", "abc.jpg"),
        ("..", ""),
        ("", ""),
        ("x" * 5000 + ".jpg", "x" * 251 + ".jpg"),
        ("größe 写真.jpg", "größe 写真.jpg"),
    ],
)
def test_names_are_made_harmless(given: str, kept: str) -> None:
    assert submit.clean_name(given) == kept


def test_an_empty_upload_is_refused_and_leaves_nothing(upload: Upload, media: Path, detector: FakeDetector) -> None:
    with pytest.raises(submit.BrokenMedia, match="empty"):
        submit.submit(io.BytesIO(), submit.Options(), submit.Options().object_types())
    assert Task.objects.count() == 0
    assert stored(media) == []


def _bytes(task: Task, kind: FileKind) -> bytes:
    file = task.file(kind)
    assert file is not None
    return file.read()
