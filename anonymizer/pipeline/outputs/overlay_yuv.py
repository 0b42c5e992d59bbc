"""The overlay of `debug` in a video frame's own planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.outputs.overlay import strokes
from anonymizer.pipeline.redaction.effects import mix
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import PlaneFormat, PlaneLayout, upright_planes

__all__ = ["draw_planes"]

Plane = NDArray[Any]

#: RGB to Y, Cb, Cr, all in full range around 0 (BT.709).
_TO_YUV = np.array([[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]])


def draw_planes(
    planes: Sequence[Plane],
    form: PlaneFormat,
    detections: Detections,
    regions: Sequence[RedactionRegion],
    orientation: int = 1,
    *,
    scores: bool,
) -> None:
    """Draw boxes, and the outlines of what is redacted, as `overlay.draw` does, in place.

    Args:
        planes: (h, w) uint8 or uint16, as stored and writable.
        detections, regions: in pixels of the upright frame.
        orientation: 1 to 8, as in EXIF, how the planes are turned to stand upright.
        scores: write type and score at each box.
    """
    upright = upright_planes(planes[: form.planes], orientation)
    layout = PlaneLayout.of(upright, form, orientation)
    for stroke in strokes(upright[0].shape, detections, regions, scores=scores):
        parts = layout.parts(stroke.x, stroke.y, stroke.alpha)
        for plane, ink, (where, alpha) in zip(upright, _ink(stroke.rgb, form), parts, strict=True):
            crop = np.array(plane[where], order="C")
            mix(crop, np.full_like(crop, ink), alpha)
            plane[where] = crop


def _ink(rgb: tuple[int, int, int], form: PlaneFormat) -> list[int]:
    """A colour's value in each plane."""
    red, green, blue = rgb
    if form.kind == "gbr":
        return [round(value / 255 * form.top) for value in (green, blue, red)]
    luma, *chroma = cast("list[float]", (_TO_YUV @ np.array(rgb) / 255).tolist())
    if form.full_range:
        return [round(luma * form.top), *(round((each + 0.5) * form.top) for each in chroma)][: form.planes]
    values = [16 + 219 * luma, *(128 + 224 * each for each in chroma)]
    return [round(value * (1 << (form.depth - 8))) for value in values][: form.planes]
