"""Webhooks by the API: what an upload may ask for, and sending one again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from anonymizer.models import Status, Task, WebhookDelivery, WebhookStatus
from anonymizer.service import deletion
from anonymizer.service.webhooks import sender
from tests.pictures import encoded
from tests.service.webhooks.conftest import ended, on_loopback, receiver  # noqa: F401 (fixtures)
from tests.service.webhooks.receivers import Receiver, answer

pytestmark = pytest.mark.django_db(transaction=True)


def upload(**params: str) -> Any:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items())
    content = SimpleUploadedFile("a.jpg", encoded(), "image/jpeg")
    return Client().post(f"/v1/file?face=1&{query}", {"fileobject": content}, headers={"x-is-async": "1"})


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data", "http://[::ffff:10.0.0.1]/", "http://2130706433/",
        "http://0x7f.1/", "http://0177.0.0.1/", "http://user:pass@receiver.example/", "ftp://receiver.example/",
        "http://receiver.example/\0", "http://receiver.example/\nx", "http://receiver.example:0/", "http://[fe80::1]/",
    ],
)  # fmt: skip
def test_a_webhook_that_may_not_be_sent_is_refused_at_once(url: str) -> None:
    posted = upload(webhook=url)
    assert (posted.status_code, posted.json()["code"]) == (400, "invalid_parameter")
    assert posted.json()["error"].startswith("webhook is")
    assert Task.objects.count() == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/"])
def test_loopback_is_for_servers_on_loopback(settings: Any, url: str) -> None:
    assert upload(webhook=url).status_code == 202
    settings.HOST = "0.0.0.0"
    assert upload(webhook=url).status_code == 400


@pytest.mark.parametrize("name", ["Host", "transfer-encoding", "Content_Length", "Connection", "X-Anonymizer-Event"])
def test_a_header_of_the_connection_is_refused(name: str) -> None:
    posted = upload(**{"webhook": "http://receiver.example/", "web-auth-header-name": name})
    assert posted.status_code == 400
    assert posted.json()["error"].startswith(f"web-auth-header-name is '{name}'")


class TestSendingAgain:
    def post(self, task: uuid.UUID, query: str = "") -> Any:
        return Client().post(f"/v1/task/{task}/webhook{query}")

    @pytest.fixture
    def sent(self, ended: Callable[..., Task], receiver: Callable[..., Receiver]) -> tuple[Task, Receiver]:  # noqa: F811
        """A task whose webhook has a header, and was sent."""
        good = receiver(answer(200))
        task = ended(good.url, header="X-Key", value="secret")
        assert sender.send_due() == 1
        return task, good

    def test_it_is_sent_with_the_same_id(self, sent: tuple[Task, Receiver]) -> None:
        task, good = sent
        posted = self.post(task.pk, "?web-auth-header-value=other")
        assert (posted.status_code, posted.json()["webhook_status"]) == (202, "set")
        assert "other" not in posted.content.decode()
        assert sender.send_due() == 1
        assert good.header("X-Key") == "other"
        assert good.header("X-Anonymizer-Delivery", 0) == good.header("X-Anonymizer-Delivery", 1)
        assert Client().get(f"/v1/task/{task.pk}").json()["webhook_status"] == "sent"

    def test_the_value_of_its_header_may_be_a_form_field(self, sent: tuple[Task, Receiver]) -> None:
        task, good = sent
        assert Client().post(f"/v1/task/{task.pk}/webhook", {"web_auth_header_value": "field"}).status_code == 202
        sender.send_due()
        assert good.header("X-Key") == "field"

    def test_a_request_needs_no_body(self, sent: tuple[Task, Receiver]) -> None:
        """As `curl -X POST` sends it: without a body and without a type."""
        address = f"/v1/task/{sent[0].pk}/webhook?web-auth-header-value=other"
        assert Client().generic("POST", address, content_type="").status_code == 202

    def test_without_the_value_of_its_header_it_is_not(self, sent: tuple[Task, Receiver]) -> None:
        posted = self.post(sent[0].pk)
        assert (posted.status_code, posted.json()["code"]) == (400, "invalid_parameter")
        assert "X-Key" in posted.json()["error"]
        assert self.post(sent[0].pk, "?web-auth-header-value=a%0Ab").status_code == 400
        assert WebhookDelivery.objects.exclude(next_try=None).count() == 0

    def test_other_tasks_have_none_to_send(self, ended: Callable[..., Task]) -> None:  # noqa: F811
        running = Task.objects.create(status=Status.PROCESSING, webhook_url="http://a.example", webhook_status="set")
        without = Task.objects.create(status=Status.DONE, webhook_status=WebhookStatus.EMPTY)
        deleted = ended("http://127.0.0.1:9/")
        deletion.delete_files(deleted)
        answers = [(each.status_code, each.json()["code"]) for each in map(self.post, (
            uuid.uuid4(), running.pk, without.pk, deleted.pk,
        ))]  # fmt: skip
        assert answers == [(404, "not_found"), (409, "not_ready"), (409, "no_such_result"), (410, "deleted")]
