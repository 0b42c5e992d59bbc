"""`manage.py check`: what would keep a server from doing its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from anonymizer import checks
from celantur_site import env
from tests.conftest import ROOT


def ids(found: list[CheckMessage]) -> list[str | None]:
    return [each.id for each in found]


def test_an_install_that_is_whole_has_nothing_to_say() -> None:
    assert checks.check_models(None) == []
    assert checks.check_folders(None) == []
    assert checks.check_defaults(None) == []
    assert checks.check_threads(None) == []


def test_bad_defaults_are_named(settings: Any) -> None:
    settings.DEFAULT_OPTIONS = {"mask_scale": "500"}
    (found,) = checks.check_defaults(None)
    assert found.id == "anonymizer.E003"
    assert "ANONYMIZER_MASK_SCALE: mask-scale is '500'" in found.msg


def test_the_metadata_that_requests_keep_is_a_setting() -> None:
    code = (
        "import celantur_site.settings as settings\n"
        "from anonymizer import Options\n"
        "options = [Options.from_params(each, defaults=settings.DEFAULT_OPTIONS)[0]\n"
        "           for each in ({}, {'keep-metadata': 'all'})]\n"
        "print([(each.keep_metadata.value, each.strip_metadata) for each in options])"
    )
    env = os.environ | {"ANONYMIZER_KEEP_METADATA": "none", "ANONYMIZER_SECRET_KEY": "x"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[('none', True), ('all', False)]"


def test_more_threads_than_cores_are_warned_of(settings: Any) -> None:
    settings.WORKERS, settings.THREADS, settings.CORES = 4, 2, 2
    assert ids(checks.check_threads(None)) == ["anonymizer.W003"]
    settings.WORKERS, settings.VIDEO_WORKERS, settings.VIDEO_THREADS = 1, 2, 2
    (found,) = checks.check_threads(None)
    assert "ANONYMIZER_VIDEO_WORKERS" in str(found.hint)
    # the queues' workers share the cores
    settings.VIDEO_WORKERS = 1
    assert checks.check_threads(None) == []


def test_a_folder_that_cannot_be_written_is_named(settings: Any, tmp_path: Path) -> None:
    # below a file there is no folder, for root neither
    (tmp_path / "file").write_bytes(b"")
    place = str(tmp_path / "file" / "nothing")
    storage = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": place}}
    settings.STORAGES = settings.STORAGES | {"output": storage}
    (found,) = checks.check_folders(None)
    assert found.id == "anonymizer.E002"
    assert place in found.msg


def test_missing_models_are_named_with_their_remedy(tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_bytes((ROOT / "models" / "registry.toml").read_bytes())
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"ANONYMIZER_MODELS_DIR": str(tmp_path), "ANONYMIZER_OBJECT_TYPES": "person"},
    )  # fmt: skip
    assert "No working model serves person" in done.stderr
    assert "own-3.safetensors is missing" in done.stderr
    assert "HINT" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("X_LEASE", "soon", lambda: env.duration("X_LEASE", "30s")),
        ("X_WORKERS", "two", lambda: env.integer("X_WORKERS", 1)),
        ("X_WORKERS", "-1", lambda: env.integer("X_WORKERS", 1)),
        ("X_DEBUG", "maybe", lambda: env.boolean("X_DEBUG", False)),
        ("X_TYPES", "face,dog", lambda: env.names("X_TYPES", [], ("face",))),
    ],
)
def test_a_bad_setting_fails_with_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: Any) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        read()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("7d", 604800), ("2w", 1209600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert env.parse_duration(text).total_seconds() == seconds


def test_a_bad_choice_of_models_stops_the_start_with_its_name() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"ANONYMIZER_MODELS": "recommended,face=nonesuch"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "models (ANONYMIZER_MODELS) is 'recommended,face=nonesuch'" in done.stderr
    assert "anonymizer.E001" in done.stderr


def test_certificates_for_webhooks_must_be_readable(settings: Any, tmp_path: Path) -> None:
    assert checks.check_webhooks(None) == []
    settings.WEBHOOK_CA_FILE = str(tmp_path / "none.pem")
    assert ids(checks.check_webhooks(None)) == ["anonymizer.E010"]
    (tmp_path / "none.pem").write_text("no certificate")
    (found,) = checks.check_webhooks(None)
    assert "ANONYMIZER_WEBHOOK_CA_FILE is" in found.msg


def test_networks_and_waits_of_webhooks_are_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZER_X", "10.0.0.0/8, fd00::/8")
    assert [str(each) for each in env.networks("ANONYMIZER_X")] == ["10.0.0.0/8", "fd00::/8"]
    monkeypatch.setenv("ANONYMIZER_X", "10.0.0.1/8")
    with pytest.raises(ImproperlyConfigured, match=r"ANONYMIZER_X is '10\.0\.0\.1/8'"):
        env.networks("ANONYMIZER_X")
    monkeypatch.setenv("ANONYMIZER_X", "1s, 2m")
    assert [each.total_seconds() for each in env.durations("ANONYMIZER_X", "1h")] == [1, 120]
    monkeypatch.setenv("ANONYMIZER_X", "")
    assert env.networks("ANONYMIZER_X") == []
    assert env.optional_duration("ANONYMIZER_X") is None
