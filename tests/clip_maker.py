"""How small clips are made in a test: a moving scene, with any tracks, times and colours; and how they break."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from anonymizer.pipeline.video.io.thread_priority import same_priority

__all__ = [
    "Clip",
    "Sound",
    "Video",
    "box_at",
    "damaged",
    "make",
    "remuxed",
    "scene",
    "sound_only",
    "truncated",
    "without_frames",
]

_STILL = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 120, np.uint8), "rgb24")
#: what turns a stored picture upright, by EXIF orientation, as FFmpeg writes a display matrix
_MATRICES = {
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    6: (0, 1, -1, 0),
    8: (0, -1, 1, 0),
}
#: from upright to stored
_UNTURNED: Mapping[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    6: lambda a: np.rot90(a, 1),
    8: lambda a: np.rot90(a, -1),
}


def box_at(number: int, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the moving box in a frame of the scene."""
    width, height = size_wh
    side = min(width, height) // 4
    x = (5 + 2 * number) % (width - side - 10) + 5
    y = height // 3 + number % 7
    return x, y, x + side, y + side


@functools.lru_cache(maxsize=8)
def _ground(size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth, coloured, never magenta; twice as wide as the frame."""
    width, height = size_wh
    noise = np.random.default_rng(1).uniform(0, 40, (height // 16 + 2, 2 * width // 16 + 2, 3))
    large = np.kron(noise, np.ones((16, 16, 1)))[:height, : 2 * width]
    kernel = np.ones(9) / 9
    for axis in (0, 1):
        large = np.apply_along_axis(lambda line: np.convolve(line, kernel, "same"), axis, large)
    return np.asarray(large + np.array([60, 110, 50]), np.uint8)


def scene(number: int, size_wh: tuple[int, int], *, box: bool = True) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB: a ground that drifts to the left, and a box in stripes of magenta that moves to the right.

    It is found by `tests.fakes.MagentaDetector`.
    """
    width, _ = size_wh
    shift = number % width
    picture = _ground(size_wh)[:, shift : shift + width].copy()
    if box:
        x1, y1, x2, y2 = box_at(number, size_wh)
        stripes = np.arange(y2 - y1) // 4 % 2 == 0
        picture[y1:y2, x1:x2] = np.where(stripes[:, None, None], (250, 40, 250), (130, 5, 130))
    return picture


@dataclass(frozen=True)
class Video:
    """One video track.

    Attributes:
        times: pts of the frames, in `time_base`. Default: evenly spaced at `rate`.
        orientation: 1 to 8 as in EXIF: how a player turns the frames.
        box_in: numbers of the frames in which the box is seen. Default: all.
        colours: FFmpeg's numbers of range, primaries, transfer and matrix; 0 or 2: unspecified.
    """

    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    size_wh: tuple[int, int] = (192, 144)
    rate: Fraction = Fraction(25)
    frames: int = 30
    times: Sequence[int] | None = None
    time_base: Fraction | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    orientation: int = 1
    box_in: range | None = None
    colours: tuple[int, int, int, int] = (0, 2, 2, 2)
    pixel_aspect: Fraction | None = None
    interlaced: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    bit_rate: int | None = None

    def has_box(self, number: int) -> bool:
        """Whether the box is seen in a frame."""
        return self.box_in is None or number in self.box_in

    @property
    def upright_wh(self) -> tuple[int, int]:
        width, height = self.size_wh
        return (height, width) if self.orientation >= 5 else (width, height)


@dataclass(frozen=True)
class Sound:
    """One track of sound; start_s: its first sample's time."""

    codec: str = "aac"
    language: str | None = None
    start_s: float = 0.0
    hertz: int = 440


@dataclass(frozen=True)
class Clip:
    """What a file holds.

    Attributes:
        subtitles: by language, the codec.
        data: codec of a data track.
        cover: a picture beside the video.
    """

    extension: str
    videos: tuple[Video, ...] = (Video(),)
    sounds: tuple[Sound, ...] = ()
    subtitles: Mapping[str, str] = field(default_factory=dict)
    data: str | None = None
    chapters: bool = False
    cover: bool = False
    font: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def video(self) -> Video:
        return self.videos[0]


def make(clip: Clip, path: Path) -> Path:
    """Write a clip; its path gets the clip's extension."""
    path = path.with_suffix(clip.extension)
    form = {".ts": "mpegts", ".mkv": "matroska"}.get(clip.extension, clip.extension[1:])
    with same_priority(), av.open(str(path), "w", format=form, container_options=dict(clip.options)) as file:
        _write(clip, file)
    return path


def _write(clip: Clip, file: OutputContainer) -> None:
    file.metadata.update(clip.metadata)
    videos = [(_video_stream(file, video), video) for video in clip.videos]
    sounds = [(file.add_stream(sound.codec, rate=48_000, layout="stereo"), sound) for sound in clip.sounds]
    for stream, sound in sounds:
        if sound.language:
            stream.metadata["language"] = sound.language
    subtitles = []
    for language, codec in clip.subtitles.items():
        stream = file.add_mux_stream(codec, time_base=Fraction(1, 1000))
        stream.metadata["language"] = language
        subtitles.append((stream, codec))
    data = None if clip.data is None else file.add_data_stream(clip.data)
    cover = None
    if clip.cover and clip.extension == ".mkv":
        file.add_attachment("cover.jpg", "image/jpeg", _jpeg())
    elif clip.cover:
        cover = file.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = Disposition.attached_pic
    if clip.font:
        file.add_attachment("plain.ttf", "application/x-truetype-font", b"\0\1\0\0" * 20)
    if clip.chapters:
        file.set_chapters([
            {"id": n, "start": 500 * n, "end": 500 * (n + 1), "time_base": Fraction(1, 1000),
             "metadata": {"title": f"Part {n + 1}"}}
            for n in range(2)
        ])  # fmt: skip
    packets = [packet for stream, video in videos for packet in _pictures(stream, video)]
    seconds = max((float(video.frames / video.rate) for _, video in videos), default=1.0)
    for stream, sound in sounds:
        packets += _tone(stream, sound, seconds)
    for stream, codec in subtitles:
        for n, text in enumerate((b"One", b"Another")):
            content = len(text).to_bytes(2, "big") + text if codec == "mov_text" else text
            packets.append(_packet(stream, content, 100 + 400 * n, 300))
    if data is not None:
        packets += [_packet(data, bytes([n]) * 37, n * 200, 200) for n in range(5)]
    file.start_encoding()
    if cover is not None:
        file.mux(cover.encode(_STILL.reformat(format="yuvj420p")))
    for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
        file.mux(packet)


def _jpeg() -> bytes:
    """A cover."""
    encoder = av.codec.CodecContext.create("mjpeg", "w")
    encoder.width = encoder.height = 64
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1)
    return bytes(encoder.encode(_STILL.reformat(format="yuvj420p"))[0])


def _video_stream(file: OutputContainer, video: Video) -> VideoStream:
    stream = file.add_stream(video.codec, rate=video.rate, options=dict(video.options))
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = video.size_wh
    stream.pix_fmt = video.pixel_format
    context = stream.codec_context
    context.thread_count = 1
    if video.time_base is not None:
        context.time_base = video.time_base
    context.color_range, context.color_primaries, context.color_trc, context.colorspace = video.colours
    if video.pixel_aspect is not None:
        context.sample_aspect_ratio = video.pixel_aspect
    if video.bit_rate is not None:
        context.bit_rate = video.bit_rate
    if video.interlaced:
        context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
    stream.metadata.update(video.metadata)
    if video.orientation != 1:
        a, b, c, d = (65536 * sign for sign in _MATRICES[video.orientation])
        stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
    return stream


def _pictures(stream: VideoStream, video: Video) -> Iterator[Packet[Any]]:
    base = video.time_base or 1 / video.rate
    times = video.times or range(video.frames)
    for number, pts in enumerate(times):
        picture = scene(number, video.upright_wh, box=video.has_box(number))
        stored = np.ascontiguousarray(_UNTURNED[video.orientation](picture))
        frame = av.VideoFrame.from_ndarray(stored, "rgb24")
        full = video.colours[0] == 2 or video.pixel_format.startswith("yuvj")
        frame = frame.reformat(format=video.pixel_format, dst_color_range="JPEG" if full else "MPEG")
        frame.pts, frame.time_base = pts, base
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _tone(stream: Any, sound: Sound, seconds: float) -> list[Packet[Any]]:
    packets = []
    size = stream.codec_context.frame_size or 960
    start = round(sound.start_s * 48_000)
    for at in range(0, int(seconds * 48_000), size):
        wave = np.sin(np.arange(at, at + size) * 2 * np.pi * sound.hertz / 48_000).astype(np.float32) / 4
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, at + start, Fraction(1, 48_000)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _packet(stream: Any, content: bytes, at_ms: int, length_ms: int) -> Packet[Any]:
    packet: Packet[Any] = Packet(content)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = at_ms
    packet.duration = length_ms
    packet.is_keyframe = True
    return packet


def remuxed(source: Path, path: Path, *, first: int) -> Path:
    """The same packets in a new file, from a certain one of the video on."""
    with av.open(str(source)) as file, av.open(str(path), "w") as out:
        streams = {
            stream.index: out.add_stream_from_template(stream) for stream in file.streams if stream.type != "data"
        }
        numbers = itertools.count()
        for packet in file.demux(*(file.streams[index] for index in streams)):
            if packet.size and not (packet.stream.type == "video" and next(numbers) < first):
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    return path


def sound_only(path: Path) -> Path:
    """A container for videos that has sound alone."""
    with av.open(str(path), "w") as file:
        file.mux(_tone(file.add_stream("aac", rate=48_000, layout="stereo"), Sound(), 0.5))
    return path


def without_frames(path: Path) -> Path:
    """A video track, and nothing in it."""
    options = {"movflags": "empty_moov+frag_keyframe"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=options) as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        file.start_encoding()
    return path


def truncated(source: Path, path: Path, share: float = 0.6) -> Path:
    """The first part of a file, as an upload that was cut off leaves it."""
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def damaged(source: Path, path: Path, number: int) -> Path:
    """With other bytes in the middle of one packet of the video, by its number in the order of decoding."""
    with av.open(str(source)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    packet = packets[number]
    assert packet.pos is not None
    content = bytearray(source.read_bytes())
    at = packet.pos + packet.size // 3
    noise = np.random.default_rng(number).integers(0, 256, packet.size // 3, np.uint8)
    content[at : at + len(noise)] = noise.tobytes()
    path.write_bytes(content)
    return path
