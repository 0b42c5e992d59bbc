"""Addresses of single files that work for some minutes without a token."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from anonymizer.models import AuditEvent, Token
from anonymizer.service import work
from anonymizer.service.clients import links, tokens
from tests.api.clients import ApiClient, error
from tests.service.conftest import detector  # noqa: F401 (a fixture)

pytestmark = pytest.mark.django_db(transaction=True)


def made(client: ApiClient, task_id: str, file: str, more: str = "") -> str:
    """Ask for a link, and return its path and query."""
    answer = client.http.post(f"/v1/file/{task_id}/link?file={file}{more}")
    assert answer.status_code == 200, answer.content
    url = urlsplit(answer.json()["url"])
    return f"{url.path}?{url.query}"


def fetch(address: str, **headers: str) -> Any:
    """Ask without a token."""
    answer = Client(headers={name.replace("_", "-"): value for name, value in headers.items()}).get(address)
    if answer.streaming:
        answer.body = b"".join(answer.streaming_content)
        answer.close()
    return answer


@pytest.fixture
def owner(detector: Any) -> ApiClient:  # noqa: F811
    return ApiClient("owner")


@pytest.fixture
def task_id(owner: ApiClient) -> str:
    task_id = owner.task()
    work.process(task_id)
    return task_id


def test_a_link_reads_its_file_without_a_token_and_in_ranges(owner: ApiClient, task_id: str) -> None:
    address = made(owner, task_id, "anonymised")
    whole = owner.get(f"/v1/file/{task_id}/anonymised").body
    assert fetch(address).body == whole
    part = fetch(address, Range="bytes=2-5")
    assert (part.status_code, part.body) == (206, whole[2:6])
    assert AuditEvent.objects.filter(actor="client:owner", file="anonymised", action="downloaded").exists()
    original = fetch(made(owner, task_id, "original"))
    assert original.status_code == 200
    assert original["Cache-Control"] == "private, no-store"


def test_a_link_is_of_one_address_and_for_reading(owner: ApiClient, task_id: str) -> None:
    address = made(owner, task_id, "anonymised", "&version=1")
    assert fetch(address).status_code == 200
    for other in (
        address.replace("anonymised", "original"),
        address.replace("version=1", "version=2"),
        address.replace("version=1&", ""),
        f"{address}&review=1",
        f"{address}&version=1",
        f"{address}x",
        address.replace(task_id, owner.task()),
        address.replace("link=", "link=9"),
        address.replace("link=", "link=."),
    ):
        assert error(fetch(other)) == (401, "invalid_token"), other
    link = address.partition("?")[2]
    assert error(fetch(f"/v1/task/{task_id}?{link}")) == (401, "invalid_token")
    assert error(Client().delete(f"/v1/task/{task_id}?{link}")) == (401, "invalid_token")
    assert error(Client().post(f"/v1/file/{task_id}/link?file=original&{link}")) == (401, "invalid_token")


@pytest.mark.parametrize("link", ["", ".", "1", "-1.a", "\x00.a", "².a", "9" * 30 + ".a", "9" * 4400 + ".a"])
def test_what_is_no_link_is_refused(owner: ApiClient, task_id: str, link: str) -> None:
    assert error(Client().get(f"/v1/file/{task_id}/anonymised", {"link": link})) == (401, "invalid_token")


def test_a_link_ends_with_its_time_and_with_its_token(
    owner: ApiClient, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = made(owner, task_id, "anonymised")
    with monkeypatch.context() as patch:
        patch.setattr(links, "LINK_SECONDS", -1)
        answer = fetch(address)
        assert error(answer) == (401, "invalid_token")
        assert "has ended" in answer.json()["error"]
    assert fetch(address).status_code == 200
    tokens.create("owner", replace=True)
    assert error(fetch(address)) == (401, "invalid_token")
    owner = ApiClient("owner", replace=True)
    address = made(owner, task_id, "anonymised")
    Token.objects.update(revoked=timezone.now())
    assert error(fetch(address)) == (401, "invalid_token")


def test_a_link_gives_no_more_than_the_token(owner: ApiClient, task_id: str) -> None:
    stranger, reviewer = ApiClient("stranger"), ApiClient("reviewer", reviews=True)
    assert error(stranger.http.post(f"/v1/file/{task_id}/link?file=anonymised")) == (404, "not_found")
    assert error(owner.http.post(f"/v1/file/{task_id}/link?file=../task")) == (400, "invalid_parameter")
    assert error(Client().post(f"/v1/file/{task_id}/link?file=anonymised")) == (401, "invalid_token")
    waiting = owner.task(query="face=1&review=required")
    work.process(waiting)
    assert error(fetch(made(owner, waiting, "anonymised", "&review=1"))) == (403, "forbidden")
    assert fetch(made(reviewer, waiting, "anonymised", "&review=1")).status_code == 200
    assert error(fetch(made(reviewer, waiting, "original"))) == (403, "forbidden")


@pytest.mark.usefixtures("detector")
def test_without_tokens_the_address_is_the_plain_one() -> None:
    client = ApiClient()
    task_id = client.task()
    work.process(task_id)
    assert made(client, task_id, "anonymised").rstrip("?") == f"/v1/file/{task_id}/anonymised"
