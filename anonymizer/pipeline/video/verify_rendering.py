"""Verify each rendered frame before it is encoded: every region is compared before and after redaction.

Nothing of what makes a redaction is used here again, so that a fault of it is noticed. Two things are measured in each
plane. The first is how much of the detail is unchanged: two neighbours of different values that both keep their value.
No method does that but by chance. The second is how much detail is left in a weaker form, or with other brightness.
Where the source is flat, there is no detail, and nothing can be missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.redaction.effects import MAX_CELLS, MIN_CELL_PX, is_filled
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import PlaneFormat, PlaneLayout, upright_planes
from anonymizer.pipeline.video.verify_frame import describe_region

__all__ = ["SourceCrops", "check_blackened"]

Plane = NDArray[Any]

# Measured on six clips of shared/data/videos, regions of 6 to 260 px of all types. In 5,400 planes of rightly redacted
# regions, at most 3 steps more than a tenth of the detail were unchanged; the limit is 16. In 114 frames with up to 30
# regions that lie over one another, none failed; at most 0.37 of fine detail was left. Of 1,500 bare faces all failed
# but 24, whose luma spans two steps or less.
#: The share of the source's detail that may be unchanged, and how much may be so by chance, in steps of 8 bits.
_MAX_UNCHANGED, _CHANCE = 0.1, 16.0
#: The share of the fine detail that may be left, and the least detail of which a share is measured.
_MAX_LEFT, _MIN_FINE = 0.7, 1024.0
#: Where the means of a few cells have this share of the fine detail, the source was pixelated before. The noise of the
#: new cells may add so much to what is left. Without that, a quarter of runs that pixelated a clip of 32 frames five
#: times failed: once 0.74 was left where the means have 0.62.
_COARSE, _BY_NOISE = 0.5, 0.15


@dataclass(frozen=True, slots=True)
class _RegionPart:
    """A region's part of a plane before redaction.

    Attributes:
        plane: number of the plane.
        index: of the part in the upright plane.
        inside: (h, w) uint8, 1 where pixels have to change, else 0.
        before: (h, w) uint8 or uint16, a copy.
    """

    plane: int
    index: tuple[slice, slice]
    inside: NDArray[np.uint8]
    before: Plane


class SourceCrops:
    """The pixels of all regions of a frame before redaction.

    Args:
        planes: (h, w) uint8 or uint16, as stored, before redaction. What is needed of them is copied.
        form: how the planes are read.
        regions: what is to be redacted, in pixels of the upright frame.
        orientation: 1 to 8 as in EXIF: how the planes are turned to stand upright.
    """

    def __init__(
        self, planes: Sequence[Plane], form: PlaneFormat, regions: Sequence[RedactionRegion], orientation: int = 1
    ) -> None:
        self._form, self._regions, self._orientation = form, regions, orientation
        upright = upright_planes(planes[: form.planes], orientation)
        layout = PlaneLayout.of(upright, form, orientation)
        self._parts: list[list[_RegionPart]] = []
        for region in regions:
            placed = layout.parts(region.x, region.y, region.alpha)
            self._parts.append(
                [
                    _RegionPart(number, index, np.asarray(alpha > 0, np.uint8), np.array(plane[index], order="C"))
                    for number, (plane, (index, alpha)) in enumerate(zip(upright, placed, strict=True))
                ]
            )

    def check(self, planes: Sequence[Plane], options: Options, *, number: int) -> None:
        """Make sure that every region is redacted.

        Args:
            planes: the same planes after redaction.
            options: `method` and `plate_fill` are used.
            number: of the frame, for the error.

        Raises:
            EncoderFailed: a region is not redacted.
        """
        upright = upright_planes(planes[: self._form.planes], self._orientation)
        filled = sum(is_filled(region, options) for region in self._regions)
        for region, parts in zip(self._regions, self._parts, strict=True):
            for part in parts:
                after = upright[part.plane][part.index]
                if options.method is Method.BLACKEN:
                    is_redacted = bool((after[part.inside > 0] == self._form.black[part.plane]).all())
                elif is_filled(region, options):
                    # where two overlap, the colours of both are seen
                    is_redacted = np.unique(after[part.inside > 0]).size <= filled
                else:
                    is_redacted = self._is_changed(part, after, region)
                if not is_redacted:
                    raise EncoderFailed(
                        f"Frame {number} was not redacted as it should be at {describe_region(region)}."
                    )

    def _is_changed(self, part: _RegionPart, after: Plane, region: RedactionRegion) -> bool:
        """Whether hardly any detail of the source is in the result."""
        after = np.ascontiguousarray(after)
        step = 1 << (self._form.depth - 8)
        same = np.asarray(after == part.before, np.uint8) & part.inside
        unchanged = _steps_inside(part.before, same) / step
        # the second sum is needed for few regions only
        if unchanged > _CHANCE:
            detail = _steps_inside(part.before, part.inside) / step
            if unchanged - _CHANCE > _MAX_UNCHANGED * detail:
                return False
        # there is little fine detail in chroma
        if part.plane > 0 and self._form.kind == "yuv":
            return True
        left = _left_detail(part, after, step)
        return left <= _MAX_LEFT or _is_coarse(part, region, step, left)


def check_blackened(planes: Sequence[Plane], form: PlaneFormat, *, number: int) -> None:
    """Make sure that a whole frame is black.

    Args:
        planes: (h, w) uint8 or uint16; one of opacity after the others is not compared.
        form: how the planes are read.
        number: of the frame, for the error.

    Raises:
        EncoderFailed: a pixel is not black.
    """
    if not all((plane == black).all() for plane, black in zip(planes, form.black, strict=False)):
        raise EncoderFailed(f"Frame {number} was not blackened, though it could not be read whole.")


def _steps_inside(values: Plane, inside: NDArray[np.uint8]) -> float:
    """The sum of the absolute steps between neighbours, across and down, that both lie inside."""
    rows = (values[1:], values[:-1], inside[1:], inside[:-1])
    columns = (values[:, 1:], values[:, :-1], inside[:, 1:], inside[:, :-1])
    return sum(
        cv2.norm(first, second, cv2.NORM_L1, cv2.bitwise_and(both, with_it))
        for first, second, both, with_it in (rows, columns)
        if first.size
    )


def _is_coarse(part: _RegionPart, region: RedactionRegion, step: int, left: float) -> bool:
    """Whether the source was pixelated before, so that a right redaction leaves the edges of its cells.

    The means of a few cells then have most of its detail. In 5,505 parts of val's pictures they had more than 0.7 of it
    three times, and 99 % were under 0.21.
    """
    height, width = part.before.shape
    shortest = max(int(region.short_side / MAX_CELLS[region.object_type]), int(MIN_CELL_PX))
    sizes = {
        (max(int(width / cell), 1), max(int(height / cell), 1)) for cell in range(shortest, int(region.short_side) + 1)
    }
    for size in sizes:
        means = cv2.resize(part.before, size, interpolation=cv2.INTER_AREA)
        shown = cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST)
        of_means = _left_detail(part, shown, step)
        if of_means > _MAX_LEFT or (of_means > _COARSE and left <= of_means + _BY_NOISE):
            return True
    return False


def _left_detail(part: _RegionPart, after: Plane, step: int) -> float:
    """The share of fine detail (at most 1) that the result has too, at the same places and in the same direction."""
    # the outermost pixels would be compared with what lies outside
    inside = cv2.erode(part.inside, np.ones((3, 3), np.uint8), borderValue=0)
    depth = cv2.CV_16S if after.dtype == np.uint8 else cv2.CV_32F
    was, now = (cv2.Laplacian(values, depth, ksize=1) for values in (part.before, after))
    detail = cv2.norm(was, cv2.NORM_L1, inside)
    if detail < _MIN_FINE * step:
        return 0.0
    # |x + y| - |x - y| is twice the smaller of both where they have one sign, and less than 0 elsewhere
    return (cv2.norm(cv2.add(was, now), cv2.NORM_L1, inside) - cv2.norm(was, now, cv2.NORM_L1, inside)) / (2 * detail)
