"""Masks from the features of the project's own detector, by a small decoder that is prompted with boxes.

Each box is cut out with its surroundings and stretched to one size, so that a car of 4,000 pixels and one of 30 look
alike. The backbone of the detector, unchanged, makes feature maps of the crop at strides 2 to 32. The decoder joins
them from coarse to fine (U-Net, Ronneberger et al., arXiv 1505.04597). It has 63,000 parameters of its own.
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

from anonymizer.pipeline.detection.inference_errors import check_finite, translate_errors
from anonymizer.pipeline.detection.models.own_network import Backbone, ConvNorm, Separable
from anonymizer.pipeline.detections import OBJECT_TYPES, Mask, ObjectType
from anonymizer.pipeline.devices import resolve_device
from anonymizer.pipeline.runtime.choice import resolve_runtime
from anonymizer.pipeline.runtime.loading import load_module
from anonymizer.pipeline.segmentation.crops import Window
from anonymizer.pipeline.segmentation.mask_rules import apply_mask_rules, can_have_mask

__all__ = [
    "CROP_SIDE",
    "MASK_SIDE",
    "MaskDecoder",
    "MaskHead",
    "backbone_features",
    "backbone_sha256",
    "backbone_weights",
]

#: side in pixels of the crop of one object, and of the mask that the decoder makes of it
CROP_SIDE, MASK_SIDE = 128, 64
#: the blocks of the backbone whose outputs the decoder takes, at strides 2, 4, 8, 16 and 32
_TAPS = (0, 2, 4, 10, 15)
#: crops in one batch: on a CPU about 100 MB
_BATCH = 32
#: By type: the probability from which on a pixel belongs to the object. Measured by benchmarks/masks.py (IoU; with a
#: margin of .1: share of the object covered, changed area over area of the box):
#:     persons  .5 .690 .989 1.01    .65 .710 .973  .92    .75 .711 .957  .85
#:     vehicles .5 .793 .999 1.19    .65 .801 .995 1.10    .75 .792 .989 1.04
THRESHOLDS = {ObjectType.PERSON.number: 0.65, ObjectType.VEHICLE.number: 0.78}

Image = NDArray[np.uint8]


class MaskDecoder(nn.Module):
    """Makes one mask for each crop from the feature maps of the backbone.

    Args:
        channels: of the decoder.
        inputs: channels of the feature maps, from fine to coarse.
    """

    def __init__(self, channels: int = 48, inputs: tuple[int, ...] = (16, 24, 40, 112, 320)) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(map_channels, channels, active=False) for map_channels in inputs)
        self.object_type = nn.Embedding(len(OBJECT_TYPES), channels)
        self.join = nn.ModuleList(
            nn.Sequential(Separable(channels, channels), Separable(channels, channels)) for _ in inputs
        )
        self.logit = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, maps: list[Tensor], types: Tensor) -> Tensor:
        """Predict masks.

        Args:
            maps: feature maps (b, c, h, w), from fine to coarse, as `backbone_features` returns them.
            types: (b,) int64, index into `OBJECT_TYPES`.

        Returns:
            Logits (b, MASK_SIDE, MASK_SIDE).
        """
        x = self.object_type(types)[:, :, None, None]
        for lateral, join, backbone_features in zip(self.lateral[::-1], self.join[::-1], maps[::-1], strict=True):
            coarse = functional.interpolate(x, size=backbone_features.shape[-2:], mode="bilinear", align_corners=False)
            x = join(functional.relu(lateral(backbone_features) + coarse)) + coarse
        logits: Tensor = self.logit(x)
        return logits[:, 0]


def backbone_features(backbone: Backbone, x: Tensor) -> list[Tensor]:
    """Compute the feature maps that the decoder takes.

    Args:
        backbone: of the own detector.
        x: crops (b, 3, CROP_SIDE, CROP_SIDE) RGB, 0..1.

    Returns:
        Feature maps (b, c, h, w) at strides 2, 4, 8, 16 and 32.
    """
    x = backbone.stem((x - 0.498) / 0.502)
    maps = []
    for number, block in enumerate(backbone.blocks):
        x = block(x)
        if number in _TAPS:
            maps.append(x)
    return maps


def backbone_weights(base: Path) -> dict[str, Tensor]:
    """Read the weights of the backbone from the file of the own detector, by name.

    They are copies: the tensors that `load_file` returns change if the file is overwritten.
    """
    prefix = "backbone."
    weights = load_file(base)
    return {name.removeprefix(prefix): weight.clone() for name, weight in weights.items() if name.startswith(prefix)}


def backbone_sha256(weights: Mapping[str, Tensor]) -> str:
    """The sha256 of a backbone's weights. A decoder works only with the backbone that it was trained on."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


class _MaskNetwork(nn.Module):
    """The backbone and the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.decoder = Backbone(), MaskDecoder()

    def forward(self, x: Tensor, types: Tensor) -> Tensor:
        """From crops (b, 3, CROP_SIDE, CROP_SIDE), 0..1, and types (b,) to logits (b, MASK_SIDE, MASK_SIDE)."""
        logits: Tensor = self.decoder(backbone_features(self.backbone, x), types)
        return logits


class MaskHead:
    """A segmenter that runs `MaskDecoder` on the backbone of the own detector.

    It makes masks of persons and vehicles; other objects keep their boxes.

    Args:
        path: the weights of the decoder, a safetensors file.
        base_path: the weights of the own detector, a safetensors file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch` or `openvino`.
        model_id: what `Mask.source` holds.

    Raises:
        DetectorFailed: the device does not exist.
        OSError, ValueError, RuntimeError: the files do not hold such weights, or the decoder belongs to another
            detector.
    """

    def __init__(
        self, path: Path, base_path: Path, *, device: str = "auto", runtime: str = "auto", model_id: str = "own-masks"
    ) -> None:
        self.id = model_id
        self._device = resolve_device(device)
        self.device = str(self._device)
        dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        weights = backbone_weights(base_path)
        with safe_open(path, "pt") as file:
            trained_on = (file.metadata() or {}).get("backbone")
        if trained_on != backbone_sha256(weights):
            raise ValueError(
                f"{path.name} was trained on another detector: run python -m anonymizer.training.train_masks"
            )
        network = _MaskNetwork().eval()
        network.backbone.load_state_dict(weights)
        network.decoder.load_state_dict(load_file(path))
        self._network = load_module(
            network, torch.zeros(2, 3, CROP_SIDE, CROP_SIDE), torch.zeros(2, dtype=torch.int64), name="own-masks",
            runtime=resolve_runtime(runtime, self._device), device=self._device, dtype=dtype,
        )  # fmt: skip

    def warm_up(self) -> None:
        """Run once on a blank image, so that the first image does not wait."""
        self.segment(
            np.zeros((64, 64, 3), np.uint8),
            np.array([[0, 0, 64, 64]], np.float32),
            np.array([ObjectType.PERSON.number], np.uint8),
        )

    def segment(self, image: Image, boxes: NDArray[np.float32], types: NDArray[np.uint8]) -> list[Mask | None]:
        """Make a mask for each person and vehicle with the decoder.

        Args:
            image: (h, w, 3) uint8 RGB.
            boxes: (n, 4) float32 x1, y1, x2, y2 in pixels of the image. Parts outside the image are ignored.
            types: (n,) uint8, index into `OBJECT_TYPES`.

        Returns:
            n masks. An entry is None if the object keeps its box: it has another type, its box is too small, or no
            usable mask was found.

        Raises:
            DetectorFailed: the network failed, or returned values that are not finite.
            OutOfMemory: the GPU has too little free memory.
        """
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        rows = [row for row in range(len(boxes)) if can_have_mask(boxes[row], int(types[row]))]
        masks: list[Mask | None] = [None] * len(boxes)
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            windows = [Window.around(boxes[row]) for row in batch]
            crops = np.stack([window.crop(image, CROP_SIDE) for window in windows])
            for row, window, probability in zip(batch, windows, self._run(crops, types[batch]), strict=True):
                pixels = window.resize_back(probability) > THRESHOLDS[int(types[row])]
                masks[row] = apply_mask_rules(
                    pixels, window.x1, window.y1, boxes[row], (height, width), self.id, OBJECT_TYPES[int(types[row])]
                )
        return masks

    def _run(self, crops: NDArray[np.uint8], types: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability 0..1 that each pixel belongs to the object, (b, MASK_SIDE, MASK_SIDE) float32."""
        with translate_errors(f"segmenter {self.id}"), torch.inference_mode():
            tensor = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).float().div_(255)
            (logits,) = self._network(tensor, torch.from_numpy(types.astype(np.int64)).to(self._device))
            check_finite(f"segmenter {self.id}", logits)
            return np.asarray(logits.sigmoid().cpu().numpy())
