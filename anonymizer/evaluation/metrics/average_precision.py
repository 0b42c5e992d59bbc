"""Average precision by the rules of COCO (cocodataset.org/#detection-eval), computed with faster-coco-eval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.detections import ObjectType

__all__ = ["CocoRows", "average_precision"]

#: COCO's limit of 100 detections an image would leave out part of a crowd
_MAX_DETECTIONS = 100_000


class CocoRows:
    """Collects the objects and detections of one type, image by image, for COCO's evaluation."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._objects: list[dict[str, Any]] = []
        self._detections: list[dict[str, Any]] = []

    def add(self, boxes: NDArray[np.float32], scores: NDArray[np.float32], objects: Objects) -> None:
        """Add one image.

        Args:
            boxes: (n, 4) float32, the detected boxes, x1, y1, x2, y2 in pixels.
            scores: (n,) float32, 0..1.
            objects: the labelled objects.
        """
        number = len(self._images) + 1
        # COCO's evaluation uses the areas of objects only; the size of the image does not matter
        self._images.append({"id": number, "width": 10_000, "height": 10_000})
        for box, ignored in zip(objects.boxes, objects.ignored, strict=True):
            x, y, width, height = _xywh(box)
            # COCO ignores what is labelled as a crowd: a detection belongs to it by the share of its area inside
            row = {"id": len(self._objects) + 1, "image_id": number, "category_id": 1, "iscrowd": int(ignored)}
            self._objects.append(row | {"bbox": [x, y, width, height], "area": width * height})
        for box, score in zip(boxes, scores, strict=True):
            self._detections.append({"image_id": number, "category_id": 1, "bbox": _xywh(box), "score": float(score)})

    def average_precision(self, *, iou: float | None = 0.5) -> float:
        """Compute the average precision of all images added.

        Args:
            iou: the smallest intersection over union (IoU) of a match, 0..1; None: the mean over 0.5, 0.55, ..., 0.95.

        Returns:
            0..1; NaN without objects.
        """
        if all(row["iscrowd"] for row in self._objects):
            return math.nan
        if not self._detections:
            return 0.0
        categories = [{"id": 1, "name": "object"}]
        coco = COCO({"images": self._images, "annotations": self._objects, "categories": categories})
        run = COCOeval_faster(coco, coco.loadRes(self._detections), "bbox", print_function=lambda *_: None)
        run.params.maxDets = [1, 10, _MAX_DETECTIONS]
        if iou is not None:
            run.params.iouThrs = np.array([iou])
        run.evaluate()
        run.accumulate()
        precision = np.asarray(run.eval["precision"])[..., 0, -1]
        return float(precision[precision > -1].mean())


def average_precision(result: EvaluationResult, object_type: ObjectType, *, iou: float | None = 0.5) -> float:
    """Compute the average precision of one object type by COCO's rules, but without its limit of 100 detections.

    Args:
        result: of `evaluate`.
        object_type: one of `result.types`.
        iou: the smallest intersection over union (IoU) of a match, 0..1 (default: 0.5, "AP50"). None: the mean over
            0.5, 0.55, ..., 0.95 (COCO's "AP").

    Returns:
        0..1; NaN without objects.

    Example:
        >>> average_precision(result, ObjectType.FACE, iou=None)
        0.5312
    """
    type_result, rows = result[object_type], CocoRows()
    for number, index in enumerate(type_result.image_indices):
        # what lies in an ignored object at one IoU need not at another, so COCO's evaluation gets everything
        boxes, scores = type_result.all_detections(number)
        rows.add(boxes, scores, result.images[index].objects[object_type])
    return rows.average_precision(iou=iou)


def _xywh(box: NDArray[np.float32]) -> list[float]:
    x1, y1, x2, y2 = map(float, box)
    return [x1, y1, x2 - x1, y2 - y1]
