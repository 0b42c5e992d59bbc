"""What detectors share: batches that fit the memory, and failures that are failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import AnonymizerError, DetectorFailed, OutOfMemory

__all__ = ["check_finite", "in_batches"]

#: pixels of the network's input in one batch
BATCH_PIXELS = {"cpu": 2_000_000, "cuda": 40_000_000}


def in_batches(
    name: str, run: Callable[[Sequence[Image]], list[Detections]], images: Sequence[Image], *, pixels: int, device: str
) -> list[Detections]:
    """Run over images in batches of equal shape; a batch that does not fit the memory is halved and tried again.

    Args:
        pixels: of one image as the network takes it.

    Raises:
        OutOfMemory: not even one fits.
        DetectorFailed: anything else went wrong.
    """
    size = max(1, BATCH_PIXELS[torch.device(device).type] // pixels)
    found: dict[int, Detections] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault(image.shape, []).append(number)
    for numbers in groups.values():
        found |= zip(numbers, _run(name, run, [images[number] for number in numbers], size), strict=True)
    return [found[number] for number in range(len(images))]


def _run(
    name: str, run: Callable[[Sequence[Image]], list[Detections]], inputs: Sequence[Image], size: int
) -> list[Detections]:
    """Images of one shape, a batch at a time.

    Raises:
        OutOfMemory: not even one fits.
        DetectorFailed: anything else went wrong.
    """
    found: list[Detections] = []
    while len(found) < len(inputs):
        batch = inputs[len(found) : len(found) + size]
        try:
            results: list[Detections] | None = run(batch)
        except torch.cuda.OutOfMemoryError as error:
            if len(batch) == 1:
                raise OutOfMemory(
                    f"The detector {name} has too little memory on its device for one picture."
                ) from error
            results = None
        except AnonymizerError:
            raise
        except Exception as error:
            raise DetectorFailed(f"The detector {name} failed ({type(error).__name__}).") from error
        if results is None:
            # only here: while the error is handled, its traceback holds what is to be freed
            torch.cuda.empty_cache()
            size = len(batch) // 2
            continue
        if len(results) != len(batch):
            raise DetectorFailed(f"The detector {name} gave {len(results)} results for {len(batch)} pictures.")
        found += results
    return found


def check_finite(name: str, *outputs: Tensor) -> None:
    """Make sure that a network gave numbers.

    Raises:
        DetectorFailed: some are not finite.
    """
    if not all(bool(torch.isfinite(each).all()) for each in outputs):
        raise DetectorFailed(f"The detector {name} gave values that are no numbers.")
