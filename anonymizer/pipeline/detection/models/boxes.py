"""From the outputs of a network to boxes in pixels of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_convert

from anonymizer.pipeline.detection.models.letterbox import Resize
from anonymizer.pipeline.detections import Detections

__all__ = ["decode_boxes", "suppress_overlaps"]


def decode_boxes(raw: Tensor, canvas_wh: tuple[int, int], strides: Sequence[int]) -> Tensor:
    """Decode the box outputs of an anchor-free head (YOLOX, Ge et al., arXiv 2107.08430, section 2.1).

    Each cell of a feature map predicts one box: the offset of the centre from the cell, and the logarithm of its size,
    both in strides.

    Args:
        raw: (b, n, 4) float32; the cells of each stride row by row, one stride after the other.
        canvas_wh: width and height of the network's input in pixels.
        strides: pixels of the input per cell, for each feature map.

    Returns:
        (b, n, 4) float32 x1, y1, x2, y2 in pixels of the network's input.
    """
    grids = []
    for stride in strides:
        rows, columns = (torch.arange(length // stride, device=raw.device) for length in canvas_wh[::-1])
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        grids.append(torch.stack([x, y, torch.full_like(x, stride)], -1).reshape(-1, 3))
    cells = torch.cat(grids).to(raw.dtype)
    centres = (raw[..., :2] + cells[:, :2]) * cells[:, 2:]
    sizes = raw[..., 2:].exp() * cells[:, 2:]
    return torch.as_tensor(box_convert(torch.cat([centres, sizes], -1), "cxcywh", "xyxy"))


def suppress_overlaps(
    model_id: str, boxes: Tensor, scores: Tensor, types: Tensor, *, resize: Resize, nms_iou: float
) -> Detections:
    """Keep the best of overlapping boxes of one image, by non-maximum suppression within each object type.

    The number of boxes has no limit.

    Args:
        model_id: id of the detector.
        boxes: (n, 4) float32 x1, y1, x2, y2 in pixels of the network's input.
        scores: (n,) float32, 0..1.
        types: (n,) int64, index into `OBJECT_TYPES`.
        resize: how the image was resized for the network.
        nms_iou: a box that overlaps a better one by more than this IoU, 0..1, is dropped.

    Returns:
        The kept boxes in pixels of the image, by falling score.
    """
    keep = batched_nms(boxes, scores, types, nms_iou)
    boxes, scores, types = resize.restore_boxes(boxes[keep]), scores[keep], types[keep]
    # a box that lies in the padding alone has no area in the image
    visible = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores, types = (values[visible].cpu() for values in (boxes, scores, types))
    return Detections(boxes.numpy(), scores.numpy(), types.numpy(), np.full(len(boxes), model_id))
