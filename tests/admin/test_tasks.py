"""The admin of tasks: what operators see, what they may see, and what they can do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django_q.models import OrmQ

from anonymizer.models import File, FileKind, Status, Task
from anonymizer.service import work
from tests.fakes import FakeDetector
from tests.service.conftest import detector, upload  # noqa: F401 (fixtures)

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/anonymizer/task/"


def member(*permissions: str) -> Client:
    """A client of a staff member with these permissions."""
    user = User.objects.create_user(f"staff-{'-'.join(permissions)}", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator() -> Client:
    return member("view_task", "change_task", "delete_task", "view_file", "delete_file", "view_original")


@pytest.fixture
def colleague() -> Client:
    return member("view_task", "view_file")


@pytest.fixture
def done(upload: Callable[..., Task]) -> Task:  # noqa: F811
    task = upload()
    work.process(str(task.pk))
    return Task.objects.get(pk=task.pk)


def thumbnail(task: Task, kind: str) -> str:
    return f"{LIST}{task.pk}/thumbnail/{kind}/"


def test_the_list_shows_the_detections_and_both_pictures(operator: Client, done: Task) -> None:
    page = operator.get(LIST).content.decode()
    assert "1 face, 1 license-plate" in page
    assert thumbnail(done, "original") in page
    assert thumbnail(done, "anonymised") in page
    answer = operator.get(thumbnail(done, "original"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")


def test_originals_are_only_for_those_who_may_see_them(colleague: Client, done: Task) -> None:
    assert thumbnail(done, "original") not in colleague.get(LIST).content.decode()
    assert colleague.get(thumbnail(done, "anonymised")).status_code == 200
    page = colleague.get(f"{LIST}{done.pk}/change/").content.decode()
    assert f"{LIST}{done.pk}/file/anonymised/" in page
    assert f"{LIST}{done.pk}/file/original/" not in page
    for kind in ("original", "detections"):
        assert colleague.get(thumbnail(done, kind)).status_code == 403
        assert colleague.get(f"{LIST}{done.pk}/file/{kind}/").status_code == 403


def test_strangers_see_nothing(done: Task) -> None:
    for path in (LIST, thumbnail(done, "anonymised"), f"{LIST}{done.pk}/file/original/"):
        assert Client().get(path).status_code == 302


def test_files_are_listed_and_downloaded(operator: Client, done: Task) -> None:
    page = operator.get(f"{LIST}{done.pk}/change/").content.decode()
    for kind in FileKind.values:
        # previews are no files of their own
        assert (f"{LIST}{done.pk}/file/{kind}/" in page) != (kind.startswith("preview") or kind == "side-by-side")
    answer = operator.get(f"{LIST}{done.pk}/file/anonymised/")
    assert b"".join(answer.streaming_content) == done.file(FileKind.ANONYMISED).read()  # type: ignore[union-attr, attr-defined]


def test_tasks_are_searched_by_id_and_name_and_filtered(operator: Client, done: Task) -> None:
    for query in (f"q={done.pk}", "q=a.jpg", "status__exact=done", "kind__exact=image"):
        assert str(done.pk) in operator.get(f"{LIST}?{query}").content.decode(), query
    for query in ("q=other.jpg", "status__exact=failed", "q=0199f1c2-0000-7000-8000-000000000000"):
        assert str(done.pk) not in operator.get(f"{LIST}?{query}").content.decode(), query


def act(client: Client, action: str, task: Task, **fields: str) -> str:
    answer = client.post(LIST, {"action": action, "_selected_action": [str(task.pk)], **fields}, follow=True)
    return answer.content.decode()


def test_delete_with_files_asks_and_then_removes_the_bytes(operator: Client, done: Task, media: Path) -> None:
    assert "Are you sure" in act(operator, "delete_with_files", done)
    assert Task.objects.filter(pk=done.pk).exists()
    act(operator, "delete_with_files", done, post="yes")
    assert not Task.objects.filter(pk=done.pk).exists()
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_a_file_that_is_deleted_takes_its_bytes(operator: Client, done: Task, media: Path) -> None:
    file = done.file(FileKind.ORIGINAL)
    assert file is not None
    form = {
        "files-TOTAL_FORMS": "1", "files-INITIAL_FORMS": "1", "files-MIN_NUM_FORMS": "0", "files-MAX_NUM_FORMS": "1000",
        "files-0-id": str(file.pk), "files-0-task": str(done.pk), "files-0-DELETE": "on",
    }  # fmt: skip
    answer = operator.post(f"/admin/anonymizer/task/{done.pk}/change/", form)
    assert answer.status_code == 302, answer.content
    assert not File.objects.filter(pk=file.pk).exists()
    assert not (media / "input" / file.key).exists()


def test_run_again_makes_a_task_of_its_own_without_a_detector(
    operator: Client,
    done: Task,
    detector: FakeDetector,  # noqa: F811
) -> None:
    calls = detector.calls
    page = act(operator, "run_again", done, options="method=blacken&face-threshold=0.2")
    assert "1 task(s) run again" in page
    new = Task.objects.exclude(pk=done.pk).get()
    work.process(str(new.pk))
    new.refresh_from_db()
    assert (new.status, new.options, new.detections["face"]) == (
        Status.DONE,
        {"method": "blacken", "face-threshold": 0.2},
        2,
    )
    assert detector.calls == calls


def test_the_list_shows_the_progress_of_a_video(operator: Client) -> None:
    figures = {"frames": 40, "total": 100, "frames_per_second": 9.87, "seconds_left": 95.4, "frames_copied": None}
    task = Task.objects.create(name="a.mp4", kind="video", status=Status.PROCESSING, progress=0.4, video=figures)
    assert "40%, 40 of 100 frames, 9.9 per second, 0:01:35 left" in operator.get(LIST).content.decode()
    assert "40 of 100 frames" in operator.get(f"{LIST}{task.pk}/change/").content.decode()
    done = figures | {"frames": 100, "seconds_left": 0, "frames_copied": 25}
    Task.objects.filter(pk=task.pk).update(status=Status.DONE, progress=1, video=done)
    assert "100%, 100 of 100 frames, 9.9 per second, 25 copied" in operator.get(LIST).content.decode()


def test_bad_options_for_run_again_are_named(operator: Client, done: Task) -> None:
    assert "face-threshold is &#x27;2&#x27;" in act(operator, "run_again", done, options="face-threshold=2")
    assert Task.objects.count() == 1


def test_those_who_may_only_look_have_no_delete_action(colleague: Client, done: Task) -> None:
    act(colleague, "delete_with_files", done, post="yes")
    assert Task.objects.filter(pk=done.pk).exists()


def test_the_queue_is_only_looked_at_and_nobody_starts_functions_through_the_admin(done: Task) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    for path in ("success", "failure", "schedule", "schedule/add"):
        assert client.get(f"/admin/django_q/{path}/").status_code == 404
    page = client.get("/admin/django_q/ormq/")
    assert page.status_code == 200
    assert "images" in page.content.decode()
    row = OrmQ.objects.get()
    for path in ("add/", f"{row.pk}/delete/"):
        assert client.get(f"/admin/django_q/ormq/{path}").status_code == 403
        assert client.post(f"/admin/django_q/ormq/{path}", {"post": "yes"}).status_code == 403
    assert client.post(f"/admin/django_q/ormq/{row.pk}/change/", {"payload": "x"}).status_code == 403
    assert OrmQ.objects.get().payload == row.payload
    assert client.get("/admin/anonymizer/worker/").status_code == 200
