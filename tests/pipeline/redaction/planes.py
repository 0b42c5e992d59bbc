"""Planes of made-up video frames, for tests of redaction and drawing in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.redaction.yuv import PlaneFormat

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
ORIENTATIONS = range(1, 9)


def objects(boxes: Any, object_type: ObjectType = PERSON) -> Detections:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    return Detections(boxes, np.full(n, 0.87, np.float32), np.full(n, object_type.number), np.full(n, "test"))


def form(depth: int = 8, shift: tuple[int, int] = (1, 1), kind: Any = "yuv", *, full: bool = False) -> PlaneFormat:
    return PlaneFormat(depth, shift, kind, full)


def sizes(size_hw: tuple[int, int], form: PlaneFormat) -> list[tuple[int, int]]:
    """Of each plane; chroma is rounded up."""
    (height, width), (x, y) = size_hw, form.chroma_shift_xy
    return [size_hw, *[(-(-height // (1 << y)), -(-width // (1 << x)))] * (form.planes - 1)]


def random_planes(size_hw: tuple[int, int], form: PlaneFormat, seed: int = 0) -> list[NDArray[Any]]:
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if form.depth == 8 else np.uint16
    return [rng.integers(0, form.max_value, size, dtype, endpoint=True) for size in sizes(size_hw, form)]


def touched(mask: NDArray[np.bool_], form: PlaneFormat) -> list[NDArray[np.bool_]]:
    """By plane, the samples that colour a pixel of a mask as stored; pixel by pixel, to compare with."""
    across, down = form.chroma_shift_xy
    out = [mask]
    for size in sizes(mask.shape, form)[1:]:
        chroma = np.zeros(size, bool)
        for y, x in np.argwhere(mask):
            chroma[y >> down, x >> across] = True
        out.append(chroma)
    return out
