"""The admin of videos: sheets and side-by-side clips, and who may see them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, storages
from django.test import Client
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.brokers import get_broker
from django_q.models import OrmQ
from django_q.monitor import save_task

from anonymizer.admin import tasks
from anonymizer.models import File, FileKind, Kind, Status, Task
from anonymizer.service import deletion
from anonymizer.service.previews import jobs
from tests.admin.test_tasks import LIST, member, thumbnail
from tests.examples.test_clips import GREY, RED, is_near, video
from tests.pictures import decoded

pytestmark = pytest.mark.django_db(transaction=True)


class FarStorage(FileSystemStorage):
    """A storage that, as those in a cloud, has no paths."""

    def path(self, name: str) -> str:
        raise NotImplementedError

    def _near(self, name: str) -> str:
        return super().path(name)

    def _open(self, name: str, mode: str = "rb") -> Any:
        return ContentFile(Path(self._near(name)).read_bytes())

    def _save(self, name: str, content: Any) -> str:
        Path(self._near(name)).parent.mkdir(parents=True, exist_ok=True)
        Path(self._near(name)).write_bytes(content.read())
        return name

    def exists(self, name: str) -> bool:
        return Path(self._near(name)).exists()

    def delete(self, name: str) -> None:
        Path(self._near(name)).unlink()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "WAIT_S", 0.0)


@pytest.fixture
def operator() -> Client:
    return member("view_task", "view_file", "view_original")


@pytest.fixture
def colleague() -> Client:
    return member("view_task", "view_file")


@pytest.fixture
def done(tmp_path: Path) -> Task:
    return stored(tmp_path)


def stored(folder: Path) -> Task:
    """A video that is done: the original has a red corner, the anonymised one a grey one."""
    task = Task.objects.create(status=Status.DONE, kind=Kind.VIDEO, name="street.mp4")
    for kind, alias, colour in ((FileKind.ORIGINAL, "input", RED), (FileKind.ANONYMISED, "output", GREY)):
        content = video(folder / f"{kind}.mp4", colour=colour).read_bytes()
        key = storages[alias].save(f"{task.pk}/{kind}.mp4", ContentFile(content))
        File.objects.create(
            task=task, kind=kind, storage_alias=alias, key=key, media_type="video/mp4", size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )  # fmt: skip
    return task


def side_by_side(task: Task) -> str:
    return f"{LIST}{task.pk}/side-by-side/"


def work_off() -> None:
    """Do what a worker does with the jobs that wait."""
    broker = get_broker()
    for entry in OrmQ.objects.all():
        job = entry.task
        job |= {"started": timezone.now(), "stopped": timezone.now(), "success": True}
        job["result"] = import_string(job["func"])(*job["args"])
        save_task(job, broker)
        entry.delete()


def shown(client: Client, address: str) -> Any:
    """What a page shows once a worker has made it. At first it only says so."""
    cache.clear()
    answer = client.get(address)
    if answer.status_code == 202:
        assert answer.headers["Refresh"] == "3"
        work_off()
        answer = client.get(address)
    return answer


def picture(answer: Any) -> np.ndarray:
    return decoded(answer.content)


def clip(answer: Any) -> list[np.ndarray]:
    """The frames of a clip that was served."""
    with av.open(io.BytesIO(b"".join(answer.streaming_content))) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def test_a_sheet_of_frames_stands_for_a_video(operator: Client, done: Task) -> None:
    page = operator.get(LIST).content.decode()
    for kind, colour, kept in (("original", RED, "no-store"), ("anonymised", GREY, "max-age=600")):
        assert thumbnail(done, kind) in page
        answer = shown(operator, thumbnail(done, kind))
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
        assert answer.headers["Cache-Control"] == f"private, {kept}"
        sheet = picture(answer)
        assert sheet.shape[1] == 480
        assert is_near(sheet[40, 20], colour)


def test_both_are_shown_side_by_side(operator: Client, done: Task) -> None:
    for page in (LIST, f"{LIST}{done.pk}/change/"):
        assert side_by_side(done) in operator.get(page).content.decode()
    answer = shown(operator, side_by_side(done))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "video/mp4")
    assert "no-store" in answer.headers["Cache-Control"]
    frames = clip(answer)
    assert len(frames) == 25
    assert is_near(frames[0][100, 20], RED)
    assert is_near(frames[0][100, frames[0].shape[1] // 2 + 20], GREY)


def test_a_later_part_is_asked_for_by_its_start(operator: Client, done: Task) -> None:
    assert len(clip(shown(operator, side_by_side(done) + "?start=0.6"))) == 10
    for start in ("1", "-1", "nan", "soon"):
        assert shown(operator, side_by_side(done) + f"?start={start}").status_code == 404, start


def test_originals_of_videos_are_only_for_those_who_may_see_them(colleague: Client, done: Task) -> None:
    for page in (LIST, f"{LIST}{done.pk}/change/"):
        content = colleague.get(page).content.decode()
        assert thumbnail(done, "anonymised") in content
        assert thumbnail(done, "original") not in content
        assert side_by_side(done) not in content
    assert is_near(picture(shown(colleague, thumbnail(done, "anonymised")))[40, 20], GREY)
    for address in (thumbnail(done, "original"), side_by_side(done)):
        assert colleague.get(address).status_code == 403


def test_the_permission_for_originals_alone_shows_nothing(done: Task) -> None:
    stranger = member("view_original")
    for address in (thumbnail(done, "anonymised"), side_by_side(done)):
        assert stranger.get(address).status_code == 403
    assert Client().get(side_by_side(done)).status_code == 302


def test_storages_without_paths_will_do(operator: Client, settings: Any, tmp_path: Path) -> None:
    settings.STORAGES = settings.STORAGES | {
        alias: {"BACKEND": f"{__name__}.FarStorage", "OPTIONS": {"location": tmp_path / f"far-{alias}"}}
        for alias in ("input", "output")
    }
    task = stored(tmp_path)
    assert is_near(picture(shown(operator, thumbnail(task, "original")))[40, 20], RED)
    assert len(clip(shown(operator, side_by_side(task)))) == 25


def test_what_is_gone_or_no_video_is_not_found(operator: Client, done: Task, media: Path) -> None:
    original = done.file(FileKind.ORIGINAL)
    assert original is not None
    (media / "input" / original.key).write_bytes(b"\0" * 100)
    assert shown(operator, thumbnail(done, "original")).status_code == 404
    assert shown(operator, side_by_side(done)).status_code == 404
    (media / "input" / original.key).unlink()
    assert shown(operator, thumbnail(done, "original")).status_code == 404
    assert shown(operator, side_by_side(done)).status_code == 404
    File.objects.filter(task=done, kind=FileKind.ANONYMISED).delete()
    assert operator.get(side_by_side(done)).status_code == 404
    assert side_by_side(done) not in operator.get(LIST).content.decode()


def test_previews_go_with_the_files_that_they_show(operator: Client, done: Task, media: Path) -> None:
    for kind in ("original", "anonymised"):
        assert shown(operator, thumbnail(done, kind)).status_code == 200
    assert len(clip(shown(operator, side_by_side(done)))) == 25
    assert File.objects.filter(task=done).count() == 5
    File.objects.filter(task=done, kind=FileKind.ORIGINAL).delete()
    left = {str(file.kind) for file in File.objects.filter(task=done)}
    assert left == {"anonymised", "preview-after"}
    on_disk = [path for path in media.rglob("*") if path.is_file() and str(done.pk) in str(path)]
    assert len(on_disk) == 2, on_disk
    deletion.delete_files(done)
    assert not [path for path in media.rglob("*") if path.is_file() and str(done.pk) in str(path)]


def test_a_preview_of_a_task_that_was_deleted_meanwhile_is_not_kept(done: Task, media: Path) -> None:
    before = {path for path in media.rglob("*") if path.is_file()}
    Task.objects.filter(pk=done.pk).update(status=Status.DELETED)
    assert jobs.make_preview(str(done.pk), "preview-before") == "nothing to do"
    assert jobs._keep(done, [jobs._artefact(FileKind.PREVIEW_BEFORE, b"png")]).startswith("dropped")
    assert {path for path in media.rglob("*") if path.is_file()} == before
