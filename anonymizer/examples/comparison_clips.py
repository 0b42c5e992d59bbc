"""Comparison clips: two videos beside each other.

moviepy lays the clips out and writes them. The frames come from PyAV (`frame_reader`), because the reader of moviepy
2.2 has faults: it distorts videos that a flag rotates, and shows wrong frames if the frame rate varies. It would also
open playlists and network addresses.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from anonymizer.examples.captions import draw_caption, fit_size
from anonymizer.examples.frame_reader import THREADS, TimedFrames, open_videos
from anonymizer.pipeline.errors import EncoderFailed, InvalidParameter

__all__ = ["side_by_side"]

#: the most pixels of a picture's width
_MAX_WIDTH = 1920
# x264 takes no RGB here. Browsers and notebooks play only 4:2:0, and guess colours that are not named.
_H264 = (
    "-vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p -colorspace bt709 -color_primaries bt709"
    " -color_trc bt709 -color_range tv -crf 20 -movflags +faststart -f mp4"
).split()


def side_by_side(
    before: str | PathLike[str],
    after: str | PathLike[str],
    target: str | PathLike[str],
    *,
    height: int = 480,
    start_s: float = 0.0,
    seconds: float | None = None,
    labels: tuple[str, str] = ("before", "after"),
) -> Path:
    """Write a clip that shows two videos beside each other at the same times.

    The clip is an MP4 (H.264, 4:2:0). It has no sound: voices are personal data, and nothing hides them. A video that
    ends before the other one goes dark. The target is complete or it is not written.

    Examples:
        >>> side_by_side("street.mp4", "anonymised.mp4", "comparison.mp4", seconds=10)

    Args:
        before: path of the video at the left.
        after: path of the video at the right.
        target: path of the new clip; a file there is replaced.
        height: of each video in pixels, 16 to 2160; very wide videos become lower. Default: 480.
        start_s: where the clip begins, in seconds from the first frame. Default: 0.
        seconds: how long the clip is at most. Default: up to the end of the longer video.
        labels: the captions of both videos, in ASCII.

    Returns:
        The path of the target.

    Raises:
        BrokenMedia: a file cannot be read.
        EncoderFailed: the clip could not be written.
        FileNotFoundError: a file is not there.
        InvalidParameter: the clip would begin at or behind the end, or last no time.
        UnsupportedMedia: a file is no video.
        ValueError: the height is out of range.
    """
    if not 16 <= height <= 2160:
        raise ValueError(f"height must be 16..2160 pixels, not {height}")
    target = Path(target)
    with open_videos(before, after) as videos:
        count, rate = _span(videos, start_s, seconds)
        blocks = [
            _frames_at(video, start_s, 1 / rate, _even(fit_size(video.size_wh, height, _MAX_WIDTH))) for video in videos
        ]
        strip = max(height // 24 * 2, 18)
        headings = [
            draw_caption(label, block(0.0).shape[1], strip) for label, block in zip(labels, blocks, strict=True)
        ]
        with tempfile.TemporaryDirectory(prefix=".clip-", dir=target.parent) as folder:
            part = Path(folder, "clip.mp4").resolve()
            _write(part, headings, blocks, count, rate)
            part.replace(target)
    return target


def _span(videos: Sequence[TimedFrames], start_s: float, seconds: float | None) -> tuple[int, float]:
    """The number of frames of a clip, and its frames per second."""
    ends_s = max(video.ends_s for video in videos)
    if not 0 <= start_s < ends_s:
        raise InvalidParameter("start_s", start_s, f"at least 0 and less than {ends_s:.3f}, the end of the video")
    if seconds is not None and not seconds > 0:
        raise InvalidParameter("seconds", seconds, "more than 0")
    rate = max(video.rate for video in videos)
    length_s = min(ends_s - start_s, math.inf if seconds is None else seconds)
    return max(round(length_s * rate), 1), rate


def _frames_at(
    video: TimedFrames, start_s: float, slack_s: float, size_wh: tuple[int, int]
) -> Callable[[float], NDArray[np.uint8]]:
    """A function that gives what one side shows at a time of the clip."""
    dark = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)

    def picture(time_s: float) -> NDArray[np.uint8]:
        time_s += start_s
        return dark if time_s >= video.ends_s + slack_s else video.at(time_s, size_wh)[1]

    return picture


def _write(
    part: Path,
    headings: Sequence[NDArray[np.uint8]],
    blocks: Sequence[Callable[[float], NDArray[np.uint8]]],
    count: int,
    rate: float,
) -> None:
    """Write the clip: one column for each video, its frames under its heading."""
    # importing it takes a second
    from moviepy import ImageClip, VideoClip, clips_array  # type: ignore[import-untyped]

    # half a frame is added because moviepy rounds the number of frames down
    length_s = (count + 0.5) / rate
    clip: Any = clips_array(
        [
            [ImageClip(heading, duration=length_s) for heading in headings],
            [VideoClip(block, duration=length_s) for block in blocks],
        ],
        bg_color=(0, 0, 0),
    )
    try:
        clip.write_videofile(
            str(part), fps=rate, codec="libx264", audio=False, preset="veryfast", threads=THREADS, ffmpeg_params=_H264,
            logger=None,
        )  # fmt: skip
    except av.FFmpegError:
        # a source cannot be read; `open_videos` translates the error
        raise
    except OSError as error:
        reason = str(error).strip().splitlines() or ["FFmpeg does not say why."]
        raise EncoderFailed(f"The clip could not be written: {reason[-1]}") from error
    finally:
        clip.close()
    # moviepy does not check how FFmpeg ended
    try:
        with av.open(str(part)) as written:
            frames = written.streams.video[0].frames
    except av.FFmpegError as error:
        raise EncoderFailed(f"The clip could not be written: {error.strerror}.") from error
    if frames != count:
        raise EncoderFailed(f"The clip has {frames} frames instead of {count}.")


def _even(size_wh: tuple[int, int]) -> tuple[int, int]:
    """Even numbers of pixels, as 4:2:0 needs them."""
    return max(size_wh[0] // 2 * 2, 2), max(size_wh[1] // 2 * 2, 2)
