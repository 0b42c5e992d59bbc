"""Writing videos: the source's container, tracks and times, with other pictures in them.

Frames are given to an encoder with their numbers for times. Its packets then get the source's own times, so that no
encoder's clock, frame rate or rounding can move a frame.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.container import OutputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.video.io.encoders import MUXERS, Encoding, Output, open_encoder
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.splice import LARGEST_ID, ParameterSets, joined, length_prefixed
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["CannotSplice", "VideoSink"]

#: the largest clock of an MP4 file as a whole
_LARGEST_CLOCK = 2**31 - 1
#: what the muxers of these have room for besides pictures, sound and subtitles
_HOLDS_DATA = ("mp4", "mov", "mpegts")
#: keys that an MP4 file has a place for; with any other, all go into a list of keys
_KNOWN_KEYS = frozenset(
    "title artist album date comment genre copyright description synopsis show episode_id network lyrics grouping "
    "album_artist composer encoder creation_time major_brand minor_version compatible_brands location track disc "
    "timecode".split()
)
_LANGUAGE = re.compile(r"-[a-z]{3}$")


class CannotSplice(Exception):
    """Copied and encoded stretches do not fit together: all has to be encoded."""


class VideoSink:
    """A video that is being written; a context manager that finishes it.

    Args:
        path: of the new file.
        source: the open source, whose streams are copied.
        output: container and encoders.
        strip_metadata: leave out what the file says of itself, and data tracks (which hold positions).
        splice: parameter sets make room for copied stretches, for the tracks for which that is possible.
        threads: of each encoder; 0: as many as there are cores.

    Attributes:
        warnings: what could not be kept.
        written: by track, the times of the frames that were written, in the order of decoding.

    Raises:
        EncoderFailed: the file cannot be begun.
    """

    def __init__(
        self,
        path: Path,
        source: VideoReader,
        output: Output,
        *,
        strip_metadata: bool = False,
        splice: bool = False,
        threads: int = 0,
    ) -> None:
        self.warnings: list[str] = []
        self._source = source
        muxer = MUXERS[output.info.format]
        options = {"strict": "experimental"}
        if muxer in ("mp4", "mov"):
            options |= {"movflags": self._movflags(), "movie_timescale": str(self._clock())}
        elif muxer == "mpegts":
            options["mpegts_copyts"] = "1"
        self.container: OutputContainer = av.open(str(path), "w", format=muxer, container_options=options)
        try:
            self._tracks = {
                each.index: _TrackWriter(
                    self.container, source, each, output.tracks[each.index], splice=splice, threads=threads
                )
                for each in source.tracks
            }
            self._copied = self._add_copied(muxer, strip_metadata=strip_metadata)
            if not strip_metadata:
                self.container.metadata.update(self._metadata())
            if chapters := source.container.chapters():
                self.container.set_chapters(chapters)
            self.container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            raise EncoderFailed(f"The result cannot be begun as {output.info.format} ({error}).") from error

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                with _ours():
                    for each in self._tracks.values():
                        each.end_run()
                    self.container.close()
        finally:
            # where there was an error, what is left of it is nobody's; closing twice does nothing
            with suppress(av.FFmpegError, ValueError):
                self.container.close()

    def can_splice(self, track: VideoTrack) -> bool:
        """Whether copied packets may stand between encoded ones."""
        return self._tracks[track.index].splices

    def encode(self, track: VideoTrack, picture: VideoFrame, pts: int, duration: int) -> None:
        """Write a frame at a time of the track's time base."""
        with _ours():
            self._tracks[track.index].encode(picture, pts, duration)

    def begin_run(self, track: VideoTrack, decode_times: Sequence[int]) -> None:
        """Between copied stretches: so many frames are encoded, at the source's own times of decoding."""
        self._tracks[track.index].begin_run(decode_times)

    def end_run(self, track: VideoTrack) -> None:
        """Have the encoder give what it holds back."""
        with _ours():
            self._tracks[track.index].end_run()

    def copy(self, track: VideoTrack | None, packet: Packet[Any]) -> None:
        """Write a packet as it is: of another stream, or of a track between encoded stretches."""
        stream = self._tracks[track.index].stream if track is not None else self._copied.get(packet.stream_index)
        if stream is None or (track is None and _is_gap(stream, packet)):
            return
        with _ours():
            packet.stream = stream
            self.container.mux_one(packet)

    def _add_copied(self, muxer: str, *, strip_metadata: bool) -> dict[int, Stream]:
        copied: dict[int, Stream] = {}
        for each in self._source.copied:
            if each.type == "data" and (each.discard is Discard.all or "timecode" in each.metadata):
                # titles of chapters and time codes: the muxer makes them again from what is copied
                continue
            if each.type == "data" and strip_metadata:
                self.warnings.append("A data track was left out with the metadata.")
                continue
            if not _is_taken(muxer, each):
                self.warnings.append(
                    f"A track of type {each.type} was left out: the result's format cannot hold it as it is."
                )
                continue
            stream = self.container.add_stream_from_template(each)
            _describe(stream, each)
            copied[each.index] = stream
        return copied

    def _metadata(self) -> dict[str, str]:
        """What the file says of itself. In a list of keys, a position has a name of its own that players know."""
        said = dict(self._source.container.metadata)
        if self._has_unusual_keys() and "location" in said:
            said.setdefault("com.apple.quicktime.location.ISO6709", said["location"])
        return said

    def _movflags(self) -> str:
        """The index first, so that a player need not have the whole file; all keys, where there are unusual ones."""
        return "+faststart+use_metadata_tags" if self._has_unusual_keys() else "+faststart"

    def _has_unusual_keys(self) -> bool:
        # some are there a second time, under the name of a language too: location-eng
        return not {_LANGUAGE.sub("", each) for each in self._source.container.metadata} <= _KNOWN_KEYS

    def _clock(self) -> int:
        """In whole steps of which each track's start can be said."""
        bases = [each.time_base for each in self._source.container.streams if each.time_base]
        clock = math.lcm(*(each.denominator for each in bases), 1000)
        return clock if clock <= _LARGEST_CLOCK else 1_000_000


class _TrackWriter:
    """Encodes one track's frames and gives the packets their times."""

    def __init__(
        self,
        container: OutputContainer,
        source: VideoReader,
        track: VideoTrack,
        encoding: Encoding,
        *,
        splice: bool,
        threads: int,
    ) -> None:
        template = source.stream(track)
        self._container, self._track, self._encoding, self._threads = container, track, encoding, threads
        self._context = template.codec_context
        self._header = bool(Flags(container.format.flags) & Flags.global_header)
        self.splices = False
        # Matroska does not say when the first frames are decoded, and others have no header for parameter sets
        mp4 = container.format.name in ("mp4", "mov")
        if splice and mp4 and encoding.same_codec and encoding.encoder == "libx264":
            self._prepare_splice(template)
        if encoding.same_codec:
            self.stream = container.add_stream_from_template(template, opaque=True)
            own = self.stream.codec_context
            if own.codec_tag != template.codec_context.codec_tag and container.format.name in ("mp4", "mov"):
                own.codec_tag = template.codec_context.codec_tag
            if not own.framerate and template.average_rate and template.average_rate == template.base_rate:
                # how long each frame is shown, where neither codec nor packets say it
                own.framerate = template.average_rate
        else:
            self.stream = _video(container.add_stream(encoding.encoder, rate=encoding.rate))
            own = self.stream.codec_context
            if track.display_matrix is not None:
                self.stream.set_display_matrix(track.display_matrix)
        self.stream.time_base = track.time_base
        _describe(self.stream, template)
        # a new stream's own encoder is the one that its header is of
        self._encoder: VideoCodecContext | None = self._open(None if encoding.same_codec else own)
        if self.splices:
            own.extradata = self._joined
        elif encoding.same_codec:
            own.extradata = self._encoder.extradata
        self._decode_times: Sequence[int] | None = None
        self._begin()

    def _prepare_splice(self, template: VideoStream) -> None:
        """Look whether both parameter sets fit in one header; choose the id of ours."""
        source = ParameterSets.of_header(template.codec_context.extradata)
        if source is None or not self._header:
            return
        free = next((each for each in range(1, LARGEST_ID + 1) if each not in source.ids), None)
        if free is None:
            return
        reorders = template.codec_context.has_b_frames
        # frames must not be decoded later than the source's: its order of decoding gives the times
        frames = "bframes=3:b-pyramid=0" if reorders else "bframes=0"
        more = {"x264-params": f"sps-id={free}:{frames}"}
        encoding = replace(self._encoding, options={**self._encoding.options, **more})
        trial = open_encoder(encoding, self._track, template.codec_context, header=True, threads=1)
        own = ParameterSets.of_encoder(trial.extradata)
        header = None if own is None else joined(source, own)
        if header is not None:
            self._encoding, self._joined, self.splices = encoding, header, True

    def _open(self, encoder: VideoCodecContext | None = None) -> VideoCodecContext:
        return open_encoder(
            self._encoding, self._track, self._context, encoder=encoder, header=self._header, threads=self._threads
        )

    def _begin(self) -> None:
        self._given = self._got = 0
        self._delay: int | None = None
        self._times: dict[int, tuple[int, int]] = {}

    def begin_run(self, decode_times: Sequence[int]) -> None:
        self._decode_times = decode_times
        self._begin()

    def encode(self, picture: VideoFrame, pts: int, duration: int) -> None:
        if self._encoder is None:
            self._encoder = self._open()
        if picture.format.name != self._encoding.pixel_format:
            picture = picture.reformat(format=self._encoding.pixel_format)
        self._times[self._given] = (pts, duration)
        picture.pts, picture.time_base = self._given, self._encoder.time_base
        picture.dts = None
        # the encoder chooses anew what kind of frame it is, but for the first of a run
        picture.pict_type = 1 if self._given == 0 and self.splices else 0
        self._given += 1
        self._mux(self._encoder.encode(picture))

    def end_run(self) -> None:
        if self._encoder is None or not self._given:
            return
        self._mux(self._encoder.encode(None))
        if self._got != self._given:
            raise EncoderFailed(f"The encoder was given {self._given} frames and wrote {self._got}.")
        # an encoder that has given all cannot be given more
        self._encoder = None
        self._begin()

    def _mux(self, packets: Sequence[Packet[Any]]) -> None:
        for packet in packets:
            if packet.pts is None:
                raise EncoderFailed("The encoder wrote a packet without a time.")
            if self._delay is None:
                self._delay = max(0, -(packet.dts or 0))
                first, length = self._times[0]
                step = length or round(1 / (self._encoding.rate * self._track.time_base))
                self._times |= {-n: (first - n * step, length) for n in range(1, self._delay + 1)}
            pts, duration = self._times[packet.pts]
            if self._decode_times is not None:
                del self._times[packet.pts]
                dts = self._decode_times[self._got]
                if dts > pts:
                    raise CannotSplice("a frame would be decoded later than shown")
            else:
                dts, _ = self._times.pop(self._got - self._delay)
            if self.splices:
                key = packet.is_keyframe
                packet = Packet(length_prefixed(bytes(packet)))
                packet.is_keyframe = key
            self._got += 1
            packet.stream = self.stream
            packet.time_base = self._track.time_base
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            self._container.mux_one(packet)


def _video(stream: object) -> VideoStream:
    assert isinstance(stream, VideoStream)
    return stream


def _describe(stream: Stream, source: Stream) -> None:
    """Language, names, dates; default, forced, for the deaf …"""
    # what a muxer calls its own is not the source's
    stream.metadata.update({key: value for key, value in source.metadata.items() if key != "encoder"})
    stream.disposition = source.disposition


def _is_gap(stream: Stream, packet: Packet[Any]) -> bool:
    """Whether a packet only says that no line is shown: the muxer makes these of MP4's subtitles itself."""
    return stream.codec_context is not None and stream.codec_context.name == "mov_text" and bytes(packet) == b"\0\0"


def _is_taken(muxer: str, stream: Stream) -> bool:
    """Whether a container holds a stream as it is, by the muxer's own word."""
    if stream.type in ("data", "attachment") and muxer not in (_HOLDS_DATA if stream.type == "data" else ("matroska",)):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


@contextmanager
def _ours() -> Iterator[None]:
    """Make FFmpeg's errors ours.

    Raises:
        EncoderFailed: the file cannot be written.
    """
    try:
        yield
    except av.FFmpegError as error:
        raise EncoderFailed(f"The result cannot be written ({error.strerror}).") from error
