"""Reading videos: opened behind a fence, judged without being decoded whole, and read packet by packet.

PyAV is FFmpeg in the process. The demuxer is the one that the file's first bytes name, and never another; the only
protocol is `file`, so that nothing in a file can open another one or the network.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData, Type
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from anonymizer.pipeline.errors import BrokenMedia, OutOfMemory, TooLarge, UnsupportedMedia
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.pipeline.stills import Limits
from anonymizer.pipeline.video_ends import ends_early

__all__ = ["Frame", "FrameDecoder", "VideoReader", "VideoTrack", "check_video"]

_DEMUXERS = {"mp4": "mov", "mov": "mov", "mkv": "matroska", "webm": "matroska", "avi": "avi", "ts": "mpegts"}

#: Decoders that are let at a file of a stranger.
CODECS = frozenset(
    "h264 hevc vp8 vp9 av1 mpeg4 msmpeg4v2 msmpeg4v3 h263 mjpeg mpeg1video mpeg2video prores dnxhd dvvideo ffv1 "
    "huffyuv ffvhuff rawvideo utvideo qtrle".split()
)
#: … of which each packet is a frame that is shown
_FRAME_A_PACKET = frozenset("hevc mjpeg mpeg1video mpeg2video prores dnxhd dvvideo ffv1 huffyuv ffvhuff".split())
#: what is no video of its own: covers and previews, which show what the video shows
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
#: of what is attached only fonts are kept: a type that says less than that may be that of a picture
_FONT = re.compile(r"font|truetype|opentype")
#: the flag by which a decoder gives what it could not read whole too, marked, instead of leaving it out
OUTPUT_CORRUPT = 1 << 3
#: display matrices (a, b, c, d) as EXIF orientations; others are taken as upright
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


@dataclass(frozen=True, slots=True)
class Light:
    """How bright an HDR video is meant to be: SMPTE ST 2086 (numbers and denominators) and CTA-861.3."""

    mastering: tuple[int, ...] | None
    levels: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """One video stream of a file.

    Attributes:
        index: of the stream in the file.
        codec: FFmpeg's name of it.
        size_wh: as stored.
        orientation: 1 to 8, as EXIF has it: how frames are turned to stand upright.
        frame_rate: the average one; 25 where the file does not say.
        frames: how many there are by the file's own account, or by its length; None where neither is known.
        bit_rate: bits per second, None where it cannot be known.
        pixel_aspect: width of a pixel by its height.
        display_matrix: what the orientation was read from.
        layered: Dolby Vision, whose second layer describes the original pixels.
    """

    index: int
    codec: str
    size_wh: tuple[int, int]
    orientation: int
    time_base: Fraction
    frame_rate: Fraction
    frames: int | None
    bit_rate: int | None
    pixel_aspect: Fraction
    display_matrix: tuple[int, ...] | None
    interlaced: bool
    layered: bool
    light: Light

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the upright frame."""
        width, height = self.size_wh
        return (width, height) if self.orientation >= 5 else (height, width)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture of a track; number from 0 in the order of presentation."""

    track: VideoTrack
    number: int
    picture: VideoFrame
    damaged: bool

    @property
    def time_s(self) -> float:
        return float((self.picture.pts or 0) * self.track.time_base)


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
        with _translated():
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
            with _translated():
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
        with _translated():
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
        decoders = {each.index: FrameDecoder(self, each, tolerant=tolerant) for each in self.tracks}
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
        matrix = _side_data(first, Type.DISPLAYMATRIX)
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
            orientation=_orientation(turned),
            display_matrix=turned,
            time_base=stream.time_base,
            frame_rate=rate,
            frames=frames,
            bit_rate=stream.bit_rate or self._share_of_rate(),
            pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
            interlaced=first is not None and first.interlaced_frame,
            layered=any(_side_data(first, each) is not None for each in (Type.DOVI_METADATA, Type.DOVI_RPU_BUFFER)),
            light=_light(first),
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


class FrameDecoder:
    """Decodes the packets of one track and numbers the frames.

    Args:
        tolerant: pass over what cannot be decoded at all, and take every frame for damaged that may build on a damaged
            one: decoders mark the first only.

    Attributes:
        number: of the next frame.
        given: packets so far.
    """

    def __init__(self, reader: VideoReader, track: VideoTrack, *, tolerant: bool = False) -> None:
        self._track, self._tolerant = track, tolerant
        self._context = reader.stream(track).codec_context
        self.number = self.given = 0
        self._time: int | None = None
        self._broken = False
        self._held: deque[Frame] = deque()
        # frames shown before a damaged one may be predicted from it
        self._hold = self._context.reorder_depth + 1 if tolerant else 0

    @property
    def lost(self) -> int:
        """Packets that gave no frame, once all are decoded; not said of codecs in which that is no loss."""
        return max(0, self.given - self.number) if self._track.codec in _FRAME_A_PACKET else 0

    def decode(self, packet: Packet[Any] | None) -> Iterator[Frame]:
        """The frames that a packet completes; None: those that are held back.

        Raises:
            BrokenMedia: the packet cannot be decoded.
        """
        self.given += packet is not None
        try:
            with _translated():
                pictures = self._context.decode(packet)
        except BrokenMedia:
            if not self._tolerant or packet is None:
                after = "" if self._time is None else f" (after {float(self._time * self._track.time_base):.2f} s)"
                raise BrokenMedia(f"Frame {self.number} of the video cannot be decoded{after}.") from None
            self._spoil()
            return
        for picture in pictures:
            yield from self._settle(picture, damaged=picture.is_corrupt or (packet is not None and packet.is_corrupt))
        if packet is None:
            yield from self._released(0)

    def pass_over(self, packets: Sequence[Packet[Any]]) -> None:
        """Count packets that are not decoded, a frame each."""
        self.number += len(packets)
        self.given += len(packets)
        self._time = max(int(each.pts or 0) for each in packets)

    def restart(self) -> None:
        """Forget what went before: the next packet is a key frame."""
        self._context.flush_buffers()

    def _settle(self, picture: VideoFrame, *, damaged: bool) -> Iterator[Frame]:
        if picture.pts is None:
            raise BrokenMedia(f"Frame {self.number} of the video has no time.")
        if self._time is not None and picture.pts <= self._time:
            raise BrokenMedia(f"Frame {self.number} of the video has no time of its own.")
        if (picture.width, picture.height) != self._track.size_wh:
            raise UnsupportedMedia(f"The video changes its size at frame {self.number}, which is not supported.")
        if picture.key_frame:
            self._broken = False
        if damaged:
            self._spoil()
        self._held.append(Frame(self._track, self.number, picture, damaged or (self._broken and self._tolerant)))
        self.number += 1
        self._time = picture.pts
        yield from self._released(self._hold)

    def _spoil(self) -> None:
        self._broken = True
        for place in range(len(self._held) - 1, -1, -1):
            self._held[place] = replace(self._held[place], damaged=True)
            if self._held[place].picture.key_frame:
                break

    def _released(self, keep: int) -> Iterator[Frame]:
        while len(self._held) > keep:
            yield self._held.popleft()


def _side_data(frame: VideoFrame | None, kind: Type) -> bytes | None:
    if frame is None:
        return None
    found = cast("Mapping[Type, SideData]", frame.side_data).get(kind)
    return None if found is None else bytes(found)


def _orientation(matrix: tuple[int, ...] | None) -> int:
    """1 to 8 as EXIF has it, from the nine numbers of a display matrix."""
    if matrix is None:
        return 1
    signs = [int(np.sign(round(matrix[place] / 65536))) for place in (0, 1, 3, 4)]
    return _ORIENTATIONS.get((signs[0], signs[1], signs[2], signs[3]), 1)


def _light(frame: VideoFrame | None) -> Light:
    mastering = _side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    levels = _side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    return Light(
        None if mastering is None else struct.unpack("<22i", mastering[:88]),
        None if levels is None else struct.unpack("<2I", levels[:8]),
    )


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


@contextmanager
def _translated() -> Iterator[None]:
    """Make FFmpeg's errors ours.

    Raises:
        BrokenMedia: the file cannot be read.
        OutOfMemory: there is too little memory for it.
    """
    try:
        yield
    except (MemoryError, av.error.MemoryError) as error:
        raise OutOfMemory("There is too little memory for the video.") from error
    except av.error.BlockingIOError as error:
        # how a demuxer says that it has looked far enough for the next packet
        raise BrokenMedia("The video is broken: there are bytes in it that belong to nothing.") from error
    except av.FFmpegError as error:
        raise BrokenMedia(f"The video is broken: {error.strerror}.") from error
