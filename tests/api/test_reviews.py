"""Who may review, and what is served before somebody has: in this process, with a detector that is passed in."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from anonymizer.models import AuditEvent, ResultVersion, Task, WebhookDelivery
from anonymizer.service import claims, work
from anonymizer.service.reviewing import renders
from tests.api.clients import ApiClient, error
from tests.service.conftest import detector  # noqa: F401 (a fixture)

pytestmark = pytest.mark.django_db(transaction=True)
REQUIRED = "method=blacken&face=1&review=required&webhook=https://example.org/hook"


def post(client: ApiClient, task_id: str, **body: Any) -> Any:
    return client.http.post(f"/v1/task/{task_id}/review", body, content_type="application/json")


@pytest.mark.usefixtures("detector")
def test_a_result_that_needs_an_approval_is_served_when_it_has_one(settings: Any) -> None:
    uploader, reviewer, stranger = ApiClient("uploader"), ApiClient("reviewer", reviews=True), ApiClient("stranger")
    # nobody waits for a person within one request
    answer = uploader.upload(query=REQUIRED, x_is_async="false")
    assert answer.status_code == 202
    task_id = answer.json()["id"]
    assert error(uploader.get(f"/v1/file/{task_id}/anonymised")) == (409, "not_ready")
    assert work.process(task_id) == "done"
    shown = uploader.get(f"/v1/task/{task_id}").json()
    assert (shown["status"], shown["progress"], shown["review"]) == ("processing", 1.0, "required")
    assert (shown["anonymised_url"], shown["finished"]) == (None, None)
    assert not WebhookDelivery.objects.exists()
    # no worker takes it for a task that was lost
    claims.release_tasks([""])
    claims.end_leases([""])
    assert claims.recover() == 0
    assert claims.claim(task_id, "other") is None
    for part in ("anonymised", "metadata", "binary-mask", "instance-mask", "receipt", "candidates"):
        assert error(uploader.get(f"/v1/file/{task_id}/{part}")) == (409, "needs_review"), part
        assert error(uploader.get(f"/v1/file/{task_id}/{part}?review=1")) == (403, "forbidden"), part
        assert error(stranger.get(f"/v1/file/{task_id}/{part}?review=1")) == (404, "not_found"), part
        assert reviewer.get(f"/v1/file/{task_id}/{part}?review=1").status_code == 200, part
    assert error(post(uploader, task_id, approve=True)) == (403, "forbidden")
    assert error(post(stranger, task_id, approve=True)) == (404, "not_found")
    assert error(stranger.get(f"/v1/task/{task_id}/versions")) == (404, "not_found")
    assert error(reviewer.http.delete(f"/v1/task/{task_id}")) == (404, "not_found")
    # a review without an approval changes nothing for the client
    assert post(reviewer, task_id, drop=[{"id": 0}]).status_code == 202
    assert error(post(reviewer, task_id, drop=[{"id": 0}])) == (409, "not_ready")
    assert renders.render(str(ResultVersion.objects.get(number=2).pk)) == "done"
    shown = uploader.get(f"/v1/task/{task_id}").json()
    assert (shown["version"], shown["status"], shown["review"]) == (2, "processing", "required")
    answer = post(reviewer, task_id, approve=True, comment="checked")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["review"]) == ("done", "approved")
    assert WebhookDelivery.objects.filter(task=task_id).count() == 1
    assert uploader.get(f"/v1/file/{task_id}/anonymised").status_code == 200
    # the first version was never approved
    assert error(uploader.get(f"/v1/file/{task_id}/anonymised?version=1")) == (409, "needs_review")
    events = list(AuditEvent.objects.filter(actor="client:reviewer").values_list("action", "reason").order_by("id"))
    assert ("reviewed", "version 2: 1 dropped") in events
    assert ("approved", "version 2") in events
    assert post(reviewer, task_id, approve=False).json()["review"] == "required"
    assert error(uploader.get(f"/v1/file/{task_id}/anonymised")) == (409, "needs_review")


@pytest.mark.usefixtures("detector")
def test_a_user_of_the_admin_reviews_with_the_right_for_it() -> None:
    task_id = (uploader := ApiClient("uploader")).task(query=REQUIRED)
    work.process(task_id)
    user = get_user_model().objects.create_user("eva", password="secret-enough", is_staff=True)
    session = ApiClient()
    session.http.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert error(session.get(f"/v1/file/{task_id}/anonymised?review=1")) == (401, "invalid_token")
    user.user_permissions.add(Permission.objects.get(codename="review_task"))
    assert session.get(f"/v1/file/{task_id}/anonymised?review=1").status_code == 200
    # as in the admin, originals need a right of their own
    assert error(session.get(f"/v1/file/{task_id}/original")) == (403, "forbidden")
    user.user_permissions.add(Permission.objects.get(codename="view_original"))
    assert session.get(f"/v1/file/{task_id}/original").status_code == 200
    assert post(session, task_id, approve=True).status_code == 200
    assert error(session.http.delete(f"/v1/task/{task_id}")) == (401, "invalid_token")
    (row,) = uploader.get(f"/v1/task/{task_id}/versions").json()
    assert row["approved"]
    assert AuditEvent.objects.filter(actor="admin:eva", action="approved").exists()


@pytest.mark.usefixtures("detector")
def test_reviewers_see_originals_of_others_only_with_a_right_for_it() -> None:
    uploader, reviewer = ApiClient("uploader"), ApiClient("reviewer", reviews=True)
    trusted = ApiClient("trusted", reviews=True, sees_originals=True)
    stranger = ApiClient("stranger", sees_originals=True)
    task_id, other = uploader.task(query=REQUIRED), uploader.task(query="face=1")
    work.process(task_id)
    work.process(other)
    path = f"/v1/file/{task_id}/original"
    assert uploader.get(path).status_code == 200
    assert error(reviewer.get(path)) == (403, "forbidden")
    assert "--originals" in reviewer.get(path).json()["error"]
    assert trusted.get(path).status_code == 200
    # the right is one of reviewers, and holds for what needs a review
    assert error(stranger.get(path)) == (404, "not_found")
    assert error(trusted.get(f"/v1/file/{other}/original")) == (404, "not_found")
    own = reviewer.task(query=REQUIRED)
    assert reviewer.get(f"/v1/file/{own}/original").status_code == 200
    seen = AuditEvent.objects.filter(action="original_seen", task=task_id).order_by("id")
    assert list(seen.values_list("actor", "reason")) == [
        ("client:uploader", ""), ("client:trusted", "of another client"),
    ]  # fmt: skip


@pytest.mark.usefixtures("detector")
def test_the_setting_holds_for_all_uploads_and_an_unknown_value_is_refused(settings: Any) -> None:
    client = ApiClient()
    assert error(client.upload(query="face=1&review=never")) == (400, "invalid_parameter")
    settings.REVIEW = True
    task_id = client.task()
    assert Task.objects.get(pk=task_id).review_required
    work.process(task_id)
    assert error(client.get(f"/v1/file/{task_id}/anonymised")) == (409, "needs_review")
    # without tokens everybody is a reviewer
    assert client.get(f"/v1/file/{task_id}/anonymised?review=1").status_code == 200
    urls = client.get(f"/v1/task/{task_id}?review=1").json()
    assert urls["anonymised_url"].endswith("/anonymised?review=1")
    assert post(client, task_id, approve=True).json()["status"] == "done"


@pytest.mark.usefixtures("detector")
def test_candidates_say_which_of_them_are_redacted() -> None:
    client = ApiClient()
    task_id = client.task()
    work.process(task_id)
    listed = client.get(f"/v1/file/{task_id}/candidates").json()
    assert [(row["score"], row["detection"]) for row in listed["candidates"]] == [(0.9, 0), (0.3, None)]
    assert listed["thresholds"]["face"] == 0.5
    for body in ({"drop": [{"id": 1, "track_id": 2}]}, {"add": [{"type": "face"}]}, {"nothing": 1}, {}, {"approve": 1}):
        assert error(post(client, task_id, **body)) == (400, "invalid_parameter"), body
    text = client.http.post(f"/v1/task/{task_id}/review", "x", content_type="text/plain")
    assert error(text) == (400, "invalid_parameter")
