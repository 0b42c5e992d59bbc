"""License plates with the weights of HyperLPR (github.com/szad670401/HyperLPR), trained on Chinese plates.

The files `y5fu_*_sim.onnx` hold networks of the YOLOv5 kind (github.com/ultralytics/yolov5).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import box_convert

from anonymizer.pipeline.detection.models.base import BatchedDetector
from anonymizer.pipeline.detection.models.boxes import suppress_overlaps
from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.onnx_network import OnnxNetwork
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import DetectorFailed

__all__ = ["Y5fu"]

NMS_IOU = 0.5
#: By the side of the canvas, the scales at which an image is laid on it. The network is weak on plates that fill the
#: image. AP50 on val (anpr, cars, dashcam) of the files of 640 and 320 pixels together, and the time in passes of 320
#: pixels:
#:     640                          .397 .528 .866   3
#:     320                          .490 .697 .802   1
#:     640, 320                     .490 .685 .872   4
#:     640, 320 + 160               .597 .690 .868   5
#:     640, 320 + 208 + 128         .624 .734 .864   6
SIDES = {320: (320, 208, 128)}

#: values in a row of the network's output
ROW = 15


class Y5fu(BatchedDetector):
    """A plate detector, from `y5fu_320x_sim.onnx` or `y5fu_640x_sim.onnx`.

    The input of the network has one fixed size.

    Args:
        weights: the ONNX file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch`, `openvino` or `onnxruntime`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
        ValueError: the input of the network has no fixed size.
        Exception: of onnx or the runtime, if the file is not such a network.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.LICENSE_PLATE,)
    min_score = 0.02
    least_size = 6.0

    def __init__(
        self, weights: Path, *, device: str = "auto", runtime: str = "auto", model_id: str = "y5fu-640"
    ) -> None:
        # full precision: the graph ends in pixels, and half precision holds large ones only in steps of half a pixel
        super().__init__(model_id, device, runtime=runtime)
        self._network = OnnxNetwork(
            model_id, weights, runtime=self._runtime, device=self._device, dtype=self._dtype, exact=True
        )
        if self._network.input_side is None:
            raise ValueError(f"{weights.name} has no input of a fixed size")
        self._side = self.tile_side = self._network.input_side
        self.warm_up_hw = (self._side, self._side)

    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says: the side of the network's input, and smaller ones, for images of any size."""
        return SIDES.get(self._side, (self._side,))

    def _canvas_side(self, side: int) -> int:
        return self._side

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        if side > self._side:
            raise DetectorFailed(f"The detector {self.id} takes scales up to {self._side} pixels, not {side}.")
        letterbox = Letterbox.of(images[0], side, pad=0, canvas_side=self._side)
        # rows: centre, size, chance of an object, four corners, chances of the two kinds of plates
        (rows,) = self._network([letterbox(image) for image in images], bgr=False, unit=True).values()
        if rows.shape[-1] != ROW:
            raise DetectorFailed(f"The file of {self.id} holds another network: rows of {rows.shape[-1]}, not {ROW}.")
        boxes = box_convert(rows[..., :4], "cxcywh", "xyxy")
        scores = rows[..., 4] * rows[..., 13:].amax(-1)
        return [self._select(*of_image, letterbox) for of_image in zip(boxes, scores, strict=True)]

    def _select(self, boxes: Tensor, scores: Tensor, letterbox: Letterbox) -> Detections:
        rows = torch.where(scores > self.min_score)[0]
        types = torch.full_like(rows, ObjectType.LICENSE_PLATE.number)
        return suppress_overlaps(self.id, boxes[rows], scores[rows], types, resize=letterbox, nms_iou=NMS_IOU)
