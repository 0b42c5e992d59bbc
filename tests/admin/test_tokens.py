"""The admin of tokens, and how passwords are guarded."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client

from anonymizer.models import Token
from anonymizer.service.clients import tokens
from tests.admin.test_tasks import member
from tests.api.clients import ApiClient

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/anonymizer/token/"
EMPTY = {"expires_0": "", "expires_1": "", "rate": "", "tasks_a_day": "", "bytes_a_day": ""}


@pytest.fixture(autouse=True)
def fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def operator() -> Client:
    return member("view_token", "add_token", "change_token", "delete_token")


def shown(answer: object) -> str:
    """The token on a page."""
    (secret,) = re.findall(r'id="token">([^<]+)<', answer.content.decode())  # type: ignore[attr-defined]
    return str(secret)


def test_a_token_is_shown_on_the_page_after_it_is_made_and_never_again(operator: Client) -> None:
    answer = operator.post(f"{LIST}add/", EMPTY | {"name": "team", "rate": "5/min", "tasks_a_day": "7"})
    secret = shown(answer)
    assert "no-store" in answer.headers["Cache-Control"]
    token = tokens.authenticate(secret)
    assert (token.name, token.rate, token.tasks_a_day, token.bytes_a_day) == ("team", "5/min", 7, None)
    for page in (LIST, f"{LIST}{token.pk}/change/", f"{LIST}{token.pk}/history/"):
        content = operator.get(page).content.decode()
        assert "team" in content
        assert secret not in content
        assert token.digest not in content


def test_limits_are_changed_and_the_token_stays(operator: Client) -> None:
    token, secret = tokens.create("team")
    answer = operator.post(f"{LIST}{token.pk}/change/", EMPTY | {"name": "team", "tasks_a_day": "1"})
    assert answer.status_code == 302
    assert tokens.authenticate(secret).tasks_a_day == 1
    answer = operator.post(f"{LIST}{token.pk}/change/", EMPTY | {"name": "team", "rate": "often"})
    assert "A rate is a number and a period" in answer.content.decode()


def test_tokens_are_revoked_and_replaced(operator: Client) -> None:
    token, secret = tokens.create("team")

    def act(action: str) -> object:
        return operator.post(LIST, {"action": action, "_selected_action": [token.pk]})

    act("revoke")
    with pytest.raises(tokens.InvalidToken):
        tokens.authenticate(secret)
    assert tokens.authenticate(shown(act("replace"))) == token


def test_those_who_only_look_make_no_tokens() -> None:
    token, secret = tokens.create("team")
    colleague = member("view_token")
    assert colleague.post(f"{LIST}add/", EMPTY | {"name": "new"}).status_code == 403
    colleague.post(LIST, {"action": "revoke", "_selected_action": [token.pk]})
    assert tokens.authenticate(secret) == token
    assert Token.objects.count() == 1


def test_a_client_with_tasks_is_not_deleted(operator: Client) -> None:
    client = ApiClient("team")
    client.task()
    operator.post(f"{LIST}{client.token.pk}/delete/", {"post": "yes"})
    assert Token.objects.filter(name="team").exists()


def test_a_session_of_the_admin_is_no_token(operator: Client) -> None:
    client = ApiClient("team")
    task_id = client.task()
    assert member("view_original").get(f"/v1/file/{task_id}/original").status_code == 401
    assert operator.get("/v1/task").status_code == 401


def test_guessing_of_passwords_is_slowed() -> None:
    User.objects.create_superuser("boss", password="a-long-password-1")

    def log_in(password: str, **sender: str) -> int:
        return Client().post("/admin/login/", {"username": "boss", "password": password}, **sender).status_code

    assert [log_in(f"wrong-{number}") for number in range(5)] == [200, 200, 200, 200, 429]
    # the right one neither, for a while
    assert log_in("a-long-password-1") == 429
    # from elsewhere it is still right
    tokens.create("a")
    assert log_in("a-long-password-1", REMOTE_ADDR="203.0.113.7") == 302


@pytest.mark.parametrize("password", ["short1", "password123", "1234567890123"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(password)
