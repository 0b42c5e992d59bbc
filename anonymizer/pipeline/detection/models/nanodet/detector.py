"""NanoDet-Plus: persons and vehicles with the weights of COCO, and what the own detector shares with it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import batched_nms

from anonymizer.pipeline.detection.inference_errors import check_finite
from anonymizer.pipeline.detection.models.base import FixedScales
from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.nanodet.network import (
    NanoDetConvNorm,
    NanoDetNetwork,
    boxes_xyxy,
    cells_of,
    expected_distances,
)
from anonymizer.pipeline.detection.models.nanodet.weights import load_onnx
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.devices import on_device
from anonymizer.pipeline.runtime.choice import Runtime
from anonymizer.pipeline.runtime.loading import load_module

__all__ = ["NanoDet", "NanoDetBase"]

PAD = 114
NMS_IOU = 0.6
#: By the least long side of an image in pixels, the long sides at which it is analysed. AP50 on all of val (person voc,
#: coco-person, coco; vehicle voc, highway, kitti), and the processor time for 640 x 480, against 416 + 640:
#:     416 + 640           .870 .826 .770  .905 .869 .899   1
#:     320 + 640           .874 .829 .772  .916 .864 .874    .89
#:     320 + 416 + 640     .877 .825 .775  .921 .867 .884   1.26
#:     416 + 800           .875 .851 .797  .895 .869 .884   1.34
#:     320 + 416 + 800     .879 .845 .789  .928 .873 .868   1.61
#:     320 + 512 + 800     .879 .842 .790  .926 .875 .890   1.72
#: Small scales find large objects. Images of other sizes, 30 a source (face fddb, wider; plate cars, plates-world;
#: person voc, coco-person; vehicle voc, cctv-traffic):
#:     416                         .836 .297  .809 .307  .783 .764  .768 .515
#:     640                         .758 .392  .714 .490  .821 .777  .761 .628
#:     416 + 640                   .825 .395  .835 .508  .834 .810  .833 .632
#:     416 + 640 + 960             .825 .508  .836 .667  .868 .816  .901 .695
#:     416 + 640 + 960 + 1280      .825 .580  .799 .608  .861 .818  .903 .717
#:     320 + 416, small images     .873       .833
SCALES = (
    (247, (320,)),
    (320, (320, 416)),
    (493, (320, 416, 800)),
    (739, (416, 640, 960)),
    (985, (416, 640, 960, 1280)),
)
#: A smaller image has one scale: so many times its own size, but not beyond this one.
MAX_ENLARGEMENT, SMALLEST = 2, 320
#: Longest object in pixels that is kept at scales above the 416 pixels of the training. Smaller scales see longer ones
#: better.
LARGEST_PX, WHOLE_SIDE = 416, 416


class NanoDetBase(FixedScales):
    """Runs a `NanoDetNetwork`.

    Args:
        network: the network, in evaluation mode; its norms are merged into the convolutions.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch` or `openvino`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
    """

    least_size = 8.0
    tile_side = 640

    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says: those of the last of `SCALES` for which the image is large enough."""
        fitting = [scales for least, scales in SCALES if long_side >= least]
        return fitting[-1] if fitting else (min(SMALLEST, MAX_ENLARGEMENT * long_side),)

    def __init__(self, network: NanoDetNetwork, *, device: str, runtime: str, model_id: str) -> None:
        super().__init__(model_id, device, half=True, runtime=runtime)
        for module in network.modules():
            if isinstance(module, NanoDetConvNorm):
                module.conv = fuse_conv_bn_eval(module.conv, module.norm)  # type: ignore[arg-type]
                module.norm = torch.nn.Identity()
        self._network = load_module(
            network, torch.zeros(1, 3, 320, 320), name="nanodet", runtime=self._runtime, device=self._device,
            dtype=self._dtype,
        )  # fmt: skip

    @abstractmethod
    def _type_scores(self, scores: Tensor) -> Tensor:
        """From scores of classes (n, classes) to scores of `OBJECT_TYPES` (n, 4)."""

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        letterbox = Letterbox.of(images[0], side, pad=PAD)
        tensor = on_device([letterbox(image) for image in images], self._device)
        # on a CPU a batch is slower than its images one by one: its maps do not fit into the cache
        batches = [tensor] if self._runtime is Runtime.TORCH else torch.split(tensor, 1)
        parts = [self._network(batch.float()) for batch in batches]
        logits, bins = (torch.cat(outputs) for outputs in zip(*parts, strict=True))
        check_finite(f"detector {self.id}", logits, bins)
        cells = cells_of(tensor.shape[-2], tensor.shape[-1], self._device)
        return [
            self._select(self._type_scores(logits[row].float().sigmoid()), bins[row], cells, letterbox)
            for row in range(len(images))
        ]

    def _select(self, scores: Tensor, bins: Tensor, cells: Tensor, letterbox: Letterbox) -> Detections:
        """Choose among all cells of one image.

        Args:
            scores: (n, 4), in the order of `OBJECT_TYPES`.
            bins: (n, 4 * BINS), as the network returns them.
            cells: (n, 3), as `cells_of` returns them.
            letterbox: how the image was resized.
        """
        rows, types = torch.where(scores > self.min_score)
        boxes, scores = boxes_xyxy(expected_distances(bins[rows]), cells[rows]), scores[rows, types]
        if max(letterbox.scaled_wh) > WHOLE_SIDE:
            small_enough = (boxes[:, 2:] - boxes[:, :2]).amax(1) <= LARGEST_PX
            boxes, scores, types = boxes[small_enough], scores[small_enough], types[small_enough]
        boxes = letterbox.restore_boxes(boxes)
        keep = batched_nms(boxes, scores, types, NMS_IOU)
        boxes, scores, types = (values[keep].cpu() for values in (boxes, scores, types))
        visible = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, scores, types = boxes[visible], scores[visible], types[visible]
        return Detections(boxes.numpy(), scores.numpy(), types.numpy(), np.full(len(boxes), self.id))


class NanoDet(NanoDetBase):
    """NanoDet-Plus-m-1.5x with its published weights.

    Args:
        weights: the file `nanodet-plus-m-1.5x_416.onnx`, or a network of 80 classes in evaluation mode.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch` or `openvino`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
        OSError, ValueError: the file does not hold these weights.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.PERSON, ObjectType.VEHICLE)
    min_score = 0.05

    #: classes of COCO by object type: person; car, motorcycle, bus, truck
    _CLASSES = {ObjectType.PERSON: (0,), ObjectType.VEHICLE: (2, 3, 5, 7)}

    def __init__(
        self,
        weights: Path | NanoDetNetwork,
        *,
        device: str = "auto",
        runtime: str = "auto",
        model_id: str = "nanodet-plus-m-1.5x",
    ) -> None:
        if isinstance(weights, NanoDetNetwork):
            network = weights
        else:
            network = NanoDetNetwork(80)
            load_onnx(network, weights)
        super().__init__(network, device=device, runtime=runtime, model_id=model_id)

    def _type_scores(self, scores: Tensor) -> Tensor:
        rows = [
            scores[:, self._CLASSES[each]].amax(1) if each in self._CLASSES else torch.zeros_like(scores[:, 0])
            for each in OBJECT_TYPES
        ]
        return torch.stack(rows, 1)
