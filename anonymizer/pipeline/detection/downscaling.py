"""Warnings about pictures and frames that detectors analyse much smaller than they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detection.windows import closest_scale
from anonymizer.pipeline.options.formats import Auto, Format

__all__ = ["downscale_warnings"]

#: an image is analysed much smaller than it is from this ratio on
MUCH_SMALLER = 1.25
#: The same for the first look of `auto`. More is allowed, because a second look follows at all that the first suspects.
MUCH_SMALLER_FIRST_LOOK = 2.5


def downscale_warnings(
    what: str,
    size_hw: tuple[int, int],
    format: Format,  # noqa: A002 (the contract's name)
    detectors: Sequence[Detector],
) -> Iterator[str]:
    """Say which detectors analyse only a much smaller copy of an image.

    Args:
        what: what the image is called: "picture" or "frame".
        size_hw: height and width of the image in pixels.
        format: how large images are cut into views.
        detectors: those that run.

    Yields:
        A sentence for each such detector; for `auto`, at most one.
    """
    long_side, scales = max(size_hw), [closest_scale(size_hw, format, detector) for detector in detectors]
    if isinstance(format, Auto) and MUCH_SMALLER_FIRST_LOOK * max(scales, default=1) < 1:
        least = min(detector.least_size for detector in detectors) / max(scales)
        yield (
            f"The {what} has {long_side} pixels on its long side, and the first look analysed it at "
            f"{round(long_side * max(scales))}: objects under {least:.0f} pixels may be missed where it suspected "
            "nothing. format=thorough looks closely everywhere."
        )
    for detector, scale in zip(detectors, scales, strict=True):
        if not isinstance(format, Auto) and MUCH_SMALLER * scale < 1:
            yield (
                f"The {what} has {long_side} pixels on its long side, and {detector.id} analysed it at "
                f"{round(long_side * scale)}: objects under {detector.least_size / scale:.0f} pixels may be missed. "
                "format=auto looks closer where it matters, format=thorough everywhere."
            )
