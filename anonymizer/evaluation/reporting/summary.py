"""What one model does to one type at the threshold in use: the figures, and the sentences that say them."""

from __future__ import annotations

from dataclasses import dataclass

from anonymizer.evaluation.metrics.ap_interval import ap_interval
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.metrics.statistics import Interval
from anonymizer.evaluation.thresholds.choose import size_words
from anonymizer.pipeline.detections import ObjectType

__all__ = ["SizeSummary", "Summary", "percent", "summarise"]

#: objects of a size under which it is not called the worst: chance alone makes a few look bad
_FEW = 10


@dataclass(frozen=True, kw_only=True)
class SizeSummary:
    """Objects of one size.

    Attributes:
        size: index into `SIZES`; words: "16 to 32 px".
        missed, leaks: how many of the objects.
        recall, leak_rate: as shares, with 95 % intervals.
    """

    size: int
    words: str
    objects: int
    missed: int
    leaks: int
    recall: Interval
    leak_rate: Interval


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One model and one type, at one threshold.

    Attributes:
        model: as people call it.
        key: what its detections depend on (`ModelStore.keys`).
        missed, leaks, wrong: how many objects are not found and how many leak, and how many detections are no object.
        ap50, ap: average precision at an intersection over union of .5, and the mean over .5 to .95.
        recall, leak_rate, over_redaction: shares; false_blurs: a picture. All with 95 % intervals.
        sizes: of the sizes that occur.
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

    @property
    def worst(self) -> SizeSummary | None:
        """The size of which the largest share leaks; None where there are no two sizes with some objects."""
        enough = [each for each in self.sizes if each.objects >= _FEW]
        return max(enough, key=lambda each: each.leaks / each.objects) if len(enough) > 1 else None

    @property
    def sentences(self) -> list[str]:
        """What people should know, most important first."""
        name = f"{self.object_type.words}s"
        blurs = (
            f"{_count(self.wrong, 'false blur')} in {_count(self.pictures, 'picture')}: {self.false_blurs.value:.2f} a "
            f"picture ({self.false_blurs.low:.2f} to {self.false_blurs.high:.2f}). {percent(self.over_redaction)} of "
            f"the pictures' area is changed without need."
        )
        if not self.objects:
            return [f"No {name} are labelled there, so nothing can be said of misses.", blurs]
        said = [
            f"{self.missed} of {self.objects} {name} {_are(self.missed)} missed: {percent(_rest(self.recall))}.",
            f"{self.leaks} {'leaks' if self.leaks == 1 else 'leak'}: {percent(self.leak_rate)}.",
            blurs,
        ]
        if self.worst is not None and self.worst.leaks:
            of_size = f"{self.worst.objects} {name} of {self.worst.words} on the shorter side"
            missed, leaks = self.worst.missed, self.worst.leaks
            said.append(f"Worst are the {of_size}: {missed} {_are(missed)} missed, {leaks} {_are(leaks)} leaking.")
        return said


def summarise(findings: EvaluationResult) -> list[Summary]:
    """One summary for each type of the findings, at the thresholds of their options."""
    return [_summary(findings, each) for each in findings.types]


def percent(share: Interval) -> str:
    """ "7.0% (2.1% to 13.4%)"."""
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def _summary(findings: EvaluationResult, object_type: ObjectType) -> Summary:
    found, threshold = findings[object_type], findings.options.threshold(object_type)
    return Summary(
        model=findings.name,
        key=findings.keys[object_type],
        object_type=object_type,
        threshold=threshold,
        pictures=found.pictures,
        objects=found.objects,
        missed=int((found.match_score < threshold).sum()),
        leaks=int((found.cover_score < threshold).sum()),
        wrong=int((found.scores[~found.hit] >= threshold).sum()),
        ap50=ap_interval(findings, object_type),
        ap=ap_interval(findings, object_type, iou=None),
        recall=found.recall(threshold),
        leak_rate=found.leak_rate(threshold),
        false_blurs=found.false_blurs(threshold),
        over_redaction=found.over_redaction(threshold),
        sizes=tuple(_of_size(found, threshold, size) for size in found.size_counts()),
    )


def _of_size(found: TypeResult, threshold: float, size: int) -> SizeSummary:
    mine = found.sizes == size
    return SizeSummary(
        size=size,
        words=size_words(size),
        objects=int(mine.sum()),
        missed=int((found.match_score[mine] < threshold).sum()),
        leaks=int((found.cover_score[mine] < threshold).sum()),
        recall=found.recall(threshold, size=size),
        leak_rate=found.leak_rate(threshold, size=size),
    )


def _rest(share: Interval) -> Interval:
    return Interval(1 - share.value, 1 - share.high, 1 - share.low)


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
