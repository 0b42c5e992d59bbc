"""Reading videos: opened behind a fence, judged without being decoded whole, and read packet by packet.

PyAV is FFmpeg in the process. The demuxer is the one that the file's first bytes name, and never another; the only
protocol is `file`, so that nothing in a file can open another one or the network.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

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
from anonymizer.pipeline.video.io.frame_decoder import FrameDecoder, translated
from anonymizer.pipeline.video.io.tracks import Frame, VideoTrack, light_of, orientation_of, side_data
from anonymizer.pipeline.video.io.truncation import ends_early

__all__ = ["VideoReader", "check_video"]

_DEMUXERS = {"mp4": "mov", "mov": "mov", "mkv": "matroska", "webm": "matroska", "avi": "avi", "ts": "mpegts"}

#: Decoders that are let at a file of a stranger.
CODECS = frozenset(
    "h264 hevc vp8 vp9 av1 mpeg4 msmpeg4v2 msmpeg4v3 h263 mjpeg mpeg1video mpeg2video prores dnxhd dvvideo ffv1 "
    "huffyuv ffvhuff rawvideo utvideo qtrle".split()
)
#: what is no video of its own: covers and previews, which show what the video shows
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
#: of what is attached only fonts are kept: a type that says less than that may be that of a picture
_FONT = re.compile(r"font|truetype|opentype")
#: the flag by which a decoder gives what it could not read whole too, marked, instead of leaving it out
OUTPUT_CORRUPT = 1 << 3


class VideoReader:
    """An open video, for one pass over it.

    Args:
        threads: of each decoder; 0: as many as there are cores.
        limits: looked at before a frame is decoded; without, they were.

    Attributes:
        info: its format.
        tracks: its video streams, covers and previews left out.
        copied: the other streams that are kept: sound, subtitles, data, fonts.
        dropped: what is left out, a sentence each.

    Raises:
        BrokenMedia, UnsupportedMedia: it cannot be opened, or has no video that can be read.
        TooLarge: its frames have more pixels, or it lasts longer, than the limits.
    """

    def __init__(self, path: Path, info: MediaInfo, *, threads: int = 0, limits: Limits | None = None) -> None:
        self.info = info
        self._path = path
        self._limits = limits
        with translated():
            self.container: InputContainer = av.open(
                str(path),
                format=_DEMUXERS[info.format],
                # what the library says of a file that is nobody's is not shown: texts of a stranger, in any encoding
                metadata_errors="replace",
                options={"protocol_whitelist": "file", "fflags": "+genpts"},
            )
        try:
            self.dropped: list[str] = []
            self._streams = [each for each in self.container.streams.video if not each.disposition & PICTURES]
            if len(self._streams) < len(self.container.streams.video):
                self.dropped.append("A cover or preview picture was left out: it may show the original.")
            self._check_streams()
            for each in self._streams:
                each.codec_context.flags |= OUTPUT_CORRUPT
                each.codec_context.thread_count = threads
                each.codec_context.thread_type = "AUTO"
            with translated():
                self.tracks = [self._track(each) for each in self._streams]
            self.copied = [each for each in self.container.streams if self._is_copied(each)]
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
        """The stream of a track, in the file as it is open here."""
        return next(each for each in self._streams if each.index == track.index)

    def packets(self) -> Iterator[tuple[VideoTrack | None, Packet[Any]]]:
        """All packets of tracks and copied streams in the file's order; the track, or None for a copied stream."""
        tracks = {each.index: each for each in self.tracks}
        wanted = [*self._streams, *(each for each in self.copied if each.type != "attachment")]
        with translated():
            for packet in self.container.demux(wanted):
                # at the end there is an empty one for each stream, to have a decoder give what it holds back
                if packet.size:
                    yield tracks.get(packet.stream_index), packet

    def frames(self, *, tolerant: bool = False) -> Iterator[Frame]:
        """Every frame of every track, decoded.

        Args:
            tolerant: pass over packets that cannot be decoded at all.

        Raises:
            BrokenMedia: a packet cannot be decoded.
        """
        decoders = {each.index: FrameDecoder(self.stream(each), each, tolerant=tolerant) for each in self.tracks}
        for track, packet in self.packets():
            if track is not None:
                yield from decoders[track.index].decode(packet)
        for decoder in decoders.values():
            yield from decoder.decode(None)

    def _check_streams(self) -> None:
        if not self._streams:
            raise UnsupportedMedia("The file has no video: send a picture, or a video with a video track.")
        for each in self._streams:
            # a decoder may have another name than its codec
            name = "an unknown codec" if each.codec_context is None else each.codec_context.codec.canonical_name
            if name not in CODECS:
                raise UnsupportedMedia(f"The video is coded in {name}, which is not supported.")
            if not each.width or not each.height:
                raise BrokenMedia("The video's size cannot be read.")
            if self._limits is not None and each.width * each.height > self._limits.megapixels * 1e6:
                raise TooLarge(
                    f"The video's frames have {each.width} x {each.height} pixels, "
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

    def _track(self, stream: VideoStream) -> VideoTrack:
        first = self._first(stream)
        matrix = side_data(first, Type.DISPLAYMATRIX)
        turned = None if matrix is None else struct.unpack("<9i", matrix[:36])
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        if stream.time_base is None:
            raise BrokenMedia("The video has no time base.")
        seconds = self._seconds(stream)
        frames = stream.frames or (round(seconds * rate) if seconds else None)
        return VideoTrack(
            index=stream.index,
            codec=stream.codec_context.codec.canonical_name,
            size_wh=(stream.width, stream.height),
            orientation=orientation_of(turned),
            display_matrix=turned,
            time_base=stream.time_base,
            frame_rate=rate,
            frames=frames,
            bit_rate=stream.bit_rate or self._share_of_rate(),
            pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
            interlaced=first is not None and first.interlaced_frame,
            layered=any(side_data(first, each) is not None for each in (Type.DOVI_METADATA, Type.DOVI_RPU_BUFFER)),
            light=light_of(first),
        )

    def _seconds(self, stream: VideoStream) -> float | None:
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return None if self.container.duration is None else self.container.duration / av.time_base

    def _share_of_rate(self) -> int | None:
        """What the file's bit rate leaves for each video, where the streams do not say."""
        if not self.container.bit_rate:
            return None
        others = sum(getattr(each, "bit_rate", 0) or 0 for each in self.container.streams.audio)
        return max(self.container.bit_rate - others, self.container.bit_rate // 10) // len(self._streams)

    def _first(self, stream: VideoStream) -> VideoFrame | None:
        """The first frame: what turns it, and its light, only a decoded one shows. None where it cannot be decoded."""
        with av.open(
            str(self._path), format=_DEMUXERS[self.info.format], metadata_errors="replace",
            options={"protocol_whitelist": "file"},
        ) as other:  # fmt: skip
            twin = other.streams[stream.index]
            twin.codec_context.flags |= OUTPUT_CORRUPT
            twin.codec_context.thread_count = 1
            try:
                for packet in other.demux(twin):
                    for frame in packet.decode():
                        return cast("VideoFrame", frame)
            except av.FFmpegError:
                # said where the frame is decoded to be used
                return None
        return None


def check_video(path: Path, *, limits: Limits = Limits()) -> MediaInfo:  # noqa: B008
    """Judge a video without decoding all of it: its format, bytes, pixels, seconds, and whether it ends early.

    Raises:
        BrokenMedia, TooLarge, UnsupportedMedia: it cannot be anonymised; the sentence says why.
    """
    size = path.stat().st_size
    if size > limits.video_bytes:
        raise TooLarge(f"The video has {size} bytes, more than the limit of {limits.video_bytes / 2**20:g} MiB.")
    with path.open("rb") as file:
        info = sniff(file.read(HEAD_BYTES))
        if info.kind is not MediaKind.VIDEO:
            raise UnsupportedMedia(f"The file is a picture ({info.format}), not a video.")
        if (where := ends_early(file, info.format, size)) is not None:
            raise BrokenMedia(f"The video ends early: {where}.")
    with VideoReader(path, info, threads=1, limits=limits) as reader:
        if not any(True for _ in reader.frames(tolerant=True)):
            raise BrokenMedia("The video has no frames.")
    return info
