"""`anonymizer run` when its processes are killed or stopped: real processes, real signals, real files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.pictures import drawn, encoded
from tests.videos import moving_square

#: seconds until a file is in work: a process has to start and to load the models
START_S = 120


class Run:
    """A running `anonymizer run`, whose files are read by `--json`."""

    def __init__(self, process: subprocess.Popen[str], out: Path, log: Path) -> None:
        self.process, self.out, self._log = process, out, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def until(self, condition: Callable[[], object], seconds: float = START_S) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def until_video_is_in_work(self) -> None:
        self.until(lambda: list(self.out.glob(".anonymizer-*.part/anonymised.mp4")))

    def until_large_picture_is_in_work(self) -> None:
        """The small one before it is done."""
        self.until(lambda: "done " in self.log)
        time.sleep(1.0)

    def workers(self) -> list[int]:
        found = []
        # not from /proc/PID/task/PID/children, which leaves out some while another child ends
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    def end(self, seconds: float) -> tuple[int, float]:
        """The exit code, and how long it took."""
        started = time.monotonic()
        return self.process.wait(seconds), time.monotonic() - started


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[Run]:
    out, log = folder / "out", folder / "log.txt"
    env = os.environ | {"ANONYMIZER_DATA_DIR": str(folder / "no-data"), "ANONYMIZER_SECRET_KEY": "x"}
    command = [sys.executable, "-m", "anonymizer", "run", folder / "in", "--output", out, "--face", *options]
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            # a shell's job in the background ignores Ctrl-C, and hands that down
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
    try:
        yield Run(process, out, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def wait_for_end(pids: list[int], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(map(is_alive, pids)):
        assert time.monotonic() < end, f"{pids} still run"
        time.sleep(0.05)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A small picture, one that takes long with `thorough`, and a small one."""
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / "in" / name).write_bytes(encoded(drawn()))
    (tmp_path / "in" / "b.jpg").write_bytes(encoded(drawn(8000, 6000)))
    return tmp_path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    moving_square(tmp_path / "in" / "clip.mp4", seconds=30)
    return tmp_path


@pytest.mark.parametrize(
    ("number", "words", "workers"),
    [
        (signal.SIGKILL, "was killed (SIGKILL), perhaps because memory ran out.", "1"),
        (signal.SIGSEGV, "crashed (SIGSEGV).", "2"),
    ],
)
def test_a_worker_that_dies_costs_its_file_and_the_run_goes_on(
    album: Path, number: int, words: str, workers: str
) -> None:
    with running(album, "--format", "thorough", "--save-mask", "none", "--workers", workers) as run:
        # with two workers, both small pictures are done while the large one is in work
        run.until(lambda: run.log.count("done ") == int(workers))
        time.sleep(1.0)
        # the one that works: another one has ended, as no job is left for it
        for pid in run.workers():
            os.kill(pid, number)
        code, _ = run.end(START_S)
    assert code == 1, run.log
    assert f"FAILED {album / 'in' / 'b.jpg'}: The process that worked on it {words}" in run.log
    assert "2 done, 0 skipped (have a result), 1 failed" in run.log
    assert files(run.out) == ["a.jpg", "a.jpg.json", "c.jpg", "c.jpg.json"]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_all_workers_with_a_summary_and_leaves_nothing(clip: Path, number: int, exit_code: int) -> None:
    moving_square(clip / "in" / "second.mp4", seconds=30)
    (clip / "in" / "a.jpg").write_bytes(encoded(drawn()))
    with running(clip, "--workers", "2") as run:
        run.until(lambda: len(list(run.out.glob(".anonymizer-*.part/anonymised.mp4"))) == 2)
        pids = run.workers()
        assert len(pids) == 2
        # a terminal sends Ctrl-C to all processes
        (os.killpg if number == signal.SIGINT else os.kill)(run.process.pid, number)
        code, seconds = run.end(30)
    assert code == exit_code, run.log
    assert seconds < 10
    assert not any(map(is_alive, pids))
    assert "1 done, 0 skipped (have a result), 0 failed" in run.log
    assert "Interrupted: 2 of 3 file(s) were not processed." in run.log
    assert "Traceback" not in run.log
    assert all(name.startswith("a.jpg") for name in files(run.out))
    assert not list(run.out.glob(".*"))


def test_sigterm_to_all_processes_names_no_file_as_failed(clip: Path) -> None:
    with running(clip) as run:
        run.until_video_is_in_work()
        os.killpg(run.process.pid, signal.SIGTERM)
        code, _ = run.end(30)
    assert code == 143
    assert "0 failed" in run.log
    assert files(run.out) == []


def test_ctrl_c_ends_a_run_in_the_middle_of_a_large_picture(album: Path) -> None:
    with running(album, "--format", "thorough") as run:
        run.until_large_picture_is_in_work()
        pids = run.workers()
        os.killpg(run.process.pid, signal.SIGINT)
        code, seconds = run.end(30)
    assert (code, seconds < 10) == (130, True)
    assert not any(map(is_alive, pids))
    assert "Interrupted: 2 of 3 file(s) were not processed." in run.log
    assert all(name.startswith("a.jpg") for name in files(run.out))


def test_a_worker_that_does_not_answer_is_killed_and_a_second_ctrl_c_does_not_wait(clip: Path) -> None:
    for presses, least_s, most_s in ((1, 3, 10), (2, 0, 3)):
        with running(clip) as run:
            run.until_video_is_in_work()
            (pid,) = run.workers()
            os.kill(pid, signal.SIGSTOP)
            os.kill(run.process.pid, signal.SIGINT)
            if presses == 2:
                time.sleep(0.5)
                os.kill(run.process.pid, signal.SIGINT)
            code, seconds = run.end(30)
        assert code == 130, run.log
        assert least_s < seconds < most_s
        assert not is_alive(pid)
        assert "Interrupted: 1 of 1" in run.log
        assert list(run.out.iterdir()) == []


def test_a_worker_ends_with_its_parent_and_leaves_nothing(clip: Path) -> None:
    with running(clip) as run:
        run.until_video_is_in_work()
        pids = run.workers()
        run.process.kill()
        run.process.wait(30)
        wait_for_end(pids, 10)
    assert list(run.out.iterdir()) == []


def test_a_resumed_run_removes_what_a_killed_one_left_and_no_more(clip: Path) -> None:
    with running(clip) as run:
        run.until_video_is_in_work()
        os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait(30)
    (left,) = run.out.iterdir()
    (run.out / ".anonymizer-mine").write_text("of the user")
    moving_square(clip / "in" / "clip.mp4", seconds=0.4)
    with running(clip) as run:
        code, _ = run.end(START_S)
    assert code == 0, run.log
    assert not left.exists()
    assert "clip.mp4" in files(run.out)
    assert [path.name for path in run.out.glob(".*")] == [".anonymizer-mine"]
