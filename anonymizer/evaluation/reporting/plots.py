"""Figures of what was found: for notebooks, reports and print at 100 mm width.

Every type has one colour everywhere, and a line style and a marker for print in grey. Where several models are shown,
each type has a panel, and each model a line style and a marker.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

from anonymizer.evaluation.metrics.comparison import Comparison
from anonymizer.evaluation.metrics.confidence_bands import bands
from anonymizer.evaluation.metrics.matching import SIZES
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.reporting.error_cases import ErrorCase, thumbnails
from anonymizer.evaluation.reporting.plot_parts import (
    WIDTH,
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
)
from anonymizer.evaluation.thresholds.choose import Choices, size_words
from anonymizer.pipeline.detections import ObjectType

__all__ = [
    "by_size",
    "by_threshold",
    "colour",
    "comparison",
    "cost",
    "gallery",
    "precision_recall",
    "score_histogram",
]

#: false blurs a picture up to which an axis is linear, so that none at all has a place on it
_LINEAR = 0.1
_RECALL, _LEAKS, _BLURS = "Recall", "Leak rate", "False blurs a picture"


def precision_recall(
    findings: Shown, object_type: ObjectType | None = None, *, thresholds: Thresholds | None = None
) -> Figure:
    """Precision against recall at all thresholds, with a marker at the operating point of each type.

    Args:
        object_type: only this one; all that were judged without.
        thresholds: operating points by type; those of the findings' options without.
    """
    figure, panels = grid(findings, object_type, thresholds)
    for axes, lines in panels:
        for line in lines:
            line.draw(axes, "recall", "precision")
        axes.set(xlabel="Recall: share of the objects found", ylabel="Precision: share that are objects")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
        legend(axes)
    return figure


def cost(
    findings: Shown,
    choices: Choices | None = None,
    object_type: ObjectType | None = None,
    *,
    thresholds: Thresholds | None = None,
) -> Figure:
    """What finding more costs: recall against false blurs a picture, with 95 % intervals at the operating points.

    Args:
        choices: operating points, where they were chosen.
        thresholds: operating points by type; those of the findings' options without.
    """
    if choices is not None:
        thresholds = {each: choices[each].threshold for each in choices.rows}
    figure, panels = grid(findings, object_type, thresholds)
    for axes, lines in panels:
        for line in lines:
            line.draw(axes, "false_blurs", "recall")
            recall, wrong = line.found.recall(line.threshold), line.found.false_blurs(line.threshold)
            at = [wrong.value], [recall.value]
            axes.errorbar(*at, arms([recall]), arms([wrong]), fmt="none", color=line.colour, capsize=3)
        axes.set(xlabel=_BLURS, ylabel="Recall: share of the objects found", ylim=(-0.02, 1.05))
        axes.set_xscale("symlog", linthresh=_LINEAR, linscale=0.5)
        plain_numbers(axes.xaxis)
        axes.set_xlim(left=-_LINEAR / 10)
        legend(axes)
    return figure


def by_threshold(
    findings: Shown, object_type: ObjectType | None = None, *, thresholds: Thresholds | None = None
) -> Figure:
    """Recall, leak rate and false blurs a picture against the threshold, with 95 % bands from drawing pictures again.

    Several models get a column for each type: name a type where it is to be printed small.
    """
    panels = panels_of(findings, object_type, thresholds)
    figure = new_figure(6.4, max(WIDTH, 3 * len(panels)))
    columns = figure.subplots(3, len(panels), squeeze=False, sharex=True, sharey="row").T
    at = np.linspace(0, 1, 101)
    for cells, (title, lines) in zip(columns, panels, strict=True):
        for line in lines:
            # every other one: intervals are what takes the time
            sure = bands(line.found, at[::2])
            for axes, name in zip(cells, ("recall", "leak_rate", "false_blurs"), strict=True):
                line.draw(axes, "thresholds", name, at)
                axes.fill_between(at[::2], *getattr(sure, name), color=line.colour, alpha=0.15, linewidth=0)
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
    findings: EvaluationResult, object_type: ObjectType | None = None, *, thresholds: Thresholds | None = None
) -> Figure:
    """Recall and leak rate of small and large objects, with 95 % intervals, and how many objects there are of each."""
    ((_, lines),) = panels_of(findings, object_type, thresholds)
    figure = new_figure(6.2)
    recall, leaks, counts = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    width, most = 0.8 / max(len(lines), 1), 1
    for number, line in enumerate(lines):
        of_size = line.found.size_counts()
        places = np.array(list(of_size), float) + (number - (len(lines) - 1) / 2) * width
        for axes, measure in ((recall, line.found.recall), (leaks, line.found.leak_rate)):
            rows = [measure(line.threshold, size=size) for size in of_size]
            values = [row.value for row in rows]
            axes.errorbar(places, values, yerr=arms(rows), capsize=3, label=line.label, **point_style(line.object_type))
        bars = counts.bar(places, list(of_size.values()), width * 0.9, color=line.colour, edgecolor="black")
        counts.bar_label(bars, fontsize=8, padding=1)
        most = max([most, *of_size.values()])
    for axes, name in ((recall, _RECALL), (leaks, _LEAKS), (counts, "Objects")):
        axes.set(ylabel=name, ylim=(-0.04, 1.06))
        axes.grid(visible=True, axis="y", alpha=0.3)
    counts.set(yscale="log", ylim=(0.7, most * 6), xlabel="Shorter side of the object", xlim=(-0.5, len(SIZES) - 0.5))
    plain_numbers(counts.yaxis)
    counts.set_xticks(range(len(SIZES)), [size_words(size) for size in range(len(SIZES))])
    if lines:
        figure.legend(*recall.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize="small")
    return figure


def score_histogram(findings: EvaluationResult, object_type: ObjectType, *, threshold: float | None = None) -> Figure:
    """Scores of what is an object and of what is none, and the threshold from which on things are redacted."""
    found = findings[object_type]
    at = findings.options.threshold(object_type) if threshold is None else threshold
    figure = new_figure(3.6)
    axes = figure.subplots()
    edges = np.linspace(0, 1, 41).tolist()
    hits, wrong = found.scores[found.hit], found.scores[~found.hit]
    most = max(1, *np.histogram(hits, edges)[0], *np.histogram(wrong, edges)[0])
    axes.hist(hits, edges, color=colour(object_type), edgecolor="black", linewidth=0.5, label=f"{len(hits)} objects")
    label = f"{len(wrong)} false detections"
    axes.hist(wrong, edges, histtype="step", color="black", linewidth=1.2, hatch="////", label=label)
    axes.axvline(at, color="black", linestyle="--", label=f"threshold {at:.2f}")
    unseen = int((found.match_score < 0).sum())
    axes.set(xlabel="Score", ylabel="Detections", xlim=(0, 1), ylim=(0.7, most * 1.5))
    axes.set_yscale("log")
    words = object_type.words.capitalize()
    axes.set_title(f"{words}: {unseen} of {found.objects} objects were found at no score", fontsize=10)
    plain_numbers(axes.yaxis)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return figure


def gallery(error_cases: Sequence[ErrorCase], title: str = "", *, columns: int = 4) -> Figure:
    """Thumbnails with a line under each; a picture that cannot be read is left out and counted.

    Args:
        columns: thumbnails side by side; up to 4 can be read in print.
    """
    views = thumbnails(error_cases)
    unread = len({each.path for each, view in zip(error_cases, views, strict=True) if view is None})
    shown = [(each, view) for each, view in zip(error_cases, views, strict=True) if view is not None]
    rows = max(-(-len(shown) // columns), 1)
    figure = new_figure(rows * (WIDTH / columns + 0.4) + 0.4)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, (each, view) in zip(cells, shown, strict=False):
        axes.imshow(view)
        axes.set_xlabel(textwrap.fill(each.words, 92 // columns), fontsize=8)
    left_out = f"{unread} {'picture' if unread == 1 else 'pictures'} could not be read" if unread else ""
    nothing = "" if error_cases else "there is nothing to show"
    figure.suptitle("; ".join(filter(None, [title, left_out, nothing])), fontsize=10)
    return figure


def comparison(comparisons: Iterable[Comparison]) -> Figure:
    """How much more the second of two models finds of each type, with 95 % intervals."""
    rows = list(comparisons)
    figure = new_figure(0.6 * max(len(rows), 1) + 1)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        axes.errorbar(
            [100 * row.difference.value],
            [place],
            xerr=100 * arms([row.difference]),
            capsize=4,
            **point_style(row.object_type),
        )
    axes.axvline(0, color="black", linewidth=1)
    words = [each.object_type.words + ("" if each.objects else " (no objects)") for each in rows]
    labels = [f"{word}\n{each.names[1]}\nless {each.names[0]}" for word, each in zip(words, rows, strict=True)]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.set(xlabel="Difference of recall in percentage points", ylim=(max(len(rows), 1) - 0.5, -0.5))
    axes.grid(visible=True, axis="x", alpha=0.3)
    return figure
