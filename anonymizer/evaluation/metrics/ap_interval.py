"""How sure an average precision is: the same figure of many sets, made by drawing the pictures again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.metrics.average_precision import average_precision
from anonymizer.evaluation.metrics.matching import matches
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.metrics.statistics import Interval, resample
from anonymizer.pipeline.detections import ObjectType

__all__ = ["ap_interval"]

#: intersections over union, and recalls at which precision is read, as COCO has them
_IOUS, _RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
#: numbers of one array
_MOST = 4_000_000


def ap_interval(
    findings: EvaluationResult,
    object_type: ObjectType,
    *,
    iou: float | None = 0.5,
    confidence: float = 0.95,
    draws: int = 300,
) -> Interval:
    """`average_precision` with a percentile bootstrap interval over pictures; not a number without objects."""
    value = average_precision(findings, object_type, iou=iou)
    found = findings[object_type]
    objects = found.by_picture(np.ones(found.objects))
    if not found.objects or not len(found.scores):
        return Interval(value, value, value)
    weights = resample(found.pictures, draws=draws)
    drawn = np.mean([_drawn(found.picture, *each, objects, weights) for each in _ranked(findings, object_type, iou)], 0)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _ranked(
    findings: EvaluationResult, object_type: ObjectType, iou: float | None
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """For each intersection over union the scores (m,) and which detections are hits (m,)."""
    found = findings[object_type]
    rows = [np.flatnonzero(found.picture == number) for number in range(found.pictures)]
    for same in _IOUS if iou is None else (iou,):
        hit = np.zeros(len(found.scores), bool)
        for number, place in enumerate(found.image_indices):
            known = findings.images[place].objects[object_type]
            mine = rows[number][np.argsort(-found.scores[rows[number]], kind="stable")]
            kept = Objects(known.boxes[~known.ignored], np.zeros(int((~known.ignored).sum()), bool))
            hit[mine] = [each is not None for each in matches(found.boxes[mine], kept, same=float(same))]
        yield found.scores, hit


def _drawn(
    picture: NDArray[np.intp],
    scores: NDArray[np.float32],
    hit: NDArray[np.bool_],
    objects: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(draws,) the average precision of each draw; not a number where it has no object."""
    order = np.argsort(-scores, kind="stable")
    results = []
    for some in np.array_split(weights, max(1, len(weights) * len(order) // _MOST)):
        copies = some[:, picture[order]].astype(np.float32)
        right = np.cumsum(copies * hit[order], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = right / np.cumsum(copies, axis=1)
            recall = right / (some @ objects)[:, None]
        precision = np.nan_to_num(precision)
        # at each recall the best precision that it or a higher one comes with
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.concatenate([best, np.zeros((len(best), 1), best.dtype)], axis=1)
        at = [np.searchsorted(row, _RECALLS) for row in recall]
        results.append(np.where(some @ objects > 0, np.take_along_axis(best, np.array(at), axis=1).mean(1), np.nan))
    return np.concatenate(results)
