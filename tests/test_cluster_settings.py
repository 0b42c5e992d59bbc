"""`DATABASE_URL`, `BROKER_URL`, and files that hold the values of settings: what is allowed, and what errors tell."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from celantur_site import backends, env, storage_url


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "STORAGE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_without_them_one_machine_serves(tmp_path: Path) -> None:
    found = backends.database(tmp_path)
    assert (found["ENGINE"], found["NAME"]) == (backends.SQLITE, tmp_path / "db.sqlite3")
    assert backends.broker_url() == ""
    assert storage_url.read() is None


def test_an_address_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me:p%40ss@db:5433/faces?sslmode=require")
    found = backends.database(tmp_path)
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"], found["NAME"]) == (
        "me", "p@ss", "db", 5433, "faces",
    )  # fmt: skip
    assert found["OPTIONS"]["sslmode"] == "require"
    assert found["CONN_HEALTH_CHECKS"]
    monkeypatch.setenv("DATABASE_URL", "sqlite:////var/faces.sqlite3")
    assert backends.database(tmp_path)["NAME"] == Path("/var/faces.sqlite3")
    monkeypatch.setenv("BROKER_URL", "valkeys://:pw@broker:6380/3")
    assert backends.broker_url() == "rediss://:pw@broker:6380/3"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("mysql://me:topsecret@db/faces", "mysql://…@db/faces"),
        ("postgres://me:topsecret@db:5432/", "postgres://…@db:5432/"),
        ("postgres://me:top@secret@db:port/faces", "postgres://…@db:…"),
        ("me:topsecret@db/faces", "…@db/faces"),
        ("postgres", "postgres"),
        ("oracle://db/faces?password=topsecret", "oracle://db/faces"),
        ("sqlite://:memory:", "sqlite://:…"),
    ],
)
def test_a_wrong_database_is_named_without_its_password(
    value: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", value)
    with pytest.raises(ImproperlyConfigured) as caught:
        backends.database(tmp_path)
    allowed = "postgres://USER:PASSWORD@HOST:PORT/NAME or sqlite:///PATH"
    assert str(caught.value) == f"DATABASE_URL is {shown!r}, but must be {allowed}."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("amqp://me:topsecret@broker/0", "amqp://…@broker/0"),
        ("redis://:topsecret@broker:6379/faces", "redis://…@broker:6379/faces"),
        ("redis://:topsecret", "redis://:…"),
        ("rediss:///0", "rediss:///0"),
        ("redis://broker:0/0", "redis://broker:0/0"),
        ("broker:6379", "broker:6379"),
    ],
)
def test_a_wrong_broker_is_named_without_its_password(value: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", value)
    with pytest.raises(ImproperlyConfigured) as caught:
        backends.broker_url()
    assert f"BROKER_URL is {shown!r}, but must be redis://HOST:PORT/NUMBER" in str(caught.value)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("DATABASE_URL", "postgres://me:topsecret@db/faces")
    monkeypatch.setenv("BROKER_URL", "redis://broker/0")
    for read in (lambda: backends.database(tmp_path), backends.broker_url):
        with pytest.raises(ImproperlyConfigured, match=r'pip install "anonymizer\[cluster\]"'):
            read()


@pytest.mark.parametrize("name", ["DATABASE_URL", "BROKER_URL", "STORAGE_URL", "ANONYMIZER_WEBHOOK_SECRET"])
def test_a_file_may_hold_the_value(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DATABASE_URL": "postgres://me:pw@db/faces",
        "BROKER_URL": "redis://broker/0",
        "STORAGE_URL": "s3://faces",
    }
    file = tmp_path / "value"
    file.write_text(values.get(name, "a secret") + "\n")
    monkeypatch.setenv(f"{name}_FILE", str(file))
    found = {
        "DATABASE_URL": lambda: backends.database(tmp_path)["PASSWORD"] == "pw",
        "BROKER_URL": lambda: backends.broker_url() == "redis://broker/0",
        "STORAGE_URL": lambda: str(storage_url.read()) == "s3://faces",
    }.get(name, lambda: env.string(name, "") == "a secret")
    assert found()


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["none", "no text"])
def test_a_file_that_cannot_be_read_is_named_by_its_variable(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "value"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("STORAGE_URL_FILE", str(file))
    with pytest.raises(ImproperlyConfigured, match="STORAGE_URL_FILE must name a file of text"):
        storage_url.read()
