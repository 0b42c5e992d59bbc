"""Videos to look at: before and after beside each other, and pictures of a whole video at a glance.

moviepy lays the clips out and writes them. The frames come from PyAV: the reader of moviepy 2.2 squeezes pictures that
a flag rotates and shows the wrong frame where the frame rate varies, and it would open playlists and addresses too.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer.pipeline.errors import BrokenMedia, EncoderFailed, InvalidParameter, UnsupportedMedia
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.video.io.reader import OUTPUT_CORRUPT, VideoReader
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["contact_sheet", "side_by_side"]

_Path = str | PathLike[str]
_Picture = NDArray[np.uint8]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SIDE_WIDTH = 1920
_MAX_RATE = 60.0
#: Decoding on is cheaper than a jump up to here.
_NEAR_S = 2.0
#: Time stamps are whole numbers of a container's ticks; Matroska's are milliseconds.
_ROUNDING_S = 0.0015
_GAP = 2
#: For each decoder, and for the encoder: people look at these while the workers work.
_THREADS = 2
# x264 takes no RGB here: browsers and notebooks play nothing but 4:2:0, and guess at colours that are not named
_H264 = (
    "-vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p -colorspace bt709 -color_primaries bt709"
    " -color_trc bt709 -color_range tv -crf 20 -movflags +faststart -f mp4"
).split()


def side_by_side(
    before: _Path,
    after: _Path,
    target: _Path,
    *,
    height: int = 480,
    start_s: float = 0.0,
    seconds: float | None = None,
    labels: tuple[str, str] = ("before", "after"),
) -> Path:
    """Write a clip that shows two videos beside each other at the same times, for people to compare.

    It is an MP4 (H.264, 4:2:0) without sound: voices are personal data, and nothing hides them. Both times count from
    the first frame. A video that ends earlier than the other goes dark. The target appears whole or not at all.

    Args:
        before: at the left.
        after: at the right.
        height: of each picture in pixels, 16..2160; very wide ones become lower.
        start_s: where the clip begins.
        seconds: how long it is at most; by default up to the end.
        labels: what is written above them, in ASCII.

    Returns:
        The target.

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
    with _opened(before, after) as videos:
        count, rate = _span(videos, start_s, seconds)
        blocks = [_block(video, start_s, 1 / rate, _even(_fitted(video.size_wh, height))) for video in videos]
        strip = max(height // 24 * 2, 18)
        headings = [_caption(label, block(0.0).shape[1], strip) for label, block in zip(labels, blocks, strict=True)]
        with tempfile.TemporaryDirectory(prefix=".clip-", dir=target.parent) as folder:
            part = Path(folder, "clip.mp4").resolve()
            _write(part, headings, blocks, count, rate)
            part.replace(target)
    return target


def contact_sheet(videos: _Path | Sequence[_Path], *, columns: int = 4, rows: int = 3, width: int = 1200) -> _Picture:
    """Frames spread evenly over a video, each under its time; those of further videos at the same times below it.

    With the original and the anonymised video, before stands right above after. A video with fewer frames than cells
    shows some again, under the frame's own time. A video that ends earlier than the longest goes dark.

    Args:
        videos: one file or several.
        columns: 1 or more.
        rows: 1 or more, each as high as all videos.
        width: of the sheet in pixels, at least 32 for each column.

    Returns:
        (h, width, 3) uint8 RGB.

    Raises:
        BrokenMedia: a file cannot be read.
        FileNotFoundError: a file is not there.
        UnsupportedMedia: a file is no video.
        ValueError: there is no video, or columns, rows or width are out of range.
    """
    paths = [videos] if isinstance(videos, str | PathLike) else list(videos)
    if not paths or columns < 1 or rows < 1 or width < 32 * columns:
        raise ValueError("contact_sheet needs a video, a column, a row and 32 pixels of width for each column")
    cell = width // columns
    strip = max(cell // 14, 14)
    with _opened(*paths) as opened:
        step = max(video.ends_s for video in opened) / (columns * rows)
        times = (np.arange(columns * rows) + 0.5) * step
        sizes = [_fitted(video.size_wh, cell - _GAP, cell - _GAP) for video in opened]
        cells = [_cell(opened, sizes, float(time_s), cell, strip) for time_s in times]
    sheet = np.vstack([np.hstack(cells[row * columns : (row + 1) * columns]) for row in range(rows)])
    return np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)))


class _Video:
    """The frames of a file's first video track, upright, by the time since the first of them.

    Attributes:
        size_wh: as it is shown: upright, its pixels square.
        ends_s: when the last frame ends.
        rate: frames a second; where it varies, as close together as they come.
    """

    def __init__(self, path: Path, info: MediaInfo) -> None:
        self._path, self._info = path, info
        track = self._open()
        self._tick_s = float(track.time_base)
        self._orientation = track.orientation
        width, height = max(round(track.size_wh[0] * track.pixel_aspect), 1), track.size_wh[1]
        self.size_wh = (height, width) if track.orientation >= 5 else (width, height)
        self.rate = min(float(self._stream.guessed_rate or track.frame_rate), _MAX_RATE)
        self._shown: tuple[float, tuple[int, int], _Picture] | None = None
        # kept: each frame's own would set up its scaling anew
        self._scaler = VideoReformatter()
        self._origin_s = 0.0
        try:
            if not self._begin():
                raise BrokenMedia("The video has no frame that can be decoded.")
            self._origin_s = self._now_s
            self.ends_s = max(self._end(), 1 / self.rate)
            self._restart()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._container.close()

    def at(self, time_s: float, size_wh: tuple[int, int]) -> tuple[float, _Picture]:
        """The frame that is on the screen at a time, and when it began; the last one behind the end.

        Returns:
            (time in seconds, (h, w, 3) uint8 RGB of that size).
        """
        time_s += _ROUNDING_S
        if time_s < self._now_s or (self._next is not None and time_s > self._time(self._next) + _NEAR_S):
            self._jump(time_s)
        while self._next is not None and self._time(self._next) <= time_s:
            self._step()
        if self._shown is None or self._shown[:2] != (self._now_s, size_wh):
            self._shown = (self._now_s, size_wh, self._rgb(size_wh))
        return self._shown[0], self._shown[2]

    def _open(self) -> VideoTrack:
        reader = VideoReader(self._path, self._info, threads=_THREADS)
        track = reader.tracks[0]
        self._container, self._stream = reader.container, reader.stream(track)
        # behind a jump those are the frames whose references were jumped over
        self._stream.codec_context.flags &= ~OUTPUT_CORRUPT
        return track

    def _jump(self, time_s: float) -> None:
        """To a frame at that time or, where a seek finds none, before it."""
        for back_s in (0.0, 5.0):
            with suppress(av.FFmpegError):
                self._seek(time_s - back_s)
                if self._begin() and self._now_s <= time_s:
                    return
        self._restart()

    def _restart(self) -> None:
        """To the first frame: not every container can be sought back to it."""
        self.close()
        self._open()
        self._begin()

    def _seek(self, time_s: float) -> None:
        offset = math.floor((max(time_s, 0.0) + self._origin_s) / self._tick_s)
        self._container.seek(offset, stream=self._stream)

    def _begin(self) -> bool:
        """Whether there is a frame from here on; then it is the one that is shown."""
        self._frames = self._decoded()
        self._next = next(self._frames, None)
        if self._next is None:
            return False
        self._step()
        return True

    def _decoded(self) -> Iterator[av.VideoFrame]:
        for packet in self._container.demux(self._stream):
            # what cannot be decoded is not seen: the frame before it stands longer
            with suppress(av.error.InvalidDataError):
                yield from packet.decode()

    def _step(self) -> None:
        assert self._next is not None
        self._now, self._now_s = self._next, self._time(self._next)
        self._next = next(self._frames, None)

    def _time(self, frame: av.VideoFrame) -> float:
        return (0.0 if frame.pts is None else frame.time) - self._origin_s

    def _rgb(self, size_wh: tuple[int, int]) -> _Picture:
        """(h, w, 3) uint8, the frame upright and of that size."""
        width, height = size_wh[::-1] if self._orientation >= 5 else size_wh
        stored = self._scaler.reformat(self._now, width, height, "rgb24", interpolation="AREA", threads=_THREADS)
        return np.asarray(upright(stored.to_ndarray(), self._orientation), np.uint8)

    def _end(self) -> float:
        """When the last frame ends: what containers say of it is wrong where the frame rate varies."""
        length = self._container.duration
        if length is not None:
            with suppress(av.FFmpegError):
                self._seek(length / av.time_base - _NEAR_S)
                if ends_s := self._last_end():
                    return ends_s
        self._restart()
        return self._last_end()

    def _last_end(self) -> float:
        """The same, of the packets that are left; 0 where there are none."""
        ends = [
            packet.pts + (packet.duration or round(1 / self.rate / self._tick_s))
            for packet in self._container.demux(self._stream)
            if packet.pts is not None
        ]
        return max(max(ends, default=0) * self._tick_s - self._origin_s, 0.0)


@contextmanager
def _opened(*paths: _Path) -> Iterator[list[_Video]]:
    """The videos, closed at the end; what PyAV says of their content is translated."""
    with ExitStack() as stack:
        names = " and ".join(Path(path).name for path in paths)
        try:
            yield [stack.enter_context(_named(Path(path))) for path in paths]
        except av.FFmpegError as error:
            raise BrokenMedia(f"{names}: A frame cannot be read: {error.strerror}.") from error


def _named(path: Path) -> closing[_Video]:
    """A video; errors say which file it is: there may be two."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        info = sniff(head)
        if info.kind is not MediaKind.VIDEO:
            raise UnsupportedMedia(f"The file is a picture ({info.format}), not a video.")
        return closing(_Video(path.resolve(), info))
    except (BrokenMedia, UnsupportedMedia) as error:
        raise type(error)(f"{path.name}: {error}") from error
    except av.FFmpegError as error:
        raise BrokenMedia(f"{path.name}: The video is broken: {error.strerror}.") from error


def _span(videos: Sequence[_Video], start_s: float, seconds: float | None) -> tuple[int, float]:
    """How many frames a clip has, and how many a second."""
    ends_s = max(video.ends_s for video in videos)
    if not 0 <= start_s < ends_s:
        raise InvalidParameter("start_s", start_s, f"at least 0 and less than {ends_s:.3f}, the end of the video")
    if seconds is not None and not seconds > 0:
        raise InvalidParameter("seconds", seconds, "more than 0")
    rate = max(video.rate for video in videos)
    length_s = min(ends_s - start_s, math.inf if seconds is None else seconds)
    return max(round(length_s * rate), 1), rate


def _block(video: _Video, start_s: float, slack_s: float, size_wh: tuple[int, int]) -> Callable[[float], _Picture]:
    """What a side shows at each time of the clip."""
    dark = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)

    def picture(time_s: float) -> _Picture:
        time_s += start_s
        return dark if time_s >= video.ends_s + slack_s else video.at(time_s, size_wh)[1]

    return picture


def _write(
    part: Path, headings: Sequence[_Picture], blocks: Sequence[Callable[[float], _Picture]], count: int, rate: float
) -> None:
    """Write frames under their headings, column by column."""
    # it takes a second
    from moviepy import ImageClip, VideoClip, clips_array  # type: ignore[import-untyped]

    # half a frame more: moviepy rounds the number of frames down
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
            str(part), fps=rate, codec="libx264", audio=False, preset="veryfast", threads=_THREADS, ffmpeg_params=_H264,
            logger=None,
        )  # fmt: skip
    except av.FFmpegError:
        # of a source
        raise
    except OSError as error:
        reason = str(error).strip().splitlines() or ["FFmpeg does not say why."]
        raise EncoderFailed(f"The clip could not be written: {reason[-1]}") from error
    finally:
        clip.close()
    # moviepy does not look at how FFmpeg ended
    try:
        with av.open(str(part)) as written:
            frames = written.streams.video[0].frames
    except av.FFmpegError as error:
        raise EncoderFailed(f"The clip could not be written: {error.strerror}.") from error
    if frames != count:
        raise EncoderFailed(f"The clip has {frames} frames instead of {count}.")


def _cell(
    videos: Sequence[_Video], sizes: Sequence[tuple[int, int]], time_s: float, width: int, strip: int
) -> _Picture:
    """A time, and under it what each video shows then."""
    shown = [
        video.at(time_s, size_wh) if time_s < video.ends_s else None
        for video, size_wh in zip(videos, sizes, strict=True)
    ]
    at_s = next(each[0] for each in shown if each is not None)
    parts = [_caption(_clock(at_s), width, strip)]
    for (across, down), each in zip(sizes, shown, strict=True):
        part = np.zeros((down + _GAP, width, 3), np.uint8)
        if each is not None:
            left = (width - across) // 2
            part[:down, left : left + across] = each[1]
        parts.append(part)
    return np.vstack(parts)


def _caption(text: str, width: int, height: int) -> _Picture:
    """White on black, centred, as large as there is room; OpenCV's own strokes, so that no font is needed."""
    strip = np.zeros((height, width, 3), np.uint8)
    scale = cv2.getFontScaleFromHeight(_FONT, max(round(height * 0.55), 5), 1)
    (across, down), _ = cv2.getTextSize(text, _FONT, scale, 1)
    if across > width - 4:
        scale *= (width - 4) / across
        (across, down), _ = cv2.getTextSize(text, _FONT, scale, 1)
    cv2.putText(
        strip, text, ((width - across) // 2, (height + down) // 2), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA
    )
    return strip


def _clock(time_s: float) -> str:
    """2:05.40, or 1:02:05.40 from an hour on."""
    minutes, hundredths = divmod(round(time_s * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{hundredths // 100:02d}.{hundredths % 100:02d}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def _fitted(size_wh: tuple[int, int], height: int, width: int = _SIDE_WIDTH) -> tuple[int, int]:
    """(w, h) of the same shape that is as high or, where that is too wide, as wide as is asked."""
    scale = min(height / size_wh[1], width / size_wh[0])
    return max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1)


def _even(size_wh: tuple[int, int]) -> tuple[int, int]:
    """Whole pairs of pixels, as 4:2:0 needs them."""
    return max(size_wh[0] // 2 * 2, 2), max(size_wh[1] // 2 * 2, 2)
