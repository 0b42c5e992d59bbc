"""The overlay of the option `debug` (boxes and outlines), drawn in the planes of a video frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.outputs.overlay import strokes
from anonymizer.pipeline.redaction.effects import blend
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import PlaneFormat, PlaneLayout, upright_planes

__all__ = ["draw_planes"]

Plane = NDArray[Any]

#: RGB, 0..1, to Y, 0..1, and Cb and Cr, -0.5..0.5 (ITU-R BT.709).
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
    """Draw the boxes of detections and the outlines of regions, in place. It looks as `overlay.draw` in an image.

    Args:
        planes: (h, w) uint8 or uint16, as stored and writable.
        form: how the planes are read.
        detections: boxes are in pixels of the upright frame.
        regions: what is redacted, in pixels of the upright frame.
        orientation: 1 to 8, as in EXIF: how the planes are turned to stand upright.
        scores: whether to write type and score at each box.
    """
    upright = upright_planes(planes[: form.planes], orientation)
    layout = PlaneLayout.of(upright, form, orientation)
    for stroke in strokes(upright[0].shape, detections, regions, scores=scores):
        parts = layout.parts(stroke.x, stroke.y, stroke.alpha)
        for plane, value, (crop_index, alpha) in zip(upright, _colour_values(stroke.rgb, form), parts, strict=True):
            crop = np.array(plane[crop_index], order="C")
            blend(crop, np.full_like(crop, value), alpha)
            plane[crop_index] = crop


def _colour_values(rgb: tuple[int, int, int], form: PlaneFormat) -> list[int]:
    """The value in each plane of an RGB colour, 0..255."""
    red, green, blue = rgb
    if form.kind == "gbr":
        return [round(value / 255 * form.max_value) for value in (green, blue, red)]
    luma, *chroma = cast("list[float]", (_TO_YUV @ np.array(rgb) / 255).tolist())
    if form.full_range:
        values = [luma * form.max_value, *((value + 0.5) * form.max_value for value in chroma)]
    else:
        step = 1 << (form.depth - 8)
        values = [(16 + 219 * luma) * step, *((128 + 224 * value) * step for value in chroma)]
    return [round(value) for value in values][: form.planes]
