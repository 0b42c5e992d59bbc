"""Figures: what is drawn where, in which colour, and what the axes say."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from anonymizer.evaluation.metrics.comparison import compare
from anonymizer.evaluation.metrics.confusion import confusion_matrix
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.reporting import plots
from anonymizer.evaluation.reporting.error_cases import false_blurs, worst_misses
from anonymizer.evaluation.thresholds.choose import choose_thresholds
from tests.evaluation.found import evaluate_pictures as found
from tests.evaluation.made import FACE, NEVER, PERSON, PLATE_TYPE, made

#: at which 2 of the 4 faces are found, and 1 of 3 detections in 3 pictures is false
AT = {FACE: 0.5}
EMPTY = "person (no objects)"


@pytest.fixture
def result(tmp_path: Path) -> EvaluationResult:
    return made(tmp_path)


def drawn(figure: Figure) -> tuple[int, int]:
    """Width and height in pixels of the figure as PNG: drawing it is what would warn."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).size


def point(axes: Axes, marker: str = "o") -> tuple[float, float]:
    """Where the operating point is that has a marker."""
    (line,) = [
        each
        for each in axes.lines
        if isinstance(each, Line2D) and each.get_marker() == marker and each.get_zorder() > 2.5
    ]
    ((x, y),) = line.get_xydata()
    return float(x), float(y)


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


FIGURES = {
    "precision_recall": plots.precision_recall,
    "cost": plots.cost,
    "by_threshold": plots.by_threshold,
    "by_size": plots.by_size,
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("only", [None, FACE, PERSON])
def test_every_axis_has_a_name(result: EvaluationResult, name: str, only: object) -> None:
    figure = FIGURES[name](result, object_type=only)  # type: ignore[operator]

    drawn(figure)
    assert all(axes.get_ylabel() for axes in figure.axes)
    assert figure.axes[-1].get_xlabel()


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_legible_where_a_figure_is_printed_100_mm_wide(result: EvaluationResult, name: str) -> None:
    figure = FIGURES[name](result)  # type: ignore[operator]
    axes = figure.axes[-1]

    points = [axes.xaxis.label.get_size(), *(text.get_size() for text in axes.get_xticklabels())]

    assert min(points) * 100 / 25.4 / figure.get_figwidth() >= 6


@pytest.mark.parametrize(("name", "where"), [("precision_recall", (2 / 4, 2 / 3)), ("cost", (1 / 3, 2 / 4))])
def test_the_operating_point_is_where_it_was_counted_by_hand(
    result: EvaluationResult, name: str, where: tuple[float, float]
) -> None:
    (axes,) = FIGURES[name](result, thresholds=AT).axes  # type: ignore[operator]

    assert point(axes) == pytest.approx(where)
    assert legend(axes) == ["face", "license plate", EMPTY]


def test_without_thresholds_it_is_at_those_of_the_options(result: EvaluationResult) -> None:
    result = replace(result, options=replace(result.options, face_threshold=0.2))

    (axes,) = plots.precision_recall(result).axes

    assert point(axes) == pytest.approx((3 / 4, 3 / 6))


def test_chosen_thresholds_are_operating_points_with_their_intervals(result: EvaluationResult) -> None:
    choices = choose_thresholds(result, 0.9)
    chosen = choices[FACE]

    (axes,) = plots.cost(result, choices, FACE).axes

    drawn(axes.figure)
    assert point(axes) == pytest.approx((chosen.false_blurs.value, chosen.recall.value))
    across, up = (bars.get_segments()[0] for bars in axes.collections)
    assert across[:, 0] == pytest.approx([chosen.false_blurs.low, chosen.false_blurs.high])
    assert up[:, 1] == pytest.approx([chosen.recall.low, chosen.recall.high])


def test_by_threshold_has_a_panel_for_each_measure(result: EvaluationResult) -> None:
    recall, leaks, wrong = plots.by_threshold(result, FACE, thresholds=AT).axes

    assert point(recall) == pytest.approx((0.5, 2 / 4))
    assert point(leaks) == pytest.approx((0.5, 2 / 4))
    assert point(wrong) == pytest.approx((0.5, 1 / 3))
    assert [len(axes.collections) for axes in (recall, leaks, wrong)] == [1, 1, 1], "a band each"


def test_a_curve_goes_from_nothing_found_to_all_that_can_be_found(result: EvaluationResult) -> None:
    (axes,) = plots.cost(result, object_type=FACE).axes
    line = axes.lines[0]

    assert line.get_xydata()[-1].tolist() == [0, 0]
    assert line.get_xydata()[0].tolist() == [3 / 3, 3 / 4]


def test_each_type_has_its_colour_and_a_line_style_of_its_own(result: EvaluationResult) -> None:
    for make in (plots.precision_recall, plots.cost, plots.by_threshold):
        curves = [
            line for line in make(result).axes[0].lines if line.get_linestyle() != "None" and len(line.get_xdata())
        ]

        assert [line.get_color() for line in curves] == [plots.colour(each) for each in (FACE, PLATE_TYPE, PERSON)]
        assert len({line.get_linestyle() for line in curves}) == 3


@pytest.mark.parametrize("make", [plots.precision_recall, plots.cost])
def test_several_models_get_a_panel_for_each_type_and_a_style_each(result: EvaluationResult, make: object) -> None:
    figure = make([("one", result), ("two", result)])  # type: ignore[operator]

    drawn(figure)
    assert [axes.get_title() for axes in figure.axes] == ["face", "license plate", "person"]
    assert legend(figure.axes[0]) == ["one", "two"]
    one, two = (line for line in figure.axes[0].lines if line.get_linestyle() != "None" and len(line.get_xdata()))
    assert one.get_color() == two.get_color() == plots.colour(FACE)
    assert one.get_linestyle() != two.get_linestyle()


def test_several_models_by_threshold_get_a_column_for_each_type(result: EvaluationResult) -> None:
    figure = plots.by_threshold([("one", result), ("two", result)])

    drawn(figure)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["face", "license plate", "person"]
    assert len(figure.axes) == 9


def test_sizes_are_counted(result: EvaluationResult) -> None:
    recall, leaks, counts = plots.by_size(result, thresholds=AT).axes

    assert [bar.get_height() for bar in counts.patches] == [4, 1]
    assert [text.get_text() for text in counts.get_xticklabels()][2] == "32 to 96 px"
    (face,) = [each for each in recall.containers if each.get_label() == "face"]
    assert face.lines[0].get_ydata().tolist() == [2 / 4]
    assert len(leaks.containers) == 3


def test_the_histogram_counts_objects_and_false_detections(result: EvaluationResult) -> None:
    figure = plots.score_histogram(result, FACE, threshold=0.25)
    (axes,) = figure.axes

    drawn(figure)
    words = {text.get_text() for text in figure.legends[0].get_texts()}
    assert words == {"3 objects", "3 false detections", "threshold 0.25"}
    assert axes.get_title() == "Face: 1 of 4 objects are detected at no threshold"
    assert sum(bar.get_height() for bar in axes.containers[0]) == 3


def test_the_histogram_of_nothing_can_be_drawn(result: EvaluationResult) -> None:
    figure = plots.score_histogram(result, PERSON)

    drawn(figure)
    assert figure.axes[0].get_title() == "Person: 0 of 0 objects are detected at no threshold"


def test_the_gallery_shows_each_error_case_with_its_words(result: EvaluationResult) -> None:
    missed = worst_misses(result, FACE, 0.5)

    figure = plots.gallery(missed, "missed")

    drawn(figure)
    shown = [axes for axes in figure.axes if axes.images]
    assert [" ".join(axes.get_xlabel().split()) for axes in shown] == [each.caption for each in missed]
    assert figure.get_suptitle() == "missed"
    assert NEVER in {tuple(each.box.astype(int)) for each in missed}


def test_the_gallery_leaves_out_and_counts_pictures_that_cannot_be_read(result: EvaluationResult) -> None:
    result.images[0].path.write_bytes(b"no picture")
    result.images[1].path.unlink()

    figure = plots.gallery(false_blurs(result, FACE, 0.1) + worst_misses(result, FACE, 0.5), "all")

    drawn(figure)
    assert figure.get_suptitle() == "all; 2 pictures could not be read"
    assert sum(bool(axes.images) for axes in figure.axes) == 2, "both of the picture that is left"


def test_an_empty_gallery_says_so() -> None:
    figure = plots.gallery([], "missed")

    drawn(figure)
    assert figure.get_suptitle() == "missed; there is nothing to show"


def test_a_comparison_is_a_dot_and_a_bar(tmp_path: Path) -> None:
    boxes = [(10.0, 10.0, 50.0, 50.0), (80.0, 10.0, 120.0, 50.0)]
    one = found(tmp_path, [{FACE: (boxes, [(*boxes[0], 0.9)])}] * 4, name="one")
    two = found(tmp_path, [{FACE: (boxes, [(*each, 0.9) for each in boxes])}] * 4, name="two")
    compared = compare(one, two, FACE)

    (axes,) = plots.comparison([compared]).axes

    drawn(axes.figure)
    assert axes.get_xlabel() == "Difference of recall in percentage points"
    assert axes.containers[0].lines[0].get_xdata().tolist() == [50]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["face\ntwo\nminus one"]


def test_a_comparison_without_objects_has_no_dot(result: EvaluationResult) -> None:
    (axes,) = plots.comparison([compare(result, result, PERSON)]).axes

    drawn(axes.figure)
    assert axes.get_yticklabels()[0].get_text().startswith(EMPTY)
    assert np.isnan(np.asarray(axes.containers[0].lines[0].get_xdata(), float)).all()


@pytest.mark.parametrize("name", FIGURES)
def test_a_set_in_which_nothing_was_judged_can_be_drawn(result: EvaluationResult, name: str) -> None:
    figure = FIGURES[name](replace(result, types={}))  # type: ignore[operator]

    drawn(figure)
    assert not figure.axes[0].get_lines()


def test_the_confusion_matrix_shows_counts_and_leaves_out_what_cannot_be_counted(result: EvaluationResult) -> None:
    matrix = confusion_matrix(result, thresholds=dict.fromkeys(result.types, 0.5))

    figure = plots.confusion(matrix)

    drawn(figure)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == (len(matrix.types) + 1) ** 2 and texts[-1] == ""
    assert texts[0] == "2\n50%"
    assert [label.get_text() for label in axes.get_xticklabels()][-1] == "nothing\n(missed)"
