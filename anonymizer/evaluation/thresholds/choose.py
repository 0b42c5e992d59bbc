"""Thresholds from a user's own pictures: as high as possible, as low as it takes to find what must be found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.evaluate import evaluate
from anonymizer.evaluation.metrics.matching import SIZES
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.metrics.statistics import Interval, design_effect, lower_bound, needed
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.threshold_profile import Figure, ThresholdProfile

__all__ = ["Choice", "Choices", "Verdict", "choose_thresholds", "size_words"]

#: the lowest threshold that is tried: one in a thousand such detections is an object
FLOOR = 0.001
#: misses that it takes to see how far those of one picture go together
_MISSES = 10


class Verdict(StrEnum):
    """What came of choosing."""

    REACHED = "reached"
    #: the sample is too small to say with confidence whether the target is reached
    TOO_FEW = "too few objects"
    #: with confidence, more is missed at any threshold than the target allows
    OUT_OF_REACH = "out of reach"
    NO_OBJECTS = "no objects"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A threshold for one type, or for objects of one size of it, and what it does.

    Attributes:
        threshold: the highest at which the target is reached with confidence; where it is not reached the highest that
            misses no more of these objects than the lowest one does.
        size: group of objects by shorter side, as index into `SIZES`; None: all.
        recall: at the threshold, with a 95 % interval.
        recall_at_least: with the confidence asked for (one-sided).
        recall_elsewhere: what as many other pictures like these would show, as they are a sample too: 95 %.
        leak_rate, false_blurs, over_redaction: what it comes to, with 95 % intervals; prices of a size count all
            detections of the type.
        pictures_needed: how many pictures like these it would take to be sure, where these are too few; None where even
            these did not reach the target, too.
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
            return f"{what}: no objects in these pictures, so nothing can be said"
        figures = (
            f"recall {self.recall}, at least {self.recall_at_least:.3f} with {self.confidence:.0%} confidence; "
            f"{self.false_blurs.value:.2f} false blurs a picture; {self.objects} objects in {self.pictures} pictures"
        )
        if self.verdict is Verdict.REACHED:
            return f"{what}: threshold {self.threshold:.3f} for {self.target:.0%}; {figures}"
        lowest = f"At {self.threshold:.3f}, under which no more are found: {figures}"
        if self.verdict is Verdict.OUT_OF_REACH:
            return f"{what}: {self.target:.0%} is out of reach with these models. {lowest}"
        if self.pictures_needed is None:
            return f"{what}: {self.target:.0%} was not reached, and these are too few objects to rule it out. {lowest}"
        return (
            f"{what}: too few objects to promise {self.target:.0%}; about {self.pictures_needed} pictures like these "
            f"would be enough. {lowest}"
        )


def size_words(size: int) -> str:
    """A group by size, in words: "16 to 32 px"."""
    if size + 1 == len(SIZES):
        return f"{SIZES[size]} px and more"
    return f"{SIZES[size]} to {SIZES[size + 1]} px" if SIZES[size] else f"less than {SIZES[1]} px"


@dataclass(frozen=True)
class Choices:
    """Thresholds for the types of a set.

    Attributes:
        rows: by type, the choice for all its objects, and then those for each size where asked.
    """

    findings: EvaluationResult
    rows: Mapping[ObjectType, tuple[Choice, ...]]

    def __iter__(self) -> Iterator[Choice]:
        return (row for rows in self.rows.values() for row in rows)

    def __getitem__(self, object_type: ObjectType) -> Choice:
        """The choice for all objects of a type."""
        return self.rows[object_type][0]

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def profile(self, name: str) -> ThresholdProfile:
        """The chosen thresholds for the service; where sizes were asked for, the lowest of a type's.

        A type without objects is left out: the server's default goes on for it.

        Raises:
            InvalidParameter: no type has objects, or the name is not allowed.
        """
        known = {each: [row for row in rows if row.objects] for each, rows in self.rows.items()}
        known = {each: rows for each, rows in known.items() if rows}
        targets = {row.target for rows in known.values() for row in rows}
        return ThresholdProfile(
            name=name,
            # rounded down: a threshold rounded up would miss what was promised
            thresholds={each: math.floor(min(r.threshold for r in rows) * 1e4) / 1e4 for each, rows in known.items()},
            format=self.findings.format,
            models={each: self.findings.keys[each] for each in known},
            target_recall=targets.pop() if len(targets) == 1 else None,
            figures={each: _figures(rows) for each, rows in known.items()},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def choose_thresholds(
    labelled: EvaluationResult | LabelledSet,
    target_recall: float | Mapping[ObjectType, float] = 0.98,
    *,
    confidence: float = 0.95,
    by_size: bool = False,
) -> Choices:
    """For each type the highest threshold that finds a share of all objects with confidence.

    Thresholds are tried from the lowest up, and the first one that is not good enough ends the search, so that trying
    many costs no confidence (fixed-sequence testing; Angelopoulos et al. 2021, Learn then Test). Bounds count pictures,
    not objects, as what is drawn at random (`statistics.lower_bound`).

    Args:
        labelled: what `evaluate` gives, or a set that the installed models look at first.
        target_recall: 0..1, for all types or by type.
        by_size: one choice for each group by size besides, each with the target for itself.

    Raises:
        ValueError: a target or the confidence is not between 0 and 1.
    """
    findings = labelled if isinstance(labelled, EvaluationResult) else evaluate(labelled, Anonymizer())
    targets = target_recall if isinstance(target_recall, Mapping) else dict.fromkeys(findings.types, target_recall)
    for name, value in [("target_recall", each) for each in targets.values()] + [("confidence", confidence)]:
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value!r}, but must be a number between 0 and 1.")
    rows = {}
    for each in findings.types:
        sizes = [None, *(findings[each].size_counts() if by_size else ())]
        if each in targets:
            rows[each] = tuple(_choice(findings[each], targets[each], confidence, size) for size in sizes)
    return Choices(findings, rows)


def _choice(found: TypeResult, target: float, confidence: float, size: int | None) -> Choice:
    chosen = np.ones(found.objects, bool) if size is None else found.sizes == size
    wholes = found.by_picture(chosen)
    scores = np.sort(found.match_score[chosen])
    threshold, verdict, bound, enough = FLOOR, Verdict.NO_OBJECTS, 0.0, None
    if len(scores):
        threshold, bound, effect = _highest(found, chosen, wholes, scores, target, confidence)
        missed = found.by_picture((found.match_score < FLOOR) & chosen)
        verdict = Verdict.REACHED if bound >= target else Verdict.TOO_FEW
        if 1 - lower_bound(missed, wholes, confidence=confidence, effect=effect) < target:
            verdict = Verdict.OUT_OF_REACH
        objects = needed(1 - missed.sum() / len(scores), target, effect, confidence=confidence)
        if verdict is Verdict.TOO_FEW and objects is not None:
            enough = math.ceil(objects * found.pictures / len(scores))
    recall = found.recall(threshold, size=size)
    return Choice(
        object_type=found.object_type,
        target=target,
        confidence=confidence,
        verdict=verdict,
        threshold=threshold,
        size=size,
        objects=len(scores),
        pictures=found.pictures,
        recall=recall,
        recall_at_least=bound,
        recall_elsewhere=_elsewhere(recall),
        leak_rate=found.leak_rate(threshold, size=size),
        false_blurs=found.false_blurs(threshold),
        over_redaction=found.over_redaction(threshold),
        pictures_needed=enough,
    )


def _elsewhere(share: Interval) -> Interval:
    """Where another sample of the same size lies: two of them differ by the root of 2 more than one from the truth."""
    low, high = (share.value + math.sqrt(2) * (end - share.value) for end in (share.low, share.high))
    return Interval(share.value, max(low, 0.0), min(high, 1.0))


def _highest(
    found: TypeResult,
    chosen: NDArray[np.bool_],
    wholes: NDArray[np.float64],
    scores: NDArray[np.float32],
    target: float,
    confidence: float,
) -> tuple[float, float, float]:
    """The threshold, its bound, and the design effect of few misses.

    Args:
        scores: rising, of the chosen objects.
    """

    def parts(threshold: float) -> NDArray[np.float64]:
        return found.by_picture((found.match_score >= threshold) & chosen)

    def bound(threshold: float) -> float:
        hits = parts(threshold)
        effect = design_effect(hits, wholes) if wholes.sum() - hits.sum() >= _MISSES else least_effect
        return lower_bound(hits, wholes, confidence=confidence, effect=effect)

    # few misses do not show how they hang together: taken from a threshold at which there are enough
    at = min(_MISSES, len(scores) // 2)
    least_effect = design_effect(parts(float(np.nextafter(scores[at], 2, dtype=np.float32))), wholes)
    # thresholds between two scores are alike; at the first of them nothing is missed that the floor finds
    tried = np.unique(scores[scores >= FLOOR])
    best = float(tried[0]) if len(tried) else FLOOR
    best_bound = bound(best)
    for score in tried[1:] if best_bound >= target else ():
        now = bound(float(score))
        if now < target:
            break
        best, best_bound = float(score), now
    return best, best_bound, least_effect


def _figures(rows: Sequence[Choice]) -> dict[str, Figure]:
    lowest = min(rows, key=lambda row: row.threshold)
    return {
        "target": lowest.target,
        "verdict": " and ".join(dict.fromkeys(row.verdict.value for row in rows)),
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
