"""The masks that come out beside a picture, as the contract describes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = ["binary_mask", "instance_mask", "rle", "scaled"]


def binary_mask(regions: Sequence[RedactionRegion], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w) uint8: 255 where a pixel is anonymised, 0 elsewhere."""
    out = np.zeros(size_hw, np.uint8)
    for shape in regions:
        out[shape.crop] |= _covered(shape) * np.uint8(255)
    return out


def instance_mask(
    regions: Sequence[RedactionRegion], size_hw: tuple[int, int], *, legacy: bool = False
) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB: R 0, G the number of the object, B its type.

    G is the object's id in the metadata, counted as 1, 2, ... 255, then 1 again; where objects overlap the later one's
    number stands. B has one bit for each type, OR-ed where objects overlap. In the legacy layout it is one value for
    each type: the later one's stands.
    """
    out = np.zeros((*size_hw, 3), np.uint8)
    for shape in regions:
        covered = _covered(shape)
        crop = out[shape.crop]
        np.putmask(crop[..., 1], covered, np.uint8(shape.row % 255 + 1))
        if legacy:
            np.putmask(crop[..., 2], covered, np.uint8(shape.object_type.legacy_flag))
        else:
            crop[..., 2] |= covered * np.uint8(shape.object_type.flag)
    return out


def scaled(mask: NDArray[np.uint8], percent: int) -> NDArray[np.uint8]:
    """A mask made smaller.

    Args:
        mask: a binary mask, in which a pixel stays white if any of those that it stands for was; or an instance mask,
            of which single pixels are taken, so that no number is made up.
        percent: 1..100.
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


def rle(shape: RedactionRegion, size_hw: tuple[int, int]) -> dict[str, object]:
    """The mask of one object, of the size of the image, in COCO's compressed run-length code.

    Returns:
        {"size": [h, w], "counts": text}, as pycocotools has it.
    """
    height, width = size_hw
    counts = np.diff(_ends_of_runs(shape, height), prepend=0, append=height * width)
    if counts[-1] == 0:
        counts = counts[:-1]
    # From the fourth on, COCO stores what a run is longer than the one two before it.
    steps = counts.copy()
    steps[3:] -= counts[1:-2]
    return {"size": [height, width], "counts": _as_text(steps)}


def _ends_of_runs(shape: RedactionRegion, height: int) -> NDArray[np.int64]:
    """Where runs of 0 and of 1 end in turn, column by column through the whole image."""
    covered = _covered(shape).T
    # With a 0 at both ends of each column, every change of value lies within one.
    padded = np.pad(covered, ((0, 0), (1, 1))).astype(np.int8)
    column, row = np.nonzero(np.diff(padded, axis=1))
    ends = (column + shape.x) * height + row + shape.y
    # A run that goes on from the foot of one column to the head of the next has no end between them.
    joined = np.flatnonzero(ends[1:] == ends[:-1])
    return np.delete(ends, np.concatenate([joined, joined + 1]))


def _as_text(numbers: NDArray[np.int64]) -> str:
    """Signed numbers, five bits to a character, low bits first; the sixth bit says that more follow."""
    characters, valid = [], []
    going = np.ones(len(numbers), np.bool_)
    while going.any():
        low, numbers = numbers & 31, numbers >> 5
        more = numbers != np.where(low & 16, -1, 0)
        characters.append(48 + low + 32 * more)
        valid.append(going)
        going = going & more
    return np.stack(characters, 1)[np.stack(valid, 1)].astype(np.uint8).tobytes().decode("ascii")


def _covered(shape: RedactionRegion) -> NDArray[np.bool_]:
    return shape.alpha > 0
