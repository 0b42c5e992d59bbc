"""Everything that is measured of several models on one set: as a table, and as values for JSON."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.comparison import Comparison, compare
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.metrics.statistics import Interval
from anonymizer.evaluation.reporting.summary import Summary, summarise
from anonymizer.evaluation.thresholds.choose import Choices, choose_thresholds
from anonymizer.pipeline.detections import ObjectType

__all__ = ["TARGETS", "Results", "summary_table"]

TARGETS = (0.90, 0.95, 0.98)
_COLUMNS = (
    "models", "type", "pictures", "objects", "threshold", "AP50", "AP", "recall", "leak rate", "false blurs a picture",
    "over-redaction",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Results:
    """Several models on one set.

    Attributes:
        findings: of each model, in the order given.
        summaries: of each model and type, at the thresholds in use.
        choices: thresholds for targets, of each model and target.
        comparisons: of the first model with each other, by type.
        created: when, ISO 8601.
    """

    findings: tuple[EvaluationResult, ...]
    summaries: tuple[Summary, ...]
    choices: tuple[Choices, ...]
    comparisons: tuple[Comparison, ...]
    created: str

    @classmethod
    def of(
        cls, findings: Sequence[EvaluationResult], *, targets: Sequence[float] = TARGETS, comparisons: bool = True
    ) -> Results:
        """Judge what was found.

        Args:
            findings: of one set, one at least, each with a name of its own.
            targets: shares of the objects to be found, 0..1, for which thresholds are chosen.
            comparisons: compare the first model with the others, where the same models do not serve a type in both.

        Raises:
            ValueError: there are no findings, two have one name, or a target is not between 0 and 1.
        """
        names = [each.name for each in findings]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"findings are of {names}, but must be of one model or more, each name once.")
        return cls(
            findings=tuple(findings),
            summaries=tuple(row for each in findings for row in summarise(each)),
            choices=tuple(choose_thresholds(each, target) for each in findings for target in targets),
            comparisons=tuple(_comparisons(findings)) if comparisons else (),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def set_name(self) -> str:
        return self.findings[0].set_name

    @property
    def images(self) -> list[LabelledImage]:
        """Every picture that at least one model was judged by."""
        return list({image.path: image for each in self.findings for image in each.images}.values())

    @property
    def problems(self) -> Problems:
        """Of the set and its pictures, each once."""
        return Problems(_found=list(dict.fromkeys(problem for each in self.findings for problem in each.problems)))

    @property
    def types(self) -> tuple[ObjectType, ...]:
        """Those that at least one model was judged by."""
        return tuple(each for each in ObjectType if any(each in of.types for of in self.findings))

    def of_type(self, object_type: ObjectType) -> tuple[Summary, ...]:
        """The summaries of one type, a model each."""
        return tuple(each for each in self.summaries if each.object_type is object_type)

    def table(self) -> str:
        """The figures as a Markdown table that can be read as it is."""
        return _table(self.summaries)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; a figure that is not there (nothing to divide by) is None."""
        return {
            "created": self.created,
            "version": version(),
            "set": {
                "name": self.set_name,
                "pictures": len(self.images),
                "problems": [_plain(each) for each in self.problems],
            },
            "models": [
                {
                    "name": each.name,
                    "format": str(each.format),
                    "segment": each.segment,
                    "options": each.options.as_params(),
                    "types": {row.object_type.value: _plain(row) for row in self.summaries if row.model == each.name},
                }
                for each in self.findings
            ],
            "thresholds": [
                {"model": of.findings.name, **_plain(row), "text": str(row)} for of in self.choices for row in of
            ],
            "comparisons": [{**_plain(each), "text": str(each)} for each in self.comparisons],
        }


def summary_table(findings: Iterable[EvaluationResult]) -> str:
    """The figures of each model and type at the thresholds in use, as a Markdown table that can be read as it is."""
    return _table([row for each in findings for row in summarise(each)])


def version() -> str:
    """Of this project."""
    file = Path(__file__).resolve().parents[3] / "pyproject.toml"
    return str(tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"])


def _comparisons(findings: Sequence[EvaluationResult]) -> Iterable[Comparison]:
    first, *others = findings
    for other in others:
        for each in ObjectType:
            both = each in first.types and each in other.types
            if both and (first.keys[each], first.format) != (other.keys[each], other.format):
                yield compare(first, other, each)


def _table(summaries: Iterable[Summary]) -> str:
    rows = [
        (
            each.model, each.object_type.value, str(each.pictures), str(each.objects), f"{each.threshold:.2f}",
            *(_cell(figure) for figure in (each.ap50, each.ap, each.recall, each.leak_rate, each.false_blurs)),
            _cell(each.over_redaction, digits=4),
        )
        for each in summaries
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    lines = [_COLUMNS, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _cell(figure: Interval, *, digits: int = 3) -> str:
    if math.isnan(figure.value):
        return "-"
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def _plain(value: Any) -> Any:
    """A value of a dataclass as JSON has it."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, str) else value
