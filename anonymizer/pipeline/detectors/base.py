"""What every detector offers, and what they share: batches that fit, and failures that are failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anonymizer.pipeline.errors import AnonymizerError, DetectorFailed, OutOfMemory
from anonymizer.pipeline.objects import Detections, ObjectType

__all__ = ["Detector", "Image", "check_finite", "in_batches", "on_device", "resolve_device"]

Image = NDArray[np.uint8]

#: pixels of the network's input in one batch
BATCH_PIXELS = {"cpu": 2_000_000, "cuda": 40_000_000}


class Detector(Protocol):
    """Finds objects of one or more types.

    Attributes:
        id: of the model; what `Detections.models` holds.
        object_types: what it finds.
        min_score: the lowest score that is of any use; all above it is returned.
        least_size: shorter side in pixels, at the scale it looks at, of the smallest object that it was made for.
        device: `cpu`, `cuda:0`, ….
    """

    id: str
    object_types: tuple[ObjectType, ...]
    min_score: float
    least_size: float
    device: str

    def sides(self, long_side: int) -> tuple[int, ...]:
        """The scales at which a picture of this long side is looked at as a whole, as long sides in pixels."""
        ...

    @property
    def tile_side(self) -> int:
        """Side of a square tile of a large picture, in pixels of the picture."""
        ...

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        """All objects in each image, looked at with its long side scaled to `side` pixels.

        Args:
            images: (h, w, 3) uint8 RGB.

        Returns:
            For each image its objects, boxes in pixels of that image.

        Raises:
            DetectorFailed, OutOfMemory: there is no result.
        """
        ...

    def video_side(self, long_side: int) -> int:
        """The one scale at which every frame of a video is looked at; the others have their turns."""
        ...

    def warm_up(self) -> None:
        """Run once, so that the first picture does not wait."""
        ...


def resolve_device(wanted: str) -> torch.device:
    """`auto` is the first GPU where there is one.

    Raises:
        DetectorFailed: the device is not there.
    """
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in BATCH_PIXELS:
        raise DetectorFailed(f"device is {wanted!r}, but must be auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DetectorFailed(f"device is {wanted!r}, but this machine has {torch.cuda.device_count()} GPU(s).")
    return torch.device("cuda:0") if wanted == "cuda" else device


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


def on_device(images: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Images of one size, (h, w, 3) uint8, as one tensor (b, 3, h, w) uint8 on a device; a GPU reads pinned memory."""
    batch = torch.from_numpy(np.stack(images))
    if device.type == "cuda":
        batch = batch.pin_memory().to(device, non_blocking=True)
    return batch.permute(0, 3, 1, 2)


def check_finite(name: str, *outputs: Tensor) -> None:
    """Make sure that a network gave numbers.

    Raises:
        DetectorFailed: some are not finite.
    """
    if not all(bool(torch.isfinite(each).all()) for each in outputs):
        raise DetectorFailed(f"The detector {name} gave values that are no numbers.")
