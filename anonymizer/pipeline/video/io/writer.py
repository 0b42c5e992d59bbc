"""Writing videos: the container, tracks and times of the source, with redacted frames (`track_writer`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.frame import VideoFrame

from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.options.options import KeepMetadata
from anonymizer.pipeline.video.io.codecs.text_headers import kept_header
from anonymizer.pipeline.video.io.containers.avi_headers import write_stream_times
from anonymizer.pipeline.video.io.containers.mp4_index import TrackDescription, read_descriptions, rewrite_index
from anonymizer.pipeline.video.io.containers.mp4_leftovers import Positions, read_positions, unread_boxes
from anonymizer.pipeline.video.io.copied_tracks import CopiedTrack, TrackCopy, choose_copies, codec_name
from anonymizer.pipeline.video.io.encoders import MUXERS, OutputPlan
from anonymizer.pipeline.video.io.metadata import LANGUAGE, kept_of_file, kept_of_track
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.track_writer import TrackWriter, copy_description
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["VideoWriter"]

#: the highest number of ticks per second that the header of an MP4 file can have
_LARGEST_CLOCK = 2**31 - 1
#: muxers whose files have an index, which is completed afterwards
_WITH_INDEX = ("mp4", "mov")
#: by the type of a stream, the muxers that can hold it, if not all can
_HOLDS = {"data": (*_WITH_INDEX, "mpegts"), "attachment": ("matroska",)}
#: Metadata keys that have a box of their own in an MP4 file. With any other key, all keys go into a list.
_KNOWN_KEYS = frozenset(
    "title artist album date comment genre copyright description synopsis show episode_id network lyrics grouping "
    "album_artist composer encoder creation_time major_brand minor_version compatible_brands location track disc "
    "timecode".split()
)


class VideoWriter:
    """Writes a video; a context manager that finishes the file.

    Args:
        path: of the new file.
        source: the open source, whose other streams are copied.
        plan: container and encoders.
        keep_metadata: what of the metadata is kept; with `none`, data streams (which hold positions) are left out.
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
        keep_metadata: KeepMetadata = KeepMetadata.TECHNICAL,
        splice: bool = False,
        threads: int = 0,
    ) -> None:
        self.warnings: list[str] = []
        self._source, self._path = source, path
        self._keep = keep_metadata
        self._metadata = kept_of_file(source.container.metadata, self._keep)
        self._descriptions: dict[int, TrackDescription] = {}
        self._positions: Positions | None = None
        self._format, self._muxer = plan.info.format, MUXERS[plan.info.format]
        muxer = self._muxer
        options = {"strict": "experimental"}
        copies = self._choose_copies(options)
        if self._keep is not KeepMetadata.NONE and source.info.format in _WITH_INDEX:
            self._look_for_leftovers()
        if muxer in ("mp4", "mov"):
            options |= self._movflags() | {"movie_timescale": str(self._clock())}
        elif muxer == "mpegts":
            # with 192 bytes to a packet, as Blu-ray and AVCHD have it
            options |= {"mpegts_copyts": "1", "mpegts_m2ts_mode": str(int(self._format == "m2ts"))}
        self.container: OutputContainer = av.open(
            # FFmpeg takes the colon in a relative path for the end of a protocol's name
            str(path.absolute()), "w", format=muxer, container_options=options
        )  # fmt: skip
        try:
            self._tracks = {
                track.index: TrackWriter(
                    self.container,
                    source,
                    track,
                    plan.tracks[track.index],
                    keep_metadata=self._keep,
                    splice=splice,
                    threads=threads,
                )
                for track in source.tracks
            }
            self._copied: dict[int, CopiedTrack] = {}
            for copy in copies:
                self._copied[copy.stream.index] = copied = self._copy_track(copy)
                copy_description(copied.stream, copy.stream, self._keep)
            self.container.metadata.update(self._file_metadata())
            self._copy_chapters()
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
                self._finish()
        finally:
            # after an error the file is deleted; closing twice does nothing
            with suppress(av.FFmpegError, ValueError):
                self.container.close()

    def can_splice(self, track: VideoTrack) -> bool:
        """Whether copied packets may stand between encoded ones of a track."""
        return self._tracks[track.index].splices

    def header(self, track: VideoTrack) -> bytes | None:
        """The parameter sets of a track that may have copied stretches; None for another one."""
        return self._tracks[track.index].header

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
        """Write a packet of the source without encoding it.

        Args:
            track: of the packet, between encoded stretches; None: it belongs to another stream. Of a track, only what
                shows its picture is written.
            packet: of the source.

        Raises:
            CannotSplice: the packet does not fit between encoded stretches.
            EncoderFailed: it cannot be written.
        """
        with _translate_errors():
            if track is not None:
                self._tracks[track.index].copy(packet)
            elif (copied := self._copied.get(packet.stream_index)) and not _is_gap(packet):
                copied.write(packet)

    def _choose_copies(self, options: Mapping[str, str]) -> list[TrackCopy]:
        """How streams are copied; a warning for each that is left out."""
        streams = self._copyable()
        held = [stream for stream in streams if self._muxer in _HOLDS.get(stream.type, (self._muxer,))]
        copies = [
            copy for copy in choose_copies(self._source.container, held, self._muxer, options) if self._has_header(copy)
        ]
        copied = {copy.stream.index for copy in copies}
        for stream in streams:
            if stream.index not in copied:
                self._descriptions.pop(stream.index, None)
                codec = codec_name(stream)
                self.warnings.append(
                    f"A track of type {stream.type} was left out: {self._format} cannot hold {codec} as it is."
                )
        return copies

    def _has_header(self, copy: TrackCopy) -> bool:
        """Whether the texts in the header of a track can be read, or there are none."""
        try:
            self._new_header(copy)
        except ValueError:
            return False
        return True

    def _new_header(self, copy: TrackCopy) -> bytes | None:
        """The header of a copied track without the texts that are not kept; None: it stays as it is.

        Raises:
            ValueError: it cannot be read.
        """
        context = copy.stream.codec_context
        header = None if context is None else context.extradata
        if not header:
            return None
        kept = kept_header(codec_name(copy.stream), header, self._keep)
        return None if kept == header else kept

    def _copy_track(self, copy: TrackCopy) -> CopiedTrack:
        header = self._new_header(copy)
        if header is None:
            return CopiedTrack(self.container, copy)
        # only a stream with a codec of its own takes another header
        copied = CopiedTrack(self.container, replace(copy, exact=False))
        copied.stream.codec_context.extradata = header
        return copied

    def _copy_chapters(self) -> None:
        if self._keep is KeepMetadata.NONE:
            return
        chapters = self._source.container.chapters()
        for chapter in chapters:
            chapter["metadata"] = kept_of_track(chapter["metadata"], self._keep)
        if chapters:
            self.container.set_chapters(chapters)

    def _copyable(self) -> list[Stream]:
        """The streams that are wanted; a warning for each data track that is not, or that cannot be read."""
        streams = []
        descriptions = read_descriptions(self._path_of_source()) if self._muxer in _WITH_INDEX else {}
        for stream in self._source.copied:
            if stream.type == "data":
                if stream.discard is Discard.all or "timecode" in stream.metadata:
                    # chapter titles and time codes: the muxer makes these streams again from what is copied
                    continue
                if self._keep is KeepMetadata.NONE:
                    self.warnings.append("A data track was left out with the metadata.")
                    continue
                if self._muxer in _WITH_INDEX and stream.id not in descriptions:
                    self.warnings.append(
                        "A track of type data was left out: it has more than one format, or none that can be read."
                    )
                    continue
                if stream.id in descriptions:
                    self._descriptions[stream.index] = descriptions[stream.id]
            streams.append(stream)
        return streams

    def _look_for_leftovers(self) -> None:
        """Find the positions of a camera; a warning if something else of the file is left out."""
        path = self._path_of_source()
        if self._muxer in _WITH_INDEX:
            self._positions = read_positions(path)
        unread = [name for name in unread_boxes(path) if name != "moov/gps" or self._positions is None]
        if unread:
            self.warnings.append(f"Parts of the file that are not known were left out: {', '.join(unread)}.")

    def _path_of_source(self) -> Path:
        return Path(self._source.container.name)

    def _finish(self) -> None:
        """Write into the finished file what the muxer cannot write.

        Raises:
            EncoderFailed: it cannot be written.
        """
        try:
            self._complete_headers()
        except (OSError, ValueError) as error:
            raise EncoderFailed(f"The result cannot be completed ({error}).") from error

    def _complete_headers(self) -> None:
        times = {copied.stream.index: copied.times for copied in self._copied.values()}
        if sound := {index: of_sound for index, of_sound in times.items() if of_sound is not None}:
            with self._path.open("r+b") as file:
                write_stream_times(file, sound)
        described = {self._copied[index].stream.index: it for index, it in self._descriptions.items()}
        if described or self._positions:
            streams: dict[int, Stream] = {index: track.stream for index, track in self._tracks.items()}
            streams |= {index: copied.stream for index, copied in self._copied.items()}
            ids = {self._source.container.streams[index].id: stream.index for index, stream in streams.items()}
            if not rewrite_index(self._path, described, ids, self._positions):
                self.warnings.append("The positions of the camera were left out: the file is too large for them.")

    def _file_metadata(self) -> dict[str, str]:
        """The metadata of the file. In a list of keys, a position has another name, which players know."""
        metadata = dict(self._metadata)
        if self._has_unusual_keys() and "location" in metadata:
            metadata.setdefault("com.apple.quicktime.location.ISO6709", metadata["location"])
        return metadata

    def _movflags(self) -> dict[str, str]:
        """The index first, so that players can start before they have the whole file; and unusual metadata keys."""
        # where the index is changed afterwards, it is also moved then
        flags = [] if self._descriptions or self._positions else ["faststart"]
        flags += ["use_metadata_tags"] if self._has_unusual_keys() else []
        return {"movflags": "+".join(["", *flags])} if flags else {}

    def _has_unusual_keys(self) -> bool:
        # some keys are there a second time with a language: location-eng
        return not {LANGUAGE.sub("", key) for key in self._metadata} <= _KNOWN_KEYS

    def _clock(self) -> int:
        """Ticks per second of the file's header, chosen so that the start of each track is a whole number of them."""
        bases = [stream.time_base for stream in self._source.container.streams if stream.time_base]
        clock = math.lcm(*(base.denominator for base in bases), 1000)
        return clock if clock <= _LARGEST_CLOCK else 1_000_000


def _is_gap(packet: Packet[Any]) -> bool:
    """Whether a packet of MP4 subtitles only says that no line is shown: the muxer makes these itself."""
    return codec_name(packet.stream) == "mov_text" and bytes(packet) == b"\0\0"


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
