"""Sound, subtitles and data that are copied packet by packet, and what a container cannot hold of them.

Muxers take more than they can write: a sound comes out at another speed, or a data track without its description. So
the first packets of each track are written and read again before the work. What is not the same is left out, by name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from anonymizer.pipeline.video.io.containers.avi_headers import StreamTimes, read_stream_times, write_stream_times

__all__ = ["CopiedTrack", "TrackCopy", "choose_copies", "codec_name"]

#: The first packets of each stream that are tried; the packets and bytes that are read for it.
_TRIED, _MOST_PACKETS, _MOST_BYTES = 40, 3000, 2**26
#: how much the units of time of muxer and source may differ before the muxer is told another bit rate
_SAME_UNIT = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class TrackCopy:
    """How a stream is copied.

    Attributes:
        stream: of the source.
        exact: copy all its parameters; otherwise without the tag of its codec, which belongs to its container.
        stand_in: write a data stream of another kind, whose description is replaced in the finished file.
        bit_rate: bits per second that the muxer is told instead; None: those of the stream.
        times: of its header, in AVI.
    """

    stream: Stream
    exact: bool = True
    stand_in: bool = False
    bit_rate: int | None = None
    times: StreamTimes | None = None


class CopiedTrack:
    """A stream in a new file whose packets are copied.

    Args:
        container: the new file, whose header is not written yet.
        copy: how the stream is copied.

    Attributes:
        stream: of the new file.
        packets, bytes: how much was written.

    Raises:
        ValueError: the container takes no such stream.
        av.FFmpegError: likewise.
    """

    def __init__(self, container: OutputContainer, copy: TrackCopy) -> None:
        self._container, self._copy = container, copy
        self.packets = self.bytes = 0
        self._last: int | None = None
        if copy.stand_in:
            self.stream = cast("Stream", container.add_data_stream("bin_data"))
            self.stream.time_base = copy.stream.time_base
        elif copy.exact and copy.stream.type != "attachment":
            # a stream without an encoder, which gets the parameters of the source from a filter that does nothing
            self.stream = cast("Stream", container.add_data_stream())
            BitStreamFilterContext("null", copy.stream, self.stream)
            self.stream.time_base = copy.stream.time_base
        else:
            self.stream = container.add_stream_from_template(copy.stream)
            if copy.bit_rate is not None:
                self.stream.codec_context.bit_rate = copy.bit_rate

    @property
    def times(self) -> tuple[StreamTimes, int, int] | None:
        """In AVI: the times of its header, the packets and their bytes; None: another container, or no sound."""
        return None if self._copy.times is None else (self._copy.times, self.packets, self.bytes)

    def write(self, packet: Packet[Any]) -> None:
        """Write a packet of the source, which is changed.

        Raises:
            av.FFmpegError: the muxer does not take it.
        """
        self.packets += 1
        self.bytes += packet.size
        packet.stream = self.stream
        if self._copy.times is not None and packet.dts is not None:
            # rounded to the units of the muxer, two packets may have one time, which it does not take
            base = cast("Fraction", self.stream.time_base)
            at = round(packet.dts * packet.time_base / base)
            self._last = at if self._last is None else max(at, self._last + 1)
            packet.time_base, packet.pts, packet.dts = base, self._last, self._last
        self._container.mux_one(packet)


def choose_copies(
    source: InputContainer, streams: Sequence[Stream], muxer: str, options: Mapping[str, str]
) -> list[TrackCopy]:
    """Find out how each stream can be copied.

    Args:
        source: the open source, a file.
        streams: of it.
        muxer: FFmpeg's name of the container of the result.
        options: of the muxer.

    Returns:
        How to copy those that can be copied.
    """
    copies: list[TrackCopy] = []
    demuxer = source.format.name.split(",")[0]
    packets = _first_packets(source, demuxer, streams)
    same = muxer in source.format.name
    headers = []
    if muxer == demuxer == "avi":
        with Path(source.name).open("rb") as file:
            headers = read_stream_times(file)
    for stream in streams:
        times = headers[stream.index] if stream.type == "audio" and stream.index < len(headers) else None
        candidates = [TrackCopy(stream, exact=exact, times=times) for exact in (True, False) if same or not exact]
        if stream.type == "data" and muxer == "mp4":
            # FFmpeg writes only data streams into MP4 whose kind it knows
            candidates.append(TrackCopy(stream, stand_in=True))
        found = next(_working(candidates, packets[stream.index], muxer, options), None)
        if found is not None:
            copies.append(found)
    return copies


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of a stream's codec."""
    if stream.codec_context is not None:
        return str(stream.codec_context.codec.canonical_name)
    return str(getattr(stream, "name", None) or "an unknown codec")


def _first_packets(source: InputContainer, demuxer: str, streams: Sequence[Stream]) -> dict[int, list[Packet[Any]]]:
    """The first packets of each stream, by its index. They can be written once."""
    found: dict[int, list[Packet[Any]]] = {stream.index: [] for stream in streams}
    wanted = {stream.index for stream in streams if stream.type != "attachment"}
    if not wanted:
        return found
    options = {"protocol_whitelist": "file", "fflags": "+genpts"}
    with (
        av.open(source.name, format=demuxer, metadata_errors="replace", options=options) as file,
        suppress(av.FFmpegError),
    ):
        size = 0
        read = (stream for stream in file.streams if stream.type != "attachment")
        for count, packet in enumerate(file.demux(*read)):
            size += packet.size
            index = packet.stream_index
            if packet.size and index in wanted and len(found[index]) < _TRIED:
                found[index].append(packet)
            if count > _MOST_PACKETS or size > _MOST_BYTES or all(len(found[i]) >= _TRIED for i in wanted):
                break
    return found


def _working(
    candidates: Sequence[TrackCopy], packets: Sequence[Packet[Any]], muxer: str, options: Mapping[str, str]
) -> Iterator[TrackCopy]:
    for candidate in candidates:
        base, works = _try(candidate, packets, muxer, options)
        if works:
            yield candidate
        elif base is not None and candidate.times is not None and not candidate.exact:
            # how long a part of sound is follows from its bit rate, which some codecs do not state rightly
            ratio = float(base * Fraction(candidate.times.rate, candidate.times.scale))
            rate = getattr(candidate.stream, "bit_rate", None)
            if rate and abs(ratio - 1) > _SAME_UNIT:
                other = replace(candidate, bit_rate=round(rate * ratio))
                if _try(other, packets, muxer, options)[1]:
                    yield other


def _try(
    copy: TrackCopy, packets: Sequence[Packet[Any]], muxer: str, options: Mapping[str, str]
) -> tuple[Fraction | None, bool]:
    """Write the packets with no other stream, read them again, and compare.

    Returns:
        The muxer's unit of time, None if it does not take the stream; and whether all came back as it was.
    """
    content = io.BytesIO()
    if copy.stream.type == "data" and not packets:
        # a transport stream says what a track is only where there are packets
        packets = [_mark(copy.stream)]
    sent = [_copy_of(packet) for packet in packets]
    base: Fraction | None = None
    try:
        with av.open(content, "w", format=muxer, container_options=dict(options)) as trial:
            track = CopiedTrack(trial, copy)
            if copy.stream.type == "attachment":
                track.stream.metadata.update(copy.stream.metadata)
            trial.start_encoding()
            base = track.stream.time_base
            for packet in sent:
                track.write(packet)
        if not sent:
            return base, True
        if track.times is not None:
            write_stream_times(content, {0: track.times})
        content.seek(0)
        with av.open(content, format={"mp4": "mov", "webm": "matroska"}.get(muxer, muxer)) as again:
            return base, _is_same(copy, packets, cast("InputContainer", again))
    except (av.FFmpegError, ValueError):
        return base, False


def _mark(stream: Stream) -> Packet[Any]:
    mark: Packet[Any] = Packet(bytes(range(16)))
    mark.time_base, mark.pts, mark.dts = cast("Fraction", stream.time_base), 0, 0
    mark.is_keyframe = True
    return mark


def _copy_of(packet: Packet[Any]) -> Packet[Any]:
    copy: Packet[Any] = Packet(bytes(packet))
    copy.time_base, copy.pts, copy.dts = packet.time_base, packet.pts, packet.dts
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    for extra in packet.iter_sidedata():
        copy.set_sidedata(extra)
    return copy


def _is_same(copy: TrackCopy, packets: Sequence[Packet[Any]], again: InputContainer) -> bool:
    """Whether the only stream of a file is what was written."""
    stream = copy.stream
    new = next((other for other in again.streams if other.type == stream.type), None)
    if new is None or (_family(new) != _family(stream) and not copy.stand_in):
        return False
    # another container may keep a header that this one does without
    if copy.exact and _has_header(stream) and not _has_header(new):
        return False
    if _sampling(stream) != _sampling(new):
        return False
    got = [packet for packet in again.demux(new) if packet.size]
    if stream.type == "subtitle":
        # muxers add parts that say that no line is shown
        return {bytes(packet) for packet in packets} <= {bytes(packet) for packet in got}
    if b"".join(map(bytes, got)) != b"".join(map(bytes, packets)):
        return False
    if len(got) != len(packets):
        # the same bytes in other parts, as with sound without compression
        return True
    was, now = (_seconds(of_file) for of_file in (packets, got))
    tick = max(float(cast("Fraction", one.time_base)) for one in (stream, new))
    return bool(np.abs(was - now).max() <= 1.01 * tick)


def _family(stream: Stream) -> str:
    # containers do not tell the layers of MPEG audio from each other
    return {"mp1": "mp3", "mp2": "mp3"}.get(name := codec_name(stream), name)


def _sampling(stream: Stream) -> tuple[int, int] | None:
    """Samples per second and channels of sound; None: it is none, or there is no decoder that tells."""
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return None
    return stream.rate, stream.channels


def _has_header(stream: Stream) -> bool:
    return stream.codec_context is not None and bool(stream.codec_context.extradata)


def _seconds(packets: Sequence[Packet[Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """When packets begin, in seconds after the first."""
    at = [float((packet.pts or packet.dts or 0) * packet.time_base) for packet in packets]
    return np.array(at, np.float64) - at[0]
