"""Encoders leave the priority of threads as it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from anonymizer import Anonymizer, Options
from anonymizer.pipeline.video.io.encoders import encoder_works
from anonymizer.pipeline.video.io.thread_priority import same_priority
from tests.clip_maker import Clip, Video, make
from tests.fakes import FakeStore, MagentaDetector

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other priorities")


def policies() -> set[int]:
    """The scheduling policies of all threads of this process."""
    return {os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()}


def test_an_av1_video_leaves_no_thread_with_a_real_time_priority(tmp_path: Path) -> None:
    clip = make(Clip(".mp4", (Video("libsvtav1", frames=8, options={"preset": "12"}),)), tmp_path / "clip")
    assert policies() == {os.SCHED_OTHER}
    (tmp_path / "results").mkdir()
    encoder_works.cache_clear()
    options = Options(license_plate=True, save_mask="none")  # type: ignore[arg-type]
    Anonymizer(store=FakeStore(MagentaDetector())).video(clip, tmp_path / "results", options)
    assert policies() == {os.SCHED_OTHER}


def test_what_changes_the_priority_of_its_thread_does_not_last() -> None:
    if os.geteuid():
        pytest.skip("only root may have a real-time priority")
    with same_priority():
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        assert os.SCHED_FIFO in policies()
    assert policies() == {os.SCHED_OTHER}
