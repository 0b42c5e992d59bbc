"""What is known of a video stream, and one frame of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame

__all__ = ["Frame", "Light", "VideoTrack", "light_of", "orientation_of", "side_data"]

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


def side_data(frame: VideoFrame | None, kind: Type) -> bytes | None:
    if frame is None:
        return None
    found = cast("Mapping[Type, SideData]", frame.side_data).get(kind)
    return None if found is None else bytes(found)


def orientation_of(matrix: tuple[int, ...] | None) -> int:
    """1 to 8 as EXIF has it, from the nine numbers of a display matrix."""
    if matrix is None:
        return 1
    signs = [int(np.sign(round(matrix[place] / 65536))) for place in (0, 1, 3, 4)]
    return _ORIENTATIONS.get((signs[0], signs[1], signs[2], signs[3]), 1)


def light_of(frame: VideoFrame | None) -> Light:
    mastering = side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    levels = side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    return Light(
        None if mastering is None else struct.unpack("<22i", mastering[:88]),
        None if levels is None else struct.unpack("<2I", levels[:8]),
    )
