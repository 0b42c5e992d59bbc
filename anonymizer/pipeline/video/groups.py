"""Groups of pictures: those in which nothing is redacted are copied packet by packet, the others are decoded.

A group of pictures begins with a frame that can be decoded alone (a key frame) and ends before the next one. In H.264
a group that begins with an IDR picture is closed: no frame in it refers to a frame outside. Only a closed group
can be copied between encoded ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from av.packet import Packet

from anonymizer.pipeline.video.detection_queue import DetectionQueue
from anonymizer.pipeline.video.io.frame_decoder import FrameDecoder
from anonymizer.pipeline.video.io.splice import is_idr_packet
from anonymizer.pipeline.video.io.track_writer import CannotSplice
from anonymizer.pipeline.video.io.tracks import DecodedFrame, VideoTrack
from anonymizer.pipeline.video.review.base import BasePackets

__all__ = ["BeginEncoding", "CopiedGroup", "EndEncoding", "GroupItem", "GroupSorter"]

#: a group of more packets is encoded without waiting for its end
LONGEST_GROUP = 2000


@dataclass(frozen=True, slots=True)
class CopiedGroup:
    """A group of pictures that is written as it is.

    Attributes:
        track: of the packets.
        packets: in the order of decoding, one for each frame.
        first: number of the group's first frame.
        times: pts of the frames, ascending.
        reused: whether the packets are those of the version that a review changes; else those of the source.
    """

    track: VideoTrack
    packets: list[Packet[Any]]
    first: int
    times: list[int]
    reused: bool = False


@dataclass(frozen=True, slots=True)
class BeginEncoding:
    """Encoded frames of a track follow.

    Attributes:
        track: of the frames.
        decode_times: dts of the source's packets, which the encoded packets get. The list still grows.
    """

    track: VideoTrack
    decode_times: list[int]


@dataclass(frozen=True, slots=True)
class EndEncoding:
    """No more encoded frames of a track follow before the next copied group."""

    track: VideoTrack


GroupItem: TypeAlias = "DecodedFrame | Packet[Any] | CopiedGroup | BeginEncoding | EndEncoding"


class GroupSorter:
    """Sorts the packets of a track into groups that are copied and groups that are decoded.

    Args:
        track: of the packets.
        decoder: of the track.
        queue: the detections of each frame.
        base: the version that a review changes, from which groups are copied where nothing changed. Default: none.
    """

    def __init__(
        self, track: VideoTrack, decoder: FrameDecoder, queue: DetectionQueue, base: BasePackets | None = None
    ) -> None:
        self._track, self._decoder, self._queue, self._base = track, decoder, queue, base
        self._group: list[Packet[Any]] = []
        self._first = 0
        self._decode_times: list[int] | None = None

    def add(self, packet: Packet[Any]) -> Iterator[GroupItem]:
        """Take the next packet, and give what is known to be copied or encoded now.

        Raises:
            CannotSplice: copied and encoded groups do not fit together in this video.
        """
        begins_group = packet.is_keyframe and is_idr_packet(bytes(packet))
        if self._group and (begins_group or len(self._group) >= LONGEST_GROUP):
            yield from self._finish_group(ends_closed=begins_group)
        self._group.append(packet)

    def end(self) -> Iterator[GroupItem]:
        """Give what is left; there are no more packets.

        Raises:
            CannotSplice: copied and encoded groups do not fit together in this video.
        """
        if self._group:
            yield from self._finish_group(ends_closed=True)
        yield from self._stop_decoding()

    def _finish_group(self, *, ends_closed: bool) -> Iterator[GroupItem]:
        """Copy or decode the packets so far; ends_closed: a group of its own follows, or nothing."""
        packets, self._group = self._group, []
        if any(packet.pts is None or packet.dts is None for packet in packets):
            raise CannotSplice("packets without times")
        times = sorted(int(packet.pts or 0) for packet in packets)
        numbers = range(self._first, self._first + len(packets))
        self._first = numbers.stop
        # A group that was cut short must not be copied: the rest of it would have no start.
        closed = ends_closed and is_idr_packet(bytes(packets[0])) and not any(packet.is_corrupt for packet in packets)
        # all are waited for, whatever the group is like: none may be released before it is final
        frames = [self._queue.wait_for(number) for number in numbers]
        unchanged = all(
            frame is not None and frame.pts == pts and not len(frame.detections) and not frame.damaged
            for frame, pts in zip(frames, times, strict=True)
        )
        same = all(
            frame is not None and frame.pts == pts and frame.same for frame, pts in zip(frames, times, strict=True)
        )
        reused = self._base.take(numbers.start, packets) if closed and same and self._base is not None else None
        if closed and (unchanged or reused is not None):
            yield from self._stop_decoding()
            if self._decoder.number != numbers.start:
                raise CannotSplice("packets that are not one frame each")
            self._decoder.skip_packets(packets)
            yield CopiedGroup(self._track, reused or packets, numbers.start, times, reused is not None)
            return
        if self._decode_times is None:
            if not is_idr_packet(bytes(packets[0])):
                raise CannotSplice("a stretch that does not begin with a key frame")
            self._decode_times = []
            yield BeginEncoding(self._track, self._decode_times)
        self._decode_times += [int(packet.dts or 0) for packet in packets]
        for packet in packets:
            yield from self._decoder.decode(packet)

    def _stop_decoding(self) -> Iterator[GroupItem]:
        if self._decode_times is None:
            return
        yield from self._decoder.decode(None)
        self._decoder.restart()
        self._decode_times = None
        yield EndEncoding(self._track)
