"""Writing videos: the container, tracks and times of the source, with redacted frames (`track_writer`)."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.frame import VideoFrame

from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.video.io.encoders import MUXERS, OutputPlan
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.track_writer import TrackWriter, copy_description
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["VideoWriter"]

#: the highest number of ticks per second that the header of an MP4 file can have
_LARGEST_CLOCK = 2**31 - 1
#: muxers that can hold data streams besides video, sound and subtitles
_HOLDS_DATA = ("mp4", "mov", "mpegts")
#: Metadata keys that have a box of their own in an MP4 file. With any other key, all keys go into a list.
_KNOWN_KEYS = frozenset(
    "title artist album date comment genre copyright description synopsis show episode_id network lyrics grouping "
    "album_artist composer encoder creation_time major_brand minor_version compatible_brands location track disc "
    "timecode".split()
)
_LANGUAGE = re.compile(r"-[a-z]{3}$")


class VideoWriter:
    """Writes a video; a context manager that finishes the file.

    Args:
        path: of the new file.
        source: the open source, whose other streams are copied.
        plan: container and encoders.
        strip_metadata: leave out the file's metadata and its data streams (which hold positions).
        splice: prepare the tracks for copied stretches between encoded ones, where that is possible.
        threads: of each encoder; 0: as many as there are cores.

    Attributes:
        warnings: what could not be kept, a sentence each.
        container: the open file.

    Raises:
        EncoderFailed: the file cannot be begun.
    """

    def __init__(
        self,
        path: Path,
        source: VideoReader,
        plan: OutputPlan,
        *,
        strip_metadata: bool = False,
        splice: bool = False,
        threads: int = 0,
    ) -> None:
        self.warnings: list[str] = []
        self._source = source
        muxer = MUXERS[plan.info.format]
        options = {"strict": "experimental"}
        if muxer in ("mp4", "mov"):
            options |= {"movflags": self._movflags(), "movie_timescale": str(self._clock())}
        elif muxer == "mpegts":
            options["mpegts_copyts"] = "1"
        self.container: OutputContainer = av.open(str(path), "w", format=muxer, container_options=options)
        try:
            self._tracks = {
                track.index: TrackWriter(
                    self.container, source, track, plan.tracks[track.index], splice=splice, threads=threads
                )
                for track in source.tracks
            }
            self._copied = self._add_copied(muxer, strip_metadata=strip_metadata)
            if not strip_metadata:
                self.container.metadata.update(self._metadata())
            if chapters := source.container.chapters():
                self.container.set_chapters(chapters)
            self.container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            raise EncoderFailed(f"The result cannot be begun as {plan.info.format} ({error}).") from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                with _translate_errors():
                    for track in self._tracks.values():
                        track.end_encoding()
                    self.container.close()
        finally:
            # after an error the file is deleted; closing twice does nothing
            with suppress(av.FFmpegError, ValueError):
                self.container.close()

    def can_splice(self, track: VideoTrack) -> bool:
        """Whether copied packets may stand between encoded ones of a track."""
        return self._tracks[track.index].splices

    def encode(self, track: VideoTrack, picture: VideoFrame, pts: int, duration: int) -> None:
        """Encode and write a frame.

        Args:
            track: of the frame.
            picture: its pixels, as stored.
            pts: when it is shown, in the track's time base.
            duration: how long it is shown, in the track's time base; 0: unknown.

        Raises:
            CannotSplice: the frame does not fit between copied stretches.
            EncoderFailed: it cannot be written.
        """
        with _translate_errors():
            self._tracks[track.index].encode(picture, pts, duration)

    def begin_encoding(self, track: VideoTrack, decode_times: Sequence[int]) -> None:
        """Begin a stretch of encoded frames between copied ones.

        Args:
            track: of the frames.
            decode_times: dts that the encoded packets get. The list may grow while frames are encoded.
        """
        self._tracks[track.index].begin_encoding(decode_times)

    def end_encoding(self, track: VideoTrack) -> None:
        """End a stretch of encoded frames: write what the encoder still holds back.

        Raises:
            CannotSplice: a frame does not fit between copied stretches.
            EncoderFailed: a frame is missing, or cannot be written.
        """
        with _translate_errors():
            self._tracks[track.index].end_encoding()

    def copy(self, track: VideoTrack | None, packet: Packet[Any]) -> None:
        """Write a packet as it is.

        Args:
            track: of the packet, between encoded stretches; None: it belongs to another stream.
            packet: of the source.

        Raises:
            EncoderFailed: it cannot be written.
        """
        stream = self._tracks[track.index].stream if track is not None else self._copied.get(packet.stream_index)
        if stream is None or (track is None and _is_gap(stream, packet)):
            return
        with _translate_errors():
            packet.stream = stream
            self.container.mux_one(packet)

    def _add_copied(self, muxer: str, *, strip_metadata: bool) -> dict[int, Stream]:
        copied: dict[int, Stream] = {}
        for stream in self._source.copied:
            if stream.type == "data" and (stream.discard is Discard.all or "timecode" in stream.metadata):
                # chapter titles and time codes: the muxer makes these streams again from what is copied
                continue
            if stream.type == "data" and strip_metadata:
                self.warnings.append("A data track was left out with the metadata.")
                continue
            if not _can_copy(muxer, stream):
                self.warnings.append(
                    f"A track of type {stream.type} was left out: the result's format cannot hold it as it is."
                )
                continue
            copy = self.container.add_stream_from_template(stream)
            copy_description(copy, stream)
            copied[stream.index] = copy
        return copied

    def _metadata(self) -> dict[str, str]:
        """The metadata of the file. In a list of keys, a position has another name, which players know."""
        metadata = dict(self._source.container.metadata)
        if self._has_unusual_keys() and "location" in metadata:
            metadata.setdefault("com.apple.quicktime.location.ISO6709", metadata["location"])
        return metadata

    def _movflags(self) -> str:
        """The index first, so that players can start before they have the whole file; and unusual metadata keys."""
        return "+faststart+use_metadata_tags" if self._has_unusual_keys() else "+faststart"

    def _has_unusual_keys(self) -> bool:
        # some keys are there a second time with a language: location-eng
        return not {_LANGUAGE.sub("", key) for key in self._source.container.metadata} <= _KNOWN_KEYS

    def _clock(self) -> int:
        """Ticks per second of the file's header, chosen so that the start of each track is a whole number of them."""
        bases = [stream.time_base for stream in self._source.container.streams if stream.time_base]
        clock = math.lcm(*(base.denominator for base in bases), 1000)
        return clock if clock <= _LARGEST_CLOCK else 1_000_000


def _is_gap(stream: Stream, packet: Packet[Any]) -> bool:
    """Whether a packet of MP4 subtitles only says that no line is shown: the muxer makes these itself."""
    return stream.codec_context is not None and stream.codec_context.name == "mov_text" and bytes(packet) == b"\0\0"


def _can_copy(muxer: str, stream: Stream) -> bool:
    """Whether a container can hold a stream as it is; the muxer is asked."""
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
def _translate_errors() -> Iterator[None]:
    """Translate FFmpeg's errors into the library's.

    Raises:
        EncoderFailed: the file cannot be written.
    """
    try:
        yield
    except av.FFmpegError as error:
        raise EncoderFailed(f"The result cannot be written ({error.strerror}).") from error
