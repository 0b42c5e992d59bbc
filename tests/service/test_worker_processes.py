"""Real worker processes: killed, stopped, started with too little."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.conftest import serving
from tests.pictures import drawn, encoded


def large() -> bytes:
    return encoded(drawn(3000, 2200), quality=85)


def test_a_task_whose_worker_is_killed_is_finished_without_help(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        (pid,) = server.workers()
        task_id = server.upload_async(large(), "format=auto")
        server.until(task_id, "processing")
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        task = server.until(task_id, "done", "failed", seconds=90)
        assert task["status"] == "done", task
        assert server.get(f"/v1/file/{task_id}/anonymised").ok
        # the lost one is shown until it was not heard of for a while
        assert set(server.workers()) - {pid}
        print(f"done {time.monotonic() - killed:.1f} s after the kill")  # noqa: T201 (shown with -s)


def test_stopping_finishes_the_work_and_starting_again_takes_up_the_rest(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        ids = [server.upload_async(large(), "format=auto") for _ in range(3)]
        server.until(ids[0], "processing")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(90) == 0
        assert server.log.rstrip().endswith("stopped")
        pids = [each.name for each in Path("/proc").glob("[0-9]*") if _environment_has(each.name, str(tmp_path))]
        assert pids == []
    with serving(tmp_path) as server:
        tasks = [server.until(each, "done", "failed", seconds=120) for each in ids]
        assert {each["status"] for each in tasks} == {"done"}


def _environment_has(pid: str, text: str) -> bool:
    try:
        return f"ANONYMIZER_DATA_DIR={text}" in Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return False


def test_a_type_without_a_model_is_answered_with_503(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    root = Path(__file__).resolve().parents[2] / "models"
    (models / "registry.toml").write_bytes((root / "registry.toml").read_bytes())
    with serving(tmp_path, ANONYMIZER_MODELS_DIR=str(models)) as server:
        # without -a: only the types for which a model is there
        assert server.upload(encoded(), "face=1").status_code == 201
        answer = server.upload(encoded(), "person=1")
        assert answer.status_code == 400
        assert "serves face only" in answer.json()["error"]


def test_a_type_that_was_asked_for_and_has_no_model_stops_the_start(tmp_path: Path) -> None:
    import pytest

    models = tmp_path / "models"
    models.mkdir()
    root = Path(__file__).resolve().parents[2] / "models"
    (models / "registry.toml").write_bytes((root / "registry.toml").read_bytes())
    with (
        pytest.raises(AssertionError, match="No working model serves person"),
        serving(tmp_path, "-a", "face", "-a", "person", ANONYMIZER_MODELS_DIR=str(models)),
    ):
        pass
