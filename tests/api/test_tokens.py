"""Tokens: who is answered, whose tasks a client sees, and how much it may send."""

from __future__ import annotations

import base64
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from anonymizer.api.urls import urlpatterns
from anonymizer.management.supervisor import probe_headers
from anonymizer.models import FileKind, Status, Task, Token, Worker
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.service import work
from anonymizer.service.clients import tokens
from anonymizer.service.health import PROBE_HEADER
from tests.api.clients import ApiClient, error
from tests.fakes import FakeDetector
from tests.pictures import encoded
from tests.service.conftest import detector  # noqa: F401 (a fixture)

pytestmark = pytest.mark.django_db(transaction=True)


def test_only_the_hash_of_a_token_is_stored() -> None:
    token, secret = tokens.create("a")
    assert len(secret) == len("anon_") + 43
    row = Token.objects.values().get(pk=token.pk)
    assert secret not in str(row)
    assert tokens.authenticate(secret) == token


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer  {}"},
        {"Authorization": "Token {}"},
        # clients of Celantur's cloud
        {"Authorization": "{}"},
        {"X-API-Key": "{}"},
        # a proxy with a password of its own
        {"X-API-Key": "{}", "Authorization": "Basic b3BlcmF0b3I6c2VjcmV0"},
    ],
)
def test_a_token_may_come_in_several_headers(headers: dict[str, str]) -> None:
    _, secret = tokens.create("a")
    sent = {name: value.format(secret) for name, value in headers.items()}
    assert Client(headers=sent).get("/v1/task").status_code == 200


def test_a_token_may_be_the_password_in_the_address() -> None:
    _, secret = tokens.create("a")
    basic = base64.b64encode(f"anything:{secret}".encode()).decode()
    assert Client(headers={"Authorization": f"Basic {basic}"}).get("/v1/task").status_code == 200


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer anon_wrong", "Basic !", "Basic /w==", "Digest x", "é"])
def test_without_a_valid_token_nothing_of_the_api_is_answered(header: str | None) -> None:
    tokens.create("a")
    client = Client(headers={"Authorization": header} if header else {})
    task_id = uuid.uuid4()
    answers = [
        client.get("/v1/task"),
        client.get("/v1/task/list"),
        client.get(f"/v1/task/{task_id}"),
        client.get(f"/v1/file/{task_id}/original"),
        client.get(f"/v1/file/{task_id}/anonymised"),
        client.delete("/v1/task/list"),
        client.delete(f"/v1/task/{task_id}"),
        client.post("/v1/file"),
        client.get("/metrics"),
    ]
    assert {error(answer) for answer in answers} == {(401, "invalid_token")}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}


def test_revoked_and_expired_tokens_are_refused_and_do_not_open_the_server() -> None:
    client = ApiClient("a")
    assert client.get("/v1/task").status_code == 200
    assert tokens.revoke("a")
    assert error(client.get("/v1/task")) == (401, "invalid_token")
    assert "revoked" in client.get("/v1/task").json()["error"]
    assert error(ApiClient().get("/v1/task")) == (401, "invalid_token")
    expired = ApiClient("b", expires=timezone.now() + timedelta(seconds=60))
    assert expired.get("/v1/task").status_code == 200
    Token.objects.filter(name="b").update(expires=timezone.now())
    assert error(expired.get("/v1/task")) == (401, "invalid_token")


def test_a_token_can_be_replaced_and_its_tasks_stay() -> None:
    client = ApiClient("a")
    task_id = client.task()
    with pytest.raises(InvalidParameter, match="name is 'a'"):
        tokens.create("a")
    again, secret = tokens.create("a", replace=True)
    assert error(client.get("/v1/task")) == (401, "invalid_token")
    assert again.pk == client.token.pk
    assert Client(headers={"Authorization": f"Bearer {secret}"}).get(f"/v1/task/{task_id}").status_code == 200


def test_the_last_use_is_noted_once_a_minute() -> None:
    client = ApiClient("a")
    client.get("/v1/task")
    first = Token.objects.get().last_used
    assert first is not None
    client.get("/v1/task")
    assert Token.objects.get().last_used == first
    Token.objects.update(last_used=first - timedelta(minutes=2))
    client.get("/v1/task")
    assert Token.objects.get().last_used > first - timedelta(minutes=1)


def test_a_client_sees_its_own_tasks_only(detector: FakeDetector) -> None:  # noqa: F811
    anonymous = ApiClient().task()
    first, second = ApiClient("first"), ApiClient("second")
    own, other = first.task(), second.task()
    for _ in range(3):
        work.process(own)
    assert set(Task.objects.values_list("status", flat=True)) == {Status.DONE}
    assert (first.ids(), second.ids()) == ([own], [other])
    assert first.get(f"/v1/file/{own}/original").body == encoded()
    unknown = uuid.uuid4()
    # the API serves no others
    hidden = {FileKind.DETECTIONS, FileKind.PREVIEW_BEFORE, FileKind.PREVIEW_AFTER, FileKind.SIDE_BY_SIDE}
    paths = [f"/v1/file/{{}}/{kind}" for kind in FileKind.values if kind not in hidden]
    for path in [*paths, "/v1/task/{}"]:
        assert first.get(path.format(own)).status_code == 200
        answers = [first.get(path.format(task_id)) for task_id in (other, anonymous, unknown)]
        assert {error(answer) for answer in answers} == {(404, "not_found")}
        texts = [
            answer.json()["error"].replace(str(task_id), "ID")
            for answer, task_id in zip(answers, (other, anonymous, unknown), strict=True)
        ]
        assert len(set(texts)) == 1, texts
    assert error(first.http.delete(f"/v1/task/{other}")) == (404, "not_found")
    assert first.http.delete("/v1/task/lists").json() == {"deleted": 1}
    assert dict(Task.objects.values_list("owner__name", "status")) == {
        "first": Status.DELETED,
        "second": Status.DONE,
        None: Status.DONE,
    }


def test_a_client_that_is_too_fast_is_told_when_to_come_back() -> None:
    client, other = ApiClient("a", rate="3/hour"), ApiClient("b")
    assert [client.get("/v1/task").status_code for _ in range(3)] == [200] * 3
    answer = client.get("/v1/task")
    assert error(answer) == (429, "rate_limited")
    assert 0 < int(answer.headers["Retry-After"]) <= 3601
    assert error(client.upload()) == (429, "rate_limited")
    assert other.get("/v1/task").status_code == 200


def test_the_quota_of_files_holds_although_they_are_deleted() -> None:
    client = ApiClient("a", tasks_a_day=2)
    ids = [client.task() for _ in range(2)]
    client.http.delete(f"/v1/task/{ids[0]}")
    answer = client.upload()
    assert error(answer) == (429, "quota_exceeded")
    assert 0 < int(answer.headers["Retry-After"]) <= 86_401
    assert client.get(f"/v1/task/{ids[1]}").status_code == 200
    assert ApiClient("b").upload().status_code == 202
    # tomorrow
    client.token.usage.update(day=timezone.now().date() - timedelta(days=1))
    assert client.upload().status_code == 202


def test_the_quota_of_bytes_holds_for_a_file_that_would_exceed_it() -> None:
    size = len(encoded())
    client = ApiClient("a", bytes_a_day=2 * size)
    assert client.upload().status_code == 202
    assert error(client.upload(encoded(quality=100))) == (429, "quota_exceeded")
    assert client.upload().status_code == 202
    assert error(client.upload()) == (429, "quota_exceeded")
    assert Task.objects.count() == 2


def test_a_refused_file_is_not_counted() -> None:
    client = ApiClient("a", tasks_a_day=1)
    assert client.upload(b"no picture").status_code == 415
    assert client.upload().status_code == 202


def test_metrics_and_workers_are_for_those_who_may_see_them() -> None:
    Worker.objects.create(name="a", queue="images", seen=timezone.now(), ready=True)
    monitor, client, stranger = ApiClient("monitor", reads_metrics=True), ApiClient("a"), ApiClient()
    assert "anonymizer_tasks" in monitor.get("/metrics").content.decode()
    assert error(client.get("/metrics")) == (403, "forbidden")
    assert error(stranger.get("/metrics")) == (401, "invalid_token")
    # as load balancers ask
    away = {"REMOTE_ADDR": "203.0.113.7", "HTTP_HOST": "10.0.0.5:7000"}
    assert stranger.get("/healthz", **away).json() == {"status": "ok"}
    assert stranger.get("/readyz", **away).json()["workers"] == []
    assert stranger.get("/readyz", **away).json()["checks"]["database"] == "ok"
    assert len(client.get("/readyz", HTTP_HOST="localhost", REMOTE_ADDR="203.0.113.7").json()["workers"]) == 1
    assert len(stranger.get("/readyz").json()["workers"]) == 1
    assert stranger.get("/readyz", HTTP_HOST="evil.test").json()["workers"] == []
    assert stranger.get("/readyz", HTTP_X_FORWARDED_FOR="203.0.113.7").json()["workers"] == []
    # `serve` itself, at any address
    assert len(stranger.get("/readyz", headers=probe_headers(), **away).json()["workers"]) == 1
    assert stranger.get("/readyz", headers={PROBE_HEADER: "é"}, **away).json()["workers"] == []
    assert stranger.get("/docs").status_code == 200
    assert stranger.get("/v1/openapi.json").json()["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


@pytest.mark.parametrize(
    ("limits", "name"),
    [({"rate": "often"}, "rate"), ({"rate": "0/min"}, "rate"), ({"tasks_a_day": -1}, "tasks_a_day")],
)
def test_limits_that_mean_nothing_are_refused(limits: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidParameter, match=name):
        tokens.create("a", **limits)  # type: ignore[arg-type]
    assert not Token.objects.exists()


def test_no_address_gives_anything_of_another_client() -> None:
    """Every address with an id in it, also those that are added later."""
    first, second = ApiClient("first"), ApiClient("second")
    other = second.task()
    paths = [f"/{pattern.pattern}".replace("<uuid:task_id>", other) for pattern in urlpatterns]
    paths = [path for path in paths if other in path]
    assert len(paths) >= 10
    for path in paths:
        for send in (first.http.get, first.http.post, first.http.delete):
            assert send(path).status_code in (404, 405), path
        assert first.http.get(path, headers={"Authorization": ""}).status_code in (401, 405), path
    assert second.get(f"/v1/task/{other}").json()["status"] == "queued"
