"""Mask R-CNN (He et al., arXiv 1703.06870; v2 of Li et al., arXiv 2111.11429): persons and vehicles with masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms

from anonymizer.pipeline.detection.inference_errors import check_finite
from anonymizer.pipeline.detection.models.base import BatchedDetector
from anonymizer.pipeline.detection.models.letterbox import Resize
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.devices import on_device
from anonymizer.pipeline.errors import TooManyObjects

__all__ = ["MaskRCNN", "paste_mask"]

#: by COCO's ids, 1..90: person; car, motorcycle, bus and truck
TYPES = {
    1: ObjectType.PERSON,
    3: ObjectType.VEHICLE,
    4: ObjectType.VEHICLE,
    6: ObjectType.VEHICLE,
    8: ObjectType.VEHICLE,
}
NMS_IOU = 0.5
#: torchvision's own limits, 1,000 proposals and 100 objects, would cut off a crowd. This many proposals take about
#: .4 GB an image in the box head. Each object takes 2 MB in the mask head, only if it is there.
MAX_PROPOSALS, MAX_OBJECTS = 4000, 2000
#: The longest side in training was 1333 pixels. Larger images are seen closer in tiles.
SIDE = 1333


class _NormaliseOnly(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalises and pads. Images are resized before, and masks are pasted afterwards, object by object."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target

    def postprocess(self, result: list[dict[str, Tensor]], *_: Any) -> list[dict[str, Tensor]]:
        return result


class MaskRCNN(BatchedDetector):
    """Runs torchvision's `maskrcnn_resnet50_fpn_v2` with its weights for COCO, in single precision.

    Its detections have masks.

    Args:
        weights: torchvision's `.pth` file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
        OSError, RuntimeError: the file holds no weights, or those of another network.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.PERSON, ObjectType.VEHICLE)
    min_score = 0.05
    least_size = 12.0
    tile_side = SIDE
    # `scales` doubles it
    warm_up_hw = (120, 160)
    #: a two-stage network
    memory_weight = 5

    def __init__(self, weights: Path, *, device: str = "auto", model_id: str = "mask-rcnn-r50-v2") -> None:
        super().__init__(model_id, device)
        network = maskrcnn_resnet50_fpn_v2(
            weights=None,
            weights_backbone=None,
            num_classes=91,
            box_score_thresh=self.min_score,
            box_nms_thresh=NMS_IOU,
            box_detections_per_img=MAX_OBJECTS,
            rpn_pre_nms_top_n_test=MAX_PROPOSALS,
            rpn_post_nms_top_n_test=MAX_PROPOSALS,
        )
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        standard = network.transform
        network.transform = _NormaliseOnly(SIDE, SIDE, standard.image_mean, standard.image_std)
        self._network = network.eval().to(self._device)

    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says: the size of the training, and never more than twice the image's own."""
        return (min(SIDE, 2 * long_side),)

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        resize = Resize.to_long_side(images[0], side)
        tensor = on_device([resize(image) for image in images], self._device).float().div_(255)
        return [self._select(result, resize) for result in self._network(list(tensor))]

    def _select(self, result: dict[str, Tensor], resize: Resize) -> Detections:
        """Choose among all objects of one image.

        Args:
            result: `boxes` (n, 4) in pixels of the network's input, `labels` (n,), `scores` (n,), and `masks`
                (n, 1, 28, 28) 0..1.
            resize: how the image was resized for the network.
        """
        boxes, scores, labels, masks = (result[name].cpu() for name in ("boxes", "scores", "labels", "masks"))
        check_finite(f"detector {self.id}", boxes, scores, masks)
        if len(boxes) >= MAX_OBJECTS:
            raise TooManyObjects(f"The detector {self.id} reached its limit of {MAX_OBJECTS} objects in one view.")
        rows = torch.tensor([row for row, label in enumerate(labels.tolist()) if label in TYPES], dtype=torch.int64)
        types = torch.tensor([TYPES[label].number for label in labels[rows].tolist()], dtype=torch.int64)
        # torchvision suppresses within each class: an object that is both a car and a truck to it is one vehicle
        keep = batched_nms(boxes[rows], scores[rows], types, NMS_IOU)
        rows, types = rows[keep], types[keep]
        placed, size_hw = resize.restore_boxes(boxes[rows]), (resize.image_wh[1], resize.image_wh[0])
        return Detections(
            placed.numpy(),
            scores[rows].numpy(),
            types.numpy(),
            np.full(len(rows), self.id),
            masks=tuple(paste_mask(mask, box, size_hw) for mask, box in zip(masks[rows, 0], placed, strict=True)),
        )


def paste_mask(
    mask: Tensor, box: Tensor, size_hw: tuple[int, int], *, extent: Tensor | None = None, threshold: float = 0.5
) -> Mask | None:
    """Resize the mask of one object to the pixels of its box (Mask R-CNN, He et al., arXiv 1703.06870, section 3.1).

    The result is no larger than the box: a thousand masks of whole images would fill the memory. Unlike
    `paste_masks_in_image` of torchvision, it does not round the box first, which moves small masks by a pixel.

    Args:
        mask: (m, n) float32, for each part of the box the probability 0..1 that it is the object, or another value.
        box: (4,) x1, y1, x2, y2 in pixels of the image.
        size_hw: height and width of the image in pixels.
        extent: (4,) x1, y1, x2, y2 in pixels of the image, which the mask covers; default: the box.
        threshold: values above it are the object.

    Returns:
        The pixels of the object; None: there are none, and the box has to be redacted instead.
    """
    x1, y1, x2, y2 = box.tolist()
    left, top = math.floor(x1), math.floor(y1)
    columns = torch.arange(left, min(math.ceil(x2), size_hw[1])) + 0.5
    rows = torch.arange(top, min(math.ceil(y2), size_hw[0])) + 0.5
    if not len(columns) or not len(rows):
        return None
    if extent is not None:
        x1, y1, x2, y2 = extent.tolist()
    # coordinates of the mask, -1..1 from side to side
    across, down = 2 * (columns - x1) / (x2 - x1) - 1, 2 * (rows - y1) / (y2 - y1) - 1
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)[None]
    pixels: NDArray[np.bool_] = (
        functional.grid_sample(mask[None, None], grid, align_corners=False)[0, 0] > threshold
    ).numpy()
    return Mask(left, top, pixels) if pixels.any() else None
