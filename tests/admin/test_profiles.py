"""The admin of threshold profiles: who may activate them, and running a task again with one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from anonymizer.models import Profile, Task
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import profiles, work
from tests.admin.test_tasks import act as act_on_task
from tests.admin.test_tasks import member
from tests.service.conftest import detector, upload  # noqa: F401 (fixtures)

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/anonymizer/profile/"
FACE, PLATE, PERSON, VEHICLE = ObjectType


@pytest.fixture(autouse=True)
def day_and_night(detector: object) -> None:  # noqa: F811
    figures = {FACE: {"recall_low": 0.97123, "verdict": "reached", "note": "<b>"}}
    models = {FACE: "old@7"}
    profiles.save(
        ThresholdProfile(name="day", thresholds={FACE: 0.25}, models=models, target_recall=0.98, figures=figures)
    )
    night = ThresholdProfile(name="night", thresholds={FACE: 0.05, VEHICLE: 0.1})
    profiles.save(night, accept_unproven=True)


@pytest.fixture
def operator() -> Client:
    return member("view_profile", "change_profile", "delete_profile", "view_task", "change_task")


@pytest.fixture
def colleague() -> Client:
    return member("view_profile")


def act(client: Client, action: str, *names: str, **fields: str) -> str:
    answer = client.post(LIST, {"action": action, "_selected_action": list(names), **fields}, follow=True)
    return answer.content.decode()


def test_the_list_and_the_page_show_the_profile(colleague: Client) -> None:
    page = colleague.get(LIST).content.decode()
    assert "face 0.05, vehicle 0.1" in page
    assert "0.98" in page
    page = colleague.get(f"{LIST}day/change/").content.decode()
    assert "<td>recall low</td><td>0.9712</td>" in page
    assert "<td>note</td><td>&lt;b&gt;</td>" in page
    assert "face old@7" in page


def test_there_is_nothing_to_edit(operator: Client) -> None:
    page = operator.get(f"{LIST}day/change/").content.decode()
    assert 'name="_save"' not in page
    assert 'name="active"' not in page


def test_a_profile_is_activated_with_warnings(operator: Client) -> None:
    page = act(operator, "activate", "day")
    assert "Profile day is active" in page
    assert "was chosen with old@7" in page
    assert profiles.active() == profiles.get("day")
    assert "No profile is active" in act(operator, "use_none", "day")
    assert profiles.active() is None


def test_a_profile_that_is_not_proven_takes_an_action_of_its_own(operator: Client) -> None:
    page = act(operator, "activate", "night")
    assert "face 0.05 is not proven: it has no verdict" in page
    assert "vehicle 0.1 is not proven" in page
    assert profiles.active() is None
    assert "Profile night is active" in act(operator, "activate_unproven", "night")
    assert profiles.active() == profiles.get("night")


def test_two_at_once_are_refused(operator: Client) -> None:
    assert "choose one" in act(operator, "activate", "day", "night")
    assert profiles.active() is None


def test_those_who_may_only_look_activate_and_add_nothing(colleague: Client) -> None:
    act(colleague, "activate", "day")
    act(colleague, "activate_unproven", "night")
    assert profiles.active() is None
    profiles.activate("night", accept_unproven=True)
    act(colleague, "use_none", "night")
    assert profiles.active() == profiles.get("night")
    assert colleague.get(f"{LIST}add/").status_code == 403


def test_the_active_one_cannot_be_deleted(operator: Client) -> None:
    profiles.activate("day")
    assert operator.post(f"{LIST}day/delete/", {"post": "yes"}).status_code == 403
    act(operator, "delete_selected", "day", "night", post="yes")
    assert Profile.objects.count() == 2
    act(operator, "delete_selected", "night", post="yes")
    assert [row.name for row in Profile.objects.all()] == ["day"]


def test_a_task_is_run_again_with_another_profile(
    operator: Client,
    upload: Callable[..., Task],  # noqa: F811
) -> None:
    task = upload(**profiles.get("day").options(), face=True)
    work.process(str(task.pk))
    assert (
        '<div class="readonly">day</div>' in operator.get(f"/admin/anonymizer/task/{task.pk}/change/").content.decode()
    )
    assert "1 task(s) run again" in act_on_task(operator, "run_again", task, options="profile=night")
    new = Task.objects.exclude(pk=task.pk).get()
    assert new.options == {"face": True, "face-threshold": 0.05, "vehicle-threshold": 0.1, "profile": "night"}
    page = act_on_task(operator, "run_again", task, options="profile=noon")
    assert "profile is &#x27;noon&#x27;, but must be one of the profiles day, night" in page


def test_a_task_that_is_run_again_keeps_the_warning(
    operator: Client,
    upload: Callable[..., Task],  # noqa: F811
) -> None:
    task = upload(face=True)
    work.process(str(task.pk))
    assert "was chosen with old@7" in act_on_task(operator, "run_again", task, options="profile=day")
    new = Task.objects.exclude(pk=task.pk).get()
    work.process(str(new.pk))
    new.refresh_from_db()
    assert any("was chosen with old@7" in warning for warning in new.warnings)
