"""A server whose workers are away: synchronous uploads are told so, asynchronous ones wait."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from anonymizer.models import Task, Worker
from tests.pictures import encoded

pytestmark = pytest.mark.django_db(transaction=True)


def post(**headers: str) -> tuple[int, dict[str, object], str | None]:
    upload = SimpleUploadedFile("a.jpg", encoded(), "image/jpeg")
    answer = Client().post("/v1/file?face=1", {"fileobject": upload}, headers=headers)
    return answer.status_code, answer.json(), answer.headers.get("Retry-After")


def test_a_synchronous_upload_is_told_to_come_back() -> None:
    status, body, retry_after = post()
    assert (status, body["code"], retry_after) == (503, "no_worker", "10")
    assert Task.objects.count() == 0


def test_an_asynchronous_upload_waits_for_a_worker() -> None:
    status, body, _ = post(**{"x-is-async": "true"})
    assert (status, body["status"]) == (202, "queued")


def test_a_synchronous_upload_that_takes_too_long_becomes_a_task_to_ask_for(settings: pytest.FixtureRequest) -> None:
    from datetime import timedelta

    settings.SYNC_TIMEOUT = timedelta(seconds=0.1)  # type: ignore[attr-defined]
    Worker.objects.create(name="busy", queue="images", seen=timezone.now(), ready=True)
    status, body, _ = post()
    assert (status, body["status"]) == (202, "queued")


def test_readiness_says_what_is_missing() -> None:
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "database": "ok",
        "storage": "ok",
        "disk": "ok",
        "models": "ok",
        "queue": "ok",
        "workers": "no worker is alive",
        "video_workers": "no worker is alive",
    }
