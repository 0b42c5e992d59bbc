"""Figures of tracks: what is drawn where, and what the axes say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from anonymizer.evaluation.datasets.tracks import LabelledTracks
from anonymizer.evaluation.reporting.plot_panels import colour
from anonymizer.evaluation.reporting.track_plots import dropout_plot, objects_over_time, timeline
from anonymizer.evaluation.video.dropout_test import DropoutCounts
from anonymizer.evaluation.video.mask_leaks import video_leaks
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.tracked import FACE, PERSON, track, tracks

TENTHS = np.arange(10) / 10
SOLID, HATCHED, BLACK = "solid", "hatched", "black"


def drawn(figure: Figure) -> Axes:
    """The only axes of a figure; drawing it is what would warn."""
    figure.savefig(io.BytesIO(), format="png")
    (axes,) = figure.axes
    return axes


def bars(axes: Axes) -> dict[tuple[int, str], list[tuple[float, float]]]:
    """Starts and ends by row and kind, in tenths of a second."""
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for each in axes.collections:
        assert isinstance(each, PolyCollection)
        for path in each.get_paths():
            (x1, y1), (x2, _) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            black = to_rgb(each.get_facecolor()[0]) == (0, 0, 0)
            kind = BLACK if black else HATCHED if each.get_hatch() else SOLID
            row = int(np.floor(y1 + 0.5))
            found.setdefault((row, kind), []).append((round(10 * x1, 3), round(10 * x2, 3)))
    return found


def names(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


class TestTimeline:
    def test_seen_filled_and_uncovered(self) -> None:
        truth = tracks(
            track(range(2, 9), filled=[2, 5, 6]), track([4, 7], FACE, id=2, box=(40, 5, 50, 15)), times_s=TENTHS
        )
        masks = [(number, np.full((40, 60), number not in (3, 4, 8))) for number in range(10)]
        figure = timeline(truth, video_leaks(truth, masks))
        axes = drawn(figure)
        assert names(axes) == ["face 2", "person 1"]
        assert bars(axes) == {
            (0, SOLID): [(4, 5), (7, 8)],
            (0, BLACK): [(4, 5)],
            (1, SOLID): [(3, 5), (7, 9)],
            (1, HATCHED): [(2, 3), (5, 7)],
            (1, BLACK): [(3, 5), (8, 9)],
        }
        assert legend(figure) == ["face", "person", "filled by the tracker", "uncovered"]
        assert axes.get_xlabel() == "Time (s)" and axes.get_xlim() == (0, pytest.approx(1))

    def test_each_type_has_its_colour(self) -> None:
        truth = tracks(*(track([0], each, id=n) for n, each in enumerate(ObjectType)), times_s=TENTHS)
        colours = {
            tuple(np.round(each.get_facecolor()[0][:3], 3))
            for each in drawn(timeline(truth)).collections
            if len(each.get_paths())
        }
        assert colours == {tuple(np.round(colour(each), 3)) for each in ObjectType}

    def test_times_are_those_of_the_frames(self) -> None:
        axes = drawn(timeline(tracks(track([0, 1, 3]), times_s=[0, 0.5, 0.6, 0.9])))
        assert bars(axes) == {(0, SOLID): [(0, 6), (9, 12)]}

    def test_what_belongs_to_no_track_shares_a_row(self) -> None:
        loose = [track([number], id=-number - 1) for number in (0, 1, 2, 6)]
        axes = drawn(timeline(tracks(*loose, times_s=TENTHS)))
        assert names(axes) == ["person, no track"] and bars(axes) == {(0, SOLID): [(0, 3), (6, 7)]}

    @pytest.mark.parametrize(("rows", "named"), [(34, 34), (35, 18), (300, 34)])
    def test_many_tracks_stay_readable(self, rows: int, named: int) -> None:
        figure = timeline(tracks(*(track([0], id=n) for n in range(rows)), times_s=TENTHS))
        assert len(names(drawn(figure))) == named and figure.get_size_inches()[1] <= 9

    def test_times_have_to_be_known(self) -> None:
        with pytest.raises(ValueError, match="times_s has 0 times, but the tracks have 3 frames"):
            timeline(tracks(track(range(3))))


class TestOverTime:
    def test_how_many_there_are_of_each_type(self) -> None:
        truth = tracks(track(range(2, 6)), track(range(4, 8), id=2), track(range(1), FACE, id=3), times_s=TENTHS)
        figure = objects_over_time(truth)
        figure.savefig(io.BytesIO(), format="png")
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["face", "person"]
        steps = [axes.patches[0].get_data() for axes in figure.axes]
        assert steps[0].values.tolist() == [1, *[0] * 9]
        assert steps[1].values.tolist() == [0, 0, 1, 1, 2, 2, 1, 1, 0, 0]
        assert steps[1].edges.tolist() == pytest.approx(np.arange(11) / 10)
        assert to_rgb(figure.axes[1].patches[0].get_facecolor()) == pytest.approx(colour(PERSON))
        assert figure.axes[1].get_xlabel() == "Time (s)" and figure.get_supylabel() == "Objects in the frame"


class TestDropoutPlot:
    def test_both_lines(self) -> None:
        counts = {
            0.0: DropoutCounts(objects=200),
            0.1: DropoutCounts(objects=200, uncovered_without=20, uncovered_with=1),
            0.3: DropoutCounts(objects=200, uncovered_without=66, uncovered_with=6),
        }
        axes = drawn(dropout_plot(counts))
        without, tracked = axes.lines
        assert without.get_xydata().tolist() == [[0, 0], [10, pytest.approx(10)], [30, pytest.approx(33)]]
        assert tracked.get_xydata().tolist() == [[0, 0], [10, 0.5], [30, 3]]
        assert without.get_linestyle() != tracked.get_linestyle() and without.get_marker() != tracked.get_marker()
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["without tracking", "with tracking"]
        assert [text.get_text() for text in axes.texts] == ["0.0", "10.0", "0.5", "33.0", "3.0"]
        assert axes.get_xlabel().endswith("(%)") and axes.get_ylabel().endswith("(%)")


@pytest.mark.parametrize("times_s", [(), TENTHS])
def test_without_objects_figures_say_so(times_s: np.ndarray) -> None:
    empty = tracks(times_s=times_s)
    for figure in (timeline(empty), objects_over_time(empty), dropout_plot({0.1: DropoutCounts()})):
        assert [text.get_text() for text in drawn(figure).texts][-1] == "no objects"
        assert legend(figure) == []


def test_a_video_of_one_frame() -> None:
    one: LabelledTracks = tracks(track([0]), times_s=[0])
    assert bars(drawn(timeline(one))) == {(0, SOLID): [(0, 0)]}
    drawn(objects_over_time(one))
