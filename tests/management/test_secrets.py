"""The secret key, and who may read what the service stores."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from celantur_site import secret_key
from tests.conftest import ROOT

#: of commit 5d1bcf5, in base 64
LEAKED_KEY = "a0pjQW9tVUhsZ01pUGJnWFZEY19vdG5rcVQyc1pnRW1wc3JWTDh2bHRaY3c1dVBCV2ctbkM0QzdaeHNIeXpNUUJ6MA=="


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def manage(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANONYMIZER_")}
    env |= {"ANONYMIZER_DATA_DIR": str(folder), "ANONYMIZER_FETCH_SECONDS": "0"} | variables
    command_line = [sys.executable, "-m", "anonymizer", *command]
    # a careless umask
    return subprocess.run(
        command_line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, umask=0, timeout=120
    )


def leaked_key() -> str:
    """The key that an early commit contained. Everybody can read it there, so it is no secret here."""
    return base64.b64decode(LEAKED_KEY).decode()


@pytest.mark.parametrize("command", [("manage", "check"), ("serve", "--port", "1")])
def test_the_key_that_was_public_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "secret_key").write_text(leaked_key())
    done = manage(tmp_path, *command)
    assert done.returncode == 1
    assert "anonymizer.E005" in done.stderr
    assert str(tmp_path / "secret_key") in done.stderr


def test_the_public_key_is_refused_from_the_environment_too() -> None:
    assert secret_key.is_public(leaked_key())
    assert secret_key.is_public(leaked_key() + "\n")
    assert not secret_key.is_public("another")


def test_a_start_makes_a_key_and_a_database_that_only_their_owner_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    done = manage(folder, "manage", "migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    assert {mode(tmp_path / "new"), mode(folder)} == {0o700}
    assert {path.name: mode(path) for path in folder.glob("*") if path.is_file()} == {
        "secret_key": 0o600,
        "db.sqlite3": 0o600,
        "migrate.lock": 0o600,
    }
    assert len((folder / "secret_key").read_text()) >= 50


def test_a_database_that_others_could_read_is_closed(tmp_path: Path) -> None:
    for name in ("db.sqlite3", "secret_key"):
        (tmp_path / name).write_text("" if name == "db.sqlite3" else "key" * 20)
        (tmp_path / name).chmod(0o644)
    assert manage(tmp_path, "manage", "migrate", "--verbosity", "0").returncode == 0
    assert {mode(tmp_path / name) for name in ("db.sqlite3", "secret_key")} == {0o600}


def test_a_data_folder_that_others_can_enter_is_warned_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert "anonymizer.W005" in manage(tmp_path, "manage", "check").stderr
    tmp_path.chmod(0o700)
    assert "anonymizer.W005" not in manage(tmp_path, "manage", "check").stderr


def test_a_server_behind_tls_has_nothing_to_improve(tmp_path: Path) -> None:
    command = ("manage", "check", "--deploy", "--fail-level", "WARNING")
    done = manage(tmp_path, *command, ANONYMIZER_TLS="1", ANONYMIZER_ALLOWED_HOSTS="real.name")
    assert done.returncode == 0, done.stderr
    # without TLS it says what is missing
    assert "security.W008" in manage(tmp_path, *command).stderr


def test_the_names_of_the_server_are_its_hosts(tmp_path: Path) -> None:
    done = manage(
        tmp_path, "manage", "shell", "--no-imports", "-c",
        "from django.conf import settings; print(settings.ALLOWED_HOSTS)",
        ANONYMIZER_ALLOWED_HOSTS="real.name", ANONYMIZER_API_ENDPOINT="https://outside.name/v",
    )  # fmt: skip
    assert done.stdout.strip() == "['real.name', '.localhost', '127.0.0.1', '[::1]', 'outside.name']", done.stderr


def test_processes_that_start_at_the_same_time_have_one_key(tmp_path: Path) -> None:
    def start(number: int) -> str:
        script = "from pathlib import Path; from celantur_site.secret_key import read_or_create as read; import sys;"
        done = subprocess.run(
            [sys.executable, "-c", f"{script} print(read(Path(sys.argv[1]), tighten=False))", str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(start, range(6)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]
