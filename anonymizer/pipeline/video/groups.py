"""Groups of pictures: those in which nothing is redacted are copied packet by packet, the others are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from av.packet import Packet

from anonymizer.pipeline.video.detection_queue import DetectionQueue
from anonymizer.pipeline.video.io.frame_decoder import FrameDecoder
from anonymizer.pipeline.video.io.splice import is_closed_start
from anonymizer.pipeline.video.io.tracks import Frame, VideoTrack
from anonymizer.pipeline.video.io.writer import CannotSplice

__all__ = ["BeginEncoding", "CopiedGroup", "EndEncoding", "GroupItem", "GroupSorter"]

#: a longer group of pictures is encoded without waiting for its end
LONGEST_GROUP = 2000


@dataclass(frozen=True, slots=True)
class CopiedGroup:
    """A group of pictures that is written as it is."""

    track: VideoTrack
    packets: list[Packet[Any]]
    first: int
    times: list[int]


@dataclass(frozen=True, slots=True)
class BeginEncoding:
    """Encoded frames follow, at the source's times of decoding, which are still being added to."""

    track: VideoTrack
    decode_times: list[int]


@dataclass(frozen=True, slots=True)
class EndEncoding:
    track: VideoTrack


GroupItem: TypeAlias = "Frame | Packet[Any] | CopiedGroup | BeginEncoding | EndEncoding"


class GroupSorter:
    """Sorts a track's packets into groups that are copied and groups that are decoded."""

    def __init__(self, track: VideoTrack, decoder: FrameDecoder, findings: DetectionQueue) -> None:
        self._track, self._decoder, self._findings = track, decoder, findings
        self._group: list[Packet[Any]] = []
        self._first = 0
        self._decode_times: list[int] | None = None

    def add(self, packet: Packet[Any]) -> Iterator[GroupItem]:
        starts = packet.is_keyframe and is_closed_start(bytes(packet))
        if self._group and (starts or len(self._group) >= LONGEST_GROUP):
            yield from self._settle(ends_closed=starts)
        self._group.append(packet)

    def end(self) -> Iterator[GroupItem]:
        if self._group:
            yield from self._settle(ends_closed=True)
        yield from self._stop_decoding()

    def _settle(self, *, ends_closed: bool) -> Iterator[GroupItem]:
        packets, self._group = self._group, []
        if any(each.pts is None or each.dts is None for each in packets):
            raise CannotSplice("packets without times")
        times = sorted(int(each.pts or 0) for each in packets)
        numbers = range(self._first, self._first + len(packets))
        self._first = numbers.stop
        # only a group that is one in itself, to the next: one that was cut short would leave the rest without a start
        clean = ends_closed and is_closed_start(bytes(packets[0])) and not any(each.is_corrupt for each in packets)
        found = [self._findings.at(number) for number in numbers]
        clean = clean and all(
            each is not None and each.pts == pts and not len(each.detections) and not each.damaged
            for each, pts in zip(found, times, strict=True)
        )
        if clean:
            yield from self._stop_decoding()
            if self._decoder.number != numbers.start:
                raise CannotSplice("packets that are not one frame each")
            self._decoder.pass_over(packets)
            yield CopiedGroup(self._track, packets, numbers.start, times)
            return
        if self._decode_times is None:
            if not is_closed_start(bytes(packets[0])):
                raise CannotSplice("a stretch that does not begin with a key frame")
            self._decode_times = []
            yield BeginEncoding(self._track, self._decode_times)
        self._decode_times += [int(each.dts or 0) for each in packets]
        for packet in packets:
            yield from self._decoder.decode(packet)

    def _stop_decoding(self) -> Iterator[GroupItem]:
        if self._decode_times is None:
            return
        yield from self._decoder.decode(None)
        self._decoder.restart()
        self._decode_times = None
        yield EndEncoding(self._track)
