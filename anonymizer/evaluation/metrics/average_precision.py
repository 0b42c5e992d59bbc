"""Average precision by COCO's rules, through faster-coco-eval."""

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

#: COCO's own limit of 100 detections in a picture would drop what a crowd holds
_MOST = 100_000


class CocoRows:
    """Objects and detections of one type, picture by picture, as COCO's evaluation takes them."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(self, boxes: NDArray[np.float32], scores: NDArray[np.float32], objects: Objects) -> None:
        """One picture: boxes (n, 4) and scores (n,) of what was found, and what is there."""
        number = len(self._images) + 1
        # only areas of objects matter, not the picture's
        self._images.append({"id": number, "width": 10_000, "height": 10_000})
        for box, ignored in zip(objects.boxes, objects.ignored, strict=True):
            at = _xywh(box)
            # COCO knows what is neither to be found nor to be missed as a crowd
            row = {"id": len(self._truth) + 1, "image_id": number, "category_id": 1, "iscrowd": int(ignored)}
            self._truth.append(row | {"bbox": at, "area": at[2] * at[3]})
        for box, score in zip(boxes, scores, strict=True):
            self._found.append({"image_id": number, "category_id": 1, "bbox": _xywh(box), "score": float(score)})

    def average_precision(self, *, iou: float | None = 0.5) -> float:
        """AP at one intersection over union, or with None the mean over .5 to .95; not a number without objects."""
        if not any(not row["iscrowd"] for row in self._truth):
            return math.nan
        if not self._found:
            return 0.0
        coco = COCO({"images": self._images, "annotations": self._truth, "categories": [{"id": 1, "name": "object"}]})
        run = COCOeval_faster(coco, coco.loadRes(self._found), "bbox", print_function=lambda *_: None)
        run.params.maxDets = [1, 10, _MOST]
        if iou is not None:
            run.params.iouThrs = np.array([iou])
        run.evaluate()
        run.accumulate()
        precision = np.asarray(run.eval["precision"])[..., 0, -1]
        return float(precision[precision > -1].mean())


def average_precision(findings: EvaluationResult, object_type: ObjectType, *, iou: float | None = 0.5) -> float:
    """Of one type, by COCO's rules but for their limit of 100 detections a picture."""
    found, rows = findings[object_type], CocoRows()
    for number, place in enumerate(found.image_indices):
        mine = found.picture == number
        objects = findings.images[place].objects[object_type]
        # what fits an ignored object counts neither way, and is not among the detections any more
        known = ~objects.ignored
        rows.add(found.boxes[mine], found.scores[mine], Objects(objects.boxes[known], objects.ignored[known]))
    return rows.average_precision(iou=iou)


def _xywh(box: NDArray[np.float32]) -> list[float]:
    x1, y1, x2, y2 = map(float, box)
    return [x1, y1, x2 - x1, y2 - y1]
