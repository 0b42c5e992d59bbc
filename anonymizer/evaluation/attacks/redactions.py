"""The redactions that are attacked, as an attacker has them: the software without the key of its noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.metrics.redaction_strength import detections_of_type
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.effects import NOISE, TINT_NOISE, pixelate_cells, redact
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.redaction.yuv import PlaneFormat, redact_planes

__all__ = [
    "SENSOR_NOISE",
    "Redaction",
    "WithoutNoise",
    "crop_around",
    "in_frames",
    "in_two_boxes",
    "with_cells",
    "with_options",
]

#: Takes pixels (h, w, 3) uint8 or uint16 RGB, a box (4,) and the seed of the noise; returns redacted pixels.
Redaction = Callable[[NDArray[Any], NDArray[np.float32], int], NDArray[Any]]

#: standard deviation of what the sensor adds to each value, 0..255
SENSOR_NOISE = 2.0


def with_options(options: Options, object_type: ObjectType, *, within: ObjectType | None = None) -> Redaction:
    """Redact one object as the pipeline redacts pictures.

    Args:
        options: of redaction.
        object_type: of the object.
        within: also redact another object of this type, which reaches to the borders of the picture; default: none.
    """

    def redacted(pixels: NDArray[Any], box: NDArray[np.float32], seed: int) -> NDArray[Any]:
        size_hw = pixels.shape[:2]
        regions = redaction_regions(detections_of_type(box[None], object_type), size_hw, options)
        if within is not None:
            whole = np.array([[0, 0, size_hw[1], size_hw[0]]], np.float32)
            regions += redaction_regions(detections_of_type(whole, within), size_hw, options)
        return redact(pixels, regions, options, seed=seed)

    return redacted


def in_frames(options: Options, object_type: ObjectType) -> Redaction:
    """Redact one object as the pipeline redacts frames of videos, in G, B and R planes.

    Args:
        options: of redaction.
        object_type: of the object.
    """

    def redacted(pixels: NDArray[Any], box: NDArray[np.float32], seed: int) -> NDArray[Any]:
        form = PlaneFormat(8 * pixels.itemsize, (0, 0), "gbr", full_range=True)
        regions = redaction_regions(detections_of_type(box[None], object_type), pixels.shape[:2], options)
        planes = [np.array(pixels[..., channel], order="C") for channel in (1, 2, 0)]
        redact_planes(planes, form, regions, [seed] * len(regions), options)
        return np.stack([planes[2], planes[0], planes[1]], axis=-1)

    return redacted


def in_two_boxes(options: Options, object_type: ObjectType) -> Redaction:
    """Redact one object that was found as its left and its right part, which overlap.

    Args:
        options: of redaction.
        object_type: of the object.
    """

    def redacted(pixels: NDArray[Any], box: NDArray[np.float32], seed: int) -> NDArray[Any]:
        boxes = np.stack([box, box])
        boxes[0, 2] -= 0.4 * (box[2] - box[0])
        boxes[1, 0] += 0.4 * (box[2] - box[0])
        regions = redaction_regions(detections_of_type(boxes, object_type), pixels.shape[:2], options)
        return redact(pixels, regions, options, seed=seed)

    return redacted


def with_cells(cells: float, object_type: ObjectType, *, noise: float = NOISE) -> Redaction:
    """Pixelate one object with another number of cells than the pipeline allows, to compare with.

    Args:
        cells: across the shorter side of the box.
        object_type: gives margin and edge, as by default.
        noise: standard deviation of the noise that all channels share, as a share of the range of values.
    """

    def redacted(pixels: NDArray[Any], box: NDArray[np.float32], seed: int) -> NDArray[Any]:
        options, out = Options(), pixels.copy()
        for region in redaction_regions(detections_of_type(box[None], object_type), pixels.shape[:2], options):
            height, width = region.alpha.shape
            cell = region.short_side / cells
            size = max(int(height / cell), 1), max(int(width / cell), 1)
            rng = np.random.default_rng(seed)
            drawn = rng.normal(0, noise, (*size, 1)) + rng.normal(0, TINT_NOISE, (*size, 3))
            crop = np.ascontiguousarray(pixels[region.crop])
            shown = pixelate_cells(crop, drawn, np.iinfo(pixels.dtype).max, smooth=False)
            cv2.copyTo(shown, region.alpha, out[region.crop])
        return out

    return redacted


class WithoutNoise:
    """What redaction shows of pictures of one size and box, without its noise.

    The attacker redacts grey with a seed of their own, which shows the noise of that seed, and subtracts that noise.
    Sixteen bits keep the rounding small.
    """

    def __init__(self, redaction: Redaction, shape: tuple[int, ...], box: NDArray[np.float32]) -> None:
        self._redaction, self._box = redaction, box
        grey = np.full(shape, 128 * 257, np.uint16)
        self._noise = redaction(grey, box, 0).astype(np.float32) - 128 * 257

    def shown(self, pixels: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Of pixels (h, w, 3) 0..255, which need not be whole numbers."""
        wide = np.rint(pixels * 257).astype(np.uint16)
        shown = self._redaction(wide, self._box, 0).astype(np.float32)
        return np.asarray((shown - self._noise) / np.float32(257), np.float32)


def crop_around(pixels: NDArray[Any], box: NDArray[np.float32], share: float) -> NDArray[Any]:
    by = share * float(min(box[2] - box[0], box[3] - box[1]))
    x1, y1, x2, y2 = np.rint(box + np.array([-by, -by, by, by])).astype(int)
    return pixels[max(y1, 0) : y2, max(x1, 0) : x2]
