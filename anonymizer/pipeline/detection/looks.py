"""Looks: runs of a detector at one scale. On a CPU, several looks run side by side, each on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anonymizer.pipeline.detection.protocol import Detector, Image
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.runtime.side_by_side import core_count, run_side_by_side

__all__ = ["Look", "LookedAt", "run_looks"]

#: Looks run side by side if they keep the cores busy for this share of the time. Otherwise each uses all cores.
BUSY = 0.75


@dataclass(frozen=True, slots=True)
class LookedAt:
    """An image, or a part of one, for a look.

    Attributes:
        size_hw: height and width in pixels.
        make: returns it, (h, w, 3) uint8 RGB. It is made when it is looked at, as many of them would take much memory.
    """

    size_hw: tuple[int, int]
    make: Callable[[], Image]


@dataclass(frozen=True, slots=True)
class Look:
    """A run of a detector at one scale.

    Attributes:
        detector: that runs.
        images: of any sizes.
        side: the scale, as long side in pixels that each image is resized to.
    """

    detector: Detector
    images: Sequence[LookedAt]
    side: int

    @property
    def pixels(self) -> float:
        """Pixels that the detector gets, about."""
        return sum(self.side**2 * min(image.size_hw) / max(image.size_hw) for image in self.images)

    def run(self) -> list[Detections]:
        """Run the detector.

        Returns:
            One `Detections` for each image, with boxes in pixels of that image.

        Raises:
            DetectorFailed, OutOfMemory: there is no result.
        """
        return self.detector.detect([image.make() for image in self.images], self.side) if self.images else []


def run_looks(looks: Sequence[Look]) -> list[list[Detections]]:
    """Run looks, side by side where that saves time.

    Only detectors that say so (`Detector.side_by_side`) run side by side, image by image, the largest first. What they
    find does not depend on it.

    Args:
        looks: in the order in which they run where they do not run side by side.

    Returns:
        Of each look, one `Detections` for each image.

    Raises:
        DetectorFailed, OutOfMemory: a look failed; of several, the first.
    """
    singles = [
        (number, Look(look.detector, [image], look.side))
        for number, look in enumerate(looks)
        if getattr(look.detector, "side_by_side", False)
        for image in look.images
    ]
    sizes = [look.pixels for _, look in singles]
    if core_count() < 2 or not _fill_cores(sizes):
        return [look.run() for look in looks]
    apart = {number for number, _ in singles}
    results = [[] if number in apart else look.run() for number, look in enumerate(looks)]
    found = run_side_by_side([look.run for _, look in singles], sizes)
    for (number, _), of_image in zip(singles, found, strict=True):
        results[number] += of_image
    return results


def _fill_cores(pixels: Sequence[float]) -> bool:
    """Whether looks of these sizes, the largest first, keep all cores busy."""
    return bool(pixels) and sum(pixels) >= BUSY * core_count() * max(pixels)
