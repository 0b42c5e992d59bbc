"""Mask R-CNN (He et al., arXiv 1703.06870; v2 of Li et al., arXiv 2111.11429): persons and vehicles with masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms

from anonymizer.pipeline.detection.batching import check_finite, in_batches
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.devices import on_device, resolve_device
from anonymizer.pipeline.errors import TooManyObjects

__all__ = ["MaskRCNN", "pasted"]

#: COCO's ids, 1..90: car, motorcycle, bus, truck are vehicles
TYPES = {
    1: ObjectType.PERSON,
    3: ObjectType.VEHICLE,
    4: ObjectType.VEHICLE,
    6: ObjectType.VEHICLE,
    8: ObjectType.VEHICLE,
}
NMS_IOU = 0.5
#: torchvision's own limits are 1,000 proposals and 100 objects, where a crowd would be cut off. Proposals take about
#: .4 GB a picture in the box head, objects 2 MB each in the mask head, only where there are so many.
MOST_PROPOSALS, MOST_OBJECTS = 4000, 2000
#: Its long side in training was 1333 at most; larger pictures are looked at closer in tiles.
SIDE = 1333
#: a picture takes the memory of so many of its input's pixels in a one-stage network
WEIGHT = 5


class _AsItIs(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalises and pads; pictures come in the size they are looked at in, and masks are pasted object by object."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target

    def postprocess(self, result: list[dict[str, Tensor]], *_: Any) -> list[dict[str, Tensor]]:
        return result


class MaskRCNN:
    """Runs torchvision's `maskrcnn_resnet50_fpn_v2` with its weights for COCO, in single precision.

    Raises:
        OSError, RuntimeError: the file holds no weights, or another network's.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.PERSON, ObjectType.VEHICLE)
    min_score = 0.05
    least_size = 12.0
    tile_side = SIDE

    def __init__(self, weights: Path, *, device: str = "auto", model_id: str = "mask-rcnn-r50-v2") -> None:
        self.id = model_id
        self._device = resolve_device(device)
        self.device = str(self._device)
        network = maskrcnn_resnet50_fpn_v2(
            weights=None,
            weights_backbone=None,
            num_classes=91,
            box_score_thresh=self.min_score,
            box_nms_thresh=NMS_IOU,
            box_detections_per_img=MOST_OBJECTS,
            rpn_pre_nms_top_n_test=MOST_PROPOSALS,
            rpn_post_nms_top_n_test=MOST_PROPOSALS,
        )
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        given = network.transform
        network.transform = _AsItIs(SIDE, SIDE, given.image_mean, given.image_std)
        self._network = network.eval().to(self._device)

    def sides(self, long_side: int) -> tuple[int, ...]:
        """The size it was trained in; never more than twice the picture's own."""
        return (min(SIDE, 2 * long_side),)

    def video_side(self, long_side: int) -> int:
        return self.sides(long_side)[0]

    def warm_up(self) -> None:
        self.detect([np.zeros((240, 320, 3), np.uint8)], 320)

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        run, pixels = lambda batch: self._run(batch, side), WEIGHT * side * side
        return in_batches(self.id, run, images, pixels=pixels, device=self.device)

    @torch.inference_mode()
    def _run(self, images: Sequence[Image], side: int) -> list[Detections]:
        height, width = images[0].shape[:2]
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        inputs = [cv2.resize(each, size, interpolation=how) for each in images]
        tensor = on_device(inputs, self._device).float().div_(255)
        stretch = torch.tensor([width / size[0], height / size[1]] * 2)
        return [self._objects(each, stretch, (height, width)) for each in self._network(list(tensor))]

    def _objects(self, result: dict[str, Tensor], stretch: Tensor, size_hw: tuple[int, int]) -> Detections:
        """
        Args:
            result: `boxes` (n, 4) in pixels of the input, `labels` (n,), `scores` (n,), `masks` (n, 1, 28, 28) 0..1.
            stretch: (4,) from the input to the picture.
        """
        boxes, scores, labels, masks = (result[name].cpu() for name in ("boxes", "scores", "labels", "masks"))
        check_finite(self.id, boxes, scores, masks)
        if len(boxes) >= MOST_OBJECTS:
            raise TooManyObjects(f"The detector {self.id} sees {MOST_OBJECTS} objects in one view, and maybe more.")
        rows = torch.tensor([row for row, label in enumerate(labels.tolist()) if label in TYPES], dtype=torch.int64)
        types = torch.tensor([TYPES[label].number for label in labels[rows].tolist()], dtype=torch.int64)
        # a second time: what is a car to it and a truck too is one vehicle
        keep = batched_nms(boxes[rows], scores[rows], types, NMS_IOU)
        rows, types = rows[keep], types[keep]
        height, width = size_hw
        placed = (boxes[rows] * stretch).clamp(min=0).minimum(torch.tensor([width, height] * 2, dtype=torch.float32))
        return Detections(
            placed.numpy(),
            scores[rows].numpy(),
            types.numpy(),
            np.full(len(rows), self.id),
            masks=tuple(pasted(mask, box, size_hw) for mask, box in zip(masks[rows, 0], placed, strict=True)),
        )


def pasted(mask: Tensor, box: Tensor, size_hw: tuple[int, int]) -> Mask | None:
    """The mask of one object in the picture, no larger than its box: a thousand whole pictures would fill the memory.

    Unlike `paste_masks_in_image` of torchvision it does not round the box first, which moves small masks by a pixel.

    Args:
        mask: (m, m) float32, the chance of each part of the box.
        box: (4,) x1, y1, x2, y2 in pixels of the picture.

    Returns:
        What is more likely the object than not; None where that is nothing: then its box must do.
    """
    x1, y1, x2, y2 = box.tolist()
    left, top = math.floor(x1), math.floor(y1)
    columns = torch.arange(left, min(math.ceil(x2), size_hw[1])) + 0.5
    rows = torch.arange(top, min(math.ceil(y2), size_hw[0])) + 0.5
    if not len(columns) or not len(rows):
        return None
    # from -1 to 1 across the mask
    across, down = 2 * (columns - x1) / (x2 - x1) - 1, 2 * (rows - y1) / (y2 - y1) - 1
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)[None]
    pixels: NDArray[np.bool_] = (
        functional.grid_sample(mask[None, None], grid, align_corners=False)[0, 0] > 0.5
    ).numpy()
    return Mask(left, top, pixels) if pixels.any() else None
