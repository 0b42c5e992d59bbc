"""The project's own detector: all four object types in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import batched_nms

from anonymizer.pipeline.detection.inference_errors import check_finite
from anonymizer.pipeline.detection.models.base import FixedScales
from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.own_network import ConvNorm, OwnNetwork, boxes_xyxy, cells_of
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.devices import on_device
from anonymizer.pipeline.runtime.loading import load_module

__all__ = ["OwnDetector"]

PAD = 114
#: Thresholds of two passes of non-maximum suppression. Two passes lose no object that one pass at .5 keeps, and return
#: fewer objects twice (plate anpr: AP50 .961 instead of .942, .05 false positives an image instead of .11).
FIRST_NMS_IOU, NMS_IOU = 0.6, 0.5
#: Longest object in pixels that is kept at scales above the 416 pixels of the training. It is half of that: smaller
#: scales see longer objects better. AP50 on val (face; plate anpr, cars, dashcam; person voc, highway; vehicle voc,
#: highway), with the scale 1280 for images above 800 pixels:
#:     256 + 416 + 640, limit 208        .966  .979 .864 .994  .794 .619  .853 .836
#:     limit 160                         .967  .979 .836 .994  .793 .619  .854 .836
#:     320 + 416 + 640, limit 208        .970  .978 .870 .994  .786 .619  .843 .832
#:     256 + 320 + 416 + 640             .968  .978 .869 .994  .787 .619  .849 .831
#:     256 + 416 + 512 + 640             .970  .968 .862 .994  .788 .619  .847 .833
#:     416 alone                         .962  .978 .807 .888  .748 .521  .812 .815
LARGEST_PX = 208
#: up to this scale, objects of any size are kept
WHOLE_SIDE = 416


class OwnDetector(FixedScales):
    """Runs `OwnNetwork` with weights from a safetensors file.

    Args:
        weights: the safetensors file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch` or `openvino`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
        OSError, ValueError, RuntimeError: the file does not hold such weights.
    """

    object_types = OBJECT_TYPES
    #: boxes with lower scores are right once in a hundred times, and a crowd has thousands of them
    min_score = 0.16
    least_size = 8.0
    tile_side = 640

    def __init__(self, weights: Path, *, device: str = "auto", runtime: str = "auto", model_id: str = "own-2") -> None:
        super().__init__(model_id, device, half=True, runtime=runtime)
        network = OwnNetwork().eval()
        # strict, except for the counters of the batch norms, which only training needs
        missing, unexpected = network.load_state_dict(load_file(weights), strict=False)
        if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
            raise ValueError(f"{weights.name} holds the weights of another network")
        self._network = load_module(
            _WithoutCells(_fuse_batch_norms(network)), torch.zeros(1, 3, 320, 320), name="own-2",
            runtime=self._runtime, device=self._device, dtype=self._dtype,
        )  # fmt: skip

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        letterbox = Letterbox.of(images[0], side, pad=PAD)
        tensor = on_device([letterbox(image) for image in images], self._device)
        logits, distances = self._network(tensor.float().div_(255))
        check_finite(f"detector {self.id}", logits, distances)
        boxes = boxes_xyxy(distances, cells_of(tensor.shape[-2], tensor.shape[-1], self._device))
        return [
            self._select(logits[row].sigmoid(), boxes[row], image.shape[:2], side) for row, image in enumerate(images)
        ]

    def _select(self, scores: Tensor, boxes: Tensor, size_hw: tuple[int, ...], side: int) -> Detections:
        """Choose among all boxes of one image.

        Args:
            scores: (n, 4), in the order of `OBJECT_TYPES`.
            boxes: (n, 4) in pixels of the network's input.
        """
        rows, types = torch.where(scores > self.min_score)
        boxes, scores = boxes[rows], scores[rows, types]
        if side > WHOLE_SIDE:
            small_enough = (boxes[:, 2:] - boxes[:, :2]).amax(1) <= LARGEST_PX
            boxes, scores, types = boxes[small_enough], scores[small_enough], types[small_enough]
        # Twice: a box that the second pass drops may have suppressed its own neighbours in the first pass.
        keep = batched_nms(boxes, scores, types, FIRST_NMS_IOU)
        keep = keep[batched_nms(boxes[keep], scores[keep], types[keep], NMS_IOU)]
        height, width = size_hw
        pixels = boxes[keep].cpu().numpy() / (side / max(size_hw))
        return Detections(
            np.clip(pixels, 0, [width, height, width, height]),
            scores[keep].cpu().numpy(),
            types[keep].cpu().numpy(),
            np.full(len(keep), self.id),
        )


class _WithoutCells(torch.nn.Module):
    """The network without its third output: positions in pixels, which half precision does not hold."""

    def __init__(self, network: OwnNetwork) -> None:
        super().__init__()
        self._network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From images (b, 3, h, w) to logits and distances, both (b, n, 4)."""
        logits, distances, _ = self._network(x)
        return logits, distances


def _fuse_batch_norms(network: OwnNetwork) -> OwnNetwork:
    """Merge each batch norm into its convolution, in place: the same function, in fewer steps."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)  # type: ignore[arg-type]
            module.norm = torch.nn.Identity()
    return network
