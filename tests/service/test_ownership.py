"""Only the worker that owns a task may write to it, and a failure says what it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from anonymizer.models import Status, Task
from anonymizer.pipeline.errors import DetectorFailed, OutOfMemory, TooManyObjects
from anonymizer.service import claims, files, work
from tests.fakes import FakeDetector

pytestmark = pytest.mark.django_db(transaction=True)
Upload = Callable[..., Task]


def test_a_claim_that_was_lost_to_another_worker_changes_nothing(upload: Upload) -> None:
    task = upload()
    lost = claims.claim(str(task.pk), "lost")
    assert lost is not None and lost.update(progress=0.1)
    Task.objects.filter(pk=task.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    owner = claims.claim(str(task.pk), "owner")
    assert owner is not None
    # both have a task that is being processed: only the token tells them apart
    assert lost.update(progress=0.9) is False
    assert lost.renew() is False
    assert lost.is_void()
    assert owner.update(progress=0.2) is True
    row = Task.objects.get(pk=task.pk)
    assert (row.status, row.progress, row.worker) == (Status.PROCESSING, 0.2, "owner")


@pytest.mark.parametrize(
    ("error", "cause", "sentence"),
    [
        (DetectorFailed("The detector fake failed."), "detector_failed", "The detector fake failed."),
        (TooManyObjects("More than 5000 objects."), "too_many_objects", "More than 5000 objects."),
        (OutOfMemory("The device is full."), "out_of_memory", "The device is full."),
        (RuntimeError("a secret path"), "internal_error", "The file could not be processed (RuntimeError)."),
        (MemoryError(), "out_of_memory", "The worker has too little memory for this file."),
    ],
)
def test_a_failure_names_its_own_cause(
    upload: Upload, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str, sentence: str
) -> None:
    def fails(task: Task) -> None:
        raise error

    monkeypatch.setattr(work, "_anonymise_image", fails)
    task = upload()
    work.process(str(task.pk))
    row = Task.objects.get(pk=task.pk)
    assert (row.status, row.failure_cause, row.error) == (Status.FAILED, cause, sentence)


def test_a_lost_original_is_a_broken_file(upload: Upload, detector: FakeDetector) -> None:
    task = upload()
    files.discard(task.files.all())
    task.files.all().delete()
    work.process(str(task.pk))
    assert Task.objects.get(pk=task.pk).failure_cause == "broken_media"
