"""Other machines, foreign hosts and foreign pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.api.clients import ApiClient, error

pytestmark = pytest.mark.django_db(transaction=True)
AWAY = {"REMOTE_ADDR": "203.0.113.7"}
PATHS = ["/", "/v1/task", "/v1/openapi.json", "/docs", "/admin/login/", "/metrics"]


@pytest.mark.parametrize(
    "sender",
    [
        AWAY,
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "10.0.0.1"},
        {"REMOTE_ADDR": "::ffff:10.0.0.1"},
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_FORWARDED": "for=127.0.0.1"},
        {"HTTP_X_REAL_IP": "127.0.0.1"},
        {"HTTP_HOST": "real.name"},
    ],
)
def test_a_server_without_tokens_answers_its_own_machine_only(settings: Any, sender: dict[str, str]) -> None:
    settings.ALLOWED_HOSTS = ["real.name", "localhost"]
    client = Client()
    for path in PATHS:
        assert error(client.get(path, **sender)) == (403, "forbidden"), path
    assert error(client.post("/v1/file", **sender)) == (403, "forbidden")
    assert client.get("/healthz", **sender).status_code == 200
    settings.ALLOW_ANONYMOUS = True
    for path in PATHS:
        assert client.get(path, **sender).status_code == 200, path


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "127.0.0.1:7000"),
        ("::1", "[::1]:7000"),
        ("::ffff:127.0.0.1", "localhost"),
        ("127.8.8.8", "localhost:80"),
    ],
)
def test_loopback_has_several_names(address: str, host: str) -> None:
    assert Client().get("/v1/task", REMOTE_ADDR=address, HTTP_HOST=host).status_code == 200


def test_with_a_token_other_machines_are_answered(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["real.name", "localhost"]
    client = ApiClient("a")
    assert client.get("/v1/task", HTTP_HOST="real.name", **AWAY).status_code == 200
    assert error(ApiClient().get("/v1/task", HTTP_HOST="real.name", **AWAY)) == (401, "invalid_token")
    assert ApiClient().get("/", HTTP_HOST="real.name", **AWAY).status_code == 200


@pytest.mark.parametrize("host", ["evil.test", "evil.test:7000", "127.0.0.1.evil.test", "localhost.evil.test", "a b"])
def test_a_foreign_host_is_refused(host: str) -> None:
    client = Client(headers={"Host": host})
    for path in PATHS:
        assert error(client.get(path)) == (400, "invalid_host"), path
    assert error(client.post("/v1/file")) == (400, "invalid_host")


OWN = "http://localhost:7000"
FOREIGN_PAGES = [
    {"Origin": "http://evil.test"},
    {"Origin": "http://localhost:8000"},
    {"Origin": "https://localhost"},
    {"Origin": "http://localhost.evil.test:7000"},
    {"Origin": "file://localhost:7000"},
    {"Origin": "null"},
    {"Origin": "http://localhost:port"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": OWN},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.test"},
]


@pytest.mark.parametrize("headers", FOREIGN_PAGES)
def test_a_foreign_page_changes_nothing(headers: dict[str, str]) -> None:
    client = ApiClient("a")
    task_id = client.task()
    client.http.defaults["HTTP_HOST"] = "localhost:7000"
    assert error(client.upload(**headers)) == (403, "cross_site")
    assert error(client.http.delete("/v1/task/list", headers=headers)) == (403, "cross_site")
    assert error(client.http.post("/admin/login/", headers=headers)) == (403, "cross_site")
    assert client.ids() == [task_id]


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": OWN}, {"Sec-Fetch-Site": "same-origin", "Origin": OWN}, {"Sec-Fetch-Site": "none"}],
)
def test_own_pages_and_other_programs_may_upload(headers: dict[str, str]) -> None:
    client = ApiClient()
    client.http.defaults["HTTP_HOST"] = "localhost:7000"
    assert client.upload(**headers).status_code == 202


def test_a_page_behind_a_proxy_with_tls_may_upload(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["real.name"]
    client = ApiClient("a")
    client.http.defaults |= AWAY
    client.http.defaults["HTTP_HOST"] = "real.name"
    assert client.upload(Origin="https://real.name").status_code == 202
    assert error(client.upload(Origin="https://real.name:8443")) == (403, "cross_site")
    # a proxy that passes on another host
    settings.API_ENDPOINT = "https://outside.name"
    assert client.upload(Origin="https://outside.name").status_code == 202
    settings.CSRF_TRUSTED_ORIGINS = ["https://portal.name"]
    assert client.upload(Origin="https://portal.name", Sec_Fetch_Site="cross-site").status_code == 202


def test_every_answer_has_a_policy_for_browsers() -> None:
    client = ApiClient()
    for path in [*PATHS, "/healthz", "/nothing", "/v1/file/x"]:
        headers = client.get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'"), path
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "Access-Control-Allow-Origin" not in headers
    assert client.get("/v1/task").headers["Cache-Control"] == "private, no-store"
    assert "script-src 'self';" in client.get("/").headers["Content-Security-Policy"]
