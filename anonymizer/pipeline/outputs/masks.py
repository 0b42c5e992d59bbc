"""The masks that are saved beside a result: binary masks, instance masks, and masks of single objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from faster_coco_eval.core import mask as coco
from numpy.typing import NDArray

from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = ["binary_mask", "instance_mask", "rle", "scaled"]


def binary_mask(regions: Sequence[RedactionRegion], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw the binary mask of an image.

    Args:
        regions: where pixels are redacted.
        size_hw: height and width of the image in pixels.

    Returns:
        (h, w) uint8: 255 = redacted, 0 = not changed.
    """
    out = np.zeros(size_hw, np.uint8)
    for region in regions:
        out[region.crop] |= _covered(region) * np.uint8(255)
    return out


def instance_mask(
    regions: Sequence[RedactionRegion], size_hw: tuple[int, int], *, legacy: bool = False
) -> NDArray[np.uint8]:
    """Draw the instance mask of an image: red is 0, green is the number of the object, blue is its type.

    The number is the object's id in the metadata, counted from 1 to 255 and then from 1 again. Where objects overlap,
    green has the number of the later one, and blue has the bits of all their types (`ObjectType.flag`).

    Args:
        regions: where pixels are redacted.
        size_hw: height and width of the image in pixels.
        legacy: the older layout: blue is one value for each type (`ObjectType.legacy_flag`), that of the later object.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    out = np.zeros((*size_hw, 3), np.uint8)
    for region in regions:
        covered = _covered(region)
        crop = out[region.crop]
        np.putmask(crop[..., 1], covered, np.uint8(region.row % 255 + 1))
        if legacy:
            np.putmask(crop[..., 2], covered, np.uint8(region.object_type.legacy_flag))
        else:
            crop[..., 2] |= covered * np.uint8(region.object_type.flag)
    return out


def scaled(mask: NDArray[np.uint8], percent: int) -> NDArray[np.uint8]:
    """Make a mask smaller.

    A pixel of a binary mask stays white if any of the pixels that it replaces is white. Of an instance mask, single
    pixels are taken, so that no new number appears.

    Args:
        mask: a binary mask (h, w) or an instance mask (h, w, 3), uint8.
        percent: size of the result, 1..100.

    Returns:
        A mask of the same kind; the same array for 100.
    """
    if percent >= 100:
        return mask
    height, width = mask.shape[:2]
    small_h, small_w = (max(round(side * percent / 100), 1) for side in (height, width))
    if mask.ndim == 2:
        rows = np.maximum.reduceat(mask, np.arange(small_h) * height // small_h, axis=0)
        return np.asarray(np.maximum.reduceat(rows, np.arange(small_w) * width // small_w, axis=1))
    rows, columns = ((np.arange(n) * 2 + 1) * side // (n * 2) for n, side in ((small_h, height), (small_w, width)))
    return np.asarray(mask[rows[:, None], columns])


def rle(region: RedactionRegion, size_hw: tuple[int, int]) -> dict[str, object]:
    """Encode the mask of one region in COCO's compressed run-length encoding.

    Only the region's own pixels are read. A canvas of the image's size would take 12 ms per object at 4000 x 3000
    pixels; this takes 0.1 ms.

    Args:
        region: in pixels of the image.
        size_hw: height and width of the image in pixels.

    Returns:
        `{"size": [height, width], "counts": text}`, which `pycocotools.mask.decode` reads as an image of this size.
    """
    height, width = size_hw
    counts = np.diff(_run_ends(region, height), prepend=0, append=height * width)
    if counts[-1] == 0:
        counts = counts[:-1]
    encoded = coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    text = encoded["counts"]
    return {"size": [height, width], "counts": text.decode("ascii") if isinstance(text, bytes) else text}


def _run_ends(region: RedactionRegion, height: int) -> NDArray[np.int64]:
    """Where the runs of 0 and of 1 end in turn, counted column by column through the whole image."""
    covered = _covered(region).T
    # With a 0 at both ends of each column, every change of value lies within one.
    padded = np.pad(covered, ((0, 0), (1, 1))).astype(np.int8)
    column, row = np.nonzero(np.diff(padded, axis=1))
    ends = (column + region.x) * height + row + region.y
    # A run that continues from the bottom of one column to the top of the next has no end between them.
    joined = np.flatnonzero(ends[1:] == ends[:-1])
    return np.delete(ends, np.concatenate([joined, joined + 1]))


def _covered(region: RedactionRegion) -> NDArray[np.bool_]:
    return region.alpha > 0
