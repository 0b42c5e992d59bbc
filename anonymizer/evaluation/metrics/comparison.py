"""Compare two models on the same images: which objects only one of them detects, and whether that can be chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anonymizer._html import html_table
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.metrics.statistics import Interval, difference_interval, mcnemar_test
from anonymizer.pipeline.detections import ObjectType

__all__ = ["Comparison", "compare", "threshold_at_false_blurs"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models compared on the same objects of one type.

    `print(comparison)` prints it as a sentence.

    Attributes:
        object_type: the type.
        names: of the first and the second model.
        pictures: the number of images that both models analysed.
        objects: the number of objects.
        thresholds: of the first and the second model, 0..1.
        recall: of the first and the second model, 0..1; NaN without objects.
        false_blurs: how many detections an image are no object, for the first and the second model.
        only_first: the number of objects that only the first model detects.
        only_second: the number of objects that only the second model detects.
        difference: the recall of the second model minus that of the first, with a 95% interval over images
            (`statistics.difference_interval`).
        p_value: of the hypothesis that both models are equally good (exact McNemar test, 1947). The test assumes that
            objects are independent, but those of one image are not. If both disagree, trust the interval.
    """

    object_type: ObjectType
    names: tuple[str, str]
    pictures: int
    objects: int
    thresholds: tuple[float, float]
    recall: tuple[float, float]
    false_blurs: tuple[float, float]
    only_first: int
    only_second: int
    difference: Interval
    p_value: float

    def __str__(self) -> str:
        blurs = f"false blurs an image {self.false_blurs[0]:.2f} and {self.false_blurs[1]:.2f}"
        if not self.objects:
            return f"{self.object_type.words}: no objects, so recall cannot be compared; {blurs}"
        gained = self.difference
        return (
            f"{self.object_type.words}: {self._verdict()}; recall {self.recall[0]:.3f} ({self.names[0]}) and "
            f"{self.recall[1]:.3f} ({self.names[1]}), difference {gained.value:+.3f} ({gained.low:+.3f} to "
            f"{gained.high:+.3f}{gained.mark}); detected by only one: {self.only_first} and {self.only_second} "
            f"of {self.objects}, p = {self.p_value:.3g}; {blurs}"
        )

    def __repr__(self) -> str:
        names = " and ".join(name if len(name) <= 60 else f"{name[:57]}..." for name in self.names)
        return (
            f"Comparison({self.object_type}: {names}, {self.objects} objects in {self.pictures} images, "
            f"recall {self.recall[0]:.3f} and {self.recall[1]:.3f})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{threshold:.3f}", f"{recall:.3f}", f"{blurs:.2f}", only)
            for name, threshold, recall, blurs, only in zip(
                self.names,
                self.thresholds,
                self.recall,
                self.false_blurs,
                (self.only_first, self.only_second),
                strict=True,
            )
        ]
        columns = ("models", "threshold", "recall", "false blurs an image", "objects that only they detect")
        return html_table(columns, rows, title=f"{self.object_type.words}s", note=f"{self}.")

    def _verdict(self) -> str:
        if self.difference.low <= 0 <= self.difference.high:
            return "these images show no difference"
        return f"{self.names[self.difference.value > 0]} detects more"


def compare(
    first: EvaluationResult,
    second: EvaluationResult,
    object_type: ObjectType,
    *,
    thresholds: tuple[float, float] | None = None,
) -> Comparison:
    """Compare two models on the images that both analysed.

    Args:
        first: the result of the first model.
        second: the result of the second model.
        object_type: the type, which both results must have.
        thresholds: of the first and the second model, 0..1. Default: the first model uses its threshold in use. The
            second uses `threshold_at_false_blurs`, so that both are compared at the same false-positive rate.

    Returns:
        The comparison.

    Raises:
        ValueError: the results have no images in common, or the labels of these images differ.

    Examples:
        >>> print(compare(result, other_result, ObjectType.FACE))
    """
    # compare paths, not indices: which images a result holds depends on all object types that were evaluated
    paths = [[result.images[index].path for index in result[object_type].image_indices] for result in (first, second)]
    common = set(paths[0]).intersection(paths[1])
    a, b = (
        result[object_type].of_pictures([path in common for path in own])
        for result, own in zip((first, second), paths, strict=True)
    )
    if not common or not np.array_equal(a.object_boxes, b.object_boxes):
        raise ValueError(f"{first.name} and {second.name} were not evaluated on the same labelled images.")
    if thresholds is None:
        in_use = first.options.threshold(object_type)
        thresholds = in_use, threshold_at_false_blurs(b, a.false_blurs(in_use).value)
    return _compare_at(a, b, thresholds, (first.name, second.name))


def _compare_at(a: TypeResult, b: TypeResult, thresholds: tuple[float, float], names: tuple[str, str]) -> Comparison:
    """Compare two results on the same objects."""
    hits_a, hits_b = a.match_score >= thresholds[0], b.match_score >= thresholds[1]
    only_first, only_second = int((hits_a & ~hits_b).sum()), int((hits_b & ~hits_a).sum())
    objects = a.by_picture(np.ones(a.objects))
    gained = a.by_picture(hits_b.astype(float) - hits_a)
    nan = float("nan")
    recall = (float(hits_a.mean()), float(hits_b.mean())) if a.objects else (nan, nan)
    return Comparison(
        object_type=a.object_type,
        names=names,
        pictures=a.pictures,
        objects=a.objects,
        thresholds=thresholds,
        recall=recall,
        false_blurs=(a.false_blurs(thresholds[0]).value, b.false_blurs(thresholds[1]).value),
        only_first=only_first,
        only_second=only_second,
        difference=difference_interval(gained, objects),
        p_value=mcnemar_test(only_first, only_second),
    )


def threshold_at_false_blurs(type_result: TypeResult, false_blurs: float) -> float:
    """Find the lowest threshold with no more than this number of false blurs an image.

    Args:
        type_result: the result of one object type.
        false_blurs: the largest number of false blurs an image.

    Returns:
        The threshold, 0 or more.
    """
    wrong = np.sort(type_result.scores[~type_result.hit])[::-1]
    allowed = int(false_blurs * type_result.pictures + 1e-9)
    if allowed >= len(wrong):
        return 0.0
    return float(np.nextafter(wrong[allowed], np.float32(2)))
