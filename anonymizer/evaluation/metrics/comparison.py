"""Two models on the same pictures: what each found that the other missed, and whether that can be chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.metrics.statistics import Interval, ratios, resample, sign_test
from anonymizer.pipeline.detections import ObjectType

__all__ = ["Comparison", "compare", "threshold_for"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One type, two models, the same objects.

    Attributes:
        thresholds: of the first and the second.
        recall: of the first and the second, 0..1.
        false_blurs: of the first and the second, a picture.
        only_first, only_second: objects that one of them found and the other did not.
        difference: of recall, second less first, with a 95 % interval from drawing pictures (paired bootstrap).
        chance: that models which are equally good differ as much (exact McNemar test; it takes objects for independent,
            which those of one picture are not: believe the interval where the two disagree).
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
    chance: float

    def __str__(self) -> str:
        blurs = f"false blurs a picture {self.false_blurs[0]:.2f} and {self.false_blurs[1]:.2f}"
        if not self.objects:
            return f"{self.object_type.words}: nothing can be said without objects; {blurs}"
        better = self.names[self.difference.value > 0]
        if self.difference.low <= 0 <= self.difference.high:
            verdict = "no difference that these pictures could show"
        else:
            verdict = f"{better} finds more"
        return (
            f"{self.object_type.words}: {verdict}; recall {self.recall[0]:.3f} ({self.names[0]}) and "
            f"{self.recall[1]:.3f} ({self.names[1]}), difference {self.difference.value:+.3f} "
            f"({self.difference.low:+.3f} to {self.difference.high:+.3f}); found by one alone: {self.only_first} and "
            f"{self.only_second} of {self.objects}, p = {self.chance:.3g}; {blurs}"
        )


def compare(
    first: EvaluationResult,
    second: EvaluationResult,
    object_type: ObjectType,
    *,
    thresholds: tuple[float, float] | None = None,
) -> Comparison:
    """Compare two models on the pictures that both looked at.

    Args:
        thresholds: of the first and the second; without, the first runs at its default, and the second at the threshold
            that costs as many false blurs (`threshold_for`), as finding more by crying wolf more often is no merit.

    Raises:
        ValueError: they have no picture in common, or it has other labels in one of them.
    """
    # paths, not places: what is judged of other types decides which pictures of a set there are
    paths = [[each.images[place].path for place in each[object_type].image_indices] for each in (first, second)]
    both = set(paths[0]).intersection(paths[1])
    a, b = (
        each[object_type].of_pictures([path in both for path in mine])
        for each, mine in zip((first, second), paths, strict=True)
    )
    if not both or not np.array_equal(a.object_boxes, b.object_boxes):
        raise ValueError(f"{first.name} and {second.name} did not look at the same labelled pictures.")
    if thresholds is None:
        low = first.options.threshold(object_type)
        thresholds = low, threshold_for(b, a.false_blurs(low).value)
    found_a, found_b = a.match_score >= thresholds[0], b.match_score >= thresholds[1]
    wholes = a.by_picture(np.ones(a.objects))
    apart = a.by_picture(found_b.astype(float) - found_a)
    value = float(apart.sum() / wholes.sum()) if a.objects else float("nan")
    drawn = ratios(resample(a.pictures), apart, wholes)
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if a.objects else (float("nan"), float("nan"))
    only_first, only_second = int((found_a & ~found_b).sum()), int((found_b & ~found_a).sum())
    return Comparison(
        object_type=object_type,
        names=(first.name, second.name),
        pictures=a.pictures,
        objects=a.objects,
        thresholds=thresholds,
        recall=(float(found_a.mean()), float(found_b.mean())) if a.objects else (float("nan"), float("nan")),
        false_blurs=(a.false_blurs(thresholds[0]).value, b.false_blurs(thresholds[1]).value),
        only_first=only_first,
        only_second=only_second,
        difference=Interval(value, float(low), float(high)),
        chance=sign_test(only_first, only_second),
    )


def threshold_for(found: TypeResult, false_blurs: float) -> float:
    """The lowest threshold that costs no more than so many false blurs a picture."""
    wrong = np.sort(found.scores[~found.hit])[::-1]
    allowed = int(false_blurs * found.pictures + 1e-9)
    if allowed >= len(wrong):
        return 0.0
    return float(np.nextafter(wrong[allowed], np.float32(2)))
