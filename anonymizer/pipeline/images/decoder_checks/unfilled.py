"""Find blocks of a HEIC that are not in the file: neither libde265 nor FFmpeg reports them.

libde265, which decodes the picture, leaves them zero: black in a grey image, transparent in alpha, and a dark green
where Y, Cb and Cr are zero. Where a picture has such parts, FFmpeg decodes it too: it must find them as well. It does
so twice, into buffers that hold other values before. What it does not fill differs.
"""

from __future__ import annotations

import io
from typing import Any, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.images.decoded import Samples

__all__ = ["has_unfilled_blocks"]

#: Side of a square, in pixels, that fits in the smallest coding block (16) within what the deblocking filter changes.
_SIDE = 8
#: What buffers are filled with before another picture is decoded into them.
_FILLS = (0xA5, 0x5A, 0xC3)
#: Highest values of 8 bits that count as zero in FFmpeg's picture: of red and blue, whose coefficients it may not
#: know, and of grey, whose range it does not stretch.
_MOST_COLOUR, _MOST_GREY = 48, 18
#: Share of the empty-looking pixels that FFmpeg must find too.
_SHARE = 0.9


def has_unfilled_blocks(data: bytes, samples: Samples, alpha: Samples | None) -> bool:
    """Return whether a part of a HEIC picture is not in its file, or cannot be shown to be.

    Args:
        data: the file.
        samples: (h, w) grey or (h, w, 3) RGB, as libheif gives it.
        alpha: (h, w), or None.
    """
    is_grey = samples.ndim == 2
    in_colour = 0 if is_grey else _count_in_squares(_is_green(samples, 0))
    in_grey = _count_in_squares(samples == 0) if is_grey else 0
    in_grey += 0 if alpha is None else _count_in_squares(alpha == 0)
    if not in_colour and not in_grey:
        return False
    count = found_in_colour = found_in_grey = 0
    try:
        with av.open(io.BytesIO(data), "r") as container:
            # one for each tile and for alpha
            streams = len(container.streams.video)
            for packet in container.demux(video=list(range(streams))):
                frame = _sure_frame(packet) if packet.size else None
                if frame is not None:
                    count += 1
                    has_colour = len(frame.format.components) > 1
                    found_in_colour += _count_green(frame) if has_colour else 0
                    found_in_grey += 0 if has_colour else _count_black(frame)
                elif packet.size:
                    return True
    except av.error.FFmpegError:
        return True
    return not count >= streams >= 1 or found_in_colour < _SHARE * in_colour or found_in_grey < _SHARE * in_grey


def _is_green(samples: NDArray[Any], most: int) -> NDArray[np.bool_]:
    is_green = (samples[..., 0] <= most) & (samples[..., 2] <= most) & (samples[..., 1] > 0)
    return np.asarray(is_green, np.bool_)


def _count_in_squares(mask: NDArray[np.bool_]) -> int:
    """Pixels of a mask that belong to a square of it."""
    if not mask.any():
        return 0
    # what lies outside belongs to no square
    framed = np.pad(mask.astype(np.uint8), 1)
    return int(cv2.morphologyEx(framed, cv2.MORPH_OPEN, np.ones((_SIDE, _SIDE), np.uint8)).sum())


def _count_green(frame: av.VideoFrame) -> int:
    return int(_is_green(frame.to_ndarray(format="rgb24"), _MOST_COLOUR).sum())


def _count_black(frame: av.VideoFrame) -> int:
    [plane] = _visible_planes(frame)
    return int((plane >> (frame.format.components[0].bits - 8) <= _MOST_GREY).sum())


def _sure_frame(packet: av.Packet[Any]) -> av.VideoFrame | None:
    """The picture of HEVC in a packet; None if it depends on what the buffer held that it is decoded into.

    FFmpeg takes the buffer of the last frame again, once that is not in use any more.
    """
    stream = packet.stream.codec_context
    decoder = cast("av.VideoCodecContext", av.CodecContext.create(stream.name, "r"))
    decoder.extradata, decoder.thread_count = stream.extradata, 1
    places: list[int] = []
    found: list[NDArray[Any]] = []
    for value in _FILLS:
        frames = [*decoder.decode(packet), *decoder.decode(None)]
        decoder.flush_buffers()
        if len(frames) != 1:
            return None
        before, places = places, [plane.buffer_ptr for plane in frames[0].planes]
        planes = _visible_planes(frames[0])
        if places == before:
            return frames[0] if all(map(np.array_equal, found, planes)) else None
        found = planes
        _fill(frames[0], value)
        # nothing else refers to the frame, so its buffer is free again
        frames.clear()
    return None


def _visible_planes(frame: av.VideoFrame) -> list[NDArray[Any]]:
    """Copies of the planes, (h, w) each."""
    dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return [
        np.frombuffer(cast("Any", plane), dtype).reshape(plane.height, -1)[:, : plane.width].copy()
        for plane in frame.planes
    ]


def _fill(frame: av.VideoFrame, value: int) -> None:
    for plane in frame.planes:
        plane.update(bytes([value]) * plane.buffer_size)
