"""Proof of a written frame: what was redacted is so in the file, and the rest looks like the source.

A codec changes every pixel a little, so nothing is compared bit by bit. Inside of a shape it is asked how far the file
has gone on the way from the source to what was rendered: errors that have nothing to do with that way hardly count,
whatever the quality. Outside, means of blocks are compared, which a codec keeps even where it loses all detail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import PlaneFormat, upright_planes

__all__ = ["Difference", "RegionCheck", "check_frame", "compare_frames"]

Plane = NDArray[Any]

#: Pixels around a shape in which codecs let its edge ring.
_RING = 16
#: Side of the blocks outside whose means are compared.
_BLOCK = 8
#: A shape of fewer pixels is judged together with all such shapes: a low bit rate may smear any single one.
_SMALL = 4096

# Measured on the five clips of shared/data/videos, 4 to 10 frames of each, boxes of 11 to 220 px that move or come and
# go, blur and pixelate (the last four: pixelate); the lowest and the highest of all regions and frames. "Wrong" are
# shares of regions at the limits below: of right ones that fail / of forgotten ones that pass.
#                        large: covered              small: covered             outside
#                        right  forgotten  wrong     right  forgotten  wrong    right
#   x264 crf 23          0.96   0.09       0 / 0      0.88  0.04       0 / 0    0.4
#   x264 crf 30          0.86   0.20       0 / 0      0.61  0.13       0 / 19 % 0.8
#   x264 crf 36          0.68   0.46       0 / 2 %    0.06  0.30       0 / 64 % 1.6
#   x264 crf 42          0.16   0.51   0.2 % / 4 %   -0.01  0.43       0 / 91 % 3.0
#   0.015 bits a pixel   0.08   0.37   0.7 % / 1 %   -0.01  0.37   0.5 % / 77 % 2.9
#   x265 crf 26          0.91   0.09       0 / 0      0.68  0.05       0 / 1 %  0.6
#   MPEG-4 q 5           0.96   0.05       0 / 0      0.90  0.05       0 / 4 %  0.7
#   MPEG-4 q 16          0.86   0.15       0 / 0      0.60  0.11       0 / 20 % 1.4
#   MJPEG q 20           0.88   0.13       0 / 0      0.66  0.09       0 / 21 % 0.3
#: Least share of the way from source to rendered; and where both are at least so far apart, which right ones pass by
#: 0.79 and more in all of these encodes.
_MIN_COVERED = 0.2
_BOLD, _MIN_BOLD_COVERED = 20.0, 0.5
#: Small shapes fail where they are covered by less and keep more of their detail. Where a codec smears them beyond
#: that, forgotten and redacted are alike.
_MIN_SMALL_COVERED, _MAX_SMALL_KEPT = 0.06, 0.75
#: Where source and rendered are less apart, in steps of 8 bits, there is nothing to see, nor for a codec to keep.
_MIN_APART = 4.0
#: Mean deviation of a small shape's source from its own mean, in steps of 8 bits, under which it has nothing to hide: a
#: low bit rate makes it flat again, whatever was rendered.
_MIN_DETAIL = 2.0
#: Highest difference outside of the shapes, in steps of 8 bits. A mirrored frame has 7.5 and more, one that is turned
#: by 180 degrees 14.3 and more.
_MAX_OUTSIDE = 5.0


@dataclass(frozen=True, slots=True)
class RegionCheck:
    """The difference in luma inside of a large shape, or of all small ones together.

    Attributes:
        apart: mean absolute difference of source and rendered, in steps of 8 bits.
        covered: how far the result is on the way from the source (0) to what was rendered (1).
        kept: how much of the source's detail (0 to 1), its deviation from the mean of each shape, is in the result.
        is_small: there is too little of it to ask for much.
    """

    regions: tuple[RedactionRegion, ...]
    apart: float
    covered: float
    kept: float
    is_small: bool

    @property
    def is_proven(self) -> bool:
        """Whether it is changed as it should be, or there was nothing to see."""
        if self.apart < _MIN_APART:
            return True
        if self.is_small:
            return self.covered >= _MIN_SMALL_COVERED or self.kept <= _MAX_SMALL_KEPT
        return self.covered >= (_MIN_COVERED if self.apart < _BOLD else _MIN_BOLD_COVERED)


@dataclass(frozen=True, slots=True)
class Difference:
    """How a written frame differs from its source and from what was rendered.

    Attributes:
        outside: mean absolute difference to the source of means of blocks in luma, in steps of 8 bits, away from all
            shapes; None where nothing is away from them.
        regions: each shape is in one of them, but for small ones whose source is flat.
    """

    outside: float | None
    checks: tuple[RegionCheck, ...]

    @property
    def is_close_outside(self) -> bool:
        return self.outside is None or self.outside <= _MAX_OUTSIDE


def compare_frames(
    source: Sequence[Plane],
    rendered: Sequence[Plane],
    result: Sequence[Plane],
    form: PlaneFormat,
    regions: Sequence[RedactionRegion],
    orientation: int = 1,
) -> Difference:
    """Measure a written frame.

    Args:
        source: planes as they were decoded, (h, w) uint8 or uint16, as stored.
        rendered: as they were given to the encoder.
        result: as they were decoded again.
        form: of all three.
        shapes: that were redacted, in pixels of the upright frame.
        orientation: 1 to 8, as in EXIF, how the planes are turned to stand upright.

    Raises:
        ValueError: the frames differ in size.
    """
    if len({planes[0].shape for planes in (source, rendered, result)}) > 1:
        raise ValueError("the frames differ in size")
    step = np.float32(1 << (form.depth - 8))
    was, meant, now = (
        upright_planes(planes[:1], orientation)[0].astype(np.float32) / step for planes in (source, rendered, result)
    )
    large = [shape for shape in regions if np.count_nonzero(shape.alpha) >= _SMALL]
    small = tuple(
        shape for shape in regions if np.count_nonzero(shape.alpha) < _SMALL and _detail(was, shape) >= _MIN_DETAIL
    )
    checks = [_region(was, meant, now, (shape,), is_small=False) for shape in large]
    if small:
        checks.append(_region(was, meant, now, small, is_small=True))
    return Difference(_outside(was, now, regions), tuple(checks))


def check_frame(
    source: Sequence[Plane],
    rendered: Sequence[Plane],
    result: Sequence[Plane],
    form: PlaneFormat,
    regions: Sequence[RedactionRegion],
    orientation: int = 1,
    *,
    number: int,
) -> Difference:
    """Make sure of a written frame; arguments as of `compare_frames`, and the frame's number for the error.

    Raises:
        EncoderFailed: a region does not look as it was rendered, or the rest not as the source.
    """
    if source[0].shape != result[0].shape:
        raise EncoderFailed(f"Frame {number} of the result has another size than the source's.")
    found = compare_frames(source, rendered, result, form, regions, orientation)
    for region in found.checks:
        if not region.is_proven:
            raise EncoderFailed(
                f"Frame {number} of the result is not redacted as it should be at {_named(region)}: "
                f"it is {region.covered:.0%} of the way from the source to what was rendered."
            )
    if not found.is_close_outside:
        raise EncoderFailed(
            f"Frame {number} of the result does not look like the source where nothing was redacted: "
            f"blocks differ by {found.outside:.1f} of 255."
        )
    return found


def _region(
    was: Plane, meant: Plane, now: Plane, regions: tuple[RedactionRegion, ...], *, is_small: bool
) -> RegionCheck:
    """The way is a vector of all pixels, from source to rendered; the result's share of it is its projection there."""
    before, wanted, after = ([each[shape.crop][shape.alpha > 0] for shape in regions] for each in (was, meant, now))
    detail = np.concatenate([each - each.mean() for each in before])
    way = np.concatenate(wanted) - np.concatenate(before)
    gone = np.concatenate(after) - np.concatenate(before)
    return RegionCheck(
        regions=regions,
        apart=float(np.abs(way).mean()),
        covered=_share(gone, way),
        kept=_share(np.concatenate(after), detail),
        is_small=is_small,
    )


def _share(vector: Plane, whole: Plane) -> float:
    """How much of the second the first one has; nothing is all of nothing."""
    length = float(whole @ whole)
    return float(vector @ whole) / length if length else 1.0


def _detail(was: Plane, shape: RedactionRegion) -> float:
    inside = was[shape.crop][shape.alpha > 0]
    return float(np.abs(inside - inside.mean()).mean())


def _outside(was: Plane, now: Plane, regions: Sequence[RedactionRegion]) -> float | None:
    """Of blocks that lie away from all shapes as a whole."""
    height, width = was.shape
    covered = np.zeros((height, width), np.uint8)
    for shape in regions:
        covered[shape.crop] |= shape.alpha
    near = cv2.dilate(covered, np.ones((2 * _RING + 1,) * 2, np.uint8))
    size = max(width // _BLOCK, 1), max(height // _BLOCK, 1)
    # Lowest alphas would be lost in a mean of 8 bits.
    away = cv2.resize((near > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA) == 0
    if not away.any():
        return None
    return float(np.abs(cv2.resize(now - was, size, interpolation=cv2.INTER_AREA))[away].mean())


def _named(region: RegionCheck) -> str:
    if region.is_small:
        return f"its small objects ({len(region.regions)})"
    shape = region.regions[0]
    height, width = shape.alpha.shape
    return f"the {shape.object_type.words} at x {shape.x}, y {shape.y}, {width} x {height} pixels"
