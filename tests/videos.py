"""Videos made in the test, and ways to read one."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

__all__ = ["cut_short", "excerpt", "frame_count", "moving_square", "sound_only"]


def moving_square(
    path: Path,
    *,
    seconds: float = 1.0,
    rate: int = 25,
    size_wh: tuple[int, int] = (320, 240),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    audio: str | None = "aac",
    container: str | None = None,
) -> Path:
    """Write a video of a bright square that moves over a smooth ground; no detector finds anything in it.

    Args:
        audio: the encoder of a sine tone; None: the video has no sound.
        container: FFmpeg's name of the container. Default: by the path's extension.
    """
    width, height = size_wh
    ground = np.add.outer(np.arange(height) * 100 // height, np.arange(width) * 100 // width).astype(np.uint8)
    with av.open(str(path), "w", format=container) as file:
        video = file.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "g": str(rate)}
        sound = None if audio is None else file.add_stream(audio, rate=48_000, layout="mono")
        frames = max(1, round(seconds * rate))
        for number in range(frames):
            picture = np.stack([ground] * 3, axis=-1)
            left = number * (width - 40) // frames
            picture[height // 3 : height // 3 + 40, left : left + 40] = (250, 220, 40)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if sound is not None:
            _tone(file, sound, seconds)
    return path


def _tone(file: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    for start in range(0, int(seconds * 48_000), 1024):
        wave = np.sin(np.arange(start, start + 1024) * 2 * np.pi * 440 / 48_000).astype(np.float32) / 4
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def frame_count(path: Path) -> int:
    """How many frames the first video stream has, decoded."""
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


def excerpt(source: Path, path: Path, frames: int) -> Path:
    """The first packets of a video as a file of their own."""
    with av.open(str(source)) as file, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in islice((packet for packet in file.demux(video=0) if packet.size), frames):
            packet.stream = stream
            out.mux(packet)
    return path


def cut_short(path: Path, to: Path, share: float = 0.6) -> Path:
    """The first part of a file, as an upload that was cut off leaves it."""
    content = path.read_bytes()
    to.write_bytes(content[: int(len(content) * share)])
    return to


def sound_only(path: Path, seconds: float = 0.5) -> Path:
    """A container for videos that has sound alone."""
    with av.open(str(path), "w") as file:
        _tone(file, file.add_stream("aac", rate=48_000, layout="mono"), seconds)
    return path
