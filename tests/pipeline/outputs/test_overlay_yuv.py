"""The overlay of `debug` in the planes of video frames."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.orientation import stored
from anonymizer.pipeline.outputs.overlay import COLOURS, draw
from anonymizer.pipeline.outputs.overlay_yuv import draw_planes
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.redaction.yuv import frame_planes, plane_format, upright_planes
from tests.pipeline.redaction.planes import FACE, ORIENTATIONS, VEHICLE, form, objects, sizes, touched


@pytest.mark.parametrize("kind", ["yuv", "gbr", "gray"])
@pytest.mark.parametrize("depth", [8, 10])
def test_it_looks_as_in_a_picture(kind: Any, depth: int) -> None:
    name = {"yuv": "yuv444p", "gbr": "gbrp", "gray": "gray"}[kind] + ("" if depth == 8 else "10le")
    frame = av.VideoFrame(240, 160, name)
    asked = plane_format(frame)
    assert asked is not None
    frame.color_range, frame.colorspace = (2 if asked.full_range else 1), (0 if kind == "gbr" else 1)
    for plane, value in zip(frame_planes(frame), (100, 128, 128), strict=False):
        plane[...] = (100 if kind == "gbr" else value) << (depth - 8)
    before = frame.to_ndarray(format="rgb24")
    detections = objects([60, 50, 150, 140], VEHICLE)
    regions = redaction_regions(detections, (160, 240), Options())
    draw_planes(frame_planes(frame), asked, detections, regions, scores=True)
    expected = draw(before, detections, regions, scores=True).astype(int)
    after = frame.to_ndarray(format="rgb24", src_colorspace="ITU709").astype(int)
    if kind == "gray":
        expected, after = expected @ [0.2126, 0.7152, 0.0722], after[..., 0]
    assert abs(after - expected).max() <= 4


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_box_lies_where_it_belongs_in_a_turned_frame(orientation: int) -> None:
    size_hw = (61, 91) if orientation < 5 else (91, 61)
    asked = form()
    planes = [np.full(size, 50, np.uint8) for size in sizes(size_hw, asked)]
    draw_planes(planes, asked, objects([10, 20, 40, 50], FACE), [], orientation, scores=False)
    luma = upright_planes(planes, orientation)[0]
    changed = np.argwhere(luma != 50)
    assert (changed.min(axis=0).tolist(), changed.max(axis=0).tolist()) == ([20, 10], [49, 39])
    inside = touched(stored(luma != 50, orientation), asked)
    for plane, mask in zip(planes, inside, strict=True):
        np.testing.assert_array_equal(plane != 50, mask)


def test_each_type_has_its_colour() -> None:
    for object_type in OBJECT_TYPES:
        frame = av.VideoFrame(64, 64, "yuv420p")
        asked = plane_format(frame)
        assert asked is not None
        draw_planes(frame_planes(frame), asked, objects([0, 0, 64, 64], object_type), [], scores=False)
        rgb = frame.to_ndarray(format="rgb24", src_colorspace="ITU709")
        assert abs(rgb[0, 32].astype(int) - COLOURS[object_type]).max() <= 6
