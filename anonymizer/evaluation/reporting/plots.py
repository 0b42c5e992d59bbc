"""Figures of evaluation results, for notebooks, reports and print at a width of 100 mm.

Every object type has its own colour, line style and marker, so that figures can be printed in grey. If several models
are shown, each type has its own panel, and each model has its own line style and marker.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

from anonymizer.evaluation.metrics.comparison import Comparison
from anonymizer.evaluation.metrics.confidence_bands import confidence_bands
from anonymizer.evaluation.metrics.confusion import ConfusionMatrix
from anonymizer.evaluation.metrics.matching import SIZES
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.reporting.error_cases import ErrorCase, thumbnails
from anonymizer.evaluation.reporting.plot_panels import (
    Shown,
    Thresholds,
    arms,
    colour,
    grid,
    legend,
    new_figure,
    panels_of,
    plain_numbers,
    point_style,
    set_width,
    width_in,
)
from anonymizer.evaluation.thresholds.choose import ThresholdChoices, size_words
from anonymizer.pipeline.detections import ObjectType

__all__ = [
    "by_size",
    "by_threshold",
    "colour",
    "comparison",
    "confusion",
    "cost",
    "gallery",
    "precision_recall",
    "score_histogram",
    "set_width",
]

#: Up to this many false blurs a picture an axis is linear. So 0 has a place on it.
_LINEAR = 0.1
_RECALL, _LEAKS, _BLURS = "Recall", "Leak rate", "False blurs a picture"


def precision_recall(
    results: Shown, object_type: ObjectType | None = None, *, thresholds: Thresholds | None = None
) -> Figure:
    """Plot precision against recall at all thresholds, with a marker at the operating point of each type.

    Args:
        results: the result of one model, or several results with the names to show.
        object_type: only this type; default: all types that were evaluated.
        thresholds: operating points, 0..1, by type; default: the thresholds of each result's options.

    Returns:
        The figure. A notebook shows it if it is the last line of a cell.
    """
    figure, panels = grid(results, object_type, thresholds)
    for axes, lines in panels:
        for line in lines:
            line.draw(axes, "recall", "precision")
        axes.set(xlabel="Recall: share of the objects detected", ylabel="Precision: share that are objects")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
        legend(axes)
    return figure


def cost(
    results: Shown,
    choices: ThresholdChoices | None = None,
    object_type: ObjectType | None = None,
    *,
    thresholds: Thresholds | None = None,
) -> Figure:
    """Plot recall against false blurs a picture, with 95% intervals at the operating points.

    Args:
        results: the result of one model, or several results with the names to show.
        choices: chosen thresholds as operating points; default: none, so `thresholds` counts.
        object_type: only this type; default: all types that were evaluated.
        thresholds: operating points, 0..1, by type; default: the thresholds of each result's options.
    """
    if choices is not None:
        thresholds = {of: choices[of].threshold for of in choices.rows}
    figure, panels = grid(results, object_type, thresholds)
    for axes, lines in panels:
        for line in lines:
            line.draw(axes, "false_blurs", "recall")
            recall, wrong = line.of_type.recall(line.threshold), line.of_type.false_blurs(line.threshold)
            at = [wrong.value], [recall.value]
            axes.errorbar(*at, arms([recall]), arms([wrong]), fmt="none", color=line.colour, capsize=3)
        axes.set(xlabel=_BLURS, ylabel="Recall: share of the objects detected", ylim=(-0.02, 1.05))
        axes.set_xscale("symlog", linthresh=_LINEAR, linscale=0.5)
        plain_numbers(axes.xaxis)
        axes.set_xlim(left=-_LINEAR / 10)
        legend(axes)
    return figure


def by_threshold(
    results: Shown, object_type: ObjectType | None = None, *, thresholds: Thresholds | None = None
) -> Figure:
    """Plot recall, leak rate and false blurs a picture against the threshold, with 95% bootstrap bands.

    Several models get one column for each type. For print, choose one `object_type`.

    Args:
        results: the result of one model, or several results with the names to show.
        object_type: only this type; default: all types that were evaluated.
        thresholds: operating points, 0..1, by type; default: the thresholds of each result's options.
    """
    panels = panels_of(results, object_type, thresholds)
    figure = new_figure(6.4, max(width_in(), 3 * len(panels)))
    columns = figure.subplots(3, len(panels), squeeze=False, sharex=True, sharey="row").T
    at = np.linspace(0, 1, 101)
    for cells, (title, lines) in zip(columns, panels, strict=True):
        for line in lines:
            # every second threshold, because intervals take most of the time
            band = confidence_bands(line.of_type, at[::2])
            for axes, name in zip(cells, ("recall", "leak_rate", "false_blurs"), strict=True):
                line.draw(axes, "thresholds", name, at)
                axes.fill_between(at[::2], *getattr(band, name), color=line.colour, alpha=0.15, linewidth=0)
        cells[0].set(title=title, ylim=(-0.02, 1.05))
        cells[1].set(ylim=(-0.02, 1.05))
        cells[2].set_yscale("symlog", linthresh=_LINEAR, linscale=0.5)
        plain_numbers(cells[2].yaxis)
        cells[2].set(xlabel="Threshold", xlim=(0, 1))
        cells[2].set_ylim(bottom=-_LINEAR / 10)
        for axes in cells:
            axes.grid(visible=True, alpha=0.3)
        legend(cells[0])
    for axes, name in zip(columns[0], (_RECALL, _LEAKS, _BLURS.replace("blurs ", "blurs\n")), strict=True):
        axes.set_ylabel(name)
    return figure


def by_size(
    result: EvaluationResult, object_type: ObjectType | None = None, *, thresholds: Thresholds | None = None
) -> Figure:
    """Plot recall and leak rate by object size, with 95% intervals, and the number of objects of each size.

    Args:
        result: the result of one model.
        object_type: only this type; default: all types that were evaluated.
        thresholds: operating points, 0..1, by type; default: the thresholds of the result's options.
    """
    ((_, lines),) = panels_of(result, object_type, thresholds)
    figure = new_figure(6.2)
    recall, leaks, counts = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    width, most = 0.8 / max(len(lines), 1), 1
    for number, line in enumerate(lines):
        counts_by_size = line.of_type.size_counts()
        positions = np.array(list(counts_by_size), float) + (number - (len(lines) - 1) / 2) * width
        for axes, measure in ((recall, line.of_type.recall), (leaks, line.of_type.leak_rate)):
            rows = [measure(line.threshold, size=size) for size in counts_by_size]
            values = [row.value for row in rows]
            axes.errorbar(
                positions, values, yerr=arms(rows), capsize=3, label=line.label, **point_style(line.object_type)
            )
        bars = counts.bar(positions, list(counts_by_size.values()), width * 0.9, color=line.colour, edgecolor="black")
        counts.bar_label(bars, fontsize=8, padding=1)
        most = max([most, *counts_by_size.values()])
    for axes, name in ((recall, _RECALL), (leaks, _LEAKS), (counts, "Objects")):
        axes.set(ylabel=name, ylim=(-0.04, 1.06))
        axes.grid(visible=True, axis="y", alpha=0.3)
    counts.set(yscale="log", ylim=(0.7, most * 6), xlabel="Shorter side of the object", xlim=(-0.5, len(SIZES) - 0.5))
    plain_numbers(counts.yaxis)
    counts.set_xticks(range(len(SIZES)), [size_words(size) for size in range(len(SIZES))])
    if lines:
        figure.legend(*recall.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize="small")
    return figure


def score_histogram(result: EvaluationResult, object_type: ObjectType, *, threshold: float | None = None) -> Figure:
    """Plot the scores of correct and of false detections, and the threshold from which on detections are redacted.

    Args:
        result: the result of one model.
        object_type: the type to show.
        threshold: the operating point, 0..1; default: the threshold of the result's options.
    """
    of_type = result[object_type]
    at = result.options.threshold(object_type) if threshold is None else threshold
    figure = new_figure(3.6)
    axes = figure.subplots()
    edges = np.linspace(0, 1, 41).tolist()
    hits, wrong = of_type.scores[of_type.hit], of_type.scores[~of_type.hit]
    most = max(1, *np.histogram(hits, edges)[0], *np.histogram(wrong, edges)[0])
    axes.hist(hits, edges, color=colour(object_type), edgecolor="black", linewidth=0.5, label=f"{len(hits)} objects")
    label = f"{len(wrong)} false detections"
    axes.hist(wrong, edges, histtype="step", color="black", linewidth=1.2, hatch="////", label=label)
    axes.axvline(at, color="black", linestyle="--", label=f"threshold {at:.2f}")
    undetected = int((of_type.match_score < 0).sum())
    axes.set(xlabel="Score", ylabel="Detections", xlim=(0, 1), ylim=(0.7, most * 1.5))
    axes.set_yscale("log")
    words = object_type.words.capitalize()
    axes.set_title(f"{words}: {undetected} of {of_type.objects} objects are detected at no threshold", fontsize=10)
    plain_numbers(axes.yaxis)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return figure


def gallery(error_cases: Sequence[ErrorCase], title: str = "", *, columns: int = 4) -> Figure:
    """Show thumbnails of error cases with the name of the file and a caption under each.

    A picture that cannot be read is left out. The title says how many there are.

    Args:
        error_cases: the cases to show.
        title: the title of the figure; default: none.
        columns: thumbnails side by side; default: 4, which is the most that can be read in print.
    """
    views = thumbnails(error_cases)
    unread = len({case.path for case, view in zip(error_cases, views, strict=True) if view is None})
    shown = [(case, view) for case, view in zip(error_cases, views, strict=True) if view is not None]
    rows = max(-(-len(shown) // columns), 1)
    figure = new_figure(rows * (width_in() / columns + 0.6) + 0.4)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, (case, view) in zip(cells, shown, strict=False):
        axes.imshow(view)
        axes.set_xlabel(textwrap.fill(case.caption, round(16.5 * width_in()) // columns), fontsize=8)
    left_out = f"{unread} {'picture' if unread == 1 else 'pictures'} could not be read" if unread else ""
    nothing = "" if error_cases else "there is nothing to show"
    figure.suptitle("; ".join(filter(None, [title, left_out, nothing])), fontsize=10)
    return figure


def confusion(matrix: ConfusionMatrix) -> Figure:
    """Plot a confusion matrix: counts, coloured by their share of the row.

    Args:
        matrix: what `confusion_matrix` returned.
    """
    names = [each.words for each in matrix.types]
    figure = new_figure(0.7 * len(names) + 2)
    axes = figure.subplots()
    shares = np.nan_to_num(matrix.shares)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(shares.shape):
        # what is neither labelled nor detected cannot be counted
        nothing = row == column == len(names)
        share = "" if np.isnan(matrix.shares[row, column]) else f"\n{shares[row, column]:.0%}"
        text = "" if nothing else f"{matrix.counts[row, column]}{share if row < len(names) else ''}"
        axes.text(column, row, text, ha="center", va="center", color="white" if shares[row, column] > 0.6 else "black")
    axes.set_xticks(range(len(names) + 1), [*names, "nothing\n(missed)"])
    axes.set_yticks(range(len(names) + 1), [*names, "nothing\n(false detection)"])
    axes.set(xlabel="Detected as", ylabel="Labelled as")
    return figure


def comparison(comparisons: Iterable[Comparison]) -> Figure:
    """Plot the difference of recall between two models for each type, with 95% intervals.

    Args:
        comparisons: what `compare` returned. A positive difference means that the second model detects more.
    """
    rows = list(comparisons)
    figure = new_figure(0.6 * max(len(rows), 1) + 1)
    axes = figure.subplots()
    for position, row in enumerate(rows):
        axes.errorbar(
            [100 * row.difference.value],
            [position],
            xerr=100 * arms([row.difference]),
            capsize=4,
            **point_style(row.object_type),
        )
    axes.axvline(0, color="black", linewidth=1)
    words = [row.object_type.words + ("" if row.objects else " (no objects)") for row in rows]
    labels = [f"{word}\n{row.names[1]}\nminus {row.names[0]}" for word, row in zip(words, rows, strict=True)]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.set(xlabel="Difference of recall in percentage points", ylim=(max(len(rows), 1) - 0.5, -0.5))
    axes.grid(visible=True, axis="x", alpha=0.3)
    return figure
