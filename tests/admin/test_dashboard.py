"""The first page of the admin, the page of the models, roles, and what a deletion will cost."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.utils import timezone

from anonymizer.models import AuditAction, Profile, Status, Task, Worker
from anonymizer.service.accounting import audit
from anonymizer.service.operators import model_fetch
from anonymizer.service.operators.dashboard import dashboard
from tests.admin.test_tasks import LIST, colleague, done, member, operator  # noqa: F401 (fixtures)
from tests.service.conftest import detector, upload  # noqa: F401 (fixtures)

pytestmark = pytest.mark.django_db(transaction=True)
MODELS = "/admin/models/"


def test_an_empty_service_has_an_empty_dashboard() -> None:
    shown = dashboard()
    assert (shown.ended, shown.processing, shown.reviews, shown.stored_bytes, shown.failures) == (0, 0, 0, 0, ())
    assert len(shown.hours) == 24
    assert [(kind, length) for kind, length, _ in shown.queues] == [("image", 0), ("video", 0)]


def test_the_dashboard_counts_what_there_is(done: Task, upload: Callable[..., Task]) -> None:  # noqa: F811
    now = timezone.now()
    old = upload()
    Task.objects.filter(pk=old.pk).update(
        status=Status.FAILED, failure_cause="no_detector", finished=now - timedelta(hours=2), expires=now
    )
    longer_ago = upload()
    Task.objects.filter(pk=longer_ago.pk).update(status=Status.FAILED, finished=now - timedelta(days=2))
    waiting = upload()
    Task.objects.filter(pk=waiting.pk).update(created=now - timedelta(minutes=5))
    Worker.objects.create(name="host:1", queue="images", device="cpu", loaded={"own-3": "cpu"})
    shown = dashboard()
    assert (shown.ended, shown.hours[-1].done, shown.hours[-3].failed) == (2, 1, 1)
    assert shown.failures == (("no_detector", 1),)
    kind, length, age = shown.queues[0]
    assert (kind, length) == ("image", 1)
    assert age is not None
    assert 299 < age < 400
    sizes = {task.pk: sum(file.size for file in task.files.all()) for task in Task.objects.all()}
    assert shown.stored_bytes == sum(sizes.values()) > 0
    assert (shown.due.tasks, shown.due.bytes) == (1, sizes[old.pk])
    page = member("view_task").get("/admin/").content.decode()
    assert "no_detector" in page
    assert "host:1" in page
    assert page.count("<title>") >= 24


def test_the_dashboard_is_only_for_those_who_may_see_tasks(done: Task) -> None:  # noqa: F811
    assert "24 hours" not in member("view_profile").get("/admin/").content.decode()
    assert Client().get("/admin/").status_code == 302


def test_a_deletion_says_first_how_many_bytes_go(operator: Client, done: Task) -> None:  # noqa: F811
    chosen = {"action": "delete_with_files", "_selected_action": [str(done.pk)]}
    page = operator.post(LIST, chosen).content.decode()
    assert f"{done.files.count()} stored files" in page
    assert "of 1 task will be deleted" in page
    assert Task.objects.filter(pk=done.pk).exists()
    operator.post(LIST, chosen | {"post": "yes"})
    assert not Task.objects.filter(pk=done.pk).exists()


def test_the_page_of_a_task_shows_layers_and_history(operator: Client, done: Task) -> None:  # noqa: F811
    audit.record(AuditAction.DOWNLOADED, done.pk, "client:cameras", file="anonymised")
    page = operator.get(f"{LIST}{done.pk}/change/").content.decode()
    assert 'class="layer-face"' in page
    assert page.count("<rect") == sum(done.detections.values())
    assert "work began" in page
    assert "client:cameras" not in page
    auditor = member("view_task", "view_auditevent")
    assert "client:cameras" in auditor.get(f"{LIST}{done.pk}/change/").content.decode()


def in_role(name: str) -> User:
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    return user


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("operator", ["delete_task", "view_file", "fetch_models"], ["view_original", "review_task", "view_auditevent"]),
        ("reviewer", ["view_original", "review_task", "view_task"], ["delete_task", "view_token", "view_auditevent"]),
        ("auditor", ["view_auditevent", "view_deletionreceipt"], ["view_original", "view_file", "delete_task"]),
    ],
)
def test_roles_are_made_by_a_migration(roles: None, role: str, may: list[str], may_not: list[str]) -> None:
    user = in_role(role)
    assert [name for name in may if not user.has_perm(f"anonymizer.{name}")] == []
    assert [name for name in may_not if user.has_perm(f"anonymizer.{name}")] == []


@pytest.fixture
def roles() -> None:
    """Tests that write with several connections empty all tables, those of the migrations too."""
    migration = importlib.import_module("anonymizer.migrations.0014_roles")
    with connection.schema_editor() as editor:
        migration.make_roles(apps, editor)


def test_models_are_listed_and_fetched_by_those_who_may() -> None:
    assert Client().get(MODELS).status_code == 302
    assert member("view_task").get(MODELS).status_code == 403
    reader = member("view_worker")
    page = reader.get(MODELS).content.decode()
    assert "own-3" in page
    assert ">Fetch</button>" not in page
    assert reader.post(MODELS, {"id": "yunet-n"}).status_code == 403
    fetcher = member("fetch_models")
    assert ">Fetch</button>" in fetcher.get(MODELS).content.decode()
    assert fetcher.post(MODELS, {"id": "no-such-model"}).status_code == 404


def test_a_fetch_that_fails_says_why(settings: Any, tmp_path: Path) -> None:
    settings.MODEL_MIRROR = str(tmp_path)
    missing = next(row for row in model_fetch.rows() if row.can_fetch)
    assert "is being fetched" in model_fetch.start(missing.entry.id)
    for thread in threading.enumerate():
        if thread.name == f"fetch {missing.entry.id}":
            thread.join(60)
    (row,) = (each for each in model_fetch.rows() if each.entry.id == missing.entry.id)
    assert row.state.startswith("failed: ")
    assert row.can_fetch


def test_a_profile_shows_its_measured_recall(done: Task) -> None:  # noqa: F811
    figures = {"face": {"recall": 0.97, "recall_at_least": 0.94, "verdict": "reached"}}
    data = {"name": "street", "thresholds": {"face": 0.3}, "target_recall": 0.95, "figures": figures}
    Profile.objects.create(name="street", data=data)
    page = member("view_profile").get("/admin/anonymizer/profile/street/change/").content.decode()
    assert "face: recall 0.970" in page
    assert "target 0.95" in page
