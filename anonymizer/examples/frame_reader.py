"""The frames of a video by time: the frame that is on the screen at a moment, upright and in a wanted size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from os import PathLike
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.video.io.reader import OUTPUT_CORRUPT, VideoReader
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["THREADS", "TimedFrames", "open_videos"]

#: of each decoder and encoder: people watch these videos while the workers work
THREADS = 2

_MAX_RATE = 60.0
#: up to this distance, decoding on is cheaper than a seek
_NEAR_S = 2.0
#: Time stamps are whole numbers of a container's ticks; those of Matroska are milliseconds.
_ROUNDING_S = 0.0015


class TimedFrames:
    """The frames of a file's first video track. Times count from the first frame.

    Args:
        path: of the video.
        info: its format.

    Attributes:
        size_wh: width and height in pixels as it is shown: upright, with square pixels.
        ends_s: when the last frame ends.
        rate: frames per second. If the rate varies: that of the frames that are closest together.

    Raises:
        BrokenMedia: the file cannot be read, or has no frame that can be decoded.
        UnsupportedMedia: its codec is not supported.
    """

    def __init__(self, path: Path, info: MediaInfo) -> None:
        self._path, self._info = path, info
        track = self._open()
        self._tick_s = float(track.time_base)
        self._orientation = track.orientation
        width, height = max(round(track.size_wh[0] * track.pixel_aspect), 1), track.size_wh[1]
        self.size_wh = (height, width) if track.orientation >= 5 else (width, height)
        self.rate = min(float(self._stream.guessed_rate or track.frame_rate), _MAX_RATE)
        self._shown: tuple[float, tuple[int, int], NDArray[np.uint8]] | None = None
        # one for all frames, because each new one sets up its scaling again
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
        """Close the file."""
        self._container.close()

    def at(self, time_s: float, size_wh: tuple[int, int]) -> tuple[float, NDArray[np.uint8]]:
        """The frame that is on the screen at a time. After the end that is the last frame.

        Args:
            time_s: seconds from the first frame.
            size_wh: wanted width and height in pixels.

        Returns:
            When the frame began, in seconds, and its pixels: (h, w, 3) uint8 RGB of that size.
        """
        time_s += _ROUNDING_S
        if time_s < self._now_s or (self._next is not None and time_s > self._time(self._next) + _NEAR_S):
            self._seek_frame(time_s)
        while self._next is not None and self._time(self._next) <= time_s:
            self._step()
        if self._shown is None or self._shown[:2] != (self._now_s, size_wh):
            self._shown = (self._now_s, size_wh, self._rgb(size_wh))
        return self._shown[0], self._shown[2]

    def _open(self) -> VideoTrack:
        reader = VideoReader(self._path, self._info, threads=THREADS)
        track = reader.tracks[0]
        self._container, self._stream = reader.container, reader.stream(track)
        # after a seek, such frames are those whose references were skipped
        self._stream.codec_context.flags &= ~OUTPUT_CORRUPT
        return track

    def _seek_frame(self, time_s: float) -> None:
        """Go to the frame at that time or, if a seek finds none, to one before it."""
        for back_s in (0.0, 5.0):
            with suppress(av.FFmpegError):
                self._seek(time_s - back_s)
                if self._begin() and self._now_s <= time_s:
                    return
        self._restart()

    def _restart(self) -> None:
        """Go to the first frame. The file is opened again, because not every container can seek back to it."""
        self.close()
        self._open()
        self._begin()

    def _seek(self, time_s: float) -> None:
        offset = math.floor((max(time_s, 0.0) + self._origin_s) / self._tick_s)
        self._container.seek(offset, stream=self._stream)

    def _begin(self) -> bool:
        """Read the next frame from here and make it the current one; False: there is none."""
        self._frames = self._decoded()
        self._next = next(self._frames, None)
        if self._next is None:
            return False
        self._step()
        return True

    def _decoded(self) -> Iterator[av.VideoFrame]:
        for packet in self._container.demux(self._stream):
            # what cannot be decoded is not shown: the frame before it stays longer
            with suppress(av.error.InvalidDataError):
                yield from packet.decode()

    def _step(self) -> None:
        assert self._next is not None
        self._now, self._now_s = self._next, self._time(self._next)
        self._next = next(self._frames, None)

    def _time(self, frame: av.VideoFrame) -> float:
        return (0.0 if frame.pts is None else frame.time) - self._origin_s

    def _rgb(self, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        """The current frame, upright and of that size: (h, w, 3) uint8 RGB."""
        width, height = size_wh[::-1] if self._orientation >= 5 else size_wh
        stored = self._scaler.reformat(self._now, width, height, "rgb24", interpolation="AREA", threads=THREADS)
        return np.asarray(upright(stored.to_ndarray(), self._orientation), np.uint8)

    def _end(self) -> float:
        """When the last frame ends. What containers say about it is wrong if the frame rate varies."""
        length = self._container.duration
        if length is not None:
            with suppress(av.FFmpegError):
                self._seek(length / av.time_base - _NEAR_S)
                if ends_s := self._last_end():
                    return ends_s
        self._restart()
        return self._last_end()

    def _last_end(self) -> float:
        """When the last frame of the remaining packets ends; 0: there are none."""
        ends = [
            packet.pts + (packet.duration or round(1 / self.rate / self._tick_s))
            for packet in self._container.demux(self._stream)
            if packet.pts is not None
        ]
        return max(max(ends, default=0) * self._tick_s - self._origin_s, 0.0)


@contextmanager
def open_videos(*paths: str | PathLike[str]) -> Iterator[list[TimedFrames]]:
    """Open videos, and close them at the end of the context.

    Args:
        paths: of the videos.

    Raises:
        BrokenMedia: a file cannot be read.
        FileNotFoundError: a file is not there.
        UnsupportedMedia: a file is no video, or one in a codec that is not supported.
    """
    with ExitStack() as stack:
        names = " and ".join(Path(path).name for path in paths)
        try:
            yield [stack.enter_context(_open_named(Path(path))) for path in paths]
        except av.FFmpegError as error:
            raise BrokenMedia(f"{names}: A frame cannot be read: {error.strerror}.") from error


def _open_named(path: Path) -> closing[TimedFrames]:
    """Open a video; errors name the file, as there may be several."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        info = sniff(head)
        if info.kind is not MediaKind.VIDEO:
            raise UnsupportedMedia(f"The file is a picture ({info.format}), not a video.")
        return closing(TimedFrames(path.resolve(), info))
    except (BrokenMedia, UnsupportedMedia) as error:
        raise type(error)(f"{path.name}: {error}") from error
    except av.FFmpegError as error:
        raise BrokenMedia(f"{path.name}: The video is broken: {error.strerror}.") from error
