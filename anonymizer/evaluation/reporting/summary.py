"""The figures of one model for one object type at the threshold in use, and sentences that explain them."""

from __future__ import annotations

from dataclasses import dataclass

from anonymizer.evaluation.metrics.ap_interval import ap_interval
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.metrics.statistics import Interval
from anonymizer.evaluation.thresholds.choose import size_words
from anonymizer.pipeline.detections import ObjectType

__all__ = ["SizeSummary", "Summary", "percent", "summarise"]

#: A size with fewer objects is not called the worst: chance alone makes a few objects look bad.
_FEW = 10


@dataclass(frozen=True, kw_only=True)
class SizeSummary:
    """The figures for the objects of one size group.

    Attributes:
        size: index of the group in `SIZES`.
        words: the group in words, for example "16 to 32 px".
        objects: how many objects there are.
        missed: how many of the objects are missed.
        leaks: how many of the objects leak.
        recall: share of the objects that is detected, with a 95% interval.
        leak_rate: share of the objects that leaks, with a 95% interval.
    """

    size: int
    words: str
    objects: int
    missed: int
    leaks: int
    recall: Interval
    leak_rate: Interval


@dataclass(frozen=True, kw_only=True, repr=False)
class Summary:
    """The figures of one model for one object type at one threshold.

    Attributes:
        model: the name of the model.
        key: identifies the detectors and their settings (`ModelStore.keys`).
        object_type: the type.
        threshold: the score, 0..1, from which on detections count.
        pictures: how many images are labelled for the type.
        objects: how many labelled objects there are.
        missed: how many objects no detection matches.
        leaks: how many objects leave more than a tenth of their pixels visible.
        wrong: how many detections match no object.
        ap50: average precision at an intersection over union of 0.5.
        ap: average precision, the mean over intersections over union of 0.5 to 0.95.
        recall: share of the objects that is detected.
        leak_rate: share of the objects that leaks.
        false_blurs: false detections for each image.
        over_redaction: share of all pixels that is changed without need.
        sizes: the same figures for each size that occurs.

    All figures of type `Interval` have 95% intervals.
    """

    model: str
    key: str
    object_type: ObjectType
    threshold: float
    pictures: int
    objects: int
    missed: int
    leaks: int
    wrong: int
    ap50: Interval
    ap: Interval
    recall: Interval
    leak_rate: Interval
    false_blurs: Interval
    over_redaction: Interval
    sizes: tuple[SizeSummary, ...]

    def __repr__(self) -> str:
        return (
            f"Summary({self.model!r}, {self.object_type.value}, threshold {self.threshold:.3f}: "
            f"{self.missed} of {self.objects} objects missed, {self.leaks} leak, "
            f"{self.wrong} false blurs in {self.pictures} images)"
        )

    @property
    def worst(self) -> SizeSummary | None:
        """The size with the highest leak rate; None if fewer than two sizes have enough objects."""
        enough = [size for size in self.sizes if size.objects >= _FEW]
        return max(enough, key=lambda size: size.leaks / size.objects) if len(enough) > 1 else None

    @property
    def sentences(self) -> list[str]:
        """Sentences for people, the most important one first."""
        name = f"{self.object_type.words}s"
        wrong = self.false_blurs
        blurs = (
            f"{_count(self.wrong, 'false blur')} in {_count(self.pictures, 'picture')}: {wrong.value:.2f} a picture "
            f"({wrong.low:.2f} to {wrong.high:.2f}{wrong.mark}). {percent(self.over_redaction)} of the pictures' area "
            "is changed without need."
        )
        if not self.objects:
            return [f"No {name} are labelled in these pictures, so misses cannot be counted.", blurs]
        sentences = [
            f"{self.missed} of {self.objects} {name} {_are(self.missed)} missed: {percent(_complement(self.recall))}.",
            f"{self.leaks} {'leaks' if self.leaks == 1 else 'leak'}: {percent(self.leak_rate)}.",
            blurs,
        ]
        if self.worst is not None and self.worst.leaks:
            group = f"{self.worst.objects} {name} of {self.worst.words} on the shorter side"
            missed, leaks = self.worst.missed, self.worst.leaks
            sentences.append(
                f"The worst group: of {group}, {missed} {_are(missed)} missed and {leaks} "
                f"{'leaks' if leaks == 1 else 'leak'}."
            )
        return sentences


def summarise(result: EvaluationResult) -> list[Summary]:
    """Summarise a result at the thresholds of its options.

    Args:
        result: what `evaluate` returned.

    Returns:
        One summary for each object type of the result.
    """
    return [_summarise_type(result, object_type) for object_type in result.types]


def percent(share: Interval) -> str:
    """Format a share and its interval, for example "7.0% (2.1% to 13.4%, exact)"."""
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}{share.mark})"


def _summarise_type(result: EvaluationResult, object_type: ObjectType) -> Summary:
    of_type, threshold = result[object_type], result.options.threshold(object_type)
    return Summary(
        model=result.name,
        key=result.keys[object_type],
        object_type=object_type,
        threshold=threshold,
        pictures=of_type.pictures,
        objects=of_type.objects,
        missed=int((of_type.match_score < threshold).sum()),
        leaks=int((of_type.cover_score < threshold).sum()),
        wrong=int((of_type.scores[~of_type.hit] >= threshold).sum()),
        ap50=ap_interval(result, object_type),
        ap=ap_interval(result, object_type, iou=None),
        recall=of_type.recall(threshold),
        leak_rate=of_type.leak_rate(threshold),
        false_blurs=of_type.false_blurs(threshold),
        over_redaction=of_type.over_redaction(threshold),
        sizes=tuple(_summarise_size(of_type, threshold, size) for size in of_type.size_counts()),
    )


def _summarise_size(of_type: TypeResult, threshold: float, size: int) -> SizeSummary:
    in_group = of_type.sizes == size
    return SizeSummary(
        size=size,
        words=size_words(size),
        objects=int(in_group.sum()),
        missed=int((of_type.match_score[in_group] < threshold).sum()),
        leaks=int((of_type.cover_score[in_group] < threshold).sum()),
        recall=of_type.recall(threshold, size=size),
        leak_rate=of_type.leak_rate(threshold, size=size),
    )


def _complement(share: Interval) -> Interval:
    return Interval(1 - share.value, 1 - share.high, 1 - share.low, share.method)


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
