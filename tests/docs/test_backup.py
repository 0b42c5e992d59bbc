"""The backup that the operations notes describe: what was deleted or lost afterwards comes back."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, serving
from tests.pictures import encoded

pytestmark = pytest.mark.slow


def commands(first_word: str) -> str:
    """The block of the operations notes that begins with a word."""
    (found,) = re.findall(rf"```sh[^\n]*\n({first_word} .*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    return str(found)


def test_a_backup_of_a_running_server_can_be_restored(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (tmp_path / ".venv").symlink_to(sys.prefix)
    with serving(media) as running:
        kept = running.upload(encoded(), "face=1").json()["id"]
        result = running.get(f"/v1/file/{kept}/anonymized").content
        subprocess.run(["bash", "-euc", commands("mkdir")], cwd=tmp_path, check=True)
        running.delete(kept)
        later = running.upload(encoded(), "face=1").json()["id"]
    shutil.rmtree(media / "output")
    subprocess.run(["bash", "-euc", commands("rm")], cwd=tmp_path, check=True)
    with serving(media) as running:
        assert running.task(kept)["status"] == "done"
        assert running.get(f"/v1/file/{kept}/anonymized").content == result
        assert running.get(f"/v1/task/{later}").status_code == 404
        assert running.upload(encoded(), "face=1").status_code == 201
