"""Packets of one video stream to frames, each at a time of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from anonymizer.pipeline.errors import BrokenMedia, OutOfMemory, UnsupportedMedia
from anonymizer.pipeline.video.io.tracks import Frame, VideoTrack

__all__ = ["FrameDecoder", "translated"]

#: codecs of which each packet is a frame that is shown
_FRAME_A_PACKET = frozenset("hevc mjpeg mpeg1video mpeg2video prores dnxhd dvvideo ffv1 huffyuv ffvhuff".split())


class FrameDecoder:
    """Decodes the packets of one track and numbers the frames.

    Args:
        tolerant: pass over what cannot be decoded at all, and take every frame for damaged that may build on a damaged
            one: decoders mark the first only.

    Attributes:
        number: of the next frame.
        given: packets so far.
    """

    def __init__(self, stream: VideoStream, track: VideoTrack, *, tolerant: bool = False) -> None:
        self._track, self._tolerant = track, tolerant
        self._context = stream.codec_context
        self.number = self.given = 0
        self._time: int | None = None
        self._broken = False
        self._held: deque[Frame] = deque()
        # frames shown before a damaged one may be predicted from it
        self._hold = self._context.reorder_depth + 1 if tolerant else 0

    @property
    def lost(self) -> int:
        """Packets that gave no frame, once all are decoded; not said of codecs in which that is no loss."""
        return max(0, self.given - self.number) if self._track.codec in _FRAME_A_PACKET else 0

    def decode(self, packet: Packet[Any] | None) -> Iterator[Frame]:
        """The frames that a packet completes; None: those that are held back.

        Raises:
            BrokenMedia: the packet cannot be decoded.
        """
        self.given += packet is not None
        try:
            with translated():
                pictures = self._context.decode(packet)
        except BrokenMedia:
            if not self._tolerant or packet is None:
                after = "" if self._time is None else f" (after {float(self._time * self._track.time_base):.2f} s)"
                raise BrokenMedia(f"Frame {self.number} of the video cannot be decoded{after}.") from None
            self._spoil()
            return
        for picture in pictures:
            yield from self._settle(picture, damaged=picture.is_corrupt or (packet is not None and packet.is_corrupt))
        if packet is None:
            yield from self._released(0)

    def pass_over(self, packets: Sequence[Packet[Any]]) -> None:
        """Count packets that are not decoded, a frame each."""
        self.number += len(packets)
        self.given += len(packets)
        self._time = max(int(each.pts or 0) for each in packets)

    def restart(self) -> None:
        """Forget what went before: the next packet is a key frame."""
        self._context.flush_buffers()

    def _settle(self, picture: VideoFrame, *, damaged: bool) -> Iterator[Frame]:
        if picture.pts is None:
            raise BrokenMedia(f"Frame {self.number} of the video has no time.")
        if self._time is not None and picture.pts <= self._time:
            raise BrokenMedia(f"Frame {self.number} of the video has no time of its own.")
        if (picture.width, picture.height) != self._track.size_wh:
            raise UnsupportedMedia(f"The video changes its size at frame {self.number}, which is not supported.")
        if picture.key_frame:
            self._broken = False
        if damaged:
            self._spoil()
        self._held.append(Frame(self._track, self.number, picture, damaged or (self._broken and self._tolerant)))
        self.number += 1
        self._time = picture.pts
        yield from self._released(self._hold)

    def _spoil(self) -> None:
        self._broken = True
        for place in range(len(self._held) - 1, -1, -1):
            self._held[place] = replace(self._held[place], damaged=True)
            if self._held[place].picture.key_frame:
                break

    def _released(self, keep: int) -> Iterator[Frame]:
        while len(self._held) > keep:
            yield self._held.popleft()


@contextmanager
def translated() -> Iterator[None]:
    """Make FFmpeg's errors ours.

    Raises:
        BrokenMedia: the file cannot be read.
        OutOfMemory: there is too little memory for it.
    """
    try:
        yield
    except (MemoryError, av.error.MemoryError) as error:
        raise OutOfMemory("There is too little memory for the video.") from error
    except av.error.BlockingIOError as error:
        # how a demuxer says that it has looked far enough for the next packet
        raise BrokenMedia("The video is broken: there are bytes in it that belong to nothing.") from error
    except av.FFmpegError as error:
        raise BrokenMedia(f"The video is broken: {error.strerror}.") from error
