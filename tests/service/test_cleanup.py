"""`cleanup`: old tasks, and files that belong to no task."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_q.models import Schedule

from anonymizer.models import Status, Task
from anonymizer.service import deletion, work
from anonymizer.service.cleanup import cleanup, scheduled
from anonymizer.service.queueing import schedules

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def done(upload: Callable[..., Task]) -> Callable[..., Task]:
    """A done task that ended some days ago."""

    def made(days: float, status: Status = Status.DONE) -> Task:
        task = upload()
        work.process(str(task.pk))
        Task.objects.filter(pk=task.pk).update(finished=timezone.now() - timedelta(days=days), status=status)
        return Task.objects.get(pk=task.pk)

    return made


def status_of(task: Task) -> str:
    return Task.objects.get(pk=task.pk).status


def test_old_tasks_lose_their_files_and_young_ones_keep_them(done: Callable[..., Task]) -> None:
    old, young = done(8), done(6)
    cleaned = cleanup(timedelta(days=7))
    assert (cleaned.tasks, cleaned.orphans) == (1, 0)
    assert cleaned.bytes > 0
    assert (status_of(old), status_of(young)) == (Status.DELETED, Status.DONE)
    assert old.files.count() == 0


def test_only_the_statuses_that_are_named(done: Callable[..., Task]) -> None:
    good, bad = done(8), done(8, Status.FAILED)
    cleanup(timedelta(days=7), [Status.FAILED])
    assert (status_of(good), status_of(bad)) == (Status.DONE, Status.DELETED)


def test_a_dry_run_changes_nothing(done: Callable[..., Task], media: Path) -> None:
    task = done(8)
    out = StringIO()
    call_command("cleanup", "--older-than", "7d", "--dry-run", stdout=out)
    assert out.getvalue().startswith("would delete: files of 1 task(s)")
    assert status_of(task) == Status.DONE


def test_old_records_of_deleted_tasks_are_removed(done: Callable[..., Task]) -> None:
    task = done(8)
    deletion.delete_files(task)
    assert cleanup(timedelta(days=7)).tombstones == 1
    assert not Task.objects.filter(pk=task.pk).exists()


def test_files_without_a_task_are_removed_when_they_are_old_enough(done: Callable[..., Task], media: Path) -> None:
    done(1)
    orphan = media / "output" / str(uuid.uuid4()) / "attempt" / "anonymised.jpg"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"lost")
    assert cleanup(timedelta(days=7)).orphans == 0
    assert orphan.exists()
    assert cleanup(timedelta(days=7), orphan_age=timedelta(0)).orphans == 1
    assert not orphan.parent.parent.exists()


def test_files_of_the_operator_in_the_same_folders_are_never_touched(done: Callable[..., Task], media: Path) -> None:
    done(1)
    own = [media / place / name for place in ("input", "output") for name in ("holiday.jpg", "2026/holiday.jpg")]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of the operator")
        os.utime(path, (0, 0))
    assert cleanup(timedelta(0), orphan_age=timedelta(0)).orphans == 0
    scheduled()
    assert all(path.exists() for path in own)


@pytest.mark.parametrize("arguments", [["--older-than", "soon"], ["--status", "processing"], ["--status", ""]])
def test_bad_arguments_are_named(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=arguments[0]):
        call_command("cleanup", *arguments)


def test_the_schedule_follows_the_setting(settings: Any) -> None:
    settings.CLEANUP_EVERY = timedelta(hours=2)
    schedules.ensure()
    schedules.ensure()
    assert Schedule.objects.get(name="cleanup").minutes == 120
    assert Schedule.objects.get(name="recover").minutes == 1


@pytest.mark.parametrize(("enabled", "remaining"), [(False, Status.DONE), (True, Status.DELETED)])
def test_the_schedule_always_removes_orphans_and_old_tasks_if_the_setting_says_so(
    done: Callable[..., Task], media: Path, settings: Any, enabled: bool, remaining: Status
) -> None:
    settings.CLEANUP_SCHEDULED = enabled
    task = done(100)
    orphan = media / "input" / str(uuid.uuid4()) / "original.jpg"
    orphan.parent.mkdir()
    orphan.write_bytes(b"lost")
    os.utime(orphan, (0, 0))
    scheduled()
    assert not orphan.exists()
    assert status_of(task) == remaining
