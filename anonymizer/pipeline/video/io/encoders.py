"""How a video is written: which container, encoder and quality.

The result has the container and codec of its source where this machine has an encoder for them, and about its quality.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.codec import Codec
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat

from anonymizer.pipeline.errors import EncoderFailed, InvalidParameter
from anonymizer.pipeline.media_kinds import MediaInfo, by_format
from anonymizer.pipeline.options.options import Options, VideoEncoder
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.thread_priority import same_priority
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["MUXERS", "EncoderSettings", "OutputPlan", "encoder_works", "open_encoder", "plan_output", "with_bit_rate"]

#: by our name of a container, FFmpeg's name of its muxer
MUXERS = {
    "mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm", "avi": "avi", "ts": "mpegts", "m2ts": "mpegts",
}  # fmt: skip
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
# SVT-AV1 writes about itself to standard error; 1: errors only
os.environ.setdefault("SVT_LOG", "1")
#: pairs of container and codec that FFmpeg can write and players cannot read
_UNUSUAL = {("mp4", "mjpeg"), ("avi", "hevc"), ("avi", "av1"), ("avi", "vp9")}
#: The constant quality of x264 follows from the bits per pixel of the source, so that sizes are alike. What gave the
#: size of the source in the clips of `../shared/data/videos` (bits per pixel): 23 (.057), 20 (.084), 18 (.15),
#: 20 (.24), 19 (.31).
_BASE_CRF, _STEP, _BASE_BITS, _CRF_RANGE = 20.5, 3.0, 0.1, (17.0, 26.0)
#: FFmpeg's numbers of colour properties: no matrix (RGB), ITU-R BT.601, limited and full range
_RGB, _BT601, _LIMITED, _FULL = 0, 6, 1, 2
#: FFmpeg's numbers of field orders in which the bottom field is shown first: coded first, and coded last
_BOTTOM_FIRST = (3, 4)
#: MPEG-4 part 2, a visual object without a video signal type: start code, identifier, and the bits up to stuffing
_VISUAL_OBJECT = re.compile(rb"\x00\x00\x01\xb5[\x80-\xff]\x13")
#: libavutil's unit of a quantiser (FF_QP2LAMBDA)
_LAMBDA = 118


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How one track is encoded.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        pixel_format: of the frames that it gets, FFmpeg's name.
        rate: frames per second. It does not set the times: packets get those of the source afterwards.
        options: of the encoder.
        bit_rate: the wanted bits per second; None: constant quality.
        quantiser: the constant quality of encoders that have no other, 2 (best) to 31; None: others.
        same_codec: whether the result has the codec of the source.
    """

    encoder: str
    pixel_format: str
    rate: Fraction
    options: Mapping[str, str] = field(default_factory=dict)
    bit_rate: int | None = None
    quantiser: float | None = None
    same_codec: bool = True


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """How a result is written.

    Attributes:
        info: the format of its container.
        tracks: by stream index, how each track is encoded.
        warnings: what differs from the source, a sentence each.
    """

    info: MediaInfo
    tracks: Mapping[int, EncoderSettings]
    warnings: tuple[str, ...] = ()


def plan_output(reader: VideoReader, options: Options) -> OutputPlan:
    """Choose how to write the result of a video.

    Args:
        reader: the open source.
        options: of the work; `video_encoder` may name an encoder.

    Returns:
        The source's container and codecs where that is possible, otherwise H.264 in MP4 or Matroska.

    Raises:
        InvalidParameter: the encoder that `options` name does not work on this machine.
    """
    settings = {track.index: _settings_like_source(reader, track, options) for track in reader.tracks}
    complete = {index: of_track for index, of_track in settings.items() if of_track is not None}
    if len(complete) == len(settings):
        return OutputPlan(reader.info, complete)
    # every player reads MP4; Matroska is for sound that MP4 cannot hold
    sounds = [stream.codec_context for stream in reader.copied if stream.type == "audio"]
    name = "mp4" if all(_muxer_supports("mp4", sound) for sound in sounds) else "mkv"
    codecs = ", ".join(sorted({track.codec for track in reader.tracks}))
    warning = (
        f"The video ({codecs} in {reader.info.format}) was written as H.264 in {name}: there is no encoder for it."
    )
    tracks = {
        track.index: replace(
            _settings_for_quality("libx264", _pixel_format("libx264", _source_format(reader, track)), track),
            same_codec=False,
        )
        for track in reader.tracks
    }
    return OutputPlan(by_format(name), tracks, (warning,))


def _settings_like_source(reader: VideoReader, track: VideoTrack, options: Options) -> EncoderSettings | None:
    """None: no encoder on this machine can write the track into the container of the source."""
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
    if name == "libx264" and source == "gbrp":
        name, source = "libx264rgb", "rgb24"
    elif name == "prores_ks" and source.endswith("444p12le"):
        # opaque, and of 10 bits or more: FFmpeg reads every ProRes 4444 as 12 bits
        source = "yuv444p10le"
    if source not in _pixel_formats(name):
        if wanted is VideoEncoder.AUTO:
            return None
        source = _pixel_format(name, source)
    same = codec == track.codec and not track.dolby_vision
    settings = replace(_settings_for_quality(name, source, track), same_codec=same)
    # AVI has no presentation times: frames have to come in their order, without B-frames
    return replace(settings, options={**settings.options, "bf": "0"}) if muxer == "avi" else settings


def _settings_for_quality(name: str, pixel_format: str, track: VideoTrack) -> EncoderSettings:
    """Settings with a constant quality that looks like the source, chosen by its bits per pixel."""
    width, height = track.size_wh
    bits = (track.bit_rate or 0) / (width * height * float(track.frame_rate)) or _BASE_BITS
    # newer codecs need fewer bits for the same picture, older ones more
    bits *= {"hevc": 1.6, "vp9": 1.5, "av1": 2.0, "mpeg4": 0.6, "mpeg2video": 0.5}.get(track.codec, 1.0)
    low, high = _CRF_RANGE
    crf = min(max(_BASE_CRF - _STEP * math.log2(bits / _BASE_BITS), low), high)
    options: dict[str, str] = {}
    quantiser = None
    if name in ("libx264", "libx264rgb"):
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
    return EncoderSettings(name, pixel_format, rate, options, quantiser=quantiser)


def with_bit_rate(settings: EncoderSettings, *, bits: float, frames: int, stats: Path, again: bool) -> EncoderSettings:
    """Change settings so that an encoder keeps a bit rate instead of a quality.

    Args:
        settings: with a constant quality.
        bits: the wanted size of all frames together.
        frames: how many frames there are.
        stats: the file where x264 keeps its statistics of the frames for the next attempt.
        again: whether an earlier attempt wrote the statistics.
    """
    rate = max(1, round(bits / max(frames, 1) * settings.rate))
    options = {key: value for key, value in settings.options.items() if key not in ("crf", "cq", "b", "rc")}
    if settings.encoder in ("libx264", "libx264rgb"):
        # every attempt is as thorough as the last one: each may be close enough
        options |= {"fastfirstpass": "0", "x264-params": f"pass={3 if again else 1}:stats={stats}"}
    return replace(settings, options=options, bit_rate=rate, quantiser=None)


def _x265(track: VideoTrack) -> list[str]:
    """Parameters of x265: no messages, and the HDR metadata in the stream itself."""
    params = ["log-level=error"]
    if track.hdr.mastering is not None:
        # FFmpeg: x, y of red, green, blue and white, then least and most light; x265 takes green, blue, red
        numbers = [
            a / b if b else 0.0 for a, b in zip(track.hdr.mastering[:20:2], track.hdr.mastering[1:20:2], strict=True)
        ]
        red, green, blue, white = ([round(50_000 * v) for v in numbers[i : i + 2]] for i in (0, 2, 4, 6))
        least, most = (round(10_000 * v) for v in numbers[8:10])
        parts = (("G", green), ("B", blue), ("R", red), ("WP", white), ("L", [most, least]))
        params.append("master-display=" + "".join(f"{name}({x},{y})" for name, (x, y) in parts))
    if track.hdr.levels is not None:
        params.append("max-cll={},{}".format(*track.hdr.levels))
    if len(params) > 1:
        params.append("hdr10=1")
    return params


def open_encoder(
    settings: EncoderSettings,
    track: VideoTrack,
    source: VideoCodecContext,
    *,
    encoder: VideoCodecContext | None = None,
    header: bool,
    threads: int = 0,
) -> VideoCodecContext:
    """Open an encoder that takes frames of a track, numbered 0, 1, 2, … in its own time base.

    Args:
        settings: of the encoder.
        track: of the source.
        source: the track's decoder, whose colour properties are taken over.
        encoder: one to set up and open. Default: a new one.
        header: whether parameter sets go into the container's header.
        threads: of the encoder; 0: as many as there are cores.

    Raises:
        EncoderFailed: it cannot be opened.
    """
    encoder = encoder or cast("VideoCodecContext", VideoCodecContext.create(settings.encoder, "w"))
    encoder.width, encoder.height = track.size_wh
    encoder.pix_fmt = settings.pixel_format
    encoder.framerate, encoder.time_base = settings.rate, 1 / settings.rate
    encoder.sample_aspect_ratio = track.pixel_aspect
    for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
        setattr(encoder, name, getattr(source, name))
    if VideoFormat(source.pix_fmt or "yuv420p").is_rgb and settings.pixel_format.startswith("yuv"):
        # what FFmpeg converts RGB to
        encoder.colorspace, encoder.color_range = _BT601, _LIMITED
    encoder.thread_count = threads
    encoder.options = _with_fields(settings, source) if track.interlaced else dict(settings.options)
    if settings.bit_rate is not None:
        encoder.bit_rate = settings.bit_rate
        # the default of some encoders is four million
        encoder.bit_rate_tolerance = settings.bit_rate
    if settings.quantiser is not None:
        encoder.qscale = True
        encoder.global_quality = round(settings.quantiser * _LAMBDA)
    if header:
        encoder.flags |= av.codec.context.Flags.global_header
    if track.interlaced:
        # for the container
        encoder.field_order = source.field_order
    if track.interlaced and _writes_fields(settings, source):
        encoder.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
    try:
        with same_priority():
            encoder.open()
    except (av.FFmpegError, ValueError) as error:
        width, height = track.size_wh
        raise EncoderFailed(
            f"The encoder {settings.encoder} cannot write {width} x {height} {settings.pixel_format} ({error})."
        ) from error
    if settings.encoder == "mpeg4" and header and source.color_range == _FULL:
        encoder.extradata = _with_full_range(encoder.extradata)
    return encoder


def _writes_fields(settings: EncoderSettings, source: VideoCodecContext) -> bool:
    """Whether the encoder writes interlaced pictures. Some are told the order of the fields by the frames alone."""
    if settings.encoder in ("mpeg4", "mpeg2video", "prores_ks"):
        # frames that are converted to another format do not tell it any more
        return (source.pix_fmt or settings.pixel_format) == settings.pixel_format
    return settings.encoder == "libx264"


def _with_fields(settings: EncoderSettings, source: VideoCodecContext) -> dict[str, str]:
    """The options of an encoder of interlaced pictures: x264 takes the order of the fields from nothing else."""
    options = dict(settings.options)
    if settings.encoder == "libx264":
        order = "bff=1" if source.field_order in _BOTTOM_FIRST else "tff=1"
        options["x264-params"] = ":".join(filter(None, (options.get("x264-params"), order)))
    return options


def _with_full_range(header: bytes | None) -> bytes | None:
    """The header of an MPEG-4 (part 2) track that says that the range is full, which FFmpeg's encoder cannot say."""
    # signal type: yes; format: unspecified (5); full range; no description of colours; stuffing
    return header and _VISUAL_OBJECT.sub(lambda match: match[0][:-1] + b"\x1d\x9f", header)


@functools.cache
def encoder_works(name: str) -> bool:
    """Whether an encoder works on this machine; a tiny encode shows it.

    Args:
        name: FFmpeg's name of the encoder.
    """
    try:
        encoder = cast("VideoCodecContext", VideoCodecContext.create(name, "w"))
        encoder.width, encoder.height, encoder.framerate = 256, 144, Fraction(25)
        encoder.pix_fmt = _pixel_formats(name)[0]
        encoder.time_base = Fraction(1, 25)
        encoder.options = {"x265-params": "log-level=error"} if name == "libx265" else {}
        frame = av.VideoFrame(256, 144, encoder.pix_fmt)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, encoder.time_base
        with same_priority():
            return bool([*encoder.encode(frame), *encoder.encode(None)])
    except (av.FFmpegError, ValueError, IndexError):
        return False


def _source_format(reader: VideoReader, track: VideoTrack) -> str:
    return reader.stream(track).codec_context.pix_fmt or "yuv420p"


@functools.cache
def _pixel_formats(name: str) -> tuple[str, ...]:
    return tuple(video_format.name for video_format in Codec(name, "w").video_formats or ())


def _pixel_format(name: str, wanted: str) -> str:
    """The pixel format that the encoder takes and that keeps most of the wanted one."""
    formats = _pixel_formats(name)
    if wanted in formats:
        return wanted
    colours = next((subsampling for subsampling in ("420", "422", "444") if subsampling in wanted), "444")
    colours = {"nv12": "420", "nv16": "422", "p010le": "420", "gray": "420", "gray10le": "420"}.get(wanted, colours)
    deep = any(bits in wanted for bits in ("10", "12", "14", "16"))
    candidates = [f"yuv{colours}p10le", f"yuv{colours}p"] if deep else [f"yuv{colours}p"]
    return next((candidate for candidate in [*candidates, "yuv420p"] if candidate in formats), formats[0])


@functools.cache
def _can_hold(muxer: str, encoder: str) -> bool:
    """Whether a container can hold what an encoder writes."""
    with av.open("/dev/null", "w", format=muxer) as container:
        try:
            container.add_stream(encoder, rate=25)
        except ValueError:
            return False
        return True


def _muxer_supports(muxer: str, context: object) -> bool:
    if context is None:
        return False
    with av.open("/dev/null", "w", format=muxer) as container:
        return getattr(context, "name", "") in container.supported_codecs
