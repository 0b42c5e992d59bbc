"""The figures of several models on one labelled set: as tables, and as values for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from anonymizer import __version__
from anonymizer._html import html_table
from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.comparison import Comparison, compare
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.metrics.statistics import METHOD_NOTE, Interval
from anonymizer.evaluation.reporting.summary import Summary, summarise
from anonymizer.evaluation.thresholds.choose import ThresholdChoices, choose_thresholds
from anonymizer.pipeline.detections import ObjectType

__all__ = ["TARGETS", "EvaluationReport", "summary_table"]

#: recalls for which a report chooses thresholds
TARGETS = (0.90, 0.95, 0.98)
_COLUMNS = (
    "models", "type", "pictures", "objects", "threshold", "AP50", "AP", "recall", "leak rate", "false blurs a picture",
    "over-redaction",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class EvaluationReport:
    """Everything that is measured for several models on one labelled set.

    A notebook shows it as a table.

    Attributes:
        results: one result for each model, in the order given.
        summaries: the figures of each model and object type, at the thresholds in use.
        choices: the thresholds that were chosen for each model and each target.
        comparisons: the first model compared with each other model, by object type.
        created: the time when the report was made, in ISO 8601.
    """

    results: tuple[EvaluationResult, ...]
    summaries: tuple[Summary, ...]
    choices: tuple[ThresholdChoices, ...]
    comparisons: tuple[Comparison, ...]
    created: str

    @classmethod
    def of(
        cls, results: Sequence[EvaluationResult], *, targets: Sequence[float] = TARGETS, comparisons: bool = True
    ) -> EvaluationReport:
        """Compute all figures, thresholds and comparisons.

        Args:
            results: one or more results on the same set, each with its own name.
            targets: the recalls, 0..1, for which thresholds are chosen; default: 0.90, 0.95 and 0.98.
            comparisons: compare the first model with each other model. An object type is skipped if both use the same
                detectors for it.

        Returns:
            The report.

        Raises:
            ValueError: there are no results, two results have the same name, or a target is not between 0 and 1.
        """
        names = [result.name for result in results]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"results has the names {names}, but must hold one or more, each with its own name.")
        return cls(
            results=tuple(results),
            summaries=tuple(summary for result in results for summary in summarise(result)),
            choices=tuple(choose_thresholds(result, target) for result in results for target in targets),
            comparisons=tuple(_compare_with_first(results)) if comparisons else (),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def set_name(self) -> str:
        """The name of the labelled set."""
        return self.results[0].set_name

    @property
    def images(self) -> list[LabelledImage]:
        """The images of all results, each once."""
        return list({image.path: image for result in self.results for image in result.images}.values())

    @property
    def problems(self) -> Problems:
        """The problems of the set and its images, each once."""
        return Problems(_found=list(dict.fromkeys(problem for result in self.results for problem in result.problems)))

    @property
    def types(self) -> tuple[ObjectType, ...]:
        """The object types that at least one model was evaluated for."""
        return tuple(each for each in ObjectType if any(each in result.types for result in self.results))

    def of_type(self, object_type: ObjectType) -> tuple[Summary, ...]:
        """Return the summaries of one object type, one for each model.

        Args:
            object_type: the type.
        """
        return tuple(summary for summary in self.summaries if summary.object_type is object_type)

    def table(self) -> str:
        """Format the figures as a Markdown table with aligned columns."""
        return _markdown_table(self.summaries)

    def to_dict(self) -> dict[str, Any]:
        """Convert to values that JSON can hold.

        Returns:
            A dictionary with the keys `created`, `version`, `set`, `models`, `thresholds` and `comparisons`. A figure
            that is not defined, because there is nothing to divide by, is None.
        """
        return {
            "created": self.created,
            "version": __version__,
            "set": {
                "name": self.set_name,
                "pictures": len(self.images),
                "problems": [_json_value(problem) for problem in self.problems],
            },
            "models": [
                {
                    "name": result.name,
                    "format": str(result.format),
                    "segment": result.segment,
                    "options": result.options.as_params(),
                    "types": {
                        summary.object_type.value: _json_value(summary)
                        for summary in self.summaries
                        if summary.model == result.name
                    },
                }
                for result in self.results
            ],
            "thresholds": [
                {"model": choices.result.name, **_json_value(choice), "text": str(choice)}
                for choices in self.choices
                for choice in choices
            ],
            "comparisons": [{**_json_value(each), "text": str(each)} for each in self.comparisons],
        }

    def __repr__(self) -> str:
        names = ", ".join(result.name for result in self.results)
        types = ", ".join(object_type.value for object_type in self.types)
        text = f"EvaluationReport({len(self.images)} images, models: {names}, types: {types})"
        return text if len(text) < 300 else f"{text[:296]}...)"

    def _repr_html_(self) -> str:
        note = f"{len(self.images)} images, {self.created[:10]}. In brackets: 95% intervals. {METHOD_NOTE}"
        return html_table(_COLUMNS, _rows(self.summaries), note=note)


def summary_table(results: Iterable[EvaluationResult]) -> str:
    """Format the figures of several results as a Markdown table with aligned columns.

    Args:
        results: one result for each model.

    Returns:
        A table with one row for each model and object type, at the thresholds in use.
    """
    return _markdown_table([summary for result in results for summary in summarise(result)])


def _compare_with_first(results: Sequence[EvaluationResult]) -> Iterator[Comparison]:
    first, *others = results
    for other in others:
        for object_type in ObjectType:
            in_both = object_type in first.types and object_type in other.types
            if in_both and (first.keys[object_type], first.format) != (other.keys[object_type], other.format):
                yield compare(first, other, object_type)


def _rows(summaries: Iterable[Summary]) -> list[tuple[str, ...]]:
    return [
        (
            each.model, each.object_type.value, str(each.pictures), str(each.objects), f"{each.threshold:.2f}",
            *(_cell(figure) for figure in (each.ap50, each.ap, each.recall, each.leak_rate, each.false_blurs)),
            _cell(each.over_redaction, digits=4),
        )
        for each in summaries
    ]  # fmt: skip


def _markdown_table(summaries: Iterable[Summary]) -> str:
    rows = _rows(summaries)
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    lines = [_COLUMNS, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _cell(figure: Interval, *, digits: int = 3) -> str:
    if math.isnan(figure.value):
        return "-"
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f}{figure.mark})"


def _json_value(value: Any) -> Any:
    """Convert a value of a dataclass to what JSON can hold."""
    if is_dataclass(value):
        return {field.name: _json_value(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_json_value(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, str) else value
