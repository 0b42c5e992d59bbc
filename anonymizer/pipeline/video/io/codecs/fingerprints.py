"""Fingerprints of decoded frames: they show whether two readings of a video gave the same pixels.

Some decoders leave memory as it was where a slice is missing, and say nothing. Such a frame holds parts of other
frames. Two readings use that memory differently, so their frames differ there.
"""

from __future__ import annotations

import zlib

import numpy as np
from av.video.frame import VideoFrame

__all__ = ["fingerprint", "overwrite"]

#: codecs whose decoders need no earlier frame: nothing is predicted from a frame that is overwritten
_INTRA = frozenset("mjpeg prores dnxhd dvvideo huffyuv ffvhuff utvideo".split())
#: what no picture holds throughout
_FILL = 0x5A


def fingerprint(picture: VideoFrame) -> int:
    """Compute a number that differs for frames with different pixels.

    Args:
        picture: a decoded frame, in any pixel format.

    Returns:
        The CRC-32 of the visible pixels of all planes.
    """
    number = 0
    for index, plane in enumerate(picture.planes):
        lines = np.frombuffer(memoryview(plane), np.uint8)
        if plane.line_size:
            # the rest of each line is padding, which nobody fills
            used = -(-plane.width * _bits(picture, index) // 8)
            lines = lines.reshape(plane.height, abs(plane.line_size))[:, :used]
        number = zlib.crc32(np.ascontiguousarray(lines).data, number)
    return number


def overwrite(picture: VideoFrame, codec: str) -> None:
    """Fill the memory of a frame that is not needed any more, before its decoder uses it again.

    Args:
        picture: a decoded frame, which is lost by this.
        codec: FFmpeg's name of its codec. Frames that other frames may be predicted from are left alone.
    """
    if codec not in _INTRA:
        return
    # copies the frame where something else still holds it
    picture.make_writable()
    for plane in picture.planes:
        np.frombuffer(memoryview(plane), np.uint8)[...] = _FILL


def _bits(picture: VideoFrame, index: int) -> int:
    """How many bits of a plane belong to one of its columns."""
    form = picture.format
    if len(picture.planes) == 1 or form.has_palette:
        return form.padded_bits_per_pixel
    return sum(-(-component.bits // 8) * 8 for component in form.components if component.plane == index)
