"""A confidence interval of average precision, by resampling images (bootstrap; Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.metrics.average_precision import average_precision
from anonymizer.evaluation.metrics.matching import match_detections
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.metrics.statistics import Interval, resample
from anonymizer.pipeline.detections import ObjectType

__all__ = ["ap_interval"]

#: the IoUs of COCO's metric, and the recalls at which it reads precision
_IOUS, _RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
#: the most numbers in one array, to bound memory
_MAX_NUMBERS = 4_000_000


def ap_interval(
    result: EvaluationResult,
    object_type: ObjectType,
    *,
    iou: float | None = 0.5,
    confidence: float = 0.95,
    draws: int = 300,
) -> Interval:
    """Compute `average_precision` with a percentile bootstrap interval over images.

    Args:
        result: of `evaluate`.
        object_type: one of `result.types`.
        iou: the smallest intersection over union (IoU) of a match, 0..1; None: the mean over 0.5, 0.55, ..., 0.95.
        confidence: of the interval, 0..1.
        draws: the number of bootstrap samples.

    Returns:
        The average precision, 0..1, and its interval; NaN without objects.
    """
    value = average_precision(result, object_type, iou=iou)
    type_result = result[object_type]
    objects = type_result.by_picture(np.ones(type_result.objects))
    if not type_result.objects or not len(type_result.scores):
        return Interval(value, value, value)
    weights = resample(type_result.pictures, draws=draws)
    hits_by_iou = _hits_by_iou(result, object_type, iou)
    samples = np.mean(
        [_sampled_ap(type_result.picture, type_result.scores, hits, objects, weights) for hits in hits_by_iou], 0
    )
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _hits_by_iou(result: EvaluationResult, object_type: ObjectType, iou: float | None) -> Iterator[NDArray[np.bool_]]:
    """For each IoU, which detections (m,) match an object."""
    type_result = result[object_type]
    rows = [np.flatnonzero(type_result.picture == number) for number in range(type_result.pictures)]
    for same in _IOUS if iou is None else (iou,):
        hits = np.zeros(len(type_result.scores), bool)
        for number, index in enumerate(type_result.image_indices):
            objects = result.images[index].objects[object_type]
            ranked = rows[number][np.argsort(-type_result.scores[rows[number]], kind="stable")]
            counted = Objects(objects.boxes[~objects.ignored], np.zeros(int((~objects.ignored).sum()), bool))
            matched = match_detections(type_result.boxes[ranked], counted, same=float(same))
            hits[ranked] = [row is not None for row in matched]
        yield hits


def _sampled_ap(
    picture: NDArray[np.intp],
    scores: NDArray[np.float32],
    hits: NDArray[np.bool_],
    objects: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(draws,) the average precision of each bootstrap sample; NaN for samples without objects."""
    order = np.argsort(-scores, kind="stable")
    results = []
    for part in np.array_split(weights, max(1, len(weights) * len(order) // _MAX_NUMBERS)):
        copies = part[:, picture[order]].astype(np.float32)
        true_positives = np.cumsum(copies * hits[order], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = true_positives / np.cumsum(copies, axis=1)
            recall = true_positives / (part @ objects)[:, None]
        precision = np.nan_to_num(precision)
        # at each recall, the highest precision at this or a higher recall
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.concatenate([best, np.zeros((len(best), 1), best.dtype)], axis=1)
        at = [np.searchsorted(row, _RECALLS) for row in recall]
        results.append(np.where(part @ objects > 0, np.take_along_axis(best, np.array(at), axis=1).mean(1), np.nan))
    return np.concatenate(results)
