"""What the detectors of all model families share: device, scales, batches and warm-up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from anonymizer.pipeline.detection.batching import in_batches
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.devices import resolve_device
from anonymizer.pipeline.runtime.choice import Runtime, resolve_runtime

__all__ = ["BatchedDetector", "FixedScales", "OwnSizeAndCloseUp"]


class BatchedDetector(ABC):
    """A detector that runs images of one shape as a batch. A model family derives from it.

    A subclass sets the class attributes and implements `scales` and `_detect_batch`.

    Args:
        model_id: id of the model; what `Detections.models` holds.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        half: whether the network runs in half precision on a GPU.
        runtime: `auto`, `torch`, `openvino` or `onnxruntime`: what runs the network on a CPU.

    Attributes:
        object_types: the types that it detects.
        min_score: the lowest useful score, 0..1; all boxes above it are returned.
        least_size: shorter side of the smallest object that it was made for, in pixels of the network's input.
        tile_side: side of a square tile of a large image, in pixels of the image.
        warm_up_hw: height and width in pixels of the blank image that `warm_up` runs.
        memory_weight: memory for one image, relative to a one-stage network with an input of the same size.

    Raises:
        DetectorFailed: the device does not exist, or the runtime is not installed.
        InvalidParameter: there is no such runtime.

    Examples:
        A family needs little more than this::

            class MyDetector(FixedScales):
                object_types = (ObjectType.FACE,)
                min_score, least_size, tile_side = 0.1, 8.0, 640

                def _detect_batch(self, images, side):
                    return [Detections.empty() for _ in images]
    """

    object_types: tuple[ObjectType, ...]
    min_score: float
    least_size: float
    tile_side: int
    warm_up_hw: tuple[int, int] = (320, 320)
    memory_weight: int = 1

    def __init__(self, model_id: str, device: str, *, half: bool = False, runtime: str = "torch") -> None:
        self.id = model_id
        self._device = resolve_device(device)
        self.device = str(self._device)
        self._runtime = resolve_runtime(runtime, self._device)
        self._dtype = torch.float16 if half and self._device.type == "cuda" else torch.float32

    @property
    def side_by_side(self) -> bool:
        """As `Detector.side_by_side` says: on OpenVINO, which uses one core for a call in a thread of one core."""
        return self._runtime is Runtime.OPENVINO

    @abstractmethod
    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says."""

    @abstractmethod
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        """Detect in images of one shape, as `detect` does; whatever it raises is translated."""

    def video_scale(self, long_side: int) -> int:
        """As `Detector.video_scale` says; default: the first of the scales."""
        return self.scales(long_side)[0]

    def warm_up(self) -> None:
        """Run once on a blank image, so that the first image does not wait."""
        self.detect([np.zeros((*self.warm_up_hw, 3), np.uint8)], self.video_scale(max(self.warm_up_hw)))

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        """Detect all objects in each image. Images of one shape run as a batch.

        Args:
            images: (h, w, 3) uint8 RGB each, of any sizes.
            side: the scale, as long side in pixels that each image is resized to.

        Returns:
            One `Detections` for each image, in the order of the images, with boxes in pixels of that image.

        Raises:
            DetectorFailed: the network failed in any other way than by memory.
            OutOfMemory: the memory is too small for a single image.
        """
        pixels = self.memory_weight * self._canvas_side(side) ** 2
        run = lambda batch: self._detect_batch(batch, side)  # noqa: E731
        return in_batches(self.id, run, images, pixels=pixels, device=self.device)

    def _canvas_side(self, side: int) -> int:
        """Side in pixels of the square that an image takes in the memory, for images scaled to a long side."""
        return side


class FixedScales(BatchedDetector):
    """Small scales for objects that fill the image, large ones for tiny objects.

    Images above 800 pixels get one scale more. No scale is more than twice the image's own size.
    """

    warm_up_hw = (320, 416)

    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says: 256, 416, 640, and 1280 for large images."""
        wanted = (256, 416, 640) if long_side <= 800 else (256, 416, 640, 1280)
        return tuple(side for side in wanted if side <= 2 * long_side) or (2 * long_side,)

    def video_scale(self, long_side: int) -> int:
        """As `Detector.video_scale` says: about 416, and about 640 for large frames."""
        wanted = 416 if long_side <= 800 else 640
        return min(self.scales(long_side), key=lambda side: abs(side - wanted))


class OwnSizeAndCloseUp(BatchedDetector):
    """The image's own size up to a limit, and a small scale for faces that fill the image.

    Attributes:
        largest_side: larger images are scaled down to this long side, and seen closer in tiles.
        close_up_side: the small scale. A close-up fills more than the receptive field of the network.
        video_side: long side of video frames, at most.
    """

    largest_side: int
    close_up_side: int
    video_side: int

    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says: the own size, and the small scale where that is clearly smaller."""
        own = min(long_side, self.largest_side)
        return (own, self.close_up_side) if own > 1.4 * self.close_up_side else (own,)

    def video_scale(self, long_side: int) -> int:
        """As `Detector.video_scale` says: the own size, up to a limit."""
        return min(long_side, self.video_side)
