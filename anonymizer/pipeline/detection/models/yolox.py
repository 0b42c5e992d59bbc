"""YOLOX (Ge et al., arXiv 2107.08430): persons and vehicles, with weights made for COCO."""

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

__all__ = ["YoloX"]

PAD = 114
STRIDES = (8, 16, 32)
NMS_IOU = 0.55
#: In larger views than it was trained for, what is longer than this is left to the smaller ones. AP50, recall at .1 and
#: at .3 false positives an image, 100 images of val a source (persons of voc; vehicles of voc; of highway), and time:
#:     416                              .863 .819 .867   .871 .852 .889   .806 .748 .777   1
#:     416 + 640, limit 160             .871 .783 .892   .874 .889 .889   .825 .748 .801   2.9
#:     256 + 416 + 640, no limit        .869 .759 .880   .886 .889 .889   .824 .757 .791   3.5
#:     256 + 416 + 640, limit 160       .895 .807 .904   .874 .889 .889   .826 .748 .791   3.5
#:     256 + 416 + 640, limit 240       .882 .783 .892   .876 .889 .889   .830 .757 .796   3.5
#:     256 + 416 + 832, limit 160       .901 .807 .892   .876 .889 .889   .825 .748 .796   5.2
LARGEST_PX = 160
#: up to this scale objects of any size are kept
WHOLE_SIDE = 416
#: COCO's classes, counted from 0: car, motorcycle, bus, truck are vehicles
CLASSES = {ObjectType.PERSON: (0,), ObjectType.VEHICLE: (2, 3, 5, 7)}


class YoloX:
    """Runs the network of `yolox_nano.onnx` as a torch module; YOLOX of other sizes have the same outputs.

    Raises:
        Exception: of onnx or onnx2torch, where the file is no such network.
    """

    object_types: tuple[ObjectType, ...] = tuple(CLASSES)
    #: fainter ones are right less than once in a hundred times
    min_score = 0.12
    least_size = 8.0
    tile_side = 640

    def __init__(self, weights: Path, *, device: str = "auto", model_id: str = "yolox-nano") -> None:
        self.id = model_id
        where = resolve_device(device)
        self.device = str(where)
        dtype = torch.float16 if where.type == "cuda" else torch.float32
        self._network = OnnxNetwork(model_id, weights, device=where, dtype=dtype)

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
        letterbox = Letterbox.of(images[0], side, pad=PAD)
        (rows,) = self._network([letterbox(each) for each in images], bgr=True).values()
        boxes = decoded(rows[..., :4], letterbox.canvas_wh, STRIDES)
        of_classes = rows[..., 4:5] * rows[..., 5:]
        scores = torch.stack([of_classes[..., list(each)].amax(-1) for each in CLASSES.values()], -1)
        return [self._objects(*each, letterbox, side) for each in zip(boxes, scores, strict=True)]

    def _objects(self, boxes: Tensor, scores: Tensor, letterbox: Letterbox, side: int) -> Detections:
        """
        Args:
            boxes: (n, 4) on the canvas.
            scores: (n, 2), in the order of `CLASSES`.
        """
        fits = (boxes[:, 2:] - boxes[:, :2]).amax(1) <= (LARGEST_PX if side > WHOLE_SIDE else torch.inf)
        rows, columns = torch.where((scores > self.min_score) & fits[:, None])
        types = torch.tensor([each.number for each in CLASSES], device=scores.device)[columns]
        return chosen(self.id, boxes[rows], scores[rows, columns], types, letterbox=letterbox, nms_iou=NMS_IOU)
