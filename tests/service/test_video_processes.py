"""Real worker processes and a long video: ended, killed, stopped, and beside photos."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, serving
from tests.pictures import encoded
from tests.videos import frame_count, moving_square

QUERY = "face=1&save-mask=none"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("video-server")


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[Server]:
    """A service of this module's own: its workers are killed."""
    with serving(folder, ANONYMIZER_STOP_TIMEOUT="1s") as running:
        yield running


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """So long that no test sees its end."""
    return moving_square(tmp_path_factory.mktemp("videos") / "long.mp4", seconds=180, audio=None).read_bytes()


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return moving_square(tmp_path_factory.mktemp("videos") / "short.mp4", seconds=0.2).read_bytes()


def started(server: Server, content: bytes, query: str = QUERY) -> str:
    """The id of a video that is being worked on."""
    task_id = server.upload_async(content, query, name="a.mp4")
    end = time.monotonic() + 60
    while not (server.task(task_id)["video"] or {}).get("frames"):
        assert time.monotonic() < end, server.log[-3000:]
        time.sleep(0.1)
    return task_id


def waits(server: Server, pid: int) -> bool:
    """Whether a process does next to nothing for half a second."""

    def used() -> int:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))

    before = used()
    time.sleep(0.5)
    return (used() - before) / os.sysconf("SC_CLK_TCK") < 0.15


def test_deleting_ends_the_work_within_two_seconds_and_the_worker_lives(
    own: Server, long: bytes, short: bytes, folder: Path
) -> None:
    (pid,) = own.workers("videos")
    task_id = started(own, long)
    assert list((folder / "output" / task_id).rglob("*.mp4"))
    deleted = time.monotonic()
    assert own.delete(task_id).json()["status"] == "deleted"
    while (folder / "output" / task_id).exists():
        assert time.monotonic() - deleted < 2, "the work goes on"
        time.sleep(0.02)
    assert not (folder / "input" / task_id).exists()
    while not waits(own, pid):
        # nobody waits for the batch that the detector is in the middle of, but no other one follows
        assert time.monotonic() - deleted < 10, "the work goes on"
    assert own.get(f"/v1/file/{task_id}/video/anonymised").status_code == 410
    assert own.upload(short, QUERY, name="b.mp4").json()["status"] == "done"
    assert own.workers("videos") == [pid]


def test_a_photo_does_not_wait_for_a_video(own: Server, long: bytes) -> None:
    alone = time.monotonic()
    assert own.upload(encoded(), "face=1").status_code == 201
    alone = time.monotonic() - alone
    task_id = started(own, long)
    beside = time.monotonic()
    assert own.upload(encoded(), "face=1").status_code == 201
    beside = time.monotonic() - beside
    print(f"a photo: {alone:.2f} s alone, {beside:.2f} s beside a video")  # noqa: T201 (shown with -s)
    assert own.task(task_id)["status"] == "processing"
    assert beside < 5
    own.delete(task_id)


def test_a_video_whose_worker_is_killed_is_finished_without_help(own: Server, folder: Path) -> None:
    content = moving_square(folder / "three.mp4", seconds=3).read_bytes()
    (pid,) = own.workers("videos")
    task_id = own.upload_async(content, QUERY, name="a.mp4")
    own.until(task_id, "processing")
    os.kill(pid, signal.SIGKILL)
    assert own.task(task_id)["status"] == "processing"
    task = own.until(task_id, "done", "failed", seconds=90)
    assert task["status"] == "done", task
    (folder / "result.mp4").write_bytes(own.get(f"/v1/file/{task_id}/video/anonymised").content)
    assert frame_count(folder / "result.mp4") == 75
    # what the killed one had made is gone
    assert not list((folder / "output").rglob("work"))
    assert set(own.workers("videos")) - {pid}


def test_a_worker_that_is_killed_while_it_waits_is_replaced_by_one_that_works(own: Server, short: bytes) -> None:
    # it dies with the lock of its cluster's queue
    (pid,) = own.workers("videos")
    os.kill(pid, signal.SIGKILL)
    task_id = own.upload_async(short, QUERY, name="a.mp4")
    assert own.until(task_id, "done", "failed", seconds=120)["status"] == "done"
    assert "video workers ended with code" in own.log


def test_stopping_in_the_middle_hands_the_video_back_and_the_next_start_takes_it_up(
    own: Server, long: bytes, folder: Path
) -> None:
    # the last of this module: its server is gone afterwards
    task_id = started(own, long)
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(30) == 0
    assert "video workers: 1 task(s) were not finished and wait for the next start" in own.log
    with serving(folder, ANONYMIZER_STOP_TIMEOUT="1s") as server:
        # at once: neither a lease nor a clock is waited for
        assert server.until(task_id, "processing", seconds=5)["progress"] < 0.5
        server.delete(task_id)
