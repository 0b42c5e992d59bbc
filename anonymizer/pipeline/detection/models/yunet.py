"""YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023): faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from anonymizer.pipeline.detection.models.base import OwnSizeAndCloseUp
from anonymizer.pipeline.detection.models.boxes import decode_boxes, suppress_overlaps
from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.onnx_network import OnnxNetwork
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType

__all__ = ["YuNet"]

STRIDES = (8, 16, 32)
NMS_IOU = 0.4


class YuNet(OwnSizeAndCloseUp):
    """YuNet from the ONNX file `yunet_n_dynamic.onnx`.

    Args:
        weights: the ONNX file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch`, `openvino` or `onnxruntime`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
        Exception: of onnx or the runtime, if the file is not such a network.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.FACE,)
    min_score = 0.2
    least_size = 8.0
    tile_side = 1280
    largest_side = 1280
    # AP50, and recall at .1 and at .3 false positives an image, on val fddb:
    #     own size          .966 .941 .957
    #     own + 256         .975 .955 .968
    #     own + 320         .969 .950 .966
    #     own + 640         .961 .939 .955
    #     own + twice that  .956 .925 .948
    close_up_side = 256
    video_side = 512

    def __init__(
        self, weights: Path, *, device: str = "auto", runtime: str = "auto", model_id: str = "yunet-n"
    ) -> None:
        super().__init__(model_id, device, half=True, runtime=runtime)
        # exact: in bfloat16 a small face of val kept only an IoU of .79 with its box in float32
        self._network = OnnxNetwork(
            model_id, weights, runtime=self._runtime, device=self._device, dtype=self._dtype, any_size=True, exact=True
        )

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        letterbox = Letterbox.of(images[0], side, pad=0)
        outputs = self._network([letterbox(image) for image in images], bgr=True)
        faces, objects, raw = (
            torch.cat([outputs[f"{name}_{stride}"] for stride in STRIDES], 1) for name in ("cls", "obj", "bbox")
        )
        scores = (faces[..., 0].clamp(0, 1) * objects[..., 0].clamp(0, 1)).sqrt()
        boxes = decode_boxes(raw, letterbox.canvas_wh, STRIDES)
        return [self._select(*of_image, letterbox) for of_image in zip(boxes, scores, strict=True)]

    def _select(self, boxes: Tensor, scores: Tensor, letterbox: Letterbox) -> Detections:
        rows = torch.where(scores > self.min_score)[0]
        types = torch.full_like(rows, ObjectType.FACE.number)
        return suppress_overlaps(self.id, boxes[rows], scores[rows], types, resize=letterbox, nms_iou=NMS_IOU)
