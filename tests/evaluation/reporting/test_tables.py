"""Several models on one set: tables and JSON say what was computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anonymizer.evaluation.datasets.issues import ProblemKind
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.reporting.tables import EvaluationReport, summary_table
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.found import evaluate_pictures

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
BOX, ELSEWHERE = (10, 10, 30, 40), (100, 50, 120, 80)


def judged(folder: Path, name: str, hits: int, **given: object) -> EvaluationResult:
    """Ten pictures with a face each, of which so many are found; plates are labelled in two, and there is none."""
    pictures = [
        {FACE: ([BOX], [(*BOX, 0.9)] * (number < hits)), **({PLATE: ([], [])} if number < 2 else {})}
        for number in range(10)
    ]
    return evaluate_pictures(folder, pictures, name=name, **given)


def test_the_table_has_a_row_for_each_model_and_type(tmp_path: Path) -> None:
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in summary_table([judged(tmp_path, "a", 8), judged(tmp_path, "b", 5)]).splitlines()
    ]
    assert header[:5] == ["models", "type", "pictures", "objects", "threshold"]
    assert [row[:5] for row in rows] == [
        ["a", "face", "10", "10", "0.50"],
        ["a", "license-plate", "2", "0", "0.50"],
        ["b", "face", "10", "10", "0.50"],
        ["b", "license-plate", "2", "0", "0.50"],
    ]
    recall = header.index("recall")
    assert [row[recall].split()[0] for row in rows] == ["0.800", "-", "0.500", "-"]


def test_json_has_every_figure_and_none_where_there_is_none(tmp_path: Path) -> None:
    results = EvaluationReport.of([judged(tmp_path, "a", 8), judged(tmp_path, "b", 5)], targets=[0.5])
    read = json.loads(json.dumps(results.to_dict(), allow_nan=False))
    assert read["set"] == {"name": "drawn", "pictures": 10, "problems": []}
    face, plate = (read["models"][0]["types"][each] for each in ("face", "license-plate"))
    assert (face["objects"], face["missed"], face["recall"]["value"]) == (10, 2, 0.8)
    assert face["sizes"][0]["words"] == "16 to 32 px"
    assert plate["recall"] == {"value": None, "low": None, "high": None, "method": "none"}
    assert [(row["model"], row["object_type"], row["verdict"]) for row in read["thresholds"]] == [
        ("a", "face", "too few objects"),
        ("a", "license-plate", "no objects"),
        ("b", "face", "too few objects"),
        ("b", "license-plate", "no objects"),
    ]
    compared = read["comparisons"][0]
    assert (compared["names"], compared["only_first"], compared["only_second"]) == (["a", "b"], 3, 0)
    assert compared["difference"]["value"] == pytest.approx(-0.3)


def test_the_first_is_compared_with_the_others_where_they_are_not_the_same(tmp_path: Path) -> None:
    first, second, third = (judged(tmp_path, name, 5) for name in "abc")
    results = EvaluationReport.of([first, second, third])
    assert {each.names for each in results.comparisons} == {("a", "b"), ("a", "c")}
    assert EvaluationReport.of([first, second], comparisons=False).comparisons == ()
    same = judged(tmp_path, "a", 5)
    object.__setattr__(same, "name", "the same again")
    assert EvaluationReport.of([first, same]).comparisons == ()


def test_problems_of_several_models_are_told_once(tmp_path: Path) -> None:
    made = [judged(tmp_path, name, 5) for name in "ab"]
    for each in made:
        each.problems.add(ProblemKind.PICTURE_BROKEN, "9.png", "it cannot be read")
    made[1].problems.add(ProblemKind.BOX_EMPTY, "8.png", "the box has no area")
    assert EvaluationReport.of(made).problems.counts() == {ProblemKind.PICTURE_BROKEN: 1, ProblemKind.BOX_EMPTY: 1}


def test_models_need_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold one or more"):
        EvaluationReport.of([])
    with pytest.raises(ValueError, match=r"\['a', 'a'\].*each with its own name"):
        EvaluationReport.of([judged(tmp_path, "a", 5), judged(tmp_path, "a", 5)])


def test_a_notebook_shows_a_table_with_intervals(tmp_path: Path) -> None:
    report = EvaluationReport.of([judged(tmp_path, "a", 8), judged(tmp_path, "b", 5)], targets=[0.5])
    assert repr(report) == "EvaluationReport(10 images, models: a, b, types: face, license-plate)"
    html = report._repr_html_()
    assert html.count("<tr>") == 1 + 4 and "0.800 (" in html
    assert all(len(repr(summary)) < 500 for summary in report.summaries)
    assert repr(report.summaries[0]).startswith("Summary('a', face, threshold 0.500: 2 of 10 objects missed, ")
