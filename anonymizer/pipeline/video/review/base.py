"""The files of the version that a review changes: what stays the same is copied from them, packet by packet."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet

from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.splice import is_idr_packet
from anonymizer.pipeline.video.io.track_writer import CannotSplice

__all__ = ["BaseFiles", "BaseOutputs", "BasePackets"]


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """The files of a version.

    Attributes:
        video: path of the anonymised video.
        info: its format.
        metadata: path of the metadata, with a line for each frame.
        masks: paths of the masks, in the order in which they are written: binary, then instance.
    """

    video: Path
    info: MediaInfo
    metadata: Path
    masks: tuple[Path, ...]


class BasePackets:
    """The packets of an anonymised video with one video track, taken group by group in order.

    Args:
        files: of the version.
    """

    def __init__(self, files: BaseFiles) -> None:
        self._reader = VideoReader(files.video, files.info, threads=1)
        self._rest: Iterator[Packet[Any]] = (packet for track, packet in self._reader.packets() if track is not None)
        self._ahead: deque[Packet[Any]] = deque()
        self._next = 0

    @property
    def header(self) -> bytes | None:
        """The parameter sets of the track; None if it is not the only one."""
        tracks = self._reader.tracks
        return self._reader.stream(tracks[0]).codec_context.extradata if len(tracks) == 1 else None

    def take(self, first: int, source: Sequence[Packet[Any]]) -> list[Packet[Any]] | None:
        """Return the packets of a group of pictures, with the times of the source.

        Args:
            first: number of the group's first frame; it rises from call to call.
            source: the packets of the same frames in the source.

        Returns:
            The packets; None if these frames are no closed group of their own in this file.
        """
        while self._next < first:
            if self._pop() is None:
                return None
        group = [packet for packet in (self._pop() for _ in source) if packet is not None]
        follower = self._peek()
        is_closed = len(group) == len(source) and is_idr_packet(bytes(group[0]))
        if not is_closed or not (follower is None or is_idr_packet(bytes(follower))):
            return None
        order = sorted(range(len(group)), key=lambda number: group[number].pts or 0)
        times = sorted((int(packet.pts or 0), packet.duration) for packet in source)
        shown = dict(zip(order, times, strict=True))
        return [
            _with_times(packet, shown[at], like) for at, (packet, like) in enumerate(zip(group, source, strict=True))
        ]

    def close(self) -> None:
        """Close the file."""
        self._reader.container.close()

    def _peek(self) -> Packet[Any] | None:
        if not self._ahead and (packet := next(self._rest, None)) is not None:
            self._ahead.append(packet)
        return self._ahead[0] if self._ahead else None

    def _pop(self) -> Packet[Any] | None:
        packet = self._peek()
        if packet is not None:
            self._ahead.popleft()
            self._next += 1
        return packet


def _with_times(packet: Packet[Any], shown: tuple[int, int | None], like: Packet[Any]) -> Packet[Any]:
    made: Packet[Any] = Packet(bytes(packet))
    made.time_base, made.dts = like.time_base, like.dts
    made.pts, made.duration = shown
    made.is_keyframe = packet.is_keyframe
    return made


class BaseOutputs:
    """The metadata and the masks of a version, frame by frame in order.

    Args:
        files: of the version, whose video has one track.
    """

    def __init__(self, files: BaseFiles) -> None:
        self._file = files.metadata.open()
        self._next = 0
        self._masks = [_MaskPackets(path) for path in files.masks]

    @property
    def mask_headers(self) -> list[bytes | None]:
        """What a decoder needs to read the masks."""
        return [mask.header for mask in self._masks]

    def frame(self, number: int) -> tuple[str, dict[str, Any]]:
        """Return the line of a frame in the metadata, and what it says.

        Args:
            number: of the frame; it rises from call to call.

        Raises:
            EncoderFailed: the metadata have no such frame.
        """
        for line in self._file:
            text = line.strip().rstrip(",")
            if not text.startswith("{"):
                continue
            self._next += 1
            if self._next == number + 1:
                row = json.loads(text)
                if row["id"] == number:
                    return text, row
                break
        raise EncoderFailed(f"The version before has no metadata of frame {number}.")

    def mask(self, index: int, number: int) -> Packet[Any]:
        """Return the packet of a frame in a mask.

        Args:
            index: of the mask.
            number: of the frame; it rises from call to call.

        Raises:
            CannotSplice: it cannot be copied.
        """
        return self._masks[index].take(number)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        for mask in self._masks:
            mask.close()


class _MaskPackets:
    """The packets of a mask, each of which can be decoded alone."""

    def __init__(self, path: Path) -> None:
        self._container: InputContainer = av.open(str(path.absolute()))
        self._packets = (packet for packet in self._container.demux(video=0) if packet.size)
        self._next = 0

    @property
    def header(self) -> bytes | None:
        return self._container.streams.video[0].codec_context.extradata

    def take(self, number: int) -> Packet[Any]:
        for packet in self._packets:
            self._next += 1
            if self._next == number + 1:
                if packet.is_keyframe:
                    return packet
                break
        raise CannotSplice("a mask whose frames build on each other")

    def close(self) -> None:
        self._container.close()
