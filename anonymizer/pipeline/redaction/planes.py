"""What happens to all planes of a region: the alpha plane may draw the object as well as the colours do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.images.decoded import Samples
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.redaction.effects import redact
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = ["redact_alpha", "redact_colours", "varies_in_boxes"]


def redact_colours(
    pixels: Samples, spare_bits: int, regions: Sequence[RedactionRegion], options: Options, *, seed: int
) -> Samples:
    """Redact the colours of an image as `redact` does; 12-bit values in 16 bits keep their range.

    Args:
        pixels: as for `redact`.
        spare_bits: number of upper bits that no value needs, and that no value of the result has; 0 for all bits.
        regions: from `redaction_regions`, for an image of this size.
        options: the method and the sizes of cells are used.
        seed: of the noise, from 0 up.

    Returns:
        A copy. Outside of the regions it equals the image.
    """
    values = cast("NDArray[Any]", pixels)
    if not spare_bits:
        return cast("Samples", redact(values, regions, options, seed=seed))
    # the noise is a share of the range of all bits
    return cast("Samples", redact(values << spare_bits, regions, options, seed=seed) >> spare_bits)


def redact_alpha(alpha: Samples, regions: Sequence[RedactionRegion], options: Options, *, seed: int) -> Samples:
    """Redact the alpha plane of an image as its colours are redacted.

    A region in which alpha is the same everywhere keeps it, as it shows nothing there. So an opaque object stays
    opaque, and a hidden one stays hidden. The method `blacken` makes the others opaque.

    Args:
        alpha: (h, w) uint8 or uint16, upright; it is not changed.
        regions: from `redaction_regions`, for an image of this size.
        options: the method and the sizes of cells are used. The method `detect` changes nothing.
        seed: of the noise, from 0 up.

    Returns:
        A copy. Outside of the regions it equals `alpha`.
    """
    telling = [region for region in regions if _varies(alpha[region.crop][region.alpha > 0])]
    if options.method is not Method.BLACKEN:
        return cast("Samples", redact(cast("NDArray[Any]", alpha), telling, options, seed=seed))
    out: Samples = alpha.copy()
    for region in telling:
        out[region.crop][region.alpha > 0] = np.iinfo(alpha.dtype).max
    return out


def varies_in_boxes(alpha: NDArray[Any], boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """In which boxes alpha is not the same everywhere: there the colours alone do not show the outline of an object.

    Args:
        alpha: (h, w) uint8 or uint16.
        boxes: (n, 4) float32 x1, y1, x2, y2 in pixels of the image.

    Returns:
        (n,) bool.
    """
    height, width = alpha.shape
    low = np.clip(np.floor(boxes[:, :2]), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(boxes[:, 2:]), 0, (width, height)).astype(int)
    return np.array([_varies(alpha[y1:y2, x1:x2]) for (x1, y1), (x2, y2) in zip(low, high, strict=True)], np.bool_)


def _varies(values: NDArray[Any]) -> bool:
    return bool(values.size) and values.min() != values.max()
