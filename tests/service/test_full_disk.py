"""A worker that finds no room for its result: the task fails with a cause of its own, and nothing is left."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from anonymizer.models import File
from anonymizer.service import work


@pytest.mark.django_db(transaction=True)
def test_a_result_that_finds_no_room_fails_its_task_and_leaves_nothing(upload: Any, media: Path) -> None:
    task = upload()
    folder = media / "output"
    folder.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        assert "no room" in work.process(str(task.pk))
        left = [path for path in folder.rglob("*") if path.is_file()]
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    assert left == []
    shown = Client().get(f"/v1/task/{task.pk}").json()
    assert (shown["status"], shown["failure_cause"], shown["anonymised_url"]) == ("failed", "no_room", None)
    assert [file.kind for file in File.objects.all()] == ["original"]
