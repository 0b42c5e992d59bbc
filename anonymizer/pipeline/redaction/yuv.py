"""Redaction in a video frame's own planes: no way through RGB and back, so nothing outside of a shape changes.

A chroma sample colours several pixels. It is touched as strongly as the most redacted of them, so that no colour stays
at an edge. Its cells are those of the luma plane: as many across and down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.orientation import TURNS
from anonymizer.pipeline.redaction.effects import NOISE, TINT_NOISE, cell_grid, coarse, mix
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = [
    "PlaneLayout",
    "PlaneFormat",
    "frame_planes",
    "planar_name",
    "plane_format",
    "redact_planes",
    "upright_planes",
]

Plane = NDArray[Any]

#: Formats with one value after the other in each plane, lowest bits first.
_PLANAR = re.compile(r"(?P<kind>yuvj?|yuva|gray|gbrp|gbrap)(?:4\d\dp)?(?:(?P<depth>\d+)le)?")
#: What a video frame has besides pixels that can be computed with: floats, camera sensors, cinema's XYZ.
_NOT_INTEGERS = re.compile(r".*f(?:16|32)[bl]e|bayer_.*|xyz12[bl]e")
#: FFmpeg's number of the full range of values.
_FULL, _LIMITED = 2, 1
#: Orientations in which the upright picture runs against the stored one, across and down.
_BACK_ACROSS = frozenset({2, 3, 6, 7})
_BACK_DOWN = frozenset({3, 4, 7, 8})
#: Noise is drawn for so many cells each way at least: a grid that gains a row from one frame to the next keeps it.
_NOISE_GRID = 16


@dataclass(frozen=True, slots=True)
class PlaneFormat:
    """What redaction must know of a pixel format.

    Attributes:
        depth: bits of a value, 8 to 16.
        chroma_shift_xy: log2 of the chroma planes' subsampling, as stored: (1, 1) for 4:2:0, (1, 0) for 4:2:2.
        full_range: black is 0 and not 16 / 256.
    """

    depth: int
    chroma_shift_xy: tuple[int, int]
    kind: Literal["yuv", "gray", "gbr"]
    full_range: bool

    @property
    def planes(self) -> int:
        """How many there are, without that of opacity."""
        return 1 if self.kind == "gray" else 3

    @property
    def top(self) -> int:
        """The highest value."""
        return (1 << self.depth) - 1

    @property
    def black(self) -> tuple[int, ...]:
        """The value of black in each plane."""
        luma = 0 if self.full_range or self.kind == "gbr" else 16 << (self.depth - 8)
        chroma = 128 << (self.depth - 8) if self.kind == "yuv" else 0
        return (luma, chroma, chroma)[: self.planes]


def plane_format(frame: VideoFrame) -> PlaneFormat | None:
    """How a frame's planes are to be read; None where it has to be converted first, to what `planar_name` says."""
    name = frame.format.name
    match = _PLANAR.fullmatch(name)
    depth = int(match["depth"] or 8) if match else 0
    if match is None or depth > 16:
        return None
    # FFmpeg itself takes grey without a statement for full.
    full = frame.color_range == _FULL or name.startswith("yuvj")
    if name.startswith("gray"):
        return PlaneFormat(depth, (0, 0), "gray", full or frame.color_range != _LIMITED)
    if name.startswith("gb"):
        return PlaneFormat(depth, (0, 0), "gbr", full_range=True)
    return PlaneFormat(depth, _chroma_shift_xy(frame.format), "yuv", full)


def planar_name(name: str) -> str:
    """The planar pixel format that holds the same content as a packed or semi-planar one, or one of other byte order.

    Raises:
        UnsupportedMedia: there is none: the values are no whole numbers, have more than 16 bits or lie on a device.
    """
    form = VideoFormat(name, 64, 64)
    depth = max((each.bits for each in form.components), default=0)
    if not 0 < depth <= 16 or _NOT_INTEGERS.fullmatch(name):
        raise UnsupportedMedia(f"The video's pixels are stored as {name}, which is not supported.")
    bits = "" if depth <= 8 else f"{depth}le"
    opacity = "a" if any(each.is_alpha for each in form.components) else ""
    if form.is_rgb or form.has_palette:
        return f"gbr{opacity}p{bits}"
    if len(form.components) < 3:
        return f"gbrap{bits}" if opacity else f"gray{bits}"
    across, down = _chroma_shift_xy(form)
    sampling = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
    return f"yuv{opacity}{sampling[across, down]}p{bits}"


def _chroma_shift_xy(form: VideoFormat) -> tuple[int, int]:
    """log2 of how many pixels a chroma sample colours across and down."""
    return 6 - (form.chroma_width(64).bit_length() - 1), 6 - (form.chroma_height(64).bit_length() - 1)


def frame_planes(frame: VideoFrame, *, writable: bool = True) -> list[Plane]:
    """The planes of a frame in a planar format, as they are stored, without the padding of their lines.

    A decoder may still need a frame, to predict others from it: one that is to be written is copied first, unless it is
    nobody else's.

    Args:
        writable: without, nothing is copied, and the planes are read only.

    Returns:
        Views (h, w), uint8 or uint16. They are valid as long as the frame is not made writable again.

    Raises:
        ValueError: the format is not planar.
    """
    form = plane_format(frame)
    if form is None:
        raise ValueError(f"{frame.format.name} is no planar format")
    if writable:
        frame.make_writable()
    dtype = np.dtype(np.uint8 if form.depth == 8 else "<u2")
    planes = []
    for plane in frame.planes:
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, abs(plane.line_size)).view(dtype)
        # Bottom up, where the size of a line is negative.
        lines = lines[:: -1 if plane.line_size < 0 else 1, : plane.width]
        lines.flags.writeable = writable
        planes.append(lines)
    return planes


def upright_planes(planes: Sequence[Plane], orientation: int) -> list[Plane]:
    """Views of stored planes, turned upright.

    Args:
        orientation: 1 to 8, as in EXIF.
    """
    return [TURNS[orientation](plane) for plane in planes]


def redact_planes(
    planes: Sequence[Plane],
    form: PlaneFormat,
    regions: Sequence[RedactionRegion],
    seeds: Sequence[int],
    options: Options,
    orientation: int = 1,
) -> None:
    """Redact every shape in place, one after the other; the method `detect` changes nothing.

    Args:
        planes: (h, w) uint8 or uint16, as stored and writable; one of opacity, behind the others, is left as it is.
        shapes: in pixels of the upright frame.
        seeds: one for each shape, from 0 up. With the same one and the same cells the noise is the same: noise that is
            new in each frame could be averaged away.
        orientation: 1 to 8, as in EXIF, how the planes are turned to stand upright.
    """
    if options.method is Method.DETECT:
        return
    upright = upright_planes(planes[: form.planes], orientation)
    layout = PlaneLayout.of(upright, form, orientation)
    for shape, seed in zip(regions, seeds, strict=True):
        parts = layout.parts(shape.x, shape.y, shape.alpha)
        noise = None if options.method is Method.BLACKEN else _noise(seed, cell_grid(shape, options), form)
        for number, (plane, (where, alpha)) in enumerate(zip(upright, parts, strict=True)):
            # OpenCV needs lines of pixels side by side, which a view of a turned frame has not.
            crop = np.array(plane[where], order="C")
            if noise is None:
                crop[alpha > 0] = form.black[number]
            else:
                mix(crop, coarse(crop, noise[number], form.top, smooth=options.method is Method.BLUR), alpha)
            plane[where] = crop


@dataclass(frozen=True, slots=True)
class _Axis:
    """Which chroma sample colours pixel i along an axis of the upright picture: (i + pad) >> shift.

    The pad is there where the picture runs backwards and its last chroma sample colours fewer pixels than others.
    """

    shift: int
    pad: int

    def cover(self, start: int, stop: int) -> tuple[int, int]:
        """The samples that colour pixels start..stop."""
        return (start + self.pad) >> self.shift, ((stop - 1 + self.pad) >> self.shift) + 1

    def around(self, start: int, stop: int) -> tuple[int, int]:
        """How many pixels more these samples colour, before and after."""
        first, last = self.cover(start, stop)
        return start + self.pad - (first << self.shift), (last << self.shift) - self.pad - stop


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """Where a part of the upright picture lies in each plane."""

    across: _Axis
    down: _Axis
    planes: int

    @classmethod
    def of(cls, upright: Sequence[Plane], form: PlaneFormat, orientation: int) -> PlaneLayout:
        shift_x, shift_y = form.chroma_shift_xy[:: 1 if orientation < 5 else -1]
        (height, width), (chroma_h, chroma_w) = upright[0].shape, upright[-1].shape
        across = _Axis(shift_x, (chroma_w << shift_x) - width if orientation in _BACK_ACROSS else 0)
        down = _Axis(shift_y, (chroma_h << shift_y) - height if orientation in _BACK_DOWN else 0)
        return cls(across, down, form.planes)

    def parts(self, x: int, y: int, alpha: NDArray[np.uint8]) -> list[tuple[tuple[slice, slice], NDArray[np.uint8]]]:
        """For each plane, where the part lies in it, and the part's alpha at its resolution."""
        height, width = alpha.shape
        luma = (slice(y, y + height), slice(x, x + width)), alpha
        if not self.across.shift and not self.down.shift:
            return [luma] * self.planes
        left, right = self.across.around(x, x + width)
        top, bottom = self.down.around(y, y + height)
        padded = cv2.copyMakeBorder(alpha, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
        rows = _maximum([padded[first :: 1 << self.down.shift] for first in range(1 << self.down.shift)])
        reduced = _maximum([rows[:, first :: 1 << self.across.shift] for first in range(1 << self.across.shift)])
        where = slice(*self.down.cover(y, y + height)), slice(*self.across.cover(x, x + width))
        return [luma] + [(where, np.ascontiguousarray(reduced))] * (self.planes - 1)


def _maximum(arrays: Sequence[Plane]) -> Plane:
    highest = arrays[0]
    for each in arrays[1:]:
        highest = np.maximum(highest, each)
    return highest


@lru_cache(maxsize=256)
def _noise(seed: int, columns_rows: tuple[int, int], form: PlaneFormat) -> tuple[NDArray[np.float32], ...]:
    """For each plane (rows, columns, 1), shares of the range of values; that of a cell hangs on its place alone.

    What all of R, G and B have in common is luma: chroma has only the smaller noise of each channel alone.
    """
    columns, rows = columns_rows
    size = (form.planes + 1, max(rows, _NOISE_GRID), max(columns, _NOISE_GRID), 1)
    drawn = np.random.default_rng(seed).standard_normal(size, np.float32)[:, :rows, :columns]
    shared = [NOISE if number == 0 or form.kind == "gbr" else 0 for number in range(form.planes)]
    return tuple(share * drawn[0] + TINT_NOISE * each for share, each in zip(shared, drawn[1:], strict=True))
