"""Every region of a frame is compared before and after redaction, in each pixel format."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.orientation import stored
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions
from anonymizer.pipeline.redaction.yuv import PlaneFormat, redact_planes
from anonymizer.pipeline.video.verify_rendering import SourceCrops, check_blackened

FACE = OBJECT_TYPES[0]
FORMATS = {
    "4:2:0": PlaneFormat(8, (1, 1), "yuv", full_range=False),
    "4:2:2, 10 bits": PlaneFormat(10, (1, 0), "yuv", full_range=False),
    "4:4:4, 16 bits": PlaneFormat(16, (0, 0), "yuv", full_range=True),
    "grey": PlaneFormat(8, (0, 0), "gray", full_range=True),
    "GBR, 12 bits": PlaneFormat(12, (0, 0), "gbr", full_range=True),
}
METHODS = (Method.BLUR, Method.PIXELATE, Method.BLACKEN)
#: the upright frame
SIZE_HW = (96, 160)


def planes_of(form: PlaneFormat, orientation: int = 1) -> list[NDArray[Any]]:
    """A picture with detail in every plane, as stored."""
    rng = np.random.default_rng(4)
    planes = []
    for number in range(form.planes):
        shift_x, shift_y = form.chroma_shift_xy if number else (0, 0)
        height, width = SIZE_HW if orientation < 5 else SIZE_HW[::-1]
        size = (height >> shift_y, width >> shift_x)
        values = rng.normal(0.5, 0.12, size) * form.max_value
        planes.append(np.clip(values, 0, form.max_value).astype(np.uint8 if form.depth == 8 else np.uint16))
    return planes


def regions_of(*boxes: tuple[int, int, int, int], method: Method = Method.BLUR) -> list[RedactionRegion]:
    n = len(boxes)
    found = Detections(np.array(boxes, np.float32), np.ones(n), np.full(n, FACE.number), np.full(n, "test"))
    return redaction_regions(found, SIZE_HW, Options(method=method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("orientation", [1, 2, 6, 8])
def test_each_plane_that_stays_bare_is_noticed(name: str, method: Method, orientation: int) -> None:
    form, options = FORMATS[name], Options(method=method)
    source = planes_of(form, orientation)
    regions = regions_of((10, 10, 60, 70), (50, 20, 90, 60), (120, 30, 136, 50), method=method)
    crops = SourceCrops(source, form, regions, orientation)
    after = [plane.copy() for plane in source]
    redact_planes(after, form, regions, range(len(regions)), options, orientation)
    crops.check(after, options, number=5)
    for number in range(form.planes):
        forgotten = [was if at == number else now for at, (was, now) in enumerate(zip(source, after, strict=True))]
        with pytest.raises(EncoderFailed, match="Frame 5 was not redacted as it should be at the face at x"):
            crops.check(forgotten, options, number=5)


@pytest.mark.parametrize("method", METHODS)
def test_shapes_of_any_size_pass_when_they_are_redacted(method: Method) -> None:
    form, options = FORMATS["4:2:0"], Options(method=method)
    for box in ((5, 5, 6, 6), (0, 0, 2, 90), (-20, -20, 3, 3), (159, 95, 170, 99), (-10, -10, 170, 106)):
        planes = planes_of(form)
        regions = regions_of(box, method=method)
        crops = SourceCrops(planes, form, regions)
        redact_planes(planes, form, regions, [3] * len(regions), options)
        crops.check(planes, options, number=0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_region_is_looked_for_where_it_is_seen(orientation: int) -> None:
    form, options = FORMATS["grey"], Options()
    source = planes_of(form)[0]
    (region,) = regions_of((10, 10, 40, 50))
    elsewhere = source.copy()
    # another part of the frame is changed than the one that was meant
    elsewhere[:, 80:] = 128
    crops = SourceCrops([stored(source, orientation)], form, [region], orientation)
    with pytest.raises(EncoderFailed, match="the face at x"):
        crops.check([stored(elsewhere, orientation)], options, number=0)


def test_a_damaged_frame_is_black_in_every_plane() -> None:
    form = FORMATS["4:2:0"]
    planes = [np.full(plane.shape, black, np.uint8) for plane, black in zip(planes_of(form), form.black, strict=True)]
    check_blackened(planes, form, number=0)
    for plane in planes:
        plane[3, 4] += 1
        with pytest.raises(EncoderFailed, match="Frame 9 was not blackened"):
            check_blackened(planes, form, number=9)
        plane[3, 4] -= 1
