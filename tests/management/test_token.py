"""`anonymizer token`: what it prints, and what it refuses."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from anonymizer.models import Token
from anonymizer.service.clients import quota, tokens

pytestmark = pytest.mark.django_db


def run(*words: str) -> tuple[str, str]:
    """Run the command, and return what it wrote on standard output and on standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command("token", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_token_is_printed_once_and_alone() -> None:
    out, err = run(
        "create", "team", "--expires", "90d", "--rate", "60/min", "--tasks-a-day", "5", "--megabytes-a-day", "2",
        "--metrics",
    )  # fmt: skip
    token = tokens.authenticate(out.removesuffix("\n"))
    assert "shown only now" in err
    assert out.strip() not in err + run("list")[0]
    assert (token.name, token.rate, token.tasks_a_day, token.bytes_a_day, token.reads_metrics) == (
        "team", "60/min", 5, 2 * 2**20, True,
    )  # fmt: skip
    assert token.expires is not None
    assert timedelta(days=89) < token.expires - timezone.now() <= timedelta(days=90)


def test_the_list_tells_limits_use_and_state() -> None:
    assert "There are no tokens" in run("list")[0]
    run("create", "team", "--tasks-a-day", "5")
    run("create", "gone")
    run("create", "old")
    Token.objects.filter(name="old").update(expires=timezone.now())
    quota.count(Token.objects.get(name="team"), 3 * 2**20)
    assert "gone: revoked" in run("revoke", "gone")[0]
    assert "was revoked before" in run("revoke", "gone")[0]
    lines = {line.split()[0]: line for line in run("list")[0].splitlines()}
    assert "1 of 5" in lines["team"]
    assert "active" in lines["team"]
    assert "revoked" in lines["gone"]
    assert "expired" in lines["old"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "team"), "name is 'team'"),
        (("create", "new", "--rate", "often"), "rate is 'often'"),
        (("create", "new", "--expires", "soon"), "'soon' is not a duration"),
        (("create", "new", "--tasks-a-day", "0"), "'0' is not a whole number"),
        (("create", ""), "name is ''"),
        (("revoke", "nobody"), "name is 'nobody'"),
    ],
)
def test_what_means_nothing_is_refused(words: tuple[str, ...], told: str) -> None:
    run("create", "team")
    with pytest.raises(CommandError, match=told):
        run(*words)
    assert Token.objects.count() == 1


def test_a_token_is_replaced_only_if_that_is_asked_for() -> None:
    first = run("create", "team")[0].strip()
    second = run("create", "team", "--replace")[0].strip()
    assert tokens.authenticate(second).name == "team"
    with pytest.raises(tokens.InvalidToken):
        tokens.authenticate(first)


def test_a_database_without_tables_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def missing(*args: Any) -> None:
        raise OperationalError("no such table: anonymizer_token")

    monkeypatch.setattr(tokens, "revoke", missing)
    with pytest.raises(CommandError, match="anonymizer manage migrate"):
        run("revoke", "team")
