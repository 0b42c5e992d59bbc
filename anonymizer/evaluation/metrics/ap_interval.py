"""A confidence interval of average precision, by resampling images or by leaving each out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.metrics.average_precision import average_precision
from anonymizer.evaluation.metrics.matching import match_detections
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.metrics.statistics import (
    UNDEFINED,
    Interval,
    jackknife_interval,
    resample,
    too_few_for_bootstrap,
)
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
    """Compute `average_precision` and its interval.

    The interval is a percentile bootstrap interval over images. If they are too few for that, it follows from the
    variance when each image in turn is left out (`statistics.jackknife_interval`).

    Args:
        result: of `evaluate`.
        object_type: one of `result.types`.
        iou: the smallest intersection over union (IoU) of a match, 0..1; None: the mean over 0.5, 0.55, ..., 0.95.
        confidence: of the interval, 0..1.
        draws: the number of bootstrap samples.

    Returns:
        The average precision, 0..1, and its interval, which says how it was computed; NaN without objects.
    """
    value = average_precision(result, object_type, iou=iou)
    type_result = result[object_type]
    objects = type_result.by_picture(np.ones(type_result.objects))
    if not type_result.objects:
        return UNDEFINED
    # average precision depends on the hits and misses at all thresholds
    found = type_result.by_picture(type_result.match_score >= 0)
    few = too_few_for_bootstrap(found, objects, counts=True)
    pictures = type_result.pictures
    weights = 1 - np.eye(pictures) if few else resample(pictures, draws=draws)
    ranked = _ranked_by_iou(result, object_type, iou)
    samples = np.mean([_sampled_ap(*detections, objects, weights) for detections in ranked], 0)
    if few:
        return jackknife_interval(value, samples, objects, confidence=confidence)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _ranked_by_iou(
    result: EvaluationResult, object_type: ObjectType, iou: float | None
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.bool_]]]:
    """For each IoU the detections that count: their images, their scores, and whether they match an object."""
    type_result = result[object_type]
    by_image = [type_result.all_detections(number) for number in range(type_result.pictures)]
    scores = np.concatenate([np.zeros(0, np.float32), *(of_image for _, of_image in by_image)])
    picture = np.arange(len(by_image)).repeat([len(of_image) for _, of_image in by_image])
    for same in _IOUS if iou is None else (iou,):
        hits, counted = [np.zeros(0, bool)], [np.zeros(0, bool)]
        for index, (boxes, _) in zip(type_result.image_indices, by_image, strict=True):
            objects = result.images[index].objects[object_type]
            matched = match_detections(boxes, objects, same=float(same))
            hits.append(np.array([row is not None for row in matched], bool))
            counted.append(np.array([row is None or not objects.ignored[row] for row in matched], bool))
        counts = np.concatenate(counted)
        yield picture[counts], scores[counts], np.concatenate(hits)[counts]


def _sampled_ap(
    picture: NDArray[np.intp],
    scores: NDArray[np.float32],
    hits: NDArray[np.bool_],
    objects: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(draws,) the average precision of each bootstrap sample; NaN for samples without objects."""
    if not len(scores):
        return np.where(weights @ objects > 0, 0.0, np.nan)
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
