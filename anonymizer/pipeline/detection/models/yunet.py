"""YuNet (Wu et al., 2023, "YuNet: A Tiny Millisecond-level Face Detector"): faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anonymizer.pipeline.detection.batching import in_batches
from anonymizer.pipeline.detection.models.onnx_network import Letterbox, OnnxNetwork, chosen, decoded
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.devices import resolve_device

__all__ = ["YuNet"]

STRIDES = (8, 16, 32)
NMS_IOU = 0.4
#: what is larger is looked at in this size, and closer in tiles
LARGEST_SIDE = 1280
#: A close-up fills more than its filters see: larger pictures are looked at in this size too. AP50, recall at .1 and at
#: .3 false positives an image on val fddb:
#:     own size          .966 .941 .957
#:     own + 256         .975 .955 .968
#:     own + 320         .969 .950 .966
#:     own + 640         .961 .939 .955
#:     own + twice that  .956 .925 .948
CLOSE_UP_SIDE = 256
#: every frame of a video is looked at in this size, at most
VIDEO_SIDE = 512


class YuNet:
    """Runs the network of `yunet_n_dynamic.onnx` as a torch module.

    Raises:
        Exception: of onnx or onnx2torch, where the file is no such network.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.FACE,)
    min_score = 0.2
    least_size = 8.0
    tile_side = 1280

    def __init__(self, weights: Path, *, device: str = "auto", model_id: str = "yunet-n") -> None:
        self.id = model_id
        where = resolve_device(device)
        self.device = str(where)
        dtype = torch.float16 if where.type == "cuda" else torch.float32
        self._network = OnnxNetwork(model_id, weights, device=where, dtype=dtype)

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
        letterbox = Letterbox.of(images[0], side, pad=0)
        outputs = self._network([letterbox(each) for each in images], bgr=True)
        faces, objects, raw = (
            torch.cat([outputs[f"{name}_{stride}"] for stride in STRIDES], 1) for name in ("cls", "obj", "bbox")
        )
        scores = (faces[..., 0].clamp(0, 1) * objects[..., 0].clamp(0, 1)).sqrt()
        boxes = decoded(raw, letterbox.canvas_wh, STRIDES)
        return [self._faces(*each, letterbox) for each in zip(boxes, scores, strict=True)]

    def _faces(self, boxes: Tensor, scores: Tensor, letterbox: Letterbox) -> Detections:
        rows = torch.where(scores > self.min_score)[0]
        types = torch.full_like(rows, ObjectType.FACE.number)
        return chosen(self.id, boxes[rows], scores[rows], types, letterbox=letterbox, nms_iou=NMS_IOU)
