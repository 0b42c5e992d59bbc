"""Verify one written frame: what was redacted is redacted in the file, and the rest looks like the source.

A codec changes every pixel a little, so pixels cannot be compared one by one. Inside a region, all pixels together form
a vector, and the way from the source to what was rendered is another one. It is measured how far the result has gone on
that way: 0 is the source, 1 is fully redacted. Coding errors have another direction, so they hardly count, at any
quality. Outside the regions, means of blocks are compared: a codec keeps these even where it loses all detail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import PlaneFormat, upright_planes

__all__ = ["FrameDifference", "RegionCheck", "check_frame", "compare_frames", "describe_region"]

Plane = NDArray[Any]

#: pixels around a region in which codecs let its edge ring
_RING = 16
#: side in pixels of the blocks outside whose means are compared
_BLOCK = 8
#: Regions of fewer pixels are judged all together: a low bit rate may smear any single one.
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
#: The least share of the way from source to rendered. Where both are `_BOLD` or more apart, more is asked: there, right
#: regions have 0.79 and more in all of these encodes.
_MIN_COVERED = 0.2
_BOLD, _MIN_BOLD_COVERED = 20.0, 0.5
#: Small regions fail if they are covered by less and also keep more of their detail. Where a codec smears them beyond
#: that, forgotten and redacted regions look alike.
_MIN_SMALL_COVERED, _MAX_SMALL_KEPT = 0.06, 0.75
#: If source and rendered differ by less, in steps of 8 bits, there is nothing to see, and codecs do not keep it.
_MIN_APART = 4.0
#: The least mean deviation of a small region's source from its own mean, in steps of 8 bits. Under it there is nothing
#: to hide, and a low bit rate makes the region flat again, whatever was rendered.
_MIN_DETAIL = 2.0
#: Each region is also judged alone, in windows of so many pixels each way, or of this share of a smaller region's
#: shorter side. The last number is the share of a window that must lie inside of the region.
_WINDOW, _WINDOW_SHARE, _MIN_INSIDE = 16, 0.8, 0.85
#: The least standard deviation of the source in a window that is judged, in steps of 8 bits.
_MIN_DEVIATION = 2.5
#: The least root mean square of the change that was intended in it: in steps of 8 bits, and by the error of coding
#: elsewhere. Where a low bit rate makes that error larger than the last number, no window is judged.
_MIN_CHANGE, _MIN_CHANGE_BY_ERROR, _MAX_ERROR = 6.0, 6.0, 3.0
# Measured on six clips of shared/data/videos, four frames of each, 574 regions of 14 to 160 px, and the same with the
# boxes of half of them bare (some lie over one another or have no detail): right ones that fail / bare ones that pass.
#   x264 crf 23  0 / 12 %      x264 crf 36       0 / 86 %
#   x264 crf 30  0 / 46 %      250,000 bits/s    0 / 89 %
#: A window shows the source if it differs from it by less than this share of the change that was intended.
_MAX_NEAR = 0.35
#: The highest difference outside of the regions, in steps of 8 bits. A mirrored frame has 7.5 and more, a frame that is
#: turned by 180 degrees 14.3 and more.
_MAX_OUTSIDE = 5.0


@dataclass(frozen=True, slots=True)
class RegionCheck:
    """The difference in luma inside one large region, or inside all small ones together.

    Attributes:
        regions: the one large region, or the small ones.
        apart: mean absolute difference of source and rendered, in steps of 8 bits.
        covered: how far the result is on the way from the source (0) to what was rendered (1).
        kept: how much of the source's detail (0 to 1) is in the result. Detail is the deviation from a region's mean.
        is_small: whether the regions are small; then less is asked.
    """

    regions: tuple[RedactionRegion, ...]
    apart: float
    covered: float
    kept: float
    is_small: bool

    @property
    def is_redacted(self) -> bool:
        """Whether the result is changed as it should be, or there was nothing to see."""
        if self.apart < _MIN_APART:
            return True
        if self.is_small:
            return self.covered >= _MIN_SMALL_COVERED or self.kept <= _MAX_SMALL_KEPT
        return self.covered >= (_MIN_COVERED if self.apart < _BOLD else _MIN_BOLD_COVERED)


@dataclass(frozen=True, slots=True)
class FrameDifference:
    """How a written frame differs from its source and from what was rendered.

    Attributes:
        outside: mean absolute difference to the source, of means of blocks in luma, away from all regions. It is in
            steps of 8 bits; None: no block is away from them.
        checks: each region is in one of them, except small ones whose source is flat.
        bare: regions of which a part looks as in the source, though it was rendered otherwise.
    """

    outside: float | None
    checks: tuple[RegionCheck, ...]
    bare: tuple[RedactionRegion, ...]

    @property
    def is_close_outside(self) -> bool:
        """Whether the result looks like the source outside of the regions."""
        return self.outside is None or self.outside <= _MAX_OUTSIDE


def compare_frames(
    source: Sequence[Plane],
    rendered: Sequence[Plane],
    result: Sequence[Plane],
    form: PlaneFormat,
    regions: Sequence[RedactionRegion],
    orientation: int = 1,
) -> FrameDifference:
    """Measure how a written frame differs from its source and from what was rendered.

    Args:
        source: the planes as they were decoded, (h, w) uint8 or uint16, as stored.
        rendered: the planes as they were given to the encoder.
        result: the planes as they were decoded again.
        form: how the planes of all three are to be read.
        regions: what was redacted, in pixels of the upright frame.
        orientation: 1 to 8 as in EXIF: how the planes are turned to stand upright.

    Returns:
        The differences inside and outside of the regions.

    Raises:
        ValueError: the frames differ in size.
    """
    if len({planes[0].shape for planes in (source, rendered, result)}) > 1:
        raise ValueError("the frames differ in size")
    step = np.float32(1 << (form.depth - 8))
    was, meant, now = (_Luma(upright_planes(planes[:1], orientation)[0], step) for planes in (source, rendered, result))
    large = [region for region in regions if np.count_nonzero(region.alpha) >= _SMALL]
    small = tuple(
        region for region in regions if np.count_nonzero(region.alpha) < _SMALL and _detail(was, region) >= _MIN_DETAIL
    )
    checks = [_check_regions(was, meant, now, (region,), is_small=False) for region in large]
    if small:
        checks.append(_check_regions(was, meant, now, small, is_small=True))
    error = _coding_error(was, now, regions)
    judged = regions if error <= _MAX_ERROR else ()
    bare = tuple(region for region in judged if _is_bare_in_part(was, meant, now, region, error))
    return FrameDifference(_outside_difference(was, now, regions), tuple(checks), bare)


def check_frame(
    source: Sequence[Plane],
    rendered: Sequence[Plane],
    result: Sequence[Plane],
    form: PlaneFormat,
    regions: Sequence[RedactionRegion],
    orientation: int = 1,
    *,
    number: int,
) -> FrameDifference:
    """Make sure that a written frame looks as intended.

    Args:
        source: the planes as they were decoded, (h, w) uint8 or uint16, as stored.
        rendered: the planes as they were given to the encoder.
        result: the planes as they were decoded again.
        form: how the planes of all three are to be read.
        regions: what was redacted, in pixels of the upright frame.
        orientation: 1 to 8 as in EXIF: how the planes are turned to stand upright.
        number: of the frame, for the error.

    Returns:
        The differences inside and outside of the regions.

    Raises:
        EncoderFailed: a region is not redacted, or the rest does not look like the source.
    """
    if source[0].shape != result[0].shape:
        raise EncoderFailed(f"Frame {number} of the result has another size than the source's.")
    difference = compare_frames(source, rendered, result, form, regions, orientation)
    for check in difference.checks:
        if not check.is_redacted:
            raise EncoderFailed(
                f"Frame {number} of the result is not redacted as it should be at {_describe(check)}: "
                f"it is {check.covered:.0%} of the way from the source to what was rendered."
            )
    for region in difference.bare:
        raise EncoderFailed(
            f"Frame {number} of the result is not redacted as it should be at {describe_region(region)}: "
            "a part of it shows the source."
        )
    if not difference.is_close_outside:
        raise EncoderFailed(
            f"Frame {number} of the result does not look like the source where nothing was redacted: "
            f"blocks differ by {difference.outside:.1f} of 255."
        )
    return difference


@dataclass(frozen=True, slots=True)
class _Luma:
    """A plane of which only parts are made floats: all of an 8K frame would take long, and much memory.

    Attributes:
        values: (h, w) uint8 or uint16, upright.
        step: what a step of 8 bits is in it.
    """

    values: Plane
    step: np.float32

    def crop(self, region: RedactionRegion) -> Plane:
        """The part that a region lies in, in steps of 8 bits."""
        return self.values[region.crop].astype(np.float32) / self.step


def _check_regions(
    was: _Luma, meant: _Luma, now: _Luma, regions: tuple[RedactionRegion, ...], *, is_small: bool
) -> RegionCheck:
    """Project the change of all pixels in the result onto the change from source to rendered."""
    before, wanted, after = ([luma.crop(region)[region.alpha > 0] for region in regions] for luma in (was, meant, now))
    detail = np.concatenate([pixels - pixels.mean() for pixels in before])
    intended_change = np.concatenate(wanted) - np.concatenate(before)
    real_change = np.concatenate(after) - np.concatenate(before)
    return RegionCheck(
        regions=regions,
        apart=float(np.abs(intended_change).mean()),
        covered=_projection(real_change, intended_change),
        kept=_projection(np.concatenate(after), detail),
        is_small=is_small,
    )


def _is_bare_in_part(was: _Luma, meant: _Luma, now: _Luma, region: RedactionRegion, error: float) -> bool:
    """Whether any part of a region is so near to the source that coding does not make it so of what was rendered.

    Args:
        error: what coding changes elsewhere in the frame: the root mean square, in steps of 8 bits.
    """
    inside = (region.alpha > 0).astype(np.float32)
    source, rendered, result = (luma.crop(region) for luma in (was, meant, now))
    side = max(min(_WINDOW, int(_WINDOW_SHARE * min(inside.shape))), 1)

    def means(values: Plane) -> Plane:
        return cv2.boxFilter(values * inside, -1, (side, side), borderType=cv2.BORDER_CONSTANT)

    share = means(np.ones_like(inside))
    count = np.maximum(share, 1e-3)
    intended, left = means((rendered - source) ** 2) / count, means((result - source) ** 2) / count
    mean = means(source) / count
    variance = means(source**2) / count - mean**2
    is_seen = (share >= _MIN_INSIDE) & (variance >= _MIN_DEVIATION**2)
    is_clear = intended >= max(_MIN_CHANGE, _MIN_CHANGE_BY_ERROR * error) ** 2
    return bool((is_seen & is_clear & (left < _MAX_NEAR**2 * intended)).any())


def _coding_error(was: _Luma, now: _Luma, regions: Sequence[RedactionRegion]) -> float:
    """The root mean square of what coding changed outside of the regions; infinite if that is nowhere."""
    outside = np.ones(was.values.shape, np.uint8)
    for region in regions:
        outside[region.crop][region.alpha > 0] = 0
    count = cv2.countNonZero(outside)
    if not count:
        return math.inf
    before, after = (np.ascontiguousarray(luma.values) for luma in (was, now))
    return cv2.norm(before, after, cv2.NORM_L2, outside) / (math.sqrt(count) * float(was.step))


def _projection(vector: Plane, onto: Plane) -> float:
    """The length of a vector's projection, with the other vector's length as the unit; 1 if that one is zero."""
    length = float(onto @ onto)
    return float(vector @ onto) / length if length else 1.0


def _detail(was: _Luma, region: RedactionRegion) -> float:
    inside = was.crop(region)[region.alpha > 0]
    return float(np.abs(inside - inside.mean()).mean())


def _outside_difference(was: _Luma, now: _Luma, regions: Sequence[RedactionRegion]) -> float | None:
    """The mean difference of the blocks that lie wholly away from all regions."""
    height, width = was.values.shape
    covered = np.zeros((height, width), np.uint8)
    for region in regions:
        covered[region.crop] |= region.alpha
    near = cv2.dilate(covered, np.ones((2 * _RING + 1,) * 2, np.uint8))
    size = max(width // _BLOCK, 1), max(height // _BLOCK, 1)
    # as floats: in a mean of 8 bits the lowest alphas would be lost
    away = cv2.resize((near > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA) == 0
    if not away.any():
        return None
    before, after = (np.ascontiguousarray(luma.values) for luma in (was, now))
    difference = cv2.subtract(after, before, dtype=cv2.CV_32F)
    blocks = cv2.resize(difference, size, interpolation=cv2.INTER_AREA)
    return float(np.abs(blocks)[away].mean() / was.step)


def _describe(check: RegionCheck) -> str:
    if check.is_small:
        return f"its small objects ({len(check.regions)})"
    return describe_region(check.regions[0])


def describe_region(region: RedactionRegion) -> str:
    """Describe what a region hides and where, for an error."""
    height, width = region.alpha.shape
    return f"the {region.object_type.words} at x {region.x}, y {region.y}, {width} x {height} pixels"
