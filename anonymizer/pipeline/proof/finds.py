"""Which finds in a delivered picture are new, and which are redacted objects that a detector found again.

Detectors see a blurred head as a head: often with a lower score, but above half the threshold. Such a find says
nothing. A find counts as redacted if enough of its own shape is redacted already. The shape is what would be redacted
for it, without margin and soft edge: its outline, its superellipse for a face, or its box. Outlines leave out much of
the box of a person with stretched arms. So a find with the box of a redacted object is that object, unless much more
of it is bare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.tracking.boxes import contains, ious

__all__ = ["COVERED", "are_spared", "bare_shares", "new_finds", "without_margins"]

#: the share of a find's shape from which on it counts as redacted
COVERED = 0.5
#: A find is the redacted object with its type if the boxes overlap so much (intersection over union), and if its box is
#: barer than the object's own by no more than this share.
_SAME_IOU, _BARER = 0.5, 0.25
#: the share of a find within an object that a person left visible, from which on it is a part of that object
_WITHIN = 0.8


def new_finds(
    finds: Detections, redacted: NDArray[np.bool_], objects: Detections, options: Options
) -> NDArray[np.bool_]:
    """Tell which finds show something that is not redacted.

    Args:
        finds: n objects that detectors found in the delivered picture.
        redacted: (h, w) bool, the pixels that are redacted.
        objects: the objects that are redacted there.
        options: `bbox` and `ignores` are used. What lies in `ignores` alone is never new.

    Returns:
        (n,) bool.
    """
    bare = bare_shares(finds, redacted, options)
    is_new = ~np.isnan(bare) & (bare > 1 - COVERED)
    rows = np.flatnonzero(is_new)
    if len(rows) and len(objects):
        overlaps = np.stack([ious(box, objects.boxes) for box in finds.boxes[rows]])
        overlaps[finds.types[rows][:, None] != objects.types] = 0
        partner = overlaps.argmax(axis=1)
        is_same = overlaps[np.arange(len(rows)), partner] >= _SAME_IOU
        barer = _bare_boxes(finds.boxes[rows], redacted) - _bare_boxes(objects.boxes[partner], redacted)
        is_new[rows[is_same & (barer <= _BARER)]] = False
    return is_new


def are_spared(finds: Detections, spared: Detections) -> NDArray[np.bool_]:
    """Tell which finds are objects that a person left visible.

    Args:
        finds: n objects that detectors found in the delivered picture.
        spared: what persons dropped or left visible there.

    Returns:
        (n,) bool: a find of the same type with nearly the same box, or within it.
    """
    out = np.zeros(len(finds), np.bool_)
    for row in range(len(finds)):
        box, others = finds.boxes[row], spared.boxes[spared.types == finds.types[row]]
        holds = any(contains(other, box, _WITHIN) for other in others)
        out[row] = holds or ious(box, others).max(initial=0) >= _SAME_IOU
    return out


def bare_shares(finds: Detections, redacted: NDArray[np.bool_], options: Options) -> NDArray[np.float64]:
    """Measure how much of each find's shape is not redacted.

    Args:
        finds: n objects.
        redacted: (h, w) bool, the pixels that are redacted.
        options: `bbox` and `ignores` are used.

    Returns:
        (n,) float64, 0..1; NaN for a find without any pixel inside the image and outside of `ignores`.
    """
    shapes = without_margins(options)
    out = np.full(len(finds), np.nan)
    for region in redaction_regions(finds, redacted.shape, shapes):
        inside = region.alpha > 0
        out[region.row] = 1 - np.count_nonzero(redacted[region.crop] & inside) / np.count_nonzero(inside)
    return out


def without_margins(options: Options) -> Options:
    """The options with which a region is the shape of its object alone."""
    return replace(
        options,
        margin=0.0,
        margin_face=None,
        margin_license_plate=None,
        margin_person=None,
        margin_vehicle=None,
        face_anonymization_gradient_start=0.0,
        license_plate_anonymization_gradient_start=0.0,
    )


def _bare_boxes(boxes: NDArray[np.float32], redacted: NDArray[np.bool_]) -> NDArray[np.float64]:
    height, width = redacted.shape
    corners = np.clip(np.rint(boxes), 0, [width, height] * 2).astype(int)
    parts: Sequence[NDArray[np.bool_]] = [redacted[y1:y2, x1:x2] for x1, y1, x2, y2 in corners]
    return np.array([1 - part.mean() if part.size else 0.0 for part in parts])
