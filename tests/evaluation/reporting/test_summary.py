"""Figures and sentences of one model and type, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.metrics.statistics import Interval, IntervalMethod
from anonymizer.evaluation.reporting.summary import percent, summarise
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.found import Picture, evaluate_pictures

FACE, PLATE, PERSON = ObjectType.FACE, ObjectType.LICENSE_PLATE, ObjectType.PERSON
SMALL, LARGE, ELSEWHERE = (10, 10, 30, 40), (40, 0, 140, 98), (150, 50, 170, 80)
#: overlaps the small face by more than half of both, and leaves more than a tenth of it bare
LOOSE = (10, 10, 24, 40)


def faces(*found: tuple[float, ...]) -> Picture:
    return {FACE: ([SMALL, LARGE], found)}


def test_figures_are_those_counted_by_hand(tmp_path: Path) -> None:
    pictures = [
        faces((*SMALL, 0.9), (*LARGE, 0.8)),
        faces((*LOOSE, 0.9), (*LARGE, 0.8), (*ELSEWHERE, 0.7)),
        faces((*SMALL, 0.4), (*ELSEWHERE, 0.6)),
        {FACE: ([], [])},
    ]
    (face,) = summarise(evaluate_pictures(tmp_path, pictures, name="fakes"))
    assert (face.model, face.key, face.object_type, face.threshold) == ("fakes", "fakes@1", FACE, 0.5)
    assert (face.pictures, face.objects, face.missed, face.leaks, face.wrong) == (4, 6, 2, 3, 2)
    assert (face.recall.value, face.leak_rate.value, face.false_blurs.value) == (pytest.approx(4 / 6), 0.5, 0.5)
    assert face.over_redaction.value == pytest.approx(2 * 20 * 30 / (4 * 200 * 100))
    of_size = [(each.words, each.objects, each.missed, each.leaks) for each in face.sizes]
    assert of_size == [("16 to 32 px", 3, 1, 2), ("96 px and more", 3, 1, 1)]
    assert [each.recall.value for each in face.sizes] == pytest.approx([2 / 3, 2 / 3])
    # three objects are too few to call a size the worst
    assert face.worst is None
    missed = Interval(1 / 3, 1 - face.recall.high, 1 - face.recall.low, IntervalMethod.EXACT)
    assert face.sentences[:2] == [
        f"2 of 6 faces are missed: {percent(missed)}.",
        f"3 leak: {percent(face.leak_rate)}.",
    ]
    assert face.sentences[2].startswith("2 false blurs in 4 pictures: 0.50 a picture (")


def test_the_worst_size_is_the_one_that_leaks_most_where_there_are_enough(tmp_path: Path) -> None:
    pictures = [faces((*LARGE, 0.9), *([(*SMALL, 0.9)] if number < 9 else [])) for number in range(10)]
    (face,) = summarise(evaluate_pictures(tmp_path, pictures))
    assert face.worst is not None
    assert face.worst.words == "16 to 32 px"
    assert face.sentences[0].startswith("1 of 20 faces is missed: 5.0% (")
    assert face.sentences[1].startswith("1 leaks: 5.0% (")
    assert face.sentences[-1] == (
        "The worst group: of 10 faces of 16 to 32 px on the shorter side, 1 is missed and 1 leaks."
    )


def test_nothing_is_said_of_misses_where_nothing_is_labelled(tmp_path: Path) -> None:
    (plate,) = summarise(evaluate_pictures(tmp_path, [{PLATE: ([], [(*SMALL, 0.9)])}]))
    assert (plate.objects, plate.missed, plate.wrong, plate.sizes) == (0, 0, 1, ())
    assert np.isnan([plate.recall.value, plate.ap50.value, plate.leak_rate.low]).all()
    first, second = plate.sentences
    assert first == "No license plates are labelled in these pictures, so misses cannot be counted."
    assert second.startswith("1 false blur in 1 picture: 1.00 a picture (")


def test_there_is_one_for_each_type(tmp_path: Path) -> None:
    made = evaluate_pictures(tmp_path, [{FACE: ([SMALL], []), PERSON: ([LARGE], [(*LARGE, 0.9)])}])
    assert [(each.object_type, each.missed) for each in summarise(made)] == [(FACE, 1), (PERSON, 0)]
