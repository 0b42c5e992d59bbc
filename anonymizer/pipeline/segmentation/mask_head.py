"""Masks from the features of the project's own detector: a small decoder that is prompted with boxes.

Each box is cut out with a little of what is around it and stretched to one size, so that a car of 4,000 pixels and one
of 30 look alike. The detector's backbone, unchanged, makes maps at strides 2 to 32 of it, and the decoder joins them
from coarse to fine (Ronneberger et al., U-Net, arXiv 1505.04597). It has 63,000 parameters of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from anonymizer.pipeline.detection.models.own_network import Backbone, ConvNorm, Separable
from anonymizer.pipeline.detections import OBJECT_TYPES, Mask, ObjectType
from anonymizer.pipeline.devices import resolve_device
from anonymizer.pipeline.errors import AnonymizerError, DetectorFailed, OutOfMemory
from anonymizer.pipeline.segmentation.crops import Window
from anonymizer.pipeline.segmentation.mask_rules import can_have_mask, covering

__all__ = ["CROP_SIDE", "MASK_SIDE", "MaskDecoder", "MaskHead", "backbone_sum", "backbone_weights", "features"]

#: pixels of a side of what the backbone sees of one object, and of the mask that comes of it
CROP_SIDE, MASK_SIDE = 128, 64
#: the backbone's blocks whose outputs the decoder takes: at strides 2, 4, 8, 16 and 32
_TAPS = (0, 2, 4, 10, 15)
#: crops in one batch: on a CPU about 100 MB
_BATCH = 32
#: Probability from which on a pixel belongs to an object. By benchmarks/masks.py (IoU; with the default margin:
#: share of the object covered, changed area by the box's):
#:     persons  .5 .690 .989 1.01    .65 .710 .973  .92    .75 .711 .957  .85
#:     vehicles .5 .793 .999 1.19    .65 .801 .995 1.10    .75 .792 .989 1.04
THRESHOLDS = {ObjectType.PERSON.number: 0.65, ObjectType.VEHICLE.number: 0.78}

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
        for lateral, join, features in zip(self.lateral[::-1], self.join[::-1], maps[::-1], strict=True):
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
    """The backbone of the own detector; as copies, since a file that is written over changes what was read of it."""
    prefix = "backbone."
    return {
        name.removeprefix(prefix): each.clone() for name, each in load_file(base).items() if name.startswith(prefix)
    }


def backbone_sum(weights: Mapping[str, Tensor]) -> str:
    """What a decoder was trained on, as a sha256: on other features it would give nonsense."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


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
            raise ValueError(
                f"{path.name} was trained on another detector: run python -m anonymizer.training.train_masks"
            )
        self._backbone, self._decoder = Backbone(), MaskDecoder()
        self._backbone.load_state_dict(weights)
        self._decoder.load_state_dict(load_file(path))
        for each in (self._backbone, self._decoder):
            each.eval().to(self._device, self._dtype).to(memory_format=torch.channels_last)

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
        rows = [row for row in range(len(boxes)) if can_have_mask(boxes[row], int(types[row]))]
        masks: list[Mask | None] = [None] * len(boxes)
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            windows = [Window.around(boxes[row]) for row in batch]
            crops = np.stack([window.cut(image, CROP_SIDE) for window in windows])
            for row, window, found in zip(batch, windows, self._run(crops, types[batch]), strict=True):
                pixels = window.widened(found) > THRESHOLDS[int(types[row])]
                masks[row] = covering(pixels, window.x1, window.y1, boxes[row], (height, width), self.id)
        return masks

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
