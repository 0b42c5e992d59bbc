"""Decode the packets of one video stream to frames, each with a time of its own."""

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
from anonymizer.pipeline.redaction.yuv import frame_planes, planar_format_name, plane_format
from anonymizer.pipeline.video.io.codecs.decode_order import DecodeOrder
from anonymizer.pipeline.video.io.codecs.packet_checks import PacketChecks
from anonymizer.pipeline.video.io.tracks import DecodedFrame, VideoTrack

__all__ = ["SILENT", "FrameDecoder", "translate_errors"]

#: decoders that pass over damaged parts without a word, unless they are to take each for an error
SILENT = frozenset("hevc mjpeg huffyuv ffvhuff".split())

#: codecs in which each packet is a frame that is shown
_FRAME_A_PACKET = frozenset("hevc mjpeg mpeg1video mpeg2video prores dnxhd dvvideo ffv1 huffyuv ffvhuff".split())


class FrameDecoder:
    """Decodes the packets of one track and numbers the frames.

    Args:
        stream: of the open file.
        track: its properties.
        tolerate_damage: skip packets that cannot be decoded at all, and mark every frame as damaged that may build on a
            damaged one. Decoders mark the first one only.

    Attributes:
        number: of the next frame.
        given: how many packets there were so far.
    """

    def __init__(self, stream: VideoStream, track: VideoTrack, *, tolerate_damage: bool = False) -> None:
        self._track, self._tolerant = track, tolerate_damage
        self._context = stream.codec_context
        self.number = self.given = 0
        self._time: int | None = None
        if tolerate_damage and track.codec in SILENT and not self._context.is_open:
            # several threads would tell of an error at a later packet, and frames would be lost with it
            self._context.thread_count = 1
        self._checks = PacketChecks(track.codec, self._context)
        # the times of packets whose pictures are not whole
        self._incomplete: set[int] = set()
        # AVI stores no time at which a frame is shown
        self._order = DecodeOrder() if stream.container.format.name == "avi" else None
        self._broken = False
        self._held: deque[DecodedFrame] = deque()
        # frames that are shown before a damaged one may be predicted from it
        self._hold = self._context.reorder_depth + 1 if tolerate_damage else 0

    @property
    def lost(self) -> int:
        """How many packets gave no frame, when all are decoded; 0 for codecs in which that is no loss."""
        return max(0, self.given - self.number) if self._track.codec in _FRAME_A_PACKET else 0

    def decode(self, packet: Packet[Any] | None) -> Iterator[DecodedFrame]:
        """Decode a packet.

        Args:
            packet: the next one; None: there are no more, and the frames that are held back come out.

        Returns:
            The frames that are complete now, in order of presentation.

        Raises:
            BrokenMedia: the packet cannot be decoded, or a frame has no time of its own.
            UnsupportedMedia: the frames change their size, are transparent, or have others beside them.
        """
        self.given += packet is not None
        damaged = packet is not None and self._check(packet)
        if packet is not None:
            packet = self._checks.readable(packet)
        try:
            with translate_errors():
                pictures = self._context.decode(packet)
        except BrokenMedia:
            if not self._tolerant or packet is None:
                after = "" if self._time is None else f" (after {float(self._time * self._track.time_base):.2f} s)"
                raise BrokenMedia(f"Frame {self.number} of the video cannot be decoded{after}.") from None
            self._mark_damaged()
            self._note_incomplete(packet)
            return
        if damaged and packet is not None:
            self._note_incomplete(packet)
        for picture in pictures:
            yield from self._check_and_hold(
                picture, damaged=picture.is_corrupt or (packet is not None and packet.is_corrupt)
            )
        if packet is None:
            yield from self._release(0)

    def _check(self, packet: Packet[Any]) -> bool:
        """Whether a packet's picture is not whole. In AVI, the packet gets a time of its own."""
        if self._order is not None:
            packet.pts = packet.dts = self._order.add(packet.dts)
        return self._checks.is_damaged(packet)

    def _note_incomplete(self, packet: Packet[Any]) -> None:
        if packet.pts is not None:
            self._incomplete.add(packet.pts)

    def skip_packets(self, packets: Sequence[Packet[Any]]) -> None:
        """Count packets that are not decoded, one frame for each."""
        self.number += len(packets)
        self.given += len(packets)
        self._time = max(int(packet.pts or 0) for packet in packets)

    def restart(self) -> None:
        """Forget the packets before: the next one is a key frame."""
        self._context.flush_buffers()

    def _check_and_hold(self, picture: VideoFrame, *, damaged: bool) -> Iterator[DecodedFrame]:
        if picture.pts is None:
            raise BrokenMedia(f"Frame {self.number} of the video has no time.")
        damaged = damaged or picture.pts in self._incomplete
        self._incomplete.discard(picture.pts)
        if self._order is not None:
            picture.pts = self._order.take(picture.pts, self._context.reorder_depth)
        if self._time is not None and picture.pts <= self._time:
            raise BrokenMedia(f"Frame {self.number} of the video has no time of its own.")
        if (picture.width, picture.height) != self._track.size_wh:
            raise UnsupportedMedia(f"The video changes its size at frame {self.number}, which is not supported.")
        if _is_transparent(picture):
            raise UnsupportedMedia(
                f"The video has transparent pixels (frame {self.number}, {picture.format.name}), "
                "which is not supported."
            )
        if picture.key_frame:
            self._broken = False
        if damaged:
            self._mark_damaged()
        self._held.append(DecodedFrame(self._track, self.number, picture, damaged or (self._broken and self._tolerant)))
        self.number += 1
        self._time = picture.pts
        yield from self._release(self._hold)

    def _mark_damaged(self) -> None:
        """Mark the frames that are held back as damaged, back to the last key frame."""
        self._broken = True
        for index in range(len(self._held) - 1, -1, -1):
            self._held[index] = replace(self._held[index], damaged=True)
            if self._held[index].picture.key_frame:
                break

    def _release(self, keep: int) -> Iterator[DecodedFrame]:
        while len(self._held) > keep:
            yield self._held.popleft()


def _is_transparent(picture: VideoFrame) -> bool:
    """Whether a picture has an alpha plane that is not opaque throughout."""
    if not any(component.is_alpha for component in picture.format.components):
        return False
    if plane_format(picture) is None:
        picture = picture.reformat(format=planar_format_name(picture.format.name))
    opaque = (1 << picture.format.components[-1].bits) - 1
    return bool((frame_planes(picture, writable=False)[-1] != opaque).any())


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate FFmpeg's errors into the library's.

    Raises:
        BrokenMedia: the file cannot be read.
        OutOfMemory: there is too little memory for it.
    """
    try:
        yield
    except (MemoryError, av.error.MemoryError) as error:
        raise OutOfMemory("There is too little memory for the video.") from error
    except av.error.BlockingIOError as error:
        # a demuxer that searched long enough for the next packet says this
        raise BrokenMedia("The video is broken: there are bytes in it that belong to nothing.") from error
    except av.FFmpegError as error:
        raise BrokenMedia(f"The video is broken: {error.strerror}.") from error
