"""Small clips of every kind that cameras, phones and editors write, each made in well under a second."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from tests.clip_maker import Clip, Sound, Video

__all__ = ["CLIPS", "h264"]

#: quick x264 with B-frames that other frames refer to; with mbtree, its bytes would differ each time
_X264 = {"preset": "veryfast", "crf": "20", "bf": "3", "g": "12", "x264-params": "b-pyramid=normal:mbtree=0"}
_OPEN = _X264 | {"x264-params": "open-gop=1:b-pyramid=normal:mbtree=0"}
_X265 = {"preset": "ultrafast", "crf": "20", "x265-params": "log-level=error:keyint=12"}
_AV1 = {"preset": "10", "crf": "30"}
_BT2020_PQ = (1, 9, 16, 9)
_PQ = (
    "hdr10=1:repeat-headers=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)


def h264(**changes: Any) -> Video:
    """As phones write it: groups of 12, B-frames."""
    return replace(Video(options=_X264), **changes)


def _vp9(**changes: Any) -> Video:
    return Video("libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8", "crf": "25", "g": "12"}, **changes)


def _hdr(**changes: Any) -> Video:
    options = _X265 | {"x265-params": f"{_X265['x265-params']}:{_PQ}"}
    return Video("libx265", "yuv420p10le", options=options, colours=_BT2020_PQ, frames=20, **changes)


def _uneven(base: int) -> list[int]:
    """Times of a phone in the dark: 15 to 60 frames a second."""
    steps = np.random.default_rng(3).integers(base // 60, base // 15, 30)
    return [0, *np.cumsum(steps)[:-1].tolist()]


_PLACE = {"location": "+48.3069+014.2858/", "creation_time": "2026-03-04T05:06:07.000000Z", "title": "A street"}
_TWO_SOUNDS = (Sound(language="deu"), Sound(language="eng", hertz=660))
_ONE_SOUND = (Sound(),)

CLIPS: dict[str, Clip] = {
    # times
    "plain": Clip(".mp4", (h264(),), _ONE_SOUND),
    "variable-rate": Clip(".mp4", (h264(times=_uneven(90_000), time_base=Fraction(1, 90_000)),), _ONE_SOUND),
    "variable-rate-mkv": Clip(".mkv", (h264(times=_uneven(1000), time_base=Fraction(1, 1000)),)),
    "rate-29.97": Clip(".mp4", (h264(rate=Fraction(30_000, 1001)),), _ONE_SOUND),
    "rate-59.94": Clip(".mov", (h264(rate=Fraction(60_000, 1001)),), _ONE_SOUND),
    "starts-late": Clip(".mp4", (h264(times=range(10, 40)),), _ONE_SOUND),
    "starts-late-mkv": Clip(".mkv", (h264(times=range(10, 40)),), (Sound(start_s=0.4),)),
    "sound-before-zero": Clip(".mp4", (h264(),), (Sound(start_s=-0.1),), options={"avoid_negative_ts": "disabled"}),
    "starts-before-zero": Clip(".mp4", (h264(times=range(-4, 26)),), _ONE_SOUND,
                               options={"avoid_negative_ts": "disabled"}),
    "starts-far-ts": Clip(".ts", (h264(times=range(1000, 1030)),), (Sound(start_s=40.0),)),
    # how it lies
    "turned-90": Clip(".mp4", (h264(orientation=6),), _ONE_SOUND),
    "turned-180": Clip(".mov", (h264(orientation=3),)),
    "turned-270": Clip(".mkv", (h264(orientation=8),)),
    "mirrored": Clip(".mp4", (h264(orientation=2),)),
    "flipped": Clip(".mov", (h264(orientation=4),)),
    "wide-pixels": Clip(".mp4", (h264(pixel_aspect=Fraction(16, 11)),)),
    "wide-pixels-mkv": Clip(".mkv", (h264(pixel_aspect=Fraction(64, 45)),)),
    # pixels
    "hdr": Clip(".mp4", (_hdr(),), _ONE_SOUND),
    "hdr-mkv": Clip(".mkv", (_hdr(),)),
    "4:2:2": Clip(".mp4", (h264(pixel_format="yuv422p"),)),
    "4:2:2-10": Clip(".mov", (h264(pixel_format="yuv422p10le", frames=20),)),
    "4:4:4": Clip(".mp4", (h264(pixel_format="yuv444p"),)),
    "full-range": Clip(".mp4", (h264(pixel_format="yuvj420p", colours=(2, 1, 1, 1)),)),
    "bt709": Clip(".mkv", (h264(colours=(1, 1, 1, 1)),)),
    "grey": Clip(".mp4", (h264(pixel_format="gray"),)),
    "grey-mkv": Clip(".mkv", (Video("ffv1", "gray"),)),
    "odd": Clip(".webm", (_vp9(size_wh=(853, 479), frames=8),)),
    "odd-mp4": Clip(".mp4", (Video("mpeg4", size_wh=(853, 479), frames=8, bit_rate=2_000_000),)),
    "odd-mjpeg": Clip(".mov", (Video("mjpeg", "yuvj420p", size_wh=(853, 479), frames=8, bit_rate=8_000_000),)),
    "odd-av1": Clip(".mp4", (Video("libsvtav1", size_wh=(853, 479), frames=8, options=_AV1),)),
    "odd-4:4:4": Clip(".mkv", (h264(size_wh=(853, 479), pixel_format="yuv444p", frames=8),)),
    "interlaced": Clip(".mp4", (h264(options=_X264 | {"x264-params": "tff=1:mbtree=0"}, interlaced=True),)),
    # tracks
    "tracks": Clip(".mp4", (h264(),), _TWO_SOUNDS, {"eng": "mov_text"}, chapters=True, metadata=_PLACE),
    "tracks-mov": Clip(".mov", (h264(metadata={"timecode": "01:02:03:04"}),), _TWO_SOUNDS, metadata=_PLACE),
    "tracks-mkv": Clip(".mkv", (h264(),), (Sound(language="deu"), Sound("libopus", language="eng")),
                       {"eng": "subrip", "ger": "subrip"}, chapters=True, font=True, metadata=_PLACE),
    "tracks-ts": Clip(".ts", (h264(),), _TWO_SOUNDS, data="timed_id3"),
    "telemetry": Clip(".mp4", (h264(),), _ONE_SOUND, data="bin_data", metadata=_PLACE),
    "cover": Clip(".mp4", (h264(),), _ONE_SOUND, cover=True),
    "cover-mkv": Clip(".mkv", (h264(),), _ONE_SOUND, cover=True),
    "two-videos": Clip(".mp4", (h264(), h264(size_wh=(160, 120), rate=Fraction(30)))),
    "two-videos-mkv": Clip(".mkv", (h264(), Video("libx265", options=_X265, size_wh=(160, 120)))),
    # groups
    "open-groups": Clip(".mp4", (h264(options=_OPEN, frames=40),)),
    "closed-groups": Clip(".mp4", (h264(frames=150, box_in=range(60, 72), size_wh=(160, 120)),), _ONE_SOUND),
    "closed-groups-mkv": Clip(".mkv", (h264(frames=150, box_in=range(60, 72), size_wh=(160, 120)),), _ONE_SOUND),
    "one-frame": Clip(".mp4", (h264(frames=1),)),
    "one-frame-mkv": Clip(".mkv", (h264(frames=1),)),
    # codecs
    "hevc": Clip(".mp4", (Video("libx265", options=_X265),), _ONE_SOUND),
    "hevc-ts": Clip(".ts", (Video("libx265", options=_X265),), _ONE_SOUND),
    "vp8": Clip(".webm", (Video("libvpx", options={"deadline": "realtime", "cpu-used": "8"}, bit_rate=400_000),),
                (Sound("libopus"),)),
    "vp9": Clip(".webm", (_vp9(),),
                (Sound("libopus"),)),
    "vp9-mp4": Clip(".mp4", (_vp9(),)),
    "av1": Clip(".mp4", (Video("libsvtav1", options=_AV1),), _ONE_SOUND),
    "av1-mkv": Clip(".mkv", (Video("libsvtav1", "yuv420p10le", options=_AV1),)),
    "mpeg4": Clip(".mp4", (Video("mpeg4", bit_rate=800_000, options={"bf": "2"}),), _ONE_SOUND),
    "mpeg4-avi": Clip(".avi", (Video("mpeg4", bit_rate=800_000),), (Sound("libmp3lame"),)),
    "mjpeg": Clip(".mov", (Video("mjpeg", "yuvj422p", bit_rate=4_000_000),), (Sound("pcm_s16le"),)),
    "mjpeg-avi": Clip(".avi", (Video("mjpeg", "yuvj420p", bit_rate=4_000_000),), (Sound("pcm_s16le"),)),
    "mpeg2": Clip(".ts", (Video("mpeg2video", bit_rate=2_000_000, options={"bf": "2"}),), (Sound("mp2"),)),
    "prores": Clip(".mov", (Video("prores_ks", "yuv422p10le"),), (Sound("pcm_s16le"),)),
    "ffv1": Clip(".mkv", (Video("ffv1", "yuv422p"),)),
    "h264-avi": Clip(".avi", (h264(options=_X264 | {"bf": "0"}),), (Sound("libmp3lame"),)),
    "h264-ts": Clip(".ts", (h264(),), _ONE_SOUND),
    "msmpeg4": Clip(".avi", (Video("msmpeg4v3", bit_rate=800_000),), (Sound("libmp3lame"),)),
    "huffyuv": Clip(".avi", (Video("huffyuv", "yuv422p"),), (Sound("pcm_s16le"),)),
    "utvideo": Clip(".avi", (Video("utvideo", "yuv420p"),)),
    "raw": Clip(".avi", (Video("rawvideo", "yuv420p"),)),
}  # fmt: skip
