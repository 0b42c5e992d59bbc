"""Building blocks of figures: panels, lines, and one colour for each object type."""

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
    "set_width",
    "width_in",
]

#: The result of one model, or the results of several models with the names to show.
Shown = EvaluationResult | Sequence[tuple[str, EvaluationResult]]
#: thresholds, 0..1, by object type
Thresholds = Mapping[ObjectType, float]

#: Width in inches. Text of 10 points becomes 7 points when a figure is printed 100 mm wide.
_page = {"width": 5.6}
_DPI = 110
_LINES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D")


def colour(object_type: ObjectType) -> tuple[float, float, float]:
    """Return the colour of an object type for matplotlib.

    Args:
        object_type: the type.

    Returns:
        Red, green and blue, each 0..1.
    """
    red, green, blue = COLOURS[object_type]
    return red / 255, green / 255, blue / 255


@dataclass(frozen=True)
class Line:
    """One object type of one model in a figure.

    Attributes:
        label: the text in the legend.
        of_type: the figures of the type.
        threshold: the operating point, 0..1, that gets a marker.
        number: selects the line style and the marker.
    """

    label: str
    of_type: TypeResult
    threshold: float
    number: int

    @property
    def object_type(self) -> ObjectType:
        """The object type."""
        return self.of_type.object_type

    @property
    def colour(self) -> tuple[float, float, float]:
        """The colour of the object type."""
        return colour(self.object_type)

    @property
    def cuts(self) -> NDArray[np.float64]:
        """(k,) thresholds at which the figures change, rising; about 500 at most."""
        scores = np.unique(self.of_type.scores).astype(float)
        rows = np.linspace(0, len(scores) - 1, min(len(scores), 500)).astype(int)
        return np.concatenate([[0.0], scores[rows], [1.001]])

    def draw(self, axes: Axes, x: str, y: str, thresholds: ArrayLike | None = None) -> None:
        """Draw one field of `Curve` against another, with a marker at the operating point.

        Args:
            axes: where to draw.
            x: the field of `Curve` on the x axis.
            y: the field of `Curve` on the y axis. Points where a field is not a number are not drawn.
            thresholds: (k,) thresholds to draw, 0..1; default: all at which the figures change.
        """
        style = _LINES[self.number % len(_LINES)]
        marker = _MARKERS[self.number % len(_MARKERS)]
        line: dict[str, Any] = {"color": self.colour, "linestyle": style, "linewidth": 1.8}
        point: dict[str, Any] = {"color": self.colour, "marker": marker, "markersize": 7, "markeredgecolor": "black"}
        xy = attrgetter(x, y)
        axes.plot(*xy(self.of_type.curve(self.cuts if thresholds is None else thresholds)), **line)
        axes.plot(*xy(self.of_type.curve([self.threshold])), **point, linestyle="none", zorder=3)
        # one entry in the legend for both the line and the marker
        axes.plot([], [], **line | point, label=self.label + ("" if self.of_type.objects else " (no objects)"))


def panels_of(
    results: Shown, object_type: ObjectType | None, thresholds: Thresholds | None
) -> list[tuple[str, list[Line]]]:
    """Divide results into panels.

    Args:
        results: one model, or several.
        object_type: only this type; None: all types that were evaluated.
        thresholds: operating points by type. Types without an entry, and None, use the thresholds of each result's
            options.

    Returns:
        The title and the lines of each panel. One model has one panel with all types. Several models have one panel for
        each type.
    """
    models = [("", results)] if isinstance(results, EvaluationResult) else list(results)
    types = [each for each in ObjectType if any(each in result.types for _, result in models)]
    types = [each for each in types if object_type in (None, each)]

    def line(label: str, result: EvaluationResult, of: ObjectType, number: int) -> Line:
        return Line(label, result[of], (thresholds or {}).get(of, result.options.threshold(of)), number)

    if isinstance(results, EvaluationResult):
        return [("", [line(each.words, results, each, each.number) for each in types])]
    panels = [
        (each.words, [line(name, result, each, n) for n, (name, result) in enumerate(models) if each in result.types])
        for each in types
    ]
    return panels or [("", [])]


def grid(
    results: Shown, object_type: ObjectType | None, thresholds: Thresholds | None
) -> tuple[Figure, Iterator[tuple[Axes, list[Line]]]]:
    """Make a figure with axes for each panel, two panels side by side.

    Args:
        results: one model, or several.
        object_type: only this type; None: all types that were evaluated.
        thresholds: operating points by type, as in `panels_of`.

    Returns:
        The figure, and the axes and lines of each panel.
    """
    panels = panels_of(results, object_type, thresholds)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = new_figure(3.9 * rows, width_in() if columns == 1 else 1.4 * width_in())
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells[len(panels) :]:
        axes.remove()
    for axes, (title, _) in zip(cells, panels, strict=False):
        axes.set_title(title)
        axes.grid(visible=True, alpha=0.3)
    return figure, zip(cells, (lines for _, lines in panels), strict=False)


def set_width(inches: float) -> None:
    """Set the width of figures, for example so that they fill the page of a notebook. Print needs 5.6, the default.

    Args:
        inches: 2 or more.

    Raises:
        ValueError: it is less.
    """
    if inches < 2:
        raise ValueError(f"the width is {inches} inches, but must be 2 or more")
    _page["width"] = inches


def width_in() -> float:
    """The width of figures in inches."""
    return _page["width"]


def new_figure(height: float, width: float | None = None) -> Figure:
    """Make an empty figure.

    Args:
        height: in inches.
        width: in inches; default: `width_in()`.

    Returns:
        A figure without axes, which arranges them without overlaps.
    """
    return Figure(figsize=(width_in() if width is None else width, height), dpi=_DPI, layout="constrained")


def point_style(object_type: ObjectType) -> dict[str, Any]:
    """Return matplotlib's keywords for the single points of an object type."""
    return {
        "color": colour(object_type),
        "marker": _MARKERS[object_type.number],
        "markeredgecolor": "black",
        "linestyle": "none",
    }


def arms(rows: Sequence[Interval]) -> NDArray[np.float64]:
    """Convert intervals to the lengths of error bars.

    Args:
        rows: n intervals.

    Returns:
        (2, n): from each value down to `low`, and up to `high`.
    """
    lengths = [(row.value - row.low, row.high - row.value) for row in rows]
    return np.array(lengths, float).reshape(-1, 2).T.clip(0, None)


def plain_numbers(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis with plain numbers, for example 0.1."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend(axes: Axes) -> None:
    """Add a legend if there is anything to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", framealpha=0.8)
