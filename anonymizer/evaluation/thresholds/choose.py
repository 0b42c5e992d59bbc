"""Choose thresholds from a user's own images: as high as possible, but low enough for the recall that is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from anonymizer._html import html_table
from anonymizer._text import text_table
from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.evaluate import evaluate
from anonymizer.evaluation.metrics.matching import SIZES
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.metrics.statistics import METHOD_NOTE, Interval
from anonymizer.evaluation.thresholds.recall_sample import RecallSample
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.options.threshold_profile import PROVEN, Figure, ThresholdProfile

__all__ = ["ThresholdChoice", "ThresholdChoices", "Verdict", "choose_thresholds", "size_words"]

_COLUMNS = (
    "type", "target", "verdict", "threshold", "objects", "recall", "recall at least", "leak rate",
    "false blurs an image",
)  # fmt: skip
#: the lowest threshold that is tried: of detections with such scores, less than one in a thousand is an object
FLOOR = 0.001


class Verdict(StrEnum):
    """Whether the target recall was reached."""

    #: the target is reached with the confidence asked for
    REACHED = PROVEN
    #: there are too few objects to tell whether the target is reached
    TOO_FEW = "too few objects"
    #: at every threshold, more objects are missed than the target allows, with the confidence asked for
    OUT_OF_REACH = "out of reach"
    NO_OBJECTS = "no objects"


@dataclass(frozen=True, kw_only=True)
class ThresholdChoice:
    """The threshold for one object type, or for objects of one size, and the figures at this threshold.

    `print(choice)` prints it as a sentence.

    Attributes:
        object_type: the type.
        target: the recall that is asked for, 0..1.
        confidence: that is asked for, 0..1.
        verdict: whether the target was reached.
        threshold: the highest threshold that reaches the target with this confidence. If none does: the highest that
            misses no more of these objects than the lowest threshold does, but never one above the default.
        size: the size group of the objects, an index into `SIZES`; None: all sizes.
        objects: the number of objects.
        pictures: the number of images.
        recall: at the threshold, with a 95% interval.
        recall_at_least: the lower bound of the recall with the confidence asked for (one-sided).
        recall_elsewhere: the recall with a 95% interval for another sample of as many images of the same kind.
        leak_rate: at the threshold, with a 95% interval.
        false_blurs: how many detections an image are no object, with a 95% interval, for all sizes.
        over_redaction: the share of all pixels that are changed unnecessarily, with a 95% interval, for all sizes.
        pictures_needed: how many images like these would be enough if there are too few objects; None if the target
            would still not be reached.
    """

    object_type: ObjectType
    target: float
    confidence: float
    verdict: Verdict
    threshold: float
    size: int | None
    objects: int
    pictures: int
    recall: Interval
    recall_at_least: float
    recall_elsewhere: Interval
    leak_rate: Interval
    false_blurs: Interval
    over_redaction: Interval
    pictures_needed: int | None

    def __str__(self) -> str:
        what = self.object_type.words + ("" if self.size is None else f" of {size_words(self.size)}")
        if self.verdict is Verdict.NO_OBJECTS:
            return f"{what}: these images have no objects, so no threshold can be chosen"
        figures = (
            f"recall {self.recall}, at least {self.recall_at_least:.3f} with {self.confidence:.0%} confidence; "
            f"{self.false_blurs.value:.2f} false blurs an image; {self.objects} objects in {self.pictures} images"
        )
        if self.verdict is Verdict.REACHED:
            return f"{what}: threshold {self.threshold:.3f} for {self.target:.0%}; {figures}"
        lowest = f"At {self.threshold:.3f}, and lower thresholds detect no more: {figures}"
        if self.verdict is Verdict.OUT_OF_REACH:
            return f"{what}: {self.target:.0%} is out of reach with these models. {lowest}"
        if self.pictures_needed is None:
            return f"{what}: {self.target:.0%} was not reached, and these are too few objects to rule it out. {lowest}"
        return (
            f"{what}: too few objects to promise {self.target:.0%}; about {self.pictures_needed} images like these "
            f"would be enough. {lowest}"
        )

    def __repr__(self) -> str:
        size = "" if self.size is None else f" of {size_words(self.size)}"
        return (
            f"ThresholdChoice({self.object_type}{size}: {self.threshold:.3f}, target {self.target:g}, "
            f"{self.verdict.value}, recall {self.recall})"
        )


def size_words(size: int) -> str:
    """Describe a size group in words, for example "16 to 32 px".

    Args:
        size: an index into `SIZES`.
    """
    if size + 1 == len(SIZES):
        return f"{SIZES[size]} px and more"
    return f"{SIZES[size]} to {SIZES[size + 1]} px" if SIZES[size] else f"less than {SIZES[1]} px"


@dataclass(frozen=True)
class ThresholdChoices:
    """The thresholds for all object types of a labelled set.

    `print(choices)` prints a sentence for each choice; a notebook shows a table.

    Attributes:
        result: the evaluation that the thresholds were chosen from.
        rows: by type, the choice for all its objects, followed by those for each size if they were asked for.
    """

    result: EvaluationResult
    rows: Mapping[ObjectType, tuple[ThresholdChoice, ...]]

    def __iter__(self) -> Iterator[ThresholdChoice]:
        return (row for rows in self.rows.values() for row in rows)

    def __getitem__(self, object_type: ObjectType) -> ThresholdChoice:
        """The choice for all objects of a type."""
        return self.rows[object_type][0]

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def __repr__(self) -> str:
        chosen = ", ".join(f"{row.object_type} {row.threshold:.3f} ({row.verdict.value})" for row in self._of_types())
        return f"ThresholdChoices({chosen or 'no object types'})"

    def table(self) -> str:
        """Format the choices as a plain text table."""
        return text_table(_COLUMNS, self._table_rows())

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, self._table_rows(), note=f"In brackets: 95% intervals. {METHOD_NOTE}")

    def _of_types(self) -> list[ThresholdChoice]:
        return [rows[0] for rows in self.rows.values()]

    def _table_rows(self) -> list[tuple[object, ...]]:
        return [
            (
                row.object_type.words if row.size is None else f"{row.object_type.words}, {size_words(row.size)}",
                f"{row.target:.0%}",
                row.verdict.value,
                "-" if row.verdict is Verdict.NO_OBJECTS else f"{row.threshold:.3f}",
                row.objects,
                row.recall,
                f"{row.recall_at_least:.3f}",
                row.leak_rate,
                row.false_blurs,
            )
            for row in self
        ]

    def profile(self, name: str) -> ThresholdProfile:
        """Make a threshold profile for the service.

        If there is a choice for each size, the profile has the lowest threshold of the type. Types without objects are
        left out, so the service uses its default for them. The verdicts are in the figures of the profile: commands
        refuse to use a type that did not reach the target, unless this is accepted.

        Args:
            name: of the profile.

        Returns:
            The profile; `save` writes it to a file.

        Raises:
            InvalidParameter: no type has objects, or the name is not allowed.
        """
        counted = {object_type: [row for row in rows if row.objects] for object_type, rows in self.rows.items()}
        known = {object_type: rows for object_type, rows in counted.items() if rows}
        lowest = {object_type: min(row.threshold for row in rows) for object_type, rows in known.items()}
        targets = {row.target for rows in known.values() for row in rows}
        return ThresholdProfile(
            name=name,
            thresholds={object_type: _rounded_down(value) for object_type, value in lowest.items()},
            format=self.result.format,
            models={object_type: self.result.keys[object_type] for object_type in known},
            target_recall=targets.pop() if len(targets) == 1 else None,
            figures={object_type: _figures(rows) for object_type, rows in known.items()},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def choose_thresholds(
    labelled: EvaluationResult | LabelledSet,
    target_recall: float | Mapping[ObjectType, float] = 0.98,
    *,
    confidence: float = 0.95,
    by_size: bool = False,
) -> ThresholdChoices:
    """Choose for each object type the highest threshold that reaches a target recall with confidence.

    Thresholds are tried from the lowest up, and the first one that misses the target ends the search. Therefore trying
    many thresholds does not reduce the confidence. This is fixed-sequence testing (Angelopoulos et al. 2021, "Learn
    then Test"). The bounds take images as the sample, not objects (`statistics.lower_bound`).

    If no threshold reaches the target, the choice is not proven. It is then never above the default, which is the lower
    one of the built-in threshold and the threshold in use.

    Args:
        labelled: the result of `evaluate`, or a labelled set, which is then evaluated with the installed models.
        target_recall: the share of the objects that must be detected, 0..1; one for all types, or one for each type.
        confidence: that the target is reached, 0..1.
        by_size: also choose a threshold for each size group, each of which must reach the target.

    Returns:
        The choices.

    Raises:
        ValueError: a target or the confidence is not between 0 and 1.

    Examples:
        >>> choices = choose_thresholds(result, 0.98)
        >>> choices.profile("street").save("street.json")
    """
    result = labelled if isinstance(labelled, EvaluationResult) else evaluate(labelled, Anonymizer())
    targets = target_recall if isinstance(target_recall, Mapping) else dict.fromkeys(result.types, target_recall)
    for name, value in [("target_recall", target) for target in targets.values()] + [("confidence", confidence)]:
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value!r}, but must be a number between 0 and 1.")
    rows = {}
    for object_type, type_result in result.types.items():
        if object_type in targets:
            sizes = [None, *(type_result.size_counts() if by_size else ())]
            # what is not proven must not detect less than no profile would
            default = min(Options().threshold(object_type), result.options.threshold(object_type))
            target = targets[object_type]
            rows[object_type] = tuple(_choice(type_result, target, confidence, size, default) for size in sizes)
    return ThresholdChoices(result, rows)


def _choice(
    type_result: TypeResult, target: float, confidence: float, size: int | None, default: float
) -> ThresholdChoice:
    sample = RecallSample.of(type_result, size=size, confidence=confidence)
    scores, pictures_needed = sample.scores, None
    threshold, verdict, bound = FLOOR, Verdict.NO_OBJECTS, 0.0
    if len(scores):
        threshold, bound = _highest_threshold(sample, target)
        verdict = Verdict.REACHED if bound >= target else Verdict.TOO_FEW
        if sample.upper_bound(FLOOR) < target:
            verdict = Verdict.OUT_OF_REACH
        if verdict is not Verdict.REACHED:
            threshold = min(threshold, default)
            bound = sample.lower_bound(threshold)
        if verdict is Verdict.TOO_FEW:
            pictures_needed = sample.pictures_needed(target, FLOOR)
    recall = type_result.recall(threshold, size=size)
    return ThresholdChoice(
        object_type=type_result.object_type,
        target=target,
        confidence=confidence,
        verdict=verdict,
        threshold=threshold,
        size=size,
        objects=len(scores),
        pictures=type_result.pictures,
        recall=recall,
        recall_at_least=bound,
        recall_elsewhere=_of_another_sample(recall),
        leak_rate=type_result.leak_rate(threshold, size=size),
        false_blurs=type_result.false_blurs(threshold),
        over_redaction=type_result.over_redaction(threshold),
        pictures_needed=pictures_needed,
    )


def _of_another_sample(share: Interval) -> Interval:
    """The interval of the share in another sample of the same size.

    Two samples differ by sqrt(2) times as much as one sample differs from the truth.
    """
    low, high = (share.value + math.sqrt(2) * (end - share.value) for end in (share.low, share.high))
    return Interval(share.value, max(low, 0.0), min(high, 1.0), share.method)


def _highest_threshold(sample: RecallSample, target: float) -> tuple[float, float]:
    """The highest threshold that reaches the target, or the lowest one, and the lower bound of the recall there."""
    # All thresholds between two scores are equal. The lowest score misses nothing that `FLOOR` would detect.
    candidates = np.unique(sample.scores[sample.scores >= FLOOR])
    best = float(candidates[0]) if len(candidates) else FLOOR
    best_bound = sample.lower_bound(best)
    for score in candidates[1:] if best_bound >= target else ():
        now = sample.lower_bound(float(score))
        if now < target:
            break
        best, best_bound = float(score), now
    return best, best_bound


def _rounded_down(threshold: float) -> float:
    """Four digits: a threshold that is rounded up could miss the target."""
    return math.floor(threshold * 1e4) / 1e4


def _figures(rows: Sequence[ThresholdChoice]) -> dict[str, Figure]:
    """The figures of a type in a threshold profile."""
    lowest = min(rows, key=lambda row: row.threshold)
    proven = all(row.verdict is Verdict.REACHED for row in rows)
    return {
        "target": lowest.target,
        "verdict": " and ".join(dict.fromkeys(row.verdict.value for row in rows)),
        "proven_threshold": _rounded_down(lowest.threshold) if proven else None,
        "recall": round(lowest.recall.value, 4),
        "recall_low": round(lowest.recall.low, 4),
        "recall_high": round(lowest.recall.high, 4),
        "recall_at_least": round(lowest.recall_at_least, 4),
        "leak_rate": round(lowest.leak_rate.value, 4),
        "false_blurs_per_picture": round(lowest.false_blurs.value, 4),
        "objects": rows[0].objects,
        "pictures": rows[0].pictures,
        "pictures_needed": max((row.pictures_needed or 0 for row in rows), default=0) or None,
    }
