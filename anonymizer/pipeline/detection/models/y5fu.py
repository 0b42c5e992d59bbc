"""Plates with the weights of HyperLPR (github.com/szad670401/HyperLPR, `y5fu_*_sim.onnx`), made for Chinese ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anonymizer.pipeline.detection.batching import in_batches
from anonymizer.pipeline.detection.models.onnx_network import Letterbox, OnnxNetwork, chosen
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.devices import resolve_device
from anonymizer.pipeline.errors import DetectorFailed

__all__ = ["Y5fu"]

NMS_IOU = 0.5
#: By the side of its canvas, the sizes in which a picture is laid on it: it is weak on plates that fill the picture.
#: AP50 on val (anpr, cars, dashcam), the files of 640 and 320 pixels together, and the time in passes of 320 pixels:
#:     640                          .397 .528 .866   3
#:     320                          .490 .697 .802   1
#:     640, 320                     .490 .685 .872   4
#:     640, 320 + 160               .597 .690 .868   5
#:     640, 320 + 208 + 128         .624 .734 .864   6
SIDES = {320: (320, 208, 128)}


#: values in a row of the network's output
ROW = 15


class Y5fu:
    """Runs the network of `y5fu_320x_sim.onnx` or `y5fu_640x_sim.onnx` as a torch module, in the one size it takes.

    Raises:
        ValueError: the file's network takes pictures of any size.
        Exception: of onnx or onnx2torch, where the file is no such network.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.LICENSE_PLATE,)
    min_score = 0.02
    least_size = 6.0

    def __init__(self, weights: Path, *, device: str = "auto", model_id: str = "y5fu-640") -> None:
        self.id = model_id
        where = resolve_device(device)
        self.device = str(where)
        # its graph ends in pixels, of which half precision keeps only every half one
        self._network = OnnxNetwork(model_id, weights, device=where, dtype=torch.float32)
        if self._network.input_side is None:
            raise ValueError(f"{weights.name} has no fixed input")
        self._side = self._network.input_side

    @property
    def tile_side(self) -> int:
        return self._side

    def sides(self, long_side: int) -> tuple[int, ...]:
        """The network's own and smaller ones, whatever the picture's."""
        return SIDES.get(self._side, (self._side,))

    def video_side(self, long_side: int) -> int:
        return self._side

    def warm_up(self) -> None:
        self.detect([np.zeros((self._side, self._side, 3), np.uint8)], self._side)

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        if side > self._side:
            raise DetectorFailed(f"The detector {self.id} looks at {self._side} pixels, not at {side}.")
        run = lambda batch: self._run(batch, side)  # noqa: E731
        return in_batches(self.id, run, images, pixels=self._side**2, device=self.device)

    @torch.inference_mode()
    def _run(self, images: Sequence[Image], side: int) -> list[Detections]:
        letterbox = Letterbox.of(images[0], side, pad=0, canvas_side=self._side)
        # rows: centre, size, chance of an object, four corners, chances of the two kinds of plates
        (rows,) = self._network([letterbox(each) for each in images], bgr=False, unit=True).values()
        if rows.shape[-1] != ROW:
            raise DetectorFailed(f"The file of {self.id} holds another network: rows of {rows.shape[-1]}, not {ROW}.")
        centres, halves = rows[..., :2], rows[..., 2:4] / 2
        boxes = torch.cat([centres - halves, centres + halves], -1)
        scores = rows[..., 4] * rows[..., 13:].amax(-1)
        return [self._plates(*each, letterbox) for each in zip(boxes, scores, strict=True)]

    def _plates(self, boxes: Tensor, scores: Tensor, letterbox: Letterbox) -> Detections:
        rows = torch.where(scores > self.min_score)[0]
        types = torch.full_like(rows, ObjectType.LICENSE_PLATE.number)
        return chosen(self.id, boxes[rows], scores[rows], types, letterbox=letterbox, nms_iou=NMS_IOU)
