"""Masks from the features of the project's own detector: a small decoder that is prompted with boxes.

Each box is cut out with a little of what is around it and stretched to one size, so that a car of 4,000 pixels and one
of 30 look alike. The detector's backbone, unchanged, makes maps at strides 2 to 32 of it, and the decoder joins them
from coarse to fine (Ronneberger et al., U-Net, arXiv 1505.04597). Below 100,000 parameters of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from anonymizer.pipeline.detectors.base import resolve_device
from anonymizer.pipeline.detectors.own_network import Backbone, ConvNorm, Separable
from anonymizer.pipeline.errors import AnonymizerError, DetectorFailed, OutOfMemory
from anonymizer.pipeline.objects import OBJECT_TYPES, Mask, ObjectType

__all__ = ["CROP_SIDE", "CROP_SPAN", "MASK_SIDE", "MaskDecoder", "MaskHead", "backbone_sum", "features"]

#: pixels of a side of what the backbone sees of one object, and of the mask that comes of it
CROP_SIDE, MASK_SIDE = 128, 64
#: how many times the box's width and height that is
CROP_SPAN = 1.3
#: the backbone's blocks whose outputs the decoder takes: at strides 2, 4, 8, 16 and 32
_TAPS = (0, 2, 4, 10, 15)
#: crops in one batch: on a CPU about 100 MB
_BATCH = 32
#: Shorter side in pixels below which an object keeps its box: there is nothing to be seen in fewer.
LEAST = 8
#: Probability from which on a pixel belongs to an object (benchmarks/masks.py).
THRESHOLD = 0.5
#: All of this share of the box around its middle, with round corners, belongs to it whatever the network says.
CORE = 0.6
#: A mask that fills less of its box than this share is not believed: the object keeps its box.
LEAST_SHARE = 0.25

Image = NDArray[np.uint8]


class MaskDecoder(nn.Module):
    """From the backbone's maps to one mask."""

    def __init__(self, channels: int = 48, inputs: tuple[int, ...] = (16, 24, 40, 112, 320)) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(each, channels, active=False) for each in inputs)
        self.object_type = nn.Embedding(len(OBJECT_TYPES), channels)
        self.join = nn.ModuleList(
            nn.Sequential(Separable(channels, channels), Separable(channels, channels)) for _ in inputs
        )
        self.logit = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, maps: list[Tensor], types: Tensor) -> Tensor:
        """Logits (b, MASK_SIDE, MASK_SIDE) from maps of rising stride and types (b,) int64."""
        x = self.object_type(types)[:, :, None, None]
        for lateral, join, features in zip(
            reversed(self.lateral), reversed(self.join), reversed(maps), strict=True  # type: ignore[call-overload]
        ):
            coarse = functional.interpolate(x, size=features.shape[-2:], mode="bilinear", align_corners=False)
            x = join(functional.relu(lateral(features) + coarse)) + coarse
        logits: Tensor = self.logit(x)
        return logits[:, 0]


def features(backbone: Backbone, x: Tensor) -> list[Tensor]:
    """The maps that the decoder takes, of crops (b, 3, CROP_SIDE, CROP_SIDE) RGB, 0..1."""
    x = backbone.stem((x - 0.498) / 0.502)
    maps = []
    for number, block in enumerate(backbone.blocks):
        x = block(x)
        if number in _TAPS:
            maps.append(x)
    return maps


def backbone_weights(base: Path) -> dict[str, Tensor]:
    """The backbone's part of the own detector's weights."""
    prefix = "backbone."
    return {name.removeprefix(prefix): each for name, each in load_file(base).items() if name.startswith(prefix)}


def backbone_sum(weights: Mapping[str, Tensor]) -> str:
    """What a decoder was trained on, as a sha256: on other features it would give nonsense."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


class Window(NamedTuple):
    """What is cut out for one object, in whole pixels of the image; it may pass the image's borders."""

    x1: int
    y1: int
    x2: int
    y2: int

    @classmethod
    def around(cls, box: NDArray[np.float32]) -> Window:
        x1, y1, x2, y2 = (float(side) for side in box)
        across, down = (x2 - x1) * (CROP_SPAN - 1) / 2, (y2 - y1) * (CROP_SPAN - 1) / 2
        return cls(math.floor(x1 - across), math.floor(y1 - down), math.ceil(x2 + across), math.ceil(y2 + down))

    def cut(self, image: Image) -> Image:
        """(CROP_SIDE, CROP_SIDE, 3) uint8; grey beyond the image."""
        height, width = image.shape[:2]
        left, top, right, below = max(-self.x1, 0), max(-self.y1, 0), max(self.x2 - width, 0), max(self.y2 - height, 0)
        inside = image[max(self.y1, 0) : self.y2, max(self.x1, 0) : self.x2]
        if left or top or right or below:
            inside = cv2.copyMakeBorder(inside, top, below, left, right, cv2.BORDER_CONSTANT, value=(127, 127, 127))
        shrinks = max(self.x2 - self.x1, self.y2 - self.y1) > CROP_SIDE
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(inside, (CROP_SIDE, CROP_SIDE), interpolation=how), np.uint8)

    def mask(self, probabilities: NDArray[np.float32], box: NDArray[np.float32], size_hw: tuple[int, ...]) -> Mask | None:
        """An object's mask inside the image, the core of its box included; None where it is not to be believed."""
        wide = cv2.resize(probabilities, (self.x2 - self.x1, self.y2 - self.y1), interpolation=cv2.INTER_LINEAR)
        pixels = wide > THRESHOLD
        if pixels.sum() < LEAST_SHARE * (box[2] - box[0]) * (box[3] - box[1]):
            return None
        pixels |= self._core(box)
        x1, y1 = max(self.x1, 0), max(self.y1, 0)
        pixels = pixels[y1 - self.y1 : size_hw[0] - self.y1, x1 - self.x1 : size_hw[1] - self.x1]
        return Mask(x1, y1, pixels, source="") if pixels.any() else None

    def _core(self, box: NDArray[np.float32]) -> NDArray[np.bool_]:
        x = (np.arange(self.x1, self.x2, dtype=np.float32) + 0.5) * 2 - box[0] - box[2]
        y = (np.arange(self.y1, self.y2, dtype=np.float32) + 0.5) * 2 - box[1] - box[3]
        across = np.abs(x / ((box[2] - box[0]) * CORE)) ** 2.5
        down = np.abs(y / ((box[3] - box[1]) * CORE)) ** 2.5
        return np.asarray(across + down[:, None] <= 1)


class MaskHead:
    """Runs `MaskDecoder` on the backbone of the own detector. Persons and vehicles only: others get no mask.

    Args:
        path: the decoder's weights, a safetensors file.
        base_path: the own detector's.

    Raises:
        OSError, ValueError, RuntimeError: the files are no such weights, or the decoder belongs to another detector.
    """

    def __init__(self, path: Path, base_path: Path, *, device: str = "auto", model_id: str = "own-masks") -> None:
        self.id = model_id
        self._device = resolve_device(device)
        self.device = str(self._device)
        self._dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        weights = backbone_weights(base_path)
        with safe_open(path, "pt") as file:
            trained_on = (file.metadata() or {}).get("backbone")
        if trained_on != backbone_sum(weights):
            raise ValueError(f"{path.name} was trained on another detector: run python -m anonymizer.training.masks")
        self._backbone, self._decoder = Backbone(), MaskDecoder()
        self._backbone.load_state_dict(weights)
        self._decoder.load_state_dict(load_file(path))
        for each in (self._backbone, self._decoder):
            each.eval().to(self._device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def warm_up(self) -> None:
        self.segment(
            np.zeros((64, 64, 3), np.uint8),
            np.array([[0, 0, 64, 64]], np.float32),
            np.array([ObjectType.PERSON.number], np.uint8),
        )

    def segment(self, image: Image, boxes: NDArray[np.float32], types: NDArray[np.uint8]) -> list[Mask | None]:
        """Masks of objects; None for one that should keep its box.

        Args:
            image: (h, w, 3) uint8 RGB.
            boxes: (n, 4) float32 x1, y1, x2, y2 in its pixels.
            types: (n,) uint8, index into `OBJECT_TYPES`.

        Raises:
            DetectorFailed, OutOfMemory: there is no result.
        """
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        rows = [row for row in range(len(boxes)) if self._can(boxes[row], int(types[row]))]
        masks: list[Mask | None] = [None] * len(boxes)
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            windows = [Window.around(boxes[row]) for row in batch]
            crops = np.stack([window.cut(image) for window in windows])
            for row, window, found in zip(batch, windows, self._run(crops, types[batch]), strict=True):
                masks[row] = window.mask(found, boxes[row], (height, width))
        return [mask and Mask(mask.x, mask.y, mask.pixels, self.id) for mask in masks]

    def _can(self, box: NDArray[np.float32], object_type: int) -> bool:
        able = OBJECT_TYPES[object_type] in (ObjectType.PERSON, ObjectType.VEHICLE)
        return able and bool(min(box[2] - box[0], box[3] - box[1]) >= LEAST)

    def _run(self, crops: NDArray[np.uint8], types: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (b, MASK_SIDE, MASK_SIDE)."""
        try:
            with torch.inference_mode():
                tensor = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).to(self._dtype).div_(255)
                maps = features(self._backbone, tensor.contiguous(memory_format=torch.channels_last))
                logits = self._decoder(maps, torch.from_numpy(types.astype(np.int64)).to(self._device)).float()
                if not bool(torch.isfinite(logits).all()):
                    raise DetectorFailed(f"The segmenter {self.id} gave values that are no numbers.")
                return np.asarray(logits.sigmoid().cpu().numpy())
        except torch.cuda.OutOfMemoryError as error:
            raise OutOfMemory(f"The segmenter {self.id} has too little memory on its device.") from error
        except AnonymizerError:
            raise
        except Exception as error:
            raise DetectorFailed(f"The segmenter {self.id} failed ({type(error).__name__}).") from error
