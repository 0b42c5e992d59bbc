"""Uploads are checked in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from anonymizer.pipeline.errors import BrokenMedia, TooLarge, UnsupportedMedia
from anonymizer.pipeline.limits import Limits
from anonymizer.service import inspection
from anonymizer.service.inspection import inspect_picture, inspect_video
from tests.pictures import drawn, encoded
from tests.videos import moving_square


def test_pictures_and_videos_are_told(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(encoded(drawn(), "PNG"))
    assert inspect_picture(encoded(), limits=Limits()).format == "jpeg"
    assert inspect_picture(picture, limits=Limits()).media_type == "image/png"
    video = moving_square(tmp_path / "a.mp4", seconds=0.2)
    assert inspect_video(video, limits=Limits()).format == "mp4"


def test_errors_are_those_of_the_check(tmp_path: Path) -> None:
    video = moving_square(tmp_path / "a.mp4", seconds=0.2)
    with pytest.raises(BrokenMedia, match="is broken"):
        inspect_picture(encoded()[:-200], limits=Limits())
    with pytest.raises(TooLarge, match="megapixels"):
        inspect_picture(encoded(), limits=Limits(megapixels=0.001))
    with pytest.raises(UnsupportedMedia, match="is a video"):
        inspect_picture(video, limits=Limits())
    video.write_bytes(video.read_bytes()[:-2000])
    with pytest.raises(BrokenMedia, match="ends early"):
        inspect_video(video, limits=Limits())


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGSTOP])
def test_a_decoder_that_crashes_or_hangs_ends_one_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(inspection, "MOST_S", 5)
    # the check reads from a pipe that nothing is written into, so it is still there when the signal comes
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    inspect_picture(encoded(), limits=Limits())
    known = set(psutil.Process().children(recursive=True))
    errors: list[BrokenMedia] = []

    def inspect() -> None:
        with pytest.raises(BrokenMedia, match="crashed or did not end") as raised:
            inspect_picture(pipe, limits=Limits())
        errors.append(raised.value)

    checking = threading.Thread(target=inspect)
    checking.start()
    end = time.monotonic() + 60
    while not (found := [*set(psutil.Process().children(recursive=True)) - known]):
        assert time.monotonic() < end
        time.sleep(0.05)
    found[0].send_signal(number)
    checking.join(30)
    assert errors
    assert not found[0].is_running()
    assert inspect_picture(encoded(), limits=Limits()).format == "jpeg"
