"""Redaction in the planes of a video frame, as the file stores them (YUV, grey or GBR).

Nothing is converted to RGB and back, so that nothing outside of the regions changes. A chroma sample gives its colour
to several pixels. It is changed as strongly as the most redacted of them, so that no colour stays at an edge. Chroma
planes have the cells of the luma plane: as many across and down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, Literal

import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.orientation import TURNS
from anonymizer.pipeline.redaction.effects import (
    NOISE,
    TINT_NOISE,
    fade,
    fill,
    grids,
    is_filled,
    pixelate_cells,
    seen_masks,
)
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = [
    "PlaneFormat",
    "PlaneLayout",
    "frame_planes",
    "planar_format_name",
    "plane_format",
    "redact_planes",
    "upright_planes",
]

Plane = NDArray[Any]
#: for each plane where a region lies in it, and its alpha there
_PlaneParts = list[tuple[tuple[slice, slice], NDArray[np.uint8]]]

#: FFmpeg's names of planar formats: each plane has one value after the other, lowest byte first.
_PLANAR = re.compile(r"(?P<kind>yuvj?|yuva|gray|gbrp|gbrap)(?:4\d\dp)?(?:(?P<depth>\d+)le)?")
#: Formats that are refused: floating-point values, raw camera sensors, and the XYZ colours of digital cinema.
_NOT_INTEGERS = re.compile(r".*f(?:16|32)[bl]e|bayer_.*|xyz12[bl]e")
#: FFmpeg's numbers of the colour ranges (AVCOL_RANGE_JPEG and AVCOL_RANGE_MPEG).
_FULL, _LIMITED = 2, 1
#: EXIF orientations in which the upright image runs against the stored one, across and down.
_BACK_ACROSS = frozenset({2, 3, 6, 7})
_BACK_DOWN = frozenset({3, 4, 7, 8})
#: Noise is drawn for at least so many cells each way. A grid that gains a row from one frame to the next keeps the
#: noise of the other rows.
_NOISE_GRID = 16


@dataclass(frozen=True, slots=True)
class PlaneFormat:
    """What redaction needs to know of a planar pixel format.

    Attributes:
        depth: bits per value, 8 to 16.
        chroma_shift_xy: log2 of the subsampling of the chroma planes, as stored: (1, 1) for 4:2:0, (1, 0) for 4:2:2.
        kind: what the planes hold: Y, Cb and Cr; grey; or G, B and R.
        full_range: True if black is 0 (full range), False if it is 16 of 255 (limited range).
    """

    depth: int
    chroma_shift_xy: tuple[int, int]
    kind: Literal["yuv", "gray", "gbr"]
    full_range: bool

    @property
    def planes(self) -> int:
        """Number of planes, not counting one of opacity."""
        return 1 if self.kind == "gray" else 3

    @property
    def max_value(self) -> int:
        """The highest value of a sample."""
        return (1 << self.depth) - 1

    @property
    def black(self) -> tuple[int, ...]:
        """The value of black in each plane."""
        luma = 0 if self.full_range or self.kind == "gbr" else 16 << (self.depth - 8)
        chroma = 128 << (self.depth - 8) if self.kind == "yuv" else 0
        return (luma, chroma, chroma)[: self.planes]


def plane_format(frame: VideoFrame) -> PlaneFormat | None:
    """Tell how the planes of a frame are to be read.

    Returns:
        None if the format is not planar. The frame must then be converted to the format `planar_format_name` first.
    """
    name = frame.format.name
    match = _PLANAR.fullmatch(name)
    depth = int(match["depth"] or 8) if match else 0
    if match is None or depth > 16:
        return None
    full = frame.color_range == _FULL or name.startswith("yuvj")
    if name.startswith("gray"):
        # As FFmpeg does, take grey without a stated range for full range.
        return PlaneFormat(depth, (0, 0), "gray", full or frame.color_range != _LIMITED)
    if name.startswith("gb"):
        return PlaneFormat(depth, (0, 0), "gbr", full_range=True)
    return PlaneFormat(depth, _chroma_shift_xy(frame.format), "yuv", full)


def planar_format_name(name: str) -> str:
    """Name the planar pixel format that holds the same values as another format.

    Args:
        name: FFmpeg's name of a packed or semi-planar format, or of one with another byte order.

    Returns:
        FFmpeg's name of the planar format. The conversion to it and back keeps every value.

    Raises:
        UnsupportedMedia: there is none. The values are not integers, have more than 16 bits, or are on a device.

    Examples:
        >>> planar_format_name("nv12"), planar_format_name("rgb24")
        ('yuv420p', 'gbrp')
    """
    form = VideoFormat(name, 64, 64)
    depth = max((component.bits for component in form.components), default=0)
    if not 0 < depth <= 16 or _NOT_INTEGERS.fullmatch(name):
        raise UnsupportedMedia(f"The video's pixels are stored as {name}, which is not supported.")
    bits = "" if depth <= 8 else f"{depth}le"
    opacity = "a" if any(component.is_alpha for component in form.components) else ""
    if form.is_rgb or form.has_palette:
        return f"gbr{opacity}p{bits}"
    if len(form.components) < 3:
        return f"gbrap{bits}" if opacity else f"gray{bits}"
    across, down = _chroma_shift_xy(form)
    sampling = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
    return f"yuv{opacity}{sampling[across, down]}p{bits}"


def _chroma_shift_xy(form: VideoFormat) -> tuple[int, int]:
    """log2 of how many pixels a chroma sample stands for, across and down."""
    return 6 - (form.chroma_width(64).bit_length() - 1), 6 - (form.chroma_height(64).bit_length() - 1)


def frame_planes(frame: VideoFrame, *, writable: bool = True) -> list[Plane]:
    """The planes of a frame in a planar format as arrays, without the padding of their lines.

    A decoder may still need a frame to predict others from it. A frame that is to be written is therefore copied first,
    unless nothing else refers to it.

    Args:
        frame: its format is one for which `plane_format` is not None.
        writable: whether the planes are to be changed, default: True. If False, nothing is copied and the planes are
            read-only.

    Returns:
        Views (h, w), uint8 or uint16, as stored. They are valid until the frame is made writable again.

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
        # The lines are stored bottom up if their size is negative.
        lines = lines[:: -1 if plane.line_size < 0 else 1, : plane.width]
        lines.flags.writeable = writable
        planes.append(lines)
    return planes


def upright_planes(planes: Sequence[Plane], orientation: int) -> list[Plane]:
    """Turn stored planes upright.

    Args:
        planes: (h, w) arrays, as stored.
        orientation: 1 to 8, as in EXIF: how the planes are turned to stand upright.

    Returns:
        Views of the planes: writing to them changes the planes.
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
    """Redact regions in the planes of a frame, in place, one after the other. The method `detect` changes nothing.

    Args:
        planes: (h, w) uint8 or uint16, as stored and writable. A plane of opacity after the others is not changed.
        form: how the planes are read.
        regions: in pixels of the upright frame.
        seeds: of the noise, one for each region, from 0 up. The same seed and the same grid of cells give the same
            noise. Keep the seed of an object over frames: new noise in each frame could be averaged away.
        options: the method and the sizes of cells are used.
        orientation: 1 to 8, as in EXIF: how the planes are turned to stand upright.

    Raises:
        ValueError: there are not as many seeds as regions.
    """
    if options.method is Method.DETECT:
        return
    upright = upright_planes(planes[: form.planes], orientation)
    layout = PlaneLayout.of(upright, form, orientation)
    filled = [layout.parts(region.x, region.y, region.alpha) for region in regions if is_filled(region, options)]
    # the mean of a vehicle's cell must not tell of its plate
    _fill(upright, filled, form)
    # Each region is made from the original. Where they overlap, the one with the larger cells is seen.
    seeded = [each for each in zip(regions, seeds, strict=True) if not is_filled(each[0], options)]
    placed = [layout.parts(region.x, region.y, region.alpha) for region, _ in seeded]
    made = [
        _redacted_crops(upright, form, parts, region, seed, options)
        for parts, (region, seed) in zip(placed, seeded, strict=True)
    ]
    for row, seen in seen_masks([region for region, _ in seeded], options):
        region = seeded[row][0]
        parts = placed[row] if seen is region.alpha else layout.parts(region.x, region.y, seen)
        for plane, (index, where), shown in zip(upright, parts, made[row], strict=True):
            changed = where > 0
            plane[index][changed] = shown[changed]
    if made:
        _fill(upright, filled, form)


def _fill(upright: Sequence[Plane], filled: Sequence[_PlaneParts], form: PlaneFormat) -> None:
    for number, plane in enumerate(upright):
        fill(plane, [parts[number] for parts in filled], form.max_value)


def _redacted_crops(
    upright: Sequence[Plane],
    form: PlaneFormat,
    placed: _PlaneParts,
    region: RedactionRegion,
    seed: int,
    options: Options,
) -> list[Plane]:
    """For each plane what a region shows, in the size of its part of the plane."""
    crops = []
    has_cells = options.method is not Method.BLACKEN
    # the edge's noise is its own: cells of one noise and of two sizes would tell the noise; of one size there is one
    sizes = dict.fromkeys(grids(region, options)) if has_cells else {}
    noises = [_noise((seed + number) % 2**64, grid, form) for number, grid in enumerate(sizes)]
    for number, (plane, (index, alpha)) in enumerate(zip(upright, placed, strict=True)):
        # OpenCV needs a contiguous array, which a crop of a turned view is not
        crop = np.array(plane[index], order="C")
        if has_cells:
            smooth = options.method is Method.BLUR
            cells = [pixelate_cells(crop, noise[number], form.max_value, smooth=smooth) for noise in noises]
            shown = fade(cells[0], cells[1], alpha) if len(cells) > 1 else cells[0]
        else:
            shown = np.full_like(crop, form.black[number])
        crops.append(shown)
    return crops


@dataclass(frozen=True, slots=True)
class _Axis:
    """Which chroma sample gives pixel i its colour along an axis of the upright image: sample (i + pad) >> shift.

    The pad is above 0 if the upright image runs against the stored one and its last chroma sample has fewer pixels.
    """

    shift: int
    pad: int

    def sample_range(self, start: int, stop: int) -> tuple[int, int]:
        """The samples of pixels start..stop, stop exclusive in both."""
        return (start + self.pad) >> self.shift, ((stop - 1 + self.pad) >> self.shift) + 1

    def extra_pixels(self, start: int, stop: int) -> tuple[int, int]:
        """How many more pixels these samples have, before start and from stop on."""
        first, last = self.sample_range(start, stop)
        return start + self.pad - (first << self.shift), (last << self.shift) - self.pad - stop


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """Where a part of the upright image lies in each plane.

    Attributes:
        across, down: which chroma samples belong to which pixels, along each axis of the upright image.
        planes: number of planes.
    """

    across: _Axis
    down: _Axis
    planes: int

    @classmethod
    def of(cls, upright: Sequence[Plane], form: PlaneFormat, orientation: int) -> PlaneLayout:
        """Compute the layout of planes.

        Args:
            upright: from `upright_planes`.
            form: how the planes are read.
            orientation: 1 to 8, as in EXIF, which `upright` were turned by.
        """
        shift_x, shift_y = form.chroma_shift_xy[:: 1 if orientation < 5 else -1]
        (height, width), (chroma_h, chroma_w) = upright[0].shape, upright[-1].shape
        across = _Axis(shift_x, (chroma_w << shift_x) - width if orientation in _BACK_ACROSS else 0)
        down = _Axis(shift_y, (chroma_h << shift_y) - height if orientation in _BACK_DOWN else 0)
        return cls(across, down, form.planes)

    def parts(self, x: int, y: int, alpha: NDArray[np.uint8]) -> _PlaneParts:
        """Find the part of each plane that belongs to a part of the image.

        Args:
            x, y: left and top of the part, in pixels of the upright image.
            alpha: (h, w) uint8, strength at each pixel of the part.

        Returns:
            For each plane, the index of the part in the upright plane, and the alpha at its resolution. The alpha of a
            chroma sample is the highest of its pixels.
        """
        height, width = alpha.shape
        luma = (slice(y, y + height), slice(x, x + width)), alpha
        if not self.across.shift and not self.down.shift:
            return [luma] * self.planes
        left, right = self.across.extra_pixels(x, x + width)
        top, bottom = self.down.extra_pixels(y, y + height)
        padded = cv2.copyMakeBorder(alpha, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
        rows = _maximum([padded[first :: 1 << self.down.shift] for first in range(1 << self.down.shift)])
        reduced = _maximum([rows[:, first :: 1 << self.across.shift] for first in range(1 << self.across.shift)])
        index = slice(*self.down.sample_range(y, y + height)), slice(*self.across.sample_range(x, x + width))
        return [luma] + [(index, np.ascontiguousarray(reduced))] * (self.planes - 1)


def _maximum(arrays: Sequence[Plane]) -> Plane:
    return reduce(np.maximum, arrays)


@lru_cache(maxsize=256)
def _noise(seed: int, columns_rows: tuple[int, int], form: PlaneFormat) -> tuple[NDArray[np.float32], ...]:
    """The noise of each plane, (rows, columns, 1), as shares of the range of values.

    The noise of a cell depends on the seed and on its row and column only. The noise that R, G and B share is in luma:
    chroma has only the smaller noise of each channel.
    """
    columns, rows = columns_rows
    size = (form.planes + 1, max(rows, _NOISE_GRID), max(columns, _NOISE_GRID), 1)
    drawn = np.random.default_rng(seed).standard_normal(size, np.float32)[:, :rows, :columns]
    shared = [NOISE if number == 0 or form.kind == "gbr" else 0 for number in range(form.planes)]
    return tuple(share * drawn[0] + TINT_NOISE * own for share, own in zip(shared, drawn[1:], strict=True))
