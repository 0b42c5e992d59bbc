"""`manage.py anonymize` with videos of cameras and broadcasts: what it says, and what comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clip_maker import Clip, Sound, make
from tests.clip_zoo import h264
from tests.conftest import ROOT
from tests.pipeline.video.io.test_copied_tracks import dashcam

pytestmark = pytest.mark.slow


def without_a_part(path: Path) -> Path:
    """A transport stream of which some packets were lost on their way."""
    content = path.read_bytes()
    of_video = [at for at in range(0, len(content), 188) if content[at + 1] & 0x1F == 1 and content[at + 2] == 0]
    lost = set(of_video[len(of_video) // 2 :][:2])
    path.write_bytes(b"".join(content[at : at + 188] for at in range(0, len(content), 188) if at not in lost))
    return path


def test_what_is_special_of_each_video_is_said_or_kept(tmp_path: Path) -> None:
    clip = Clip(".ts", (h264(frames=40),), (Sound(),))
    without_a_part(make(clip, tmp_path / "lost"))
    blu_ray = Clip(".ts", (h264(frames=10),), (Sound(),), options={"mpegts_m2ts_mode": "1"})
    make(blu_ray, tmp_path / "cam").rename(tmp_path / "cam.MTS")
    make(Clip(".mp4", (h264(frames=10),), (Sound(),)), tmp_path / "a").rename(tmp_path / "2024-01-01T12:30:45.mp4")
    dashcam(tmp_path / "dash")
    names = ["lost.ts", "cam.MTS", "2024-01-01T12:30:45.mp4", "dash.mp4"]
    env = os.environ | {"ANONYMIZER_DATA_DIR": str(tmp_path / "no-data"), "ANONYMIZER_SECRET_KEY": "x"}
    arguments = ["--output", "out", "--face", "--damaged-frames", "blacken", "--save-mask", "none", "--json"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "anonymize", *names, *arguments],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warnings = {Path(line["input"]).name: line["warnings"] for line in map(json.loads, done.stdout.splitlines())}
    assert warnings.keys() == set(names)
    (lost,) = warnings["lost.ts"]
    assert lost.endswith("frame(s) could not be read whole and were blackened.")
    assert warnings["dash.mp4"] == ["Parts of the file that are not known were left out: udta."]
    assert warnings["cam.MTS"] == warnings["2024-01-01T12:30:45.mp4"] == []
    assert lost in done.stderr
    assert {0x47} == set((tmp_path / "out" / "cam.MTS").read_bytes()[4::192])
    assert b"freeGPS " in (tmp_path / "out" / "dash.mp4").read_bytes()
