"""The soft edge of a shape, undone as if it were a mixture with the original."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["edge_recovery"]


def edge_recovery(
    before: NDArray[np.uint8], after: NDArray[np.uint8], alpha: NDArray[np.uint8], fine_px: int
) -> tuple[float, float]:
    """Undo a soft edge as if it were a mixture with the original.

    The colour inside is taken from the nearest fully redacted pixel. The strength at each pixel is known, as the
    software computes it from the box.

    Args:
        before, after: (h, w, 3), the original and the redacted pixels.
        alpha: (h, w), the strength: 255 inside, 0 outside, between them at the edge.
        fine_px: size in pixels under which structure counts as fine.

    Returns:
        The correlation of the recovered fine structure with that of the original, -1..1, and the median difference
        of the recovered pixels from the original, 0..255; both over the edge.
    """
    nearest = cv2.distanceTransformWithLabels(
        (alpha < 255).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    by_label = np.zeros((int(nearest.max()) + 1, 3), np.float32)
    by_label[nearest[alpha == 255]] = after[alpha == 255]
    weight = alpha.astype(np.float32)[..., None] / 255
    recovered = (after - weight * by_label[nearest]) / np.maximum(1 - weight, 1e-3)
    edge = (alpha > 0) & (alpha < 230)
    clipped = np.clip(recovered, 0, 255).astype(np.float32)
    first, second = (_fine(each, fine_px)[edge].ravel() for each in (before.astype(np.float32), clipped))
    error = float(np.median(np.abs(clipped - before)[edge]))
    if min(first.std(), second.std()) == 0:
        return 0.0, error
    return float(np.corrcoef(first, second)[0, 1]), error


def _fine(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return np.asarray(pixels - cv2.blur(pixels, (size, size)), np.float32)
