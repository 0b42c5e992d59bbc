"""What is in the repository, and what is not."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.conftest import ROOT


def tracked_files(*options: str) -> list[str]:
    """The files that git tracks; the test is skipped where the code is not in a git checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout of the repository")
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", *options],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return listed.stdout.splitlines()


def test_no_ignored_file_is_tracked() -> None:
    assert tracked_files("--cached", "--ignored", "--exclude-standard") == []


def test_no_generated_file_and_no_secret_is_tracked() -> None:
    generated = ("/__pycache__/", ".pyc/", ".sqlite3/", "/secret_key/", ".egg-info/", "/.ipynb_checkpoints/")
    assert [file for file in tracked_files() if any(part in f"/{file}/" for part in generated)] == []
