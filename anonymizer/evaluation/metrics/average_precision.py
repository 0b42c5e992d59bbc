"""Average precision by the rules of COCO (cocodataset.org/#detection-eval), computed with faster-coco-eval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from anonymizer._html import html_table
from anonymizer._text import text_table
from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.metrics.matching import SIZES
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.outputs.data_frames import data_frame

if TYPE_CHECKING:
    import pandas

__all__ = ["CocoRows", "PrecisionBySize", "SizePrecision", "average_precision", "precision_by_size"]

#: COCO's limit of 100 detections an image would leave out part of a crowd
_MAX_DETECTIONS = 100_000
#: COCO's sizes: the square roots of the limits of an object's area, in pixels
_COCO_SIZES = {"small": (0, 32), "medium": (32, 96), "large": (96, 1e5)}
CocoRow = dict[str, Any]
_COLUMNS = ("type", "size by", "size", "objects", "AP", "AP50", "AP75", "AR")


@dataclass(frozen=True)
class SizePrecision:
    """The average precision and recall of the objects of one type and size, by COCO's rules.

    Attributes:
        object_type: the type.
        size_by: `all` objects; `area`, as COCO divides them; or `shorter side`, the size groups used elsewhere here.
        size: the size, such as `small (area below 32 x 32)` or `16 to 32 px`.
        objects: the number of objects, without ignored ones.
        ap: the mean average precision at the IoUs 0.5, 0.55, ..., 0.95; NaN without objects.
        ap50: the average precision at an IoU of 0.5.
        ap75: the average precision at an IoU of 0.75.
        ar: the average recall, the mean over the same IoUs as for `ap`, with all detections.
    """

    object_type: ObjectType
    size_by: str
    size: str
    objects: int
    ap: float
    ap50: float
    ap75: float
    ar: float


@dataclass(frozen=True, repr=False)
class PrecisionBySize(Sequence[SizePrecision]):
    """Average precision and recall of all types and sizes. It can be iterated; `print` shows a table.

    Attributes:
        rows: one row for each type and size that has objects.
    """

    rows: tuple[SizePrecision, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """Convert to a `pandas.DataFrame` with a row for each type and size; needs the package `pandas`.

        Raises:
            ImportError: the package is not installed.
        """
        names = [each.name for each in fields(SizePrecision)]
        return data_frame(names, [[str(row.object_type), *self._values(row)] for row in self.rows])

    def __str__(self) -> str:
        return text_table(_COLUMNS, [tuple(self._cells(row)) for row in self.rows])

    def __repr__(self) -> str:
        return f"PrecisionBySize({len(self.rows)} rows)"

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, [(row.object_type.words, *self._values(row)) for row in self.rows])

    @staticmethod
    def _values(row: SizePrecision) -> tuple[object, ...]:
        return row.size_by, row.size, row.objects, row.ap, row.ap50, row.ap75, row.ar

    def _cells(self, row: SizePrecision) -> Iterator[str]:
        yield row.object_type.words
        yield from (f"{value:.3f}" if isinstance(value, float) else str(value) for value in self._values(row))


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
        run = self._run(self._objects)
        if iou is not None:
            run.params.iouThrs = np.array([iou])
        run.evaluate()
        run.accumulate()
        precision = np.asarray(run.eval["precision"])[..., 0, -1]
        return float(precision[precision > -1].mean())

    def by_size(self, object_type: ObjectType) -> Iterator[SizePrecision]:
        """Compute average precision and recall of all objects, and of each size that has objects.

        Args:
            object_type: the type of the objects.

        Yields:
            A row for all objects, then one for each of COCO's sizes, then one for each size group of the shorter side.
        """
        by_area = {f"{name} ({_area_words(*limits)})": limits for name, limits in _COCO_SIZES.items()}
        yield from self._sizes(object_type, "area", {"": (0, 1e5)} | by_area, self._objects)
        ends = [*SIZES[1:], 1e5]
        sides = {_side_words(low, high): (low, high) for low, high in zip(SIZES, ends, strict=True)}
        # COCO reads the size of an object from its area; just below a limit belongs to the lower group
        squared = [row | {"area": float(min(row["bbox"][2:])) ** 2} for row in self._objects]
        yield from self._sizes(object_type, "shorter side", sides, squared)

    def _sizes(
        self,
        object_type: ObjectType,
        size_by: str,
        sizes: Mapping[str, tuple[float, float]],
        rows: list[dict[str, Any]],
    ) -> Iterator[SizePrecision]:
        # both limits of a range belong to it in COCO's code, so the upper one ends just below
        ranges = [(low**2, np.nextafter(float(high) ** 2, 0)) for low, high in sizes.values()]
        areas = np.array([row["area"] for row in rows if not row["iscrowd"]])
        counts = [int(((areas >= low) & (areas <= high)).sum()) for low, high in ranges]
        precision = recall = np.zeros((10, 1, len(ranges)))
        if self._detections and len(areas):
            run = self._run(rows, by_side=size_by == "shorter side")
            run.params.areaRng, run.params.areaRngLbl = [list(each) for each in ranges], list(sizes)
            run.evaluate()
            run.accumulate()
            precision = np.asarray(run.eval["precision"])[:, :, 0, :, -1]
            recall = np.asarray(run.eval["recall"])[:, 0, :, -1][:, None]
        for number, (size, count) in enumerate(zip(sizes, counts, strict=True)):
            if count or not size:
                of_size = precision[..., number]
                means = (_mean(of_size), _mean(of_size[0]), _mean(of_size[5]), _mean(recall[..., number]))
                of = means if count else (math.nan,) * 4
                yield SizePrecision(object_type, size_by if size else "all", size or "all", count, *of)

    def _run(self, rows: list[dict[str, Any]], *, by_side: bool = False) -> COCOeval_faster:
        categories = [{"id": 1, "name": "object"}]
        coco = COCO({"images": self._images, "annotations": rows, "categories": categories})
        found = coco.loadRes([dict(row) for row in self._detections])
        for row in found.anns.values() if by_side else ():
            row["area"] = float(min(row["bbox"][2:])) ** 2
        run = COCOeval_faster(coco, found, "bbox", print_function=lambda *_: None)
        run.params.maxDets = [1, 10, _MAX_DETECTIONS]
        return run


def average_precision(result: EvaluationResult, object_type: ObjectType, *, iou: float | None = 0.5) -> float:
    """Compute the average precision of one object type by COCO's rules, but without its limit of 100 detections.

    Args:
        result: of `evaluate`.
        object_type: one of `result.types`.
        iou: the smallest intersection over union (IoU) of a match, 0..1 (default: 0.5, "AP50"). None: the mean over
            0.5, 0.55, ..., 0.95 (COCO's "AP").

    Returns:
        0..1; NaN without objects.

    Examples:
        >>> average_precision(result, ObjectType.FACE, iou=None)
        0.5312
    """
    return _coco_rows(result, object_type).average_precision(iou=iou)


def precision_by_size(result: EvaluationResult) -> PrecisionBySize:
    """Compute average precision and average recall of each type, for all objects and by size.

    Sizes are those of COCO (by area, limits 32 x 32 and 96 x 96 pixels), and the size groups of the shorter side. As in
    COCO, a detection that matches nothing is a false detection only in the size group that it belongs to itself.

    Args:
        result: of `evaluate`.

    Returns:
        A row for each type and size that has objects.

    Examples:
        >>> precision_by_size(result).to_pandas()
    """
    rows = [row for object_type in result.types for row in _coco_rows(result, object_type).by_size(object_type)]
    return PrecisionBySize(tuple(rows))


def _coco_rows(result: EvaluationResult, object_type: ObjectType) -> CocoRows:
    type_result, rows = result[object_type], CocoRows()
    for number, index in enumerate(type_result.image_indices):
        # what lies in an ignored object at one IoU need not at another, so COCO's evaluation gets everything
        boxes, scores = type_result.all_detections(number)
        rows.add(boxes, scores, result.images[index].objects[object_type])
    return rows


def _mean(values: NDArray[np.float64]) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan


def _area_words(low: float, high: float) -> str:
    if not low:
        return f"area below {high:.0f} x {high:.0f}"
    return (
        f"area from {low:.0f} x {low:.0f}" if high >= 1e5 else f"area {low:.0f} x {low:.0f} to {high:.0f} x {high:.0f}"
    )


def _side_words(low: float, high: float) -> str:
    if not low:
        return f"less than {high:.0f} px"
    return f"{low:.0f} px and more" if high >= 1e5 else f"{low:.0f} to {high:.0f} px"


def _xywh(box: NDArray[np.float32]) -> list[float]:
    x1, y1, x2, y2 = map(float, box)
    return [x1, y1, x2 - x1, y2 - y1]
