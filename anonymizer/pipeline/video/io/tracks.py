"""The properties of a video stream, and one decoded frame of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame

__all__ = ["DecodedFrame", "HdrMetadata", "VideoTrack", "read_hdr_metadata", "read_orientation", "side_data"]

#: EXIF orientation by the signs (a, b, c, d) of a display matrix; any other matrix counts as upright
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
class HdrMetadata:
    """How bright an HDR video is meant to be.

    Attributes:
        mastering: SMPTE ST 2086, as FFmpeg's struct of numerators and denominators; None: the video has none.
        levels: CTA-861.3: the maximum content light level and frame-average light level; None: the video has none.
    """

    mastering: tuple[int, ...] | None
    levels: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """One video stream of a file.

    Attributes:
        index: of the stream in the file.
        codec: FFmpeg's name of the codec.
        size_wh: width and height in pixels, as stored.
        orientation: 1 to 8 as in EXIF: how frames are turned to stand upright.
        time_base: seconds of one tick of a pts.
        frame_rate: average frames per second; 25 if the file does not say.
        frames: how many frames there are, as the file says or by its duration; None: unknown.
        bit_rate: bits per second; None: unknown.
        pixel_aspect: width of a pixel divided by its height.
        display_matrix: nine numbers, from which the orientation was read; None: the file has no matrix.
        interlaced: whether the first frame is.
        dolby_vision: whether there is a second layer, which describes the original pixels.
        hdr: how bright the video is meant to be.
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
    dolby_vision: bool
    hdr: HdrMetadata

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels of the upright frame."""
        width, height = self.size_wh
        return (width, height) if self.orientation >= 5 else (height, width)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """One decoded frame of a track.

    Attributes:
        track: of the frame.
        number: from 0, in the order of presentation.
        picture: the pixels, as stored.
        damaged: whether it could not be read whole, or may build on such a frame.
    """

    track: VideoTrack
    number: int
    picture: VideoFrame
    damaged: bool

    @property
    def time_s(self) -> float:
        """When the frame is shown, in seconds."""
        return float((self.picture.pts or 0) * self.track.time_base)


def side_data(frame: VideoFrame | None, kind: Type) -> bytes | None:
    """Read one kind of side data of a frame.

    Args:
        frame: a decoded frame, or None if there is no frame.
        kind: the kind of side data, such as `Type.CONTENT_LIGHT_LEVEL`.

    Returns:
        The bytes as FFmpeg stores them; None if there is no frame or no such side data.
    """
    if frame is None:
        return None
    data = cast("Mapping[Type, SideData]", frame.side_data).get(kind)
    return None if data is None else bytes(data)


def read_orientation(matrix: tuple[int, ...] | None) -> int:
    """The orientation, 1 to 8 as in EXIF, of a display matrix of nine numbers; None: upright."""
    if matrix is None:
        return 1
    signs = [int(np.sign(round(matrix[index] / 65536))) for index in (0, 1, 3, 4)]
    return _ORIENTATIONS.get((signs[0], signs[1], signs[2], signs[3]), 1)


def read_hdr_metadata(frame: VideoFrame | None) -> HdrMetadata:
    """Read the HDR metadata of a frame; None: there is no frame, and nothing is known."""
    mastering = side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    levels = side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    return HdrMetadata(
        None if mastering is None else struct.unpack("<22i", mastering[:88]),
        None if levels is None else struct.unpack("<2I", levels[:8]),
    )
