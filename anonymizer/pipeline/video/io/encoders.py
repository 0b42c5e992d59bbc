"""How a video is written: container and codec of its source where there is an encoder, and a quality like its own."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.codec import Codec
from av.video.codeccontext import VideoCodecContext

from anonymizer.pipeline.errors import EncoderFailed, InvalidParameter
from anonymizer.pipeline.media_kinds import MediaInfo, by_format
from anonymizer.pipeline.options.options import Options, VideoEncoder
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["MUXERS", "Encoding", "Output", "encoder_works", "open_encoder", "plan", "with_bit_rate"]

MUXERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm", "avi": "avi", "ts": "mpegts"}
#: by codec, the encoder that writes it
_ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "mpeg4": "mpeg4",
    "mjpeg": "mjpeg",
    "mpeg2video": "mpeg2video",
    "prores": "prores_ks",
    "ffv1": "ffv1",
    "huffyuv": "huffyuv",
    "ffvhuff": "ffvhuff",
}
# it tells of itself on standard error, but for errors
os.environ.setdefault("SVT_LOG", "1")
#: what a container cannot hold in FFmpeg's own opinion is found out by asking; this it holds and players do not read
_UNUSUAL = {("mp4", "mjpeg"), ("avi", "hevc"), ("avi", "av1"), ("avi", "vp9")}
#: Constant quality of x264 by the bits per pixel of the source, so that sizes are alike. What gave the source's size in
#: the clips of `../shared/data/videos` (bits per pixel): 23 (.057), 20 (.084), 18 (.15), 20 (.24), 19 (.31).
_BASE_CRF, _STEP, _BASE_BITS, _CRF_RANGE = 20.5, 3.0, 0.1, (17.0, 26.0)
#: libavutil's unit of a quantiser
_LAMBDA = 118


@dataclass(frozen=True, slots=True)
class Encoding:
    """One track's encoder.

    Attributes:
        encoder: FFmpeg's name of it.
        pixel_format: what it is given.
        rate: frames per second; packets get their source's times afterwards.
        options: of the encoder.
        bit_rate: to keep to, bits per second; None: constant quality.
        quantiser: constant quality of encoders that know no other, 2 (best) to 31.
    """

    encoder: str
    pixel_format: str
    rate: Fraction
    options: Mapping[str, str] = field(default_factory=dict)
    bit_rate: int | None = None
    quantiser: float | None = None
    same_codec: bool = True


@dataclass(frozen=True, slots=True)
class Output:
    """The result's container, and by stream index how each track is written."""

    info: MediaInfo
    tracks: Mapping[int, Encoding]
    warnings: tuple[str, ...] = ()


def plan(reader: VideoReader, options: Options) -> Output:
    """How to write the result of a video.

    Raises:
        InvalidParameter: the encoder that is asked for is not at hand on this machine.
    """
    encodings = {each.index: _encoding(reader, each, options) for each in reader.tracks}
    if all(each is not None for each in encodings.values()):
        return Output(reader.info, {index: each for index, each in encodings.items() if each is not None})
    # MP4 for everyone's player; Matroska where MP4 cannot hold the sound
    name = "mp4" if all(_holds("mp4", each.codec_context) for each in reader.copied if each.type == "audio") else "mkv"
    codecs = ", ".join(sorted({each.codec for each in reader.tracks}))
    warning = (
        f"The video ({codecs} in {reader.info.format}) was written as H.264 in {name}: there is no encoder for it."
    )
    tracks = {
        each.index: replace(
            _of_quality("libx264", _pixel_format("libx264", _source_format(reader, each)), each), same_codec=False
        )
        for each in reader.tracks
    }
    return Output(by_format(name), tracks, (warning,))


def _encoding(reader: VideoReader, track: VideoTrack, options: Options) -> Encoding | None:
    """None where no encoder at hand writes the track into the source's container."""
    wanted = options.video_encoder
    name = _ENCODERS.get(track.codec) if wanted is VideoEncoder.AUTO else wanted.value
    if name is None:
        return None
    if not encoder_works(name):
        if wanted is VideoEncoder.AUTO:
            return None
        raise InvalidParameter("video-encoder", name, "auto, or an encoder that works on this machine")
    codec = Codec(name, "w").canonical_name
    muxer = MUXERS[reader.info.format]
    if (muxer, codec) in _UNUSUAL or not _can_hold(muxer, name):
        return None
    source = _source_format(reader, track)
    if source not in _formats(name):
        if wanted is VideoEncoder.AUTO:
            return None
        source = _pixel_format(name, source)
    same = codec == track.codec and not track.layered
    encoding = replace(_of_quality(name, source, track), same_codec=same)
    # AVI has no times of presentation: frames have to come in their order
    return replace(encoding, options={**encoding.options, "bf": "0"}) if muxer == "avi" else encoding


def _of_quality(name: str, pixel_format: str, track: VideoTrack) -> Encoding:
    """With a constant quality that looks like the source, by its bits per pixel."""
    width, height = track.size_wh
    bits = (track.bit_rate or 0) / (width * height * float(track.frame_rate)) or _BASE_BITS
    # newer codecs need fewer bits for the same picture, older ones more
    bits *= {"hevc": 1.6, "vp9": 1.5, "av1": 2.0, "mpeg4": 0.6, "mpeg2video": 0.5}.get(track.codec, 1.0)
    low, high = _CRF_RANGE
    crf = min(max(_BASE_CRF - _STEP * math.log2(bits / _BASE_BITS), low), high)
    options: dict[str, str] = {}
    quantiser = None
    if name == "libx264":
        options = {"preset": "veryfast", "crf": f"{crf:.1f}", "forced-idr": "1"}
    elif name == "libx265":
        options = {"preset": "veryfast", "crf": f"{crf + 2:.1f}", "x265-params": ":".join(_x265(track))}
    elif name == "libsvtav1":
        options = {"preset": "9", "crf": f"{crf * 1.6:.0f}"}
    elif name in ("libvpx-vp9", "libvpx"):
        options = {"crf": f"{crf * 1.35:.0f}", "deadline": "realtime", "cpu-used": "6", "auto-alt-ref": "0"}
        if name == "libvpx-vp9":
            options |= {"row-mt": "1", "b": "0"}
        else:
            options |= {"b": str(max(4 * (track.bit_rate or 1_000_000), 1_000_000))}
    elif name.endswith("_nvenc"):
        options = {"preset": "p4", "rc": "vbr", "cq": f"{crf + 2:.0f}", "forced-idr": "1"}
    elif name in ("mpeg4", "mjpeg", "mpeg2video"):
        quantiser = min(max(2 ** ((crf - 17) / 6) * 2, 2), 6)
    elif name == "prores_ks":
        options = {"profile": "4444" if "444" in pixel_format else "hq", "vendor": "apl0"}
    rate = track.frame_rate.limit_denominator(1001)
    if rate <= 0 or rate > 1000:
        rate = Fraction(25)
    return Encoding(name, pixel_format, rate, options, quantiser=quantiser)


def with_bit_rate(encoding: Encoding, *, bits: float, frames: int, stats: Path, again: bool) -> Encoding:
    """The same encoder at a rate instead of a quality.

    Args:
        bits: all frames together.
        stats: where x264 keeps what it learns of the frames, for the next time.
        again: there was a time before.
    """
    rate = max(1, round(bits / max(frames, 1) * encoding.rate))
    options = {key: value for key, value in encoding.options.items() if key not in ("crf", "cq", "b", "rc")}
    if encoding.encoder == "libx264":
        # every time as thorough as the last: any of them may be near enough
        options |= {"fastfirstpass": "0", "x264-params": f"pass={3 if again else 1}:stats={stats}"}
    return replace(encoding, options=options, bit_rate=rate, quantiser=None)


def _x265(track: VideoTrack) -> list[str]:
    """Parameters of x265: silent, and the light of HDR in the stream itself."""
    params = ["log-level=error"]
    if track.light.mastering is not None:
        # x, y of red, green, blue, then of white, then least and most light; x265 wants green, blue, red
        numbers = [
            a / b if b else 0.0
            for a, b in zip(track.light.mastering[:20:2], track.light.mastering[1:20:2], strict=True)
        ]
        red, green, blue, white = ([round(50_000 * v) for v in numbers[i : i + 2]] for i in (0, 2, 4, 6))
        least, most = (round(10_000 * v) for v in numbers[8:10])
        places = (("G", green), ("B", blue), ("R", red), ("WP", white), ("L", [most, least]))
        params.append("master-display=" + "".join(f"{name}({x},{y})" for name, (x, y) in places))
    if track.light.levels is not None:
        params.append("max-cll={},{}".format(*track.light.levels))
    if len(params) > 1:
        params.append("hdr10=1")
    return params


def open_encoder(
    encoding: Encoding,
    track: VideoTrack,
    source: VideoCodecContext,
    *,
    encoder: VideoCodecContext | None = None,
    header: bool,
    threads: int = 0,
) -> VideoCodecContext:
    """An encoder that takes frames of a track, numbered 0, 1, 2, … in its time base.

    Args:
        source: the track's decoder, for its colours.
        encoder: to set up and open; a new one without.
        header: parameter sets go into the container's header.

    Raises:
        EncoderFailed: it cannot be opened.
    """
    encoder = encoder or cast("VideoCodecContext", VideoCodecContext.create(encoding.encoder, "w"))
    encoder.width, encoder.height = track.size_wh
    encoder.pix_fmt = encoding.pixel_format
    encoder.framerate, encoder.time_base = encoding.rate, 1 / encoding.rate
    encoder.sample_aspect_ratio = track.pixel_aspect
    for each in ("color_range", "color_primaries", "color_trc", "colorspace"):
        setattr(encoder, each, getattr(source, each))
    encoder.thread_count = threads
    encoder.options = dict(encoding.options)
    if encoding.bit_rate is not None:
        encoder.bit_rate = encoding.bit_rate
        # by default some encoders may be off by four million
        encoder.bit_rate_tolerance = encoding.bit_rate
    if encoding.quantiser is not None:
        encoder.qscale = True
        encoder.global_quality = round(encoding.quantiser * _LAMBDA)
    if header:
        encoder.flags |= av.codec.context.Flags.global_header
    if track.interlaced and encoding.encoder in ("libx264", "mpeg2video"):
        encoder.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
    try:
        encoder.open()
    except (av.FFmpegError, ValueError) as error:
        width, height = track.size_wh
        raise EncoderFailed(
            f"The encoder {encoding.encoder} cannot write {width} x {height} {encoding.pixel_format} ({error})."
        ) from error
    return encoder


@functools.cache
def encoder_works(name: str) -> bool:
    """Whether an encoder can be used on this machine, proven by a tiny encode."""
    try:
        encoder = cast("VideoCodecContext", VideoCodecContext.create(name, "w"))
        encoder.width, encoder.height, encoder.framerate = 256, 144, Fraction(25)
        encoder.pix_fmt = _formats(name)[0]
        encoder.time_base = Fraction(1, 25)
        encoder.options = {"x265-params": "log-level=error"} if name == "libx265" else {}
        frame = av.VideoFrame(256, 144, encoder.pix_fmt)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, encoder.time_base
        return bool([*encoder.encode(frame), *encoder.encode(None)])
    except (av.FFmpegError, ValueError, IndexError):
        return False


def _source_format(reader: VideoReader, track: VideoTrack) -> str:
    return reader.stream(track).codec_context.pix_fmt or "yuv420p"


@functools.cache
def _formats(name: str) -> tuple[str, ...]:
    return tuple(each.name for each in Codec(name, "w").video_formats or ())


def _pixel_format(name: str, wanted: str) -> str:
    """The format that an encoder takes which keeps most of the wanted one."""
    formats = _formats(name)
    if wanted in formats:
        return wanted
    colours = next((each for each in ("420", "422", "444") if each in wanted), "444")
    colours = {"nv12": "420", "nv16": "422", "p010le": "420", "gray": "420", "gray10le": "420"}.get(wanted, colours)
    deep = any(each in wanted for each in ("10", "12", "14", "16"))
    candidates = [f"yuv{colours}p10le", f"yuv{colours}p"] if deep else [f"yuv{colours}p"]
    return next((each for each in [*candidates, "yuv420p"] if each in formats), formats[0])


@functools.cache
def _can_hold(muxer: str, encoder: str) -> bool:
    """Whether a container takes what an encoder writes."""
    with av.open("/dev/null", "w", format=muxer) as container:
        try:
            container.add_stream(encoder, rate=25)
        except ValueError:
            return False
        return True


def _holds(muxer: str, context: object) -> bool:
    if context is None:
        return False
    with av.open("/dev/null", "w", format=muxer) as container:
        return getattr(context, "name", "") in container.supported_codecs
