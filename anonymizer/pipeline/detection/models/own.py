"""The project's own detector: all four object types in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import batched_nms

from anonymizer.pipeline.detection.batching import check_finite, in_batches
from anonymizer.pipeline.detection.models.own_network import ConvNorm, OwnNetwork, boxes_xyxy
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.devices import on_device, resolve_device

__all__ = ["OwnDetector", "letterboxed"]

PAD = 114
#: Two passes find nothing less than one at .5, and less twice: a box that the second drops has dropped its own
#: neighbours in the first (plate anpr: AP50 .961 for .942, .05 false positives an image for .11).
FIRST_NMS_IOU, NMS_IOU = 0.6, 0.5
#: It was trained on canvases of up to 416 pixels: in larger views, what is longer than half of such a canvas is left to
#: the smaller scales, which see it better. AP50 on val (face; plate anpr, cars, dashcam; person voc, highway; vehicle
#: alike), with 1280 for pictures above 800 pixels:
#:     256 + 416 + 640, limit 208        .966  .979 .864 .994  .794 .619  .853 .836
#:     limit 160                         .967  .979 .836 .994  .793 .619  .854 .836
#:     320 + 416 + 640, limit 208        .970  .978 .870 .994  .786 .619  .843 .832
#:     256 + 320 + 416 + 640             .968  .978 .869 .994  .787 .619  .849 .831
#:     256 + 416 + 512 + 640             .970  .968 .862 .994  .788 .619  .847 .833
#:     416 alone                         .962  .978 .807 .888  .748 .521  .812 .815
LARGEST_PX = 208
#: up to this scale objects of any size are kept
WHOLE_SIDE = 416


class OwnDetector:
    """Runs `OwnNetwork` with weights from a safetensors file.

    Raises:
        OSError, ValueError, RuntimeError: the file is no such weights.
    """

    object_types = OBJECT_TYPES
    #: fainter ones are right once in a hundred times, and a crowd has thousands of them
    min_score = 0.16
    least_size = 8.0
    tile_side = 640

    def __init__(self, weights: Path, *, device: str = "auto", model_id: str = "own-2") -> None:
        self.id = model_id
        self._device = resolve_device(device)
        self.device = str(self._device)
        self._dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        network = OwnNetwork().eval()
        # strict but for the batch norms' counters, which only training needs
        missing, unexpected = network.load_state_dict(load_file(weights), strict=False)
        if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
            raise ValueError(f"{weights.name} holds the weights of another network")
        self._network = _fused(network).to(self._device, self._dtype).to(memory_format=torch.channels_last)

    def sides(self, long_side: int) -> tuple[int, ...]:
        """Small for what fills the picture, large for what is tiny; never more than twice the picture's own size."""
        wanted = (256, 416, 640) if long_side <= 800 else (256, 416, 640, 1280)
        return tuple(each for each in wanted if each <= 2 * long_side) or (2 * long_side,)

    def video_side(self, long_side: int) -> int:
        sides = self.sides(long_side)
        return min(sides, key=lambda each: abs(each - (416 if long_side <= 800 else 640)))

    def warm_up(self) -> None:
        self.detect([np.zeros((320, 416, 3), np.uint8)], 416)

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        return in_batches(self.id, lambda batch: self._run(batch, side), images, pixels=side * side, device=self.device)

    @torch.inference_mode()
    def _run(self, images: Sequence[Image], side: int) -> list[Detections]:
        scale = side / max(images[0].shape[:2])
        inputs = [letterboxed(each, scale) for each in images]
        tensor = on_device(inputs, self._device)
        tensor = tensor.to(self._dtype).div_(255).contiguous(memory_format=torch.channels_last)
        logits, distances, cells = self._network(tensor)
        check_finite(self.id, logits, distances)
        boxes = boxes_xyxy(distances, cells.to(distances.dtype))
        return [
            self._objects(logits[n].sigmoid().float(), boxes[n].float(), scale, image.shape[:2], side)
            for n, image in enumerate(images)
        ]

    def _objects(self, scores: Tensor, boxes: Tensor, scale: float, size_hw: tuple[int, ...], side: int) -> Detections:
        rows, types = torch.where(scores > self.min_score)
        chosen, values = boxes[rows], scores[rows, types]
        if side > WHOLE_SIDE:
            fits = (chosen[:, 2:] - chosen[:, :2]).amax(1) <= LARGEST_PX
            chosen, values, types = chosen[fits], values[fits], types[fits]
        # twice: what the first pass drops does not keep the second from seeing that two boxes are one
        keep = batched_nms(chosen, values, types, FIRST_NMS_IOU)
        keep = keep[batched_nms(chosen[keep], values[keep], types[keep], NMS_IOU)]
        pixels = (chosen[keep] / scale).cpu().numpy()
        height, width = size_hw
        pixels = np.clip(pixels, 0, [width, height, width, height])
        return Detections(
            pixels,
            values[keep].cpu().numpy(),
            types[keep].cpu().numpy(),
            np.full(len(keep), self.id),
        )


def letterboxed(image: Image, scale: float) -> Image:
    """An image scaled and padded right and below to multiples of 32, (h, w, 3) uint8."""
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    padded = np.full((math.ceil(size[1] / 32) * 32, math.ceil(size[0] / 32) * 32, 3), PAD, np.uint8)
    padded[: size[1], : size[0]] = resized
    return padded


def _fused(network: OwnNetwork) -> OwnNetwork:
    """The network with each batch norm worked into its convolution: the same function, in fewer steps."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)  # type: ignore[arg-type]
            module.norm = torch.nn.Identity()
    return network
