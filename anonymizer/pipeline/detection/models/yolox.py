"""YOLOX (Ge et al., arXiv 2107.08430): persons and vehicles, with weights trained on COCO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from anonymizer.pipeline.detection.models.base import FixedScales
from anonymizer.pipeline.detection.models.boxes import decode_boxes, suppress_overlaps
from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.onnx_network import OnnxNetwork
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType

__all__ = ["YoloX"]

PAD = 114
STRIDES = (8, 16, 32)
NMS_IOU = 0.55
#: Longest object in pixels that is kept at scales above the 416 pixels of the training: smaller scales see longer
#: objects better. AP50, and recall at .1 and at .3 false positives an image, on 100 images of each source of val
#: (persons of voc; vehicles of voc; vehicles of highway), and time:
#:     416                              .863 .819 .867   .871 .852 .889   .806 .748 .777   1
#:     416 + 640, limit 160             .871 .783 .892   .874 .889 .889   .825 .748 .801   2.9
#:     256 + 416 + 640, no limit        .869 .759 .880   .886 .889 .889   .824 .757 .791   3.5
#:     256 + 416 + 640, limit 160       .895 .807 .904   .874 .889 .889   .826 .748 .791   3.5
#:     256 + 416 + 640, limit 240       .882 .783 .892   .876 .889 .889   .830 .757 .796   3.5
#:     256 + 416 + 832, limit 160       .901 .807 .892   .876 .889 .889   .825 .748 .796   5.2
LARGEST_PX = 160
#: Up to this scale, objects of any size are kept, if the file does not say the side of its training.
WHOLE_SIDE = 416
#: COCO's classes, counted from 0: person; car, motorcycle, bus and truck
CLASSES = {ObjectType.PERSON: (0,), ObjectType.VEHICLE: (2, 3, 5, 7)}


class YoloX(FixedScales):
    """YOLOX from an ONNX file; made for `yolox_nano.onnx`, other sizes have the same outputs.

    Args:
        weights: the ONNX file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch`, `openvino` or `onnxruntime`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
        Exception: of onnx or the runtime, if the file is not such a network.
    """

    object_types: tuple[ObjectType, ...] = tuple(CLASSES)
    #: boxes with lower scores are right less than once in a hundred times
    min_score = 0.12
    least_size = 8.0
    tile_side = 640

    def __init__(
        self, weights: Path, *, device: str = "auto", runtime: str = "auto", model_id: str = "yolox-nano"
    ) -> None:
        super().__init__(model_id, device, half=True, runtime=runtime)
        self._network = OnnxNetwork(
            model_id, weights, runtime=self._runtime, device=self._device, dtype=self._dtype, any_size=True
        )
        self._whole_side = self._network.input_side or WHOLE_SIDE

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        letterbox = Letterbox.of(images[0], side, pad=PAD)
        # rows: box, chance of an object, chances of the 80 classes
        (rows,) = self._network([letterbox(image) for image in images], bgr=True).values()
        boxes = decode_boxes(rows[..., :4], letterbox.canvas_wh, STRIDES)
        class_scores = rows[..., 4:5] * rows[..., 5:]
        scores = torch.stack([class_scores[..., list(classes)].amax(-1) for classes in CLASSES.values()], -1)
        return [self._select(*of_image, letterbox, side) for of_image in zip(boxes, scores, strict=True)]

    def _select(self, boxes: Tensor, scores: Tensor, letterbox: Letterbox, side: int) -> Detections:
        """Choose among all boxes of one image.

        Args:
            boxes: (n, 4) on the canvas.
            scores: (n, 2), in the order of `CLASSES`.
        """
        small_enough = (boxes[:, 2:] - boxes[:, :2]).amax(1) <= (LARGEST_PX if side > self._whole_side else torch.inf)
        rows, columns = torch.where((scores > self.min_score) & small_enough[:, None])
        types = torch.tensor([object_type.number for object_type in CLASSES], device=scores.device)[columns]
        return suppress_overlaps(self.id, boxes[rows], scores[rows, columns], types, resize=letterbox, nms_iou=NMS_IOU)
