"""Where regions overlap, the larger cells are seen, at soft edges too; in pictures and in the planes of frames."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.redaction.effects import EDGE_CELL, cell_px, redact
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions
from anonymizer.pipeline.redaction.yuv import redact_planes
from tests.pipeline.redaction.planes import FACE, form, objects

SIZE = (200, 260)
GREY = form(shift=(0, 0), kind="gray", full=True)
SOFT: Any = {"margin": 0.1, "face_anonymization_gradient_start": 0.4}
#: the cells of the second face are a little smaller than those of the first one, and larger than those of its edge
BOXES = ([40, 40, 130, 140], [135, 50, 215, 145])


def redacted(regions: list[RedactionRegion], options: Options, *, video: bool) -> NDArray[Any]:
    before = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    if not video:
        return redact(before, regions, options, seed=3)
    redact_planes([before], GREY, regions, [int(region.x) for region in regions], options)
    return before


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
@pytest.mark.parametrize("order", [1, -1])
def test_a_soft_edge_does_not_cover_larger_cells(method: Method, order: int, video: bool) -> None:
    options = Options(method=method, **SOFT)
    regions = redaction_regions(objects(BOXES, FACE), SIZE, options)
    large, small = regions
    assert EDGE_CELL * cell_px(large, options) < cell_px(small, options) < cell_px(large, options)
    alphas = []
    for region in regions:
        alpha = np.zeros(SIZE, np.uint8)
        alpha[region.crop] = region.alpha
        alphas.append(alpha)
    both = redacted(regions[::order], options, video=video)
    large_alone, small_alone = (redacted([region], options, video=video) for region in regions)
    at_edge_of_large = (alphas[0] > 0) & (alphas[0] < 255) & (alphas[1] == 255)
    assert at_edge_of_large.sum() > 100
    assert (both[at_edge_of_large] == small_alone[at_edge_of_large]).all()
    inside_large = alphas[0] == 255
    assert (both[inside_large] == large_alone[inside_large]).all()
    at_both_edges = (alphas[0] > 0) & (alphas[0] < 255) & (alphas[1] > 0) & (alphas[1] < 255)
    assert at_both_edges.any()
    assert (both[at_both_edges] == large_alone[at_both_edges]).all()


def test_a_crowd_of_equal_faces_is_cheap() -> None:
    options = Options(method=Method.PIXELATE)
    corners = np.random.default_rng(0).uniform(0, 1900, (3000, 2))
    regions = redaction_regions(objects(np.hstack([corners, corners + 24]), FACE), (2000, 2000), options)
    started = time.perf_counter()
    redact(np.zeros((2000, 2000, 3), np.uint8), regions, options, seed=0)
    assert time.perf_counter() - started < 10
