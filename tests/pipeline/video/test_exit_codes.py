"""A process that used `Anonymizer.video` ends with its own exit code, whatever happened to the video."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clip_maker import Clip, Sound, damaged, make, truncated
from tests.clip_zoo import h264
from tests.conftest import ROOT

#: The detector computes with torch for a second: a thread that is in there when Python shuts down is what aborts.
SCRIPT = """
import sys, threading, time
from pathlib import Path

import torch

from anonymizer import Anonymizer, Detections
from tests.fakes import FakeDetector, FakeStore

source, folder, problem, ending = sys.argv[1:]


class SlowDetector(FakeDetector):
    def detect(self, images, side):
        self.calls += 1
        if problem == "detector fails" and self.calls > 2:
            raise RuntimeError("the detector failed")
        weights, pixels, end_s = torch.rand(64, 64, 3, 3), torch.rand(1, 64, 96, 96), time.monotonic() + 1
        while time.monotonic() < end_s:
            torch.nn.functional.conv2d(pixels, weights)
        return [Detections.empty() for _ in images]


def progress(_):
    if problem == "interrupted":
        raise KeyboardInterrupt
    print("works", flush=True)


try:
    Anonymizer(store=FakeStore(SlowDetector())).video(
        source, folder, progress=progress, stop=lambda: problem == "stopped"
    )
    error = None
except BaseException as raised:
    error = raised
print(type(error).__name__, [thread.name for thread in threading.enumerate()], flush=True)
if error is not None:
    assert list(Path(folder).iterdir()) == []
if ending == "error":
    raise ValueError("the script failed")
if ending == "exit":
    sys.exit(3)
"""
CODES = {"error": 1, "exit": 3, "end": 0}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Good and bad videos, a hundred frames long."""
    folder = tmp_path_factory.mktemp("clips")
    good = make(Clip(".mp4", (h264(frames=100),), (Sound(),)), folder / "good")
    (folder / "text.mp4").write_text("no video")
    return {
        "good": good,
        "damaged": damaged(good, folder / "damaged.mp4", 7),
        "truncated": truncated(good, folder / "truncated.mp4"),
        "no video": folder / "text.mp4",
    }


def command(source: Path, folder: Path, problem: str, ending: str) -> list[str]:
    folder.mkdir()
    return [sys.executable, "-c", SCRIPT, str(source), str(folder), problem, ending]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "error", "ending"),
    [
        *(("stopped", "Cancelled", ending) for ending in CODES),
        *(("interrupted", "KeyboardInterrupt", ending) for ending in CODES),
        *(("detector fails", "RuntimeError", ending) for ending in CODES),
        ("damaged", "BrokenMedia", "exit"),
        ("truncated", "BrokenMedia", "error"),
        ("no video", "UnsupportedMedia", "end"),
    ],
)
def test_a_process_keeps_its_exit_code(
    clips: dict[str, Path], tmp_path: Path, problem: str, error: str, ending: str
) -> None:
    arguments = command(clips.get(problem, clips["good"]), tmp_path / "results", problem, ending)
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert error in done.stdout, done.stderr
    assert done.returncode == CODES[ending], done.stderr


@pytest.mark.slow
def test_a_process_that_is_interrupted_by_its_user_keeps_its_exit_code(clips: dict[str, Path], tmp_path: Path) -> None:
    arguments = command(clips["good"], tmp_path / "results", "none", "exit")
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        output = process.stdout.read()
        assert "KeyboardInterrupt" in output
        assert process.wait(30) == 3
        assert time.monotonic() - started < 10


@pytest.mark.slow
def test_a_process_ends_when_its_user_does_not_want_to_wait_for_a_batch(clips: dict[str, Path], tmp_path: Path) -> None:
    arguments = command(clips["good"], tmp_path / "results", "stopped", "exit")
    arguments[2] = SCRIPT.replace("time.monotonic() + 1", "time.monotonic() + 30")
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Cancelled")
        assert "detect" in line
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
