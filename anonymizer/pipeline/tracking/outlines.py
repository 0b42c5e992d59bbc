"""What is drawn for objects, to tell whether an object that tracking added is redacted already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, Source
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions
from anonymizer.pipeline.tracking.boxes import Box, covers

__all__ = ["is_drawn", "without_covered_additions"]

#: share of an object's outline that others have to cover, so that it need not be drawn itself
_COVERED = 0.99


def without_covered_additions(found: Detections, size_hw: tuple[int, int], options: Options) -> Detections:
    """Leave out what tracking added where the outlines of detections cover it.

    Args:
        found: all objects of a frame, with the masks that are drawn.
        size_hw: height and width of the upright frame in pixels.
        options: of the drawing.

    Returns:
        The objects without those of source `Source.TRACKER` that detections of their type cover.
    """
    is_added = found.sources == Source.TRACKER.value
    kept = np.ones(len(found), bool)
    for row in np.flatnonzero(is_added):
        others = found[~is_added & (found.types == found.types[row])]
        kept[row] = not is_drawn(found[[int(row)]], found.boxes[row], others, size_hw, options)
    return found if kept.all() else found[kept]


def is_drawn(added: Detections, core: Box, others: Detections, size_hw: tuple[int, int], options: Options) -> bool:
    """Whether what is drawn for other objects covers an object.

    Args:
        added: the one object.
        core: (4,) float32, where the object is taken to be, in pixels of the frame.
        others: of its type, with the masks that are drawn.
        size_hw: height and width of the upright frame in pixels.
        options: of the drawing.

    Returns:
        True if its box is covered by another box (`covers`), and 99 % of its outline by the outlines of the others.
        The outlines of the others count with their margin, that of the object without.
    """
    # boxes are quick to compare, and most objects lie in no other box
    if not covers(others.boxes, core):
        return False
    plain = replace(
        options, margin=0.0, margin_face=None, margin_license_plate=None, margin_person=None, margin_vehicle=None
    )
    boxes = core[None] if added.masks[0] is None else added.boxes
    own = redaction_regions(replace(added, boxes=boxes), size_hw, plain)
    if not own:
        return False
    shape = own[0].alpha == 255
    drawn = np.zeros_like(shape)
    for region in redaction_regions(others, size_hw, options):
        _draw(region, own[0], drawn)
    return bool((shape & drawn).sum() >= _COVERED * shape.sum())


def _draw(region: RedactionRegion, onto: RedactionRegion, drawn: NDArray[np.bool_]) -> None:
    """Mark, in place, the pixels of one region's rectangle in which another region is at full strength."""
    left, top = region.x - onto.x, region.y - onto.y
    low_x, low_y = max(left, 0), max(top, 0)
    part = drawn[low_y : max(top + region.alpha.shape[0], 0), low_x : max(left + region.alpha.shape[1], 0)]
    rows, columns = part.shape
    part |= region.alpha[low_y - top :, low_x - left :][:rows, :columns] == 255
