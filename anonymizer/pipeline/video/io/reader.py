"""Reading videos: open them safely, check them without decoding all of them, and read them packet by packet.

PyAV runs FFmpeg in this process. Only the demuxer that the first bytes of the file name may open it. The only protocol
is `file`, so that nothing in a file can open another file or the network.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from anonymizer.pipeline.errors import BrokenMedia, TooLarge, UnsupportedMedia
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.pipeline.video.io.codecs.packet_checks import STRICT, reads_header
from anonymizer.pipeline.video.io.containers import mp4_boxes
from anonymizer.pipeline.video.io.containers.checks import check_container
from anonymizer.pipeline.video.io.frame_decoder import SILENT, FrameDecoder, translate_errors
from anonymizer.pipeline.video.io.tracks import DecodedFrame, VideoTrack, read_hdr_metadata, read_orientation, side_data
from anonymizer.pipeline.video.io.truncation import find_truncation

__all__ = ["VideoReader", "check_video", "check_video_beginning"]

_DEMUXERS = {
    "mp4": "mov", "mov": "mov", "mkv": "matroska", "webm": "matroska", "avi": "avi", "ts": "mpegts",
    "m2ts": "mpegts",
}  # fmt: skip

#: the codecs that may decode a file from a stranger
CODECS = frozenset(
    "h264 hevc vp8 vp9 av1 mpeg4 msmpeg4v2 msmpeg4v3 h263 mjpeg mpeg1video mpeg2video prores dnxhd dvvideo ffv1 "
    "huffyuv ffvhuff rawvideo utvideo qtrle".split()
)
#: streams that are no video: covers and previews. They show what the video shows.
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
#: Of attached files only fonts are kept. A media type that is less clear may be that of an image.
_FONT = re.compile(r"font|truetype|opentype")
#: of a file whose end is not known
_ANY_SIZE = 2**62
#: the flag that makes a decoder give frames it could not read whole, marked, instead of leaving them out
OUTPUT_CORRUPT = 1 << 3
#: the flag that makes a decoder begin rows where the cropping window does, at any column
_UNALIGNED = 1 << 0
#: with several threads, these decoders do not tell that the first slice is missing
_ONE_THREAD = frozenset({"mpeg1video", "mpeg2video"})


class VideoReader:
    """An open video, for one pass over it; a context manager that closes it.

    Args:
        path: of the file.
        info: its format.
        threads: of each decoder; 0: as many as there are cores.
        limits: checked before a frame is decoded. Default: nothing is checked.

    Attributes:
        info: its format.
        tracks: its video streams, without covers and previews.
        copied: the other streams that are kept: sound, subtitles, data, fonts.
        dropped: what is left out, a sentence each.

    Raises:
        BrokenMedia: the file cannot be opened, or the size of a track cannot be read.
        OutOfMemory: there is too little memory for it.
        TooLarge: its frames have more pixels, or it lasts longer, than the limits.
        UnsupportedMedia: it has no video track, or one in a codec that is not supported.
    """

    def __init__(self, path: Path, info: MediaInfo, *, threads: int = 0, limits: Limits | None = None) -> None:
        self.info = info
        # FFmpeg takes the colon in a relative path for the end of a protocol's name
        self._path = path.absolute()
        self._limits = limits
        with translate_errors():
            self.container: InputContainer = av.open(
                str(self._path),
                format=_DEMUXERS[info.format],
                # texts of a stranger, in any encoding
                metadata_errors="replace",
                options={"protocol_whitelist": "file", "fflags": "+genpts"},
            )
        try:
            self.dropped: list[str] = []
            videos = self.container.streams.video
            self._streams = [stream for stream in videos if not stream.disposition & PICTURES]
            if len(self._streams) < len(videos):
                self.dropped.append("A cover or preview picture was left out: it may show the original.")
            self._check_streams()
            for stream in self._streams:
                context = stream.codec_context
                codec = context.codec.canonical_name
                context.flags |= OUTPUT_CORRUPT | _UNALIGNED
                context.thread_count = 1 if codec in _ONE_THREAD else threads
                context.thread_type = "AUTO"
                if codec in SILENT and reads_header(context):
                    context.options = dict(STRICT)
            with translate_errors():
                self.tracks = [self._read_track(stream) for stream in self._streams]
            self.copied = [stream for stream in self.container.streams if self._is_copied(stream)]
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def stream(self, track: VideoTrack) -> VideoStream:
        """The stream of a track in this open file."""
        return next(stream for stream in self._streams if stream.index == track.index)

    def packets(self) -> Iterator[tuple[VideoTrack | None, Packet[Any]]]:
        """Read all packets of tracks and copied streams, in the order of the file.

        Returns:
            Pairs of a track and a packet. The track is None for a packet of a copied stream.

        Raises:
            BrokenMedia: the file cannot be read.
            OutOfMemory: there is too little memory for it.
        """
        tracks = {track.index: track for track in self.tracks}
        wanted = [*self._streams, *(stream for stream in self.copied if stream.type != "attachment")]
        with translate_errors():
            for packet in self.container.demux(wanted):
                # at the end each stream has an empty packet, which makes a decoder give what it holds back
                if packet.size:
                    yield tracks.get(packet.stream_index), packet

    def frames(self, *, tolerate_damage: bool = False) -> Iterator[DecodedFrame]:
        """Decode every frame of every track.

        Args:
            tolerate_damage: skip packets that cannot be decoded at all, and mark what may build on a damaged frame.

        Raises:
            BrokenMedia: the file cannot be read, or a packet cannot be decoded.
            OutOfMemory: there is too little memory for it.
            UnsupportedMedia: the frames change their size.
        """
        decoders = {
            track.index: FrameDecoder(self.stream(track), track, tolerate_damage=tolerate_damage)
            for track in self.tracks
        }
        for video_track, packet in self.packets():
            if video_track is not None:
                yield from decoders[video_track.index].decode(packet)
        for decoder in decoders.values():
            yield from decoder.decode(None)

    def _check_streams(self) -> None:
        if not self._streams:
            raise UnsupportedMedia("The file has no video: send a picture, or a video with a video track.")
        for stream in self._streams:
            # a decoder may have another name than its codec
            name = "an unknown codec" if stream.codec_context is None else stream.codec_context.codec.canonical_name
            if name not in CODECS:
                raise UnsupportedMedia(f"The video is coded in {name}, which is not supported.")
            if not stream.width or not stream.height:
                raise BrokenMedia("The video's size cannot be read.")
            if self._limits is not None and stream.width * stream.height > self._limits.megapixels * 1e6:
                raise TooLarge(
                    f"The video's frames have {stream.width} x {stream.height} pixels, "
                    f"more than {self._limits.megapixels:g} megapixels."
                )
        seconds = (self.container.duration or 0) / av.time_base
        if self._limits is not None and seconds > self._limits.seconds:
            raise TooLarge(f"The video lasts {seconds:.0f} seconds, more than the limit of {self._limits.seconds:g}.")

    def _is_copied(self, stream: Stream) -> bool:
        if stream.type == "video":
            return False
        if stream.type == "attachment" and not _FONT.search(str(getattr(stream, "mimetype", ""))):
            self.dropped.append("An attached file was left out: it may show the original.")
            return False
        return stream.type in ("audio", "subtitle", "data", "attachment")

    def _read_track(self, stream: VideoStream) -> VideoTrack:
        first = self._first_frame(stream)
        matrix = side_data(first, Type.DISPLAYMATRIX)
        display_matrix = None if matrix is None else struct.unpack("<9i", matrix[:36])
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        if stream.time_base is None:
            raise BrokenMedia("The video has no time base.")
        seconds = self._seconds(stream)
        frames = stream.frames or (round(seconds * rate) if seconds else None)
        return VideoTrack(
            index=stream.index,
            codec=stream.codec_context.codec.canonical_name,
            size_wh=(stream.width, stream.height),
            orientation=read_orientation(display_matrix),
            display_matrix=display_matrix,
            time_base=stream.time_base,
            frame_rate=rate,
            frames=frames,
            bit_rate=stream.bit_rate or self._share_of_rate(),
            pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
            interlaced=first is not None and first.interlaced_frame,
            dolby_vision=any(side_data(first, kind) is not None for kind in (Type.DOVI_METADATA, Type.DOVI_RPU_BUFFER)),
            hdr=read_hdr_metadata(first),
        )

    def _seconds(self, stream: VideoStream) -> float | None:
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return None if self.container.duration is None else self.container.duration / av.time_base

    def _share_of_rate(self) -> int | None:
        """The file's bit rate without the sound, shared by the video streams: for streams that do not tell theirs."""
        if not self.container.bit_rate:
            return None
        others = sum(getattr(stream, "bit_rate", 0) or 0 for stream in self.container.streams.audio)
        return max(self.container.bit_rate - others, self.container.bit_rate // 10) // len(self._streams)

    def _first_frame(self, stream: VideoStream) -> VideoFrame | None:
        """The first frame: only a decoded one shows its orientation and HDR metadata. None: it cannot be decoded."""
        with av.open(
            str(self._path), format=_DEMUXERS[self.info.format], metadata_errors="replace",
            options={"protocol_whitelist": "file"},
        ) as other:  # fmt: skip
            twin = other.streams[stream.index]
            twin.codec_context.flags |= OUTPUT_CORRUPT | _UNALIGNED
            twin.codec_context.thread_count = 1
            try:
                for packet in other.demux(twin):
                    for frame in packet.decode():
                        return cast("VideoFrame", frame)
            except av.FFmpegError:
                # the error is raised later, where the frame is needed
                return None
        return None


def check_video(path: Path, *, limits: Limits = Limits()) -> MediaInfo:  # noqa: B008
    """Check a video without decoding all of it: its format, bytes, pixels, seconds, and whether it was cut off.

    Args:
        path: of the file.
        limits: the largest video that is accepted.

    Returns:
        The format of the video.

    Raises:
        BrokenMedia: it cannot be read, has no frames, or was cut off.
        OutOfMemory: there is too little memory for it.
        TooLarge: it has more bytes, pixels or seconds than the limits.
        UnsupportedMedia: it is no video, in a format or codec that is not supported, encrypted, or joined from parts.
    """
    size = path.stat().st_size
    if size > limits.video_bytes:
        raise TooLarge(f"The video has {size} bytes, more than the limit of {limits.video_bytes / 2**20:g} MiB.")
    with path.open("rb") as file:
        info = sniff(file.read(HEAD_BYTES))
        if info.kind is not MediaKind.VIDEO:
            raise UnsupportedMedia(f"The file is a picture ({info.format}), not a video.")
        if (where := find_truncation(file, info.format, size)) is not None:
            raise BrokenMedia(f"The video ends early: {where}.")
        check_container(file, info.format, size)
    with VideoReader(path, info, threads=1, limits=limits) as reader:
        if not any(True for _ in reader.frames(tolerate_damage=True)):
            raise BrokenMedia("The video has no frames.")
    return info


def check_video_beginning(path: Path, *, limits: Limits = Limits()) -> MediaInfo:  # noqa: B008
    """Check what the first megabytes of a video tell: its format, codecs, pixels and seconds.

    An MP4 whose index is at its end tells only its format. Whether the rest is whole, only the rest tells.

    Args:
        path: of a file with the beginning of the video.
        limits: the largest video that is accepted; its bytes are not looked at.

    Returns:
        The format of the video.

    Raises:
        BrokenMedia: it cannot be opened.
        OutOfMemory: there is too little memory for it.
        TooLarge: it has more pixels or seconds than the limits.
        UnsupportedMedia: it is no video, in a format or codec that is not supported, or encrypted.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        info = sniff(file.read(HEAD_BYTES))
        if info.kind is not MediaKind.VIDEO:
            raise UnsupportedMedia(f"The file is a picture ({info.format}), not a video.")
        if info.format in ("mp4", "mov"):
            # a box may end after the beginning
            if (where := find_truncation(file, info.format, _ANY_SIZE)) is not None:
                raise BrokenMedia(f"The video cannot be read: {where}.")
            boxes = list(mp4_boxes.top_level(file, size))
            if all(box.kind != b"moov" for box in boxes):
                if boxes and _is_last(file, boxes[-1]):
                    raise BrokenMedia("The video cannot be read: it has no index (moov).")
                return info
        check_container(file, info.format, size)
    with VideoReader(path, info, threads=1, limits=limits):
        return info


def _is_last(file: BinaryIO, box: mp4_boxes.Box) -> bool:
    """Whether a box says that it goes to the end of the file, wherever that is."""
    file.seek(box.start)
    return not any(file.read(4))
