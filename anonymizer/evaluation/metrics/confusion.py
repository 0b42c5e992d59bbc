"""The confusion matrix: which types labelled objects are detected as, with a row and a column for the background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anonymizer._html import html_table
from anonymizer._text import text_table
from anonymizer.evaluation.metrics.matching import MATCH_IOU, pairwise_overlaps
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.outputs.data_frames import data_frame

if TYPE_CHECKING:
    import pandas

__all__ = ["ConfusionMatrix", "confusion_matrix"]

_BACKGROUND = "background"


@dataclass(frozen=True, repr=False)
class ConfusionMatrix:
    """How many objects of each type were detected as which type.

    Attributes:
        types: the k object types, in the order of rows and columns.
        counts: (k + 1, k + 1) int64. A row is the labelled type, a column the detected type. The last row holds false
            detections, the last column missed objects.
        thresholds: the threshold of each type, 0..1.
    """

    types: tuple[ObjectType, ...]
    counts: NDArray[np.int64]
    thresholds: Mapping[ObjectType, float]

    @property
    def shares(self) -> NDArray[np.float64]:
        """(k + 1, k + 1) float64, the counts as shares of their row; NaN in a row without objects."""
        sums = self.counts.sum(1, keepdims=True).astype(float)
        shares = np.full(self.counts.shape, np.nan)
        return np.asarray(np.divide(self.counts, sums, out=shares, where=sums > 0))

    def to_pandas(self) -> pandas.DataFrame:
        """Convert to a `pandas.DataFrame`: rows are labelled types, columns detected types.

        Raises:
            ImportError: the package `pandas` is not installed.
        """
        names = [*(str(each) for each in self.types), _BACKGROUND]
        return data_frame(names, self.counts.tolist(), index=names)

    def __str__(self) -> str:
        return text_table(self._columns(), self._rows())

    def __repr__(self) -> str:
        hits = int(np.trace(self.counts[:-1, :-1]))
        return f"ConfusionMatrix({', '.join(self.types)}: {hits} of {int(self.counts[:-1].sum())} objects detected)"

    def _repr_html_(self) -> str:
        note = "Rows: what is labelled. Columns: what is detected. Background: false detections and missed objects."
        return html_table(self._columns(), self._rows(), note=note)

    def _columns(self) -> list[str]:
        return ["labelled as", *(f"detected as {each.words}" for each in self.types), "missed"]

    def _rows(self) -> list[tuple[object, ...]]:
        names = [*(each.words for each in self.types), "nothing (false detections)"]
        rows = [(name, *row) for name, row in zip(names, self.counts.tolist(), strict=True)]
        rows[-1] = (*rows[-1][:-1], "-")
        return rows


def confusion_matrix(
    result: EvaluationResult, *, thresholds: Mapping[ObjectType, float] | None = None, iou: float = MATCH_IOU
) -> ConfusionMatrix:
    """Count which types the labelled objects are detected as.

    Detections are first matched to objects of their own type, as everywhere else. So the diagonal is the number of
    detected objects that recall counts. What is left is then matched between types, the largest overlap first.

    In an image, only the types that are fully labelled there count. Where only faces are labelled, a detected person is
    neither right nor wrong. Ignored objects and their detections are left out.

    Args:
        result: of `evaluate`.
        thresholds: lowest scores, 0..1, by type; default: the thresholds of the result's options.
        iou: the smallest intersection over union (IoU), 0..1, of an object and a detection of another type.

    Returns:
        The matrix of all types of the result.

    Examples:
        >>> print(confusion_matrix(result))
    """
    types = tuple(result.types)
    at = {each: result.options.threshold(each) for each in types} | dict(thresholds or {})
    counts = np.zeros((len(types) + 1, len(types) + 1), np.int64)
    for number, object_type in enumerate(types):
        of_type = result[object_type]
        counts[number, number] = int((of_type.match_score >= at[object_type]).sum())
    for image in range(len(result.images)):
        missed, false = (
            [_left_over(result[each], image, at[each], objects=objects) for each in types] for objects in (True, False)
        )
        _match_between_types(counts, missed, false, iou)
    return ConfusionMatrix(types, counts, at)


def _left_over(of_type: TypeResult, image: int, threshold: float, *, objects: bool) -> NDArray[np.float32]:
    """(n, 4) the boxes of the missed objects, or of the detections that match no object, in one image."""
    places = np.flatnonzero(of_type.image_indices == image)
    if not len(places):
        return np.zeros((0, 4), np.float32)
    if objects:
        rows = (of_type.object_picture == places[0]) & (of_type.match_score < threshold)
        return np.asarray(of_type.object_boxes[rows])
    rows = (of_type.picture == places[0]) & ~of_type.hit & (of_type.scores >= threshold)
    return np.asarray(of_type.boxes[rows])


def _match_between_types(
    counts: NDArray[np.int64], missed: list[NDArray[np.float32]], false: list[NDArray[np.float32]], iou: float
) -> None:
    """Match missed objects with detections of other types, and add all of them to the counts."""
    of_object = np.repeat(np.arange(len(missed)), [len(boxes) for boxes in missed])
    of_detection = np.repeat(np.arange(len(false)), [len(boxes) for boxes in false])
    overlaps = pairwise_overlaps(np.concatenate(missed), np.concatenate(false))
    overlaps[of_object[:, None] == of_detection[None]] = 0
    free = np.ones(len(of_object), bool), np.ones(len(of_detection), bool)
    for row, column in zip(*np.unravel_index(np.argsort(-overlaps, axis=None), overlaps.shape), strict=True):
        if overlaps[row, column] < iou:
            break
        if free[0][row] and free[1][column]:
            free[0][row] = free[1][column] = False
            counts[of_object[row], of_detection[column]] += 1
    counts[:-1, -1] += np.bincount(of_object[free[0]], minlength=len(missed))
    counts[-1, :-1] += np.bincount(of_detection[free[1]], minlength=len(false))
