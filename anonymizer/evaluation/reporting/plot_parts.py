"""What figures are made of: panels, and lines with one colour for each type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike, NDArray

from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.metrics.statistics import Interval
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.outputs.overlay import COLOURS

__all__ = [
    "WIDTH",
    "Line",
    "Shown",
    "Thresholds",
    "arms",
    "colour",
    "grid",
    "legend",
    "new_figure",
    "panels_of",
    "plain_numbers",
    "point_style",
]

#: one model's findings, or several with the names to show
Shown = EvaluationResult | Sequence[tuple[str, EvaluationResult]]
Thresholds = Mapping[ObjectType, float]

#: inches; text of 10 points has 7 where a figure is printed 100 mm wide
WIDTH = 5.6
_DPI = 110
_LINES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D")


def colour(object_type: ObjectType) -> tuple[float, float, float]:
    """The type's colour as matplotlib takes it, 0..1."""
    red, green, blue = COLOURS[object_type]
    return red / 255, green / 255, blue / 255


@dataclass(frozen=True)
class Line:
    """One type of one model in a figure.

    Attributes:
        number: of its line style and marker.
    """

    label: str
    found: TypeResult
    threshold: float
    number: int

    @property
    def object_type(self) -> ObjectType:
        return self.found.object_type

    @property
    def colour(self) -> tuple[float, float, float]:
        return colour(self.object_type)

    @property
    def cuts(self) -> NDArray[np.float64]:
        """(k,) thresholds at which something changes: about 500 at most, from all found to none."""
        scores = np.unique(self.found.scores).astype(float)
        rows = np.linspace(0, len(scores) - 1, min(len(scores), 500)).astype(int)
        return np.concatenate([[0.0], scores[rows], [1.001]])

    def draw(self, axes: Axes, x: str, y: str, thresholds: ArrayLike | None = None) -> None:
        """One figure of `Curve` against another, and the operating point; nothing where there is none to divide by."""
        style = _LINES[self.number % len(_LINES)]
        marker = _MARKERS[self.number % len(_MARKERS)]
        line: dict[str, Any] = {"color": self.colour, "linestyle": style, "linewidth": 1.8}
        point: dict[str, Any] = {"color": self.colour, "marker": marker, "markersize": 7, "markeredgecolor": "black"}
        xy = attrgetter(x, y)
        axes.plot(*xy(self.found.curve(self.cuts if thresholds is None else thresholds)), **line)
        axes.plot(*xy(self.found.curve([self.threshold])), **point, linestyle="none", zorder=3)
        # the legend shows both as one
        axes.plot([], [], **line | point, label=self.label + ("" if self.found.objects else " (no objects)"))


def panels_of(
    findings: Shown, object_type: ObjectType | None, thresholds: Thresholds | None
) -> list[tuple[str, list[Line]]]:
    """Titles and what is drawn under each: all types of one model, or each type of several."""
    models = [("", findings)] if isinstance(findings, EvaluationResult) else list(findings)
    types = [each for each in ObjectType if any(each in of.types for _, of in models)]
    types = [each for each in types if object_type in (None, each)]

    def line(label: str, of: EvaluationResult, each: ObjectType, number: int) -> Line:
        return Line(label, of[each], (thresholds or {}).get(each, of.options.threshold(each)), number)

    if isinstance(findings, EvaluationResult):
        return [("", [line(each.words, findings, each, each.number) for each in types])]
    panels = [
        (each.words, [line(name, of, each, n) for n, (name, of) in enumerate(models) if each in of.types])
        for each in types
    ]
    return panels or [("", [])]


def grid(
    findings: Shown, object_type: ObjectType | None, thresholds: Thresholds | None
) -> tuple[Figure, Iterator[tuple[Axes, list[Line]]]]:
    """A figure with a place for each panel, two side by side where there are several."""
    panels = panels_of(findings, object_type, thresholds)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = new_figure(3.9 * rows, WIDTH if columns == 1 else 1.4 * WIDTH)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells[len(panels) :]:
        axes.remove()
    for axes, (title, _) in zip(cells, panels, strict=False):
        axes.set_title(title)
        axes.grid(visible=True, alpha=0.3)
    return figure, zip(cells, (lines for _, lines in panels), strict=False)


def new_figure(height: float, width: float = WIDTH) -> Figure:
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def point_style(object_type: ObjectType) -> dict[str, Any]:
    return {
        "color": colour(object_type),
        "marker": _MARKERS[object_type.number],
        "markeredgecolor": "black",
        "linestyle": "none",
    }


def arms(rows: Sequence[Interval]) -> NDArray[np.float64]:
    """(2, n) from each value down and up, as error bars take it."""
    lengths = [(row.value - row.low, row.high - row.value) for row in rows]
    return np.array(lengths, float).reshape(-1, 2).T.clip(0, None)


def plain_numbers(axis: Axis) -> None:
    """0.1, not a power of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", framealpha=0.8)
