"""Real worker processes: killed, stopped, started with too little."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, serving
from tests.pictures import decoded, drawn, encoded
from tests.videos import moving_square

#: for tests of images only: half the memory, and a start in half the time
PICTURES = {"ANONYMIZER_VIDEO_WORKERS": "0"}


def large() -> bytes:
    return encoded(drawn(3000, 2200), quality=85)


def test_a_task_whose_worker_is_killed_is_finished_without_help(tmp_path: Path) -> None:
    with serving(tmp_path, **PICTURES) as server:
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
        pids = [
            process.name for process in Path("/proc").glob("[0-9]*") if _environment_has(process.name, str(tmp_path))
        ]
        assert pids == []
    with serving(tmp_path) as server:
        tasks = [server.until(task_id, "done", "failed", seconds=120) for task_id in ids]
        assert {task["status"] for task in tasks} == {"done"}


def _environment_has(pid: str, text: str) -> bool:
    try:
        return f"ANONYMIZER_DATA_DIR={text}" in Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return False


@pytest.fixture
def without_own_detector(tmp_path: Path) -> str:
    """A folder of models that has the registry and no weights: only CenterFace is there, from its package."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "registry.toml").write_bytes((ROOT / "models" / "registry.toml").read_bytes())
    return str(folder)


def test_a_type_that_was_asked_for_and_has_no_model_is_answered_with_503(
    tmp_path: Path, without_own_detector: str
) -> None:
    place = {"ANONYMIZER_MODELS_DIR": without_own_detector, "ANONYMIZER_MODELS": "face=centerface"} | PICTURES
    with serving(tmp_path, "-a", "face", "-a", "person", **place) as server:
        assert "No working model serves person" in server.log
        assert server.upload(encoded(), "face=1").status_code == 201
        for query in ("person=1", "face=1&person=1", ""):
            answer = server.upload(encoded(), query)
            assert (answer.status_code, answer.json()["code"]) == (503, "model_missing")
            assert "No working model serves person (own-3.safetensors is missing)" in answer.json()["error"]
            assert "Run `git checkout" in answer.json()["error"]
            assert answer.headers["Retry-After"]
        ready = server.get("/readyz")
        assert ready.status_code == 503
        assert "no model serves person" in ready.json()["checks"]["models"]
        answer = server.upload(encoded(), "vehicle=1")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


def test_without_the_option_those_types_are_served_for_which_a_model_is_there(
    tmp_path: Path, without_own_detector: str
) -> None:
    place = {"ANONYMIZER_MODELS_DIR": without_own_detector, "ANONYMIZER_MODELS": "face=centerface"} | PICTURES
    with serving(tmp_path, **place) as server:
        assert server.upload(encoded()).json()["object_types"] == ["face"]
        answer = server.upload(encoded(), "person=1")
        assert answer.status_code == 400
        assert "serves face only" in answer.json()["error"]


def test_the_start_options_of_the_container_are_taken(tmp_path: Path) -> None:
    uploads, results = tmp_path / "uploads", tmp_path / "results"
    options = {
        "-a": "face", "--input": str(uploads), "--output": str(results), "--api-endpoint": "https://example.org/anon/",
        "--save-mask": "binary", "--mask-scale": "50", "--format": "auto", "--video-workers": "0",
    }  # fmt: skip
    with serving(tmp_path, *(part for pair in options.items() for part in pair)) as server:
        task = server.upload(encoded(drawn(320, 240))).json()
        assert task["object_types"] == ["face"]
        base = f"https://example.org/anon/v1/file/{task['id']}"
        assert task["anonymised_url"] == f"{base}/anonymised"
        assert (task["binary_mask_url"], task["instance_mask_url"]) == (f"{base}/binary-mask", None)
        assert task["options"] == {"format": "auto", "save-mask": "binary", "mask-scale": 50}
        mask = decoded(server.get(f"/v1/file/{task['id']}/binary-mask").content)
        assert mask.shape == (120, 160)
        assert [path.name for path in uploads.iterdir()] == [task["id"]]
        assert [path.name for path in results.iterdir()] == [task["id"]]
        assert server.workers("videos") == []
        answer = server.upload(moving_square(tmp_path / "a.mp4", seconds=0.2).read_bytes(), name="a.mp4")
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media")
        assert "takes no videos" in answer.json()["error"]
        for n in range(2):
            server.upload(encoded(drawn(seed=n)))
        following = server.get("/v1/task/list?page_size=1").json()["next"]
        assert following.startswith("https://example.org/anon/v1/task/list?")


def test_a_device_that_is_not_there_stops_the_start_with_its_name(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="The worker cannot work: device is 'cuda:99'"),
        serving(tmp_path, "--device", "cuda:99", **PICTURES),
    ):
        pass


def test_a_start_waits_for_workers_of_its_own(tmp_path: Path) -> None:
    with serving(tmp_path, **PICTURES) as server:
        before = set(server.workers())
    # the rows of the workers that have just stopped are still fresh: they must not make the next start look ready
    with serving(tmp_path, **PICTURES) as server:
        assert set(server.workers()) - before
        assert server.upload(encoded(), "face=1").status_code == 201


def test_a_task_that_is_not_finished_in_time_waits_for_the_next_start(tmp_path: Path) -> None:
    with serving(tmp_path, ANONYMIZER_STOP_TIMEOUT="2s", **PICTURES) as server:
        task_id = server.upload_async(large(), "format=thorough")
        server.until(task_id, "processing")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    with serving(tmp_path, **PICTURES) as server:
        # it did not wait for the lease of the stopped worker, and the try that was cut short does not count
        task = server.until(task_id, "done", "failed", seconds=120)
        assert task["status"] == "done"
        assert len(list((tmp_path / "output" / task_id).iterdir())) == 1
    database = sqlite3.connect(tmp_path / "db.sqlite3")
    assert database.execute("SELECT leases FROM anonymizer_task").fetchall() == [(1,)]
    database.close()


def test_each_device_has_a_worker(tmp_path: Path) -> None:
    with serving(tmp_path, "-a", "face", "--devices", "cpu,cpu", "--models", "face=centerface", **PICTURES) as server:
        end = time.monotonic() + 60
        while len(set(server.workers())) < 2:
            # it is ready as soon as one of them is
            assert time.monotonic() < end
            time.sleep(0.2)
        assert {worker["device"] for worker in server.get("/readyz").json()["workers"]} == {"cpu"}
        assert server.upload(encoded(), "face=1").status_code == 201


def test_a_device_of_several_that_is_none_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="ANONYMIZER_DEVICES is 'cpu,tpu', but must be cpu, cuda or cuda:N"),
        serving(tmp_path, "--devices", "cpu,tpu", **PICTURES),
    ):
        pass
