"""Run a detector over batches of images that fit into the device's memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from anonymizer.pipeline.detection.inference_errors import translate_errors
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import DetectorFailed, OutOfMemory

__all__ = ["in_batches"]

#: Pixels of network input in one batch, by type of device. A CPU takes images one by one: four at once gained nothing.
BATCH_PIXELS = {"cpu": 1, "cuda": 40_000_000}


def in_batches(
    model_id: str,
    detect_batch: Callable[[Sequence[Image]], list[Detections]],
    images: Sequence[Image],
    *,
    pixels: int,
    device: str,
) -> list[Detections]:
    """Run a detector over images, in batches of images of equal shape.

    A batch that does not fit into the memory is halved and tried again.

    Args:
        model_id: id of the detector; errors name it.
        detect_batch: returns one `Detections` for each of some images of equal shape.
        images: (h, w, 3) uint8 RGB each, of any shapes.
        pixels: size of one image as the network sees it, in pixels.
        device: `cpu`, `cuda:0`, ….

    Returns:
        One `Detections` for each image, in the order of the images.

    Raises:
        OutOfMemory: the memory is too small for a single image.
        DetectorFailed: the detector failed in any other way.
    """
    batch_size = max(1, BATCH_PIXELS[torch.device(device).type] // pixels)
    indices_by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        indices_by_shape.setdefault(image.shape, []).append(index)
    detections: dict[int, Detections] = {}
    for indices in indices_by_shape.values():
        of_shape = _run_batches(model_id, detect_batch, [images[index] for index in indices], batch_size)
        detections |= zip(indices, of_shape, strict=True)
    return [detections[index] for index in range(len(images))]


def _run_batches(
    model_id: str,
    detect_batch: Callable[[Sequence[Image]], list[Detections]],
    images: Sequence[Image],
    batch_size: int,
) -> list[Detections]:
    detections: list[Detections] = []
    while len(detections) < len(images):
        batch = images[len(detections) : len(detections) + batch_size]
        results: list[Detections] | None = None
        try:
            with translate_errors(f"detector {model_id}"):
                results = detect_batch(batch)
        except OutOfMemory:
            if len(batch) == 1:
                raise
        if results is None:
            # not in the except block: there, the error's traceback still holds the memory that is to be freed
            torch.cuda.empty_cache()
            batch_size = len(batch) // 2
            continue
        if len(results) != len(batch):
            raise DetectorFailed(f"The detector {model_id} gave {len(results)} results for {len(batch)} images.")
        detections += results
    return detections
