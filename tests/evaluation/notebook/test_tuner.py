"""Thresholds moved by hand, without a browser: what a slider's value does to picture and figures."""

from __future__ import annotations

import html
import math
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.notebook.tuner import ThresholdTuner
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from tests.conftest import ROOT
from tests.evaluation.found import evaluate_pictures
from tests.evaluation.made import FACE, PERSON, PLATE_TYPE, made, models_and_cache


@pytest.fixture
def result(tmp_path: Path) -> EvaluationResult:
    return made(tmp_path)


def caption(tuner: ThresholdTuner) -> str:
    return re.sub("<[^>]*>", "", tuner.caption.value.replace("</div>", "\n"))


@pytest.fixture
def tuner(result: EvaluationResult, tmp_path: Path) -> ThresholdTuner:
    anonymizer, cache = models_and_cache(tmp_path)
    return ThresholdTuner(result, anonymizer, cache=cache, folder=tmp_path / "profiles")


def shown(tuner: ThresholdTuner) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(tuner.view.value, np.uint8), cv2.IMREAD_COLOR)


def figures(tuner: ThresholdTuner, words: str) -> list[str]:
    """The cells of one type: threshold, recall, leak rate, false blurs a picture, objects; without ranges."""
    (row,) = [row for row in re.findall("<tr>.*?</tr>", tuner.figures.value) if f" {words}</td>" in row]
    return [re.sub("<br>.*", "", cell) for cell in re.findall("<td[^>]*>(.*?)</td>", row)][1:]


def test_it_begins_at_the_thresholds_of_the_options_with_the_worst_picture(tuner: ThresholdTuner) -> None:
    assert tuner.message.value == ""
    assert tuner.thresholds() == {FACE: 0.5, PLATE_TYPE: 0.5, PERSON: 0.4}
    assert tuner.picture.label == "1. 0.png"
    assert shown(tuner).shape == (100, 200, 3)


def test_it_begins_at_the_thresholds_of_a_profile_where_it_has_them(result: EvaluationResult) -> None:
    tuner = ThresholdTuner(result, profile=ThresholdProfile(name="mine", thresholds={FACE: 0.25}))

    assert tuner.thresholds() == {FACE: 0.25, PLATE_TYPE: 0.5, PERSON: 0.4}
    assert figures(tuner, "face")[0] == "0.250"


@pytest.mark.parametrize(
    ("threshold", "cells", "words"),
    [
        (0.25, ["0.250", "0.750", "0.250", "1.000"], "face: 2 of 2 detected, 0 visible, 0 false blurs"),
        (0.6, ["0.600", "0.500", "0.500", "0.333"], "face: 1 of 2 detected, 1 visible, 0 false blurs"),
        (0.95, ["0.950", "0.000", "1.000", "0.000"], "face: 0 of 2 detected, 2 visible, 0 false blurs"),
    ],
)
def test_a_moved_slider_changes_picture_and_figures(
    tuner: ThresholdTuner, threshold: float, cells: list[str], words: str
) -> None:
    before = tuner.view.value

    tuner.sliders[FACE].value = threshold

    assert figures(tuner, "face") == [*cells, "4 in 3"]
    assert caption(tuner).startswith(words)
    # 0.6 finds what 0.5 does
    assert (tuner.view.value != before) == (threshold != 0.6)


def test_the_ranges_are_those_of_the_findings(tuner: ThresholdTuner, result: EvaluationResult) -> None:
    recall = result[FACE].recall(0.25)

    tuner.sliders[FACE].value = 0.25

    assert f"{recall.low:.3f}&ndash;{recall.high:.3f}" in tuner.figures.value


def test_a_type_without_objects_has_false_blurs_only(tuner: ThresholdTuner) -> None:
    assert figures(tuner, "person") == ["0.400", "-", "-", "0.000", "0 in 3"]


def test_pictures_come_in_the_order_asked_for(tuner: ThresholdTuner) -> None:
    before = tuner.view.value

    tuner.order.value = "most false blurs first"

    assert [name for name, _ in tuner.picture.options] == ["1. 2.png", "2. 0.png", "3. 1.png"]
    assert tuner.view.value != before
    assert caption(tuner).startswith("face: none labelled, 1 false blur\nlicense plate: 1 of 1")


def test_only_the_pictures_that_are_offered_can_be_chosen(result: EvaluationResult) -> None:
    tuner = ThresholdTuner(result, pictures=result.images[1:2])

    assert [name for name, _ in tuner.picture.options] == ["1. 1.png"]
    assert caption(tuner).startswith("face: 1 of 2")


@pytest.mark.parametrize(
    "change",
    [
        lambda tuner: setattr(tuner.picture, "value", 1),
        lambda tuner: setattr(tuner.method, "value", "blacken"),
        lambda tuner: setattr(tuner.boxes, "value", False),
    ],
    ids=["picture", "method", "boxes"],
)
def test_what_is_shown_can_be_changed(tuner: ThresholdTuner, change: Callable[[ThresholdTuner], None]) -> None:
    before = tuner.view.value

    change(tuner)

    assert tuner.view.value != before
    assert tuner.message.value == ""


def test_choosing_sets_the_sliders_and_says_why(tuner: ThresholdTuner, result: EvaluationResult) -> None:
    tuner.target.value = 0.8

    tuner.choose.click()

    at = tuner.sliders[FACE].value
    assert result[FACE].recall(at).value == 3 / 4, "all that can be found"
    assert 0.29 < at <= 0.3
    assert tuner.sliders[PERSON].value == 0.4, "nothing is known of persons"
    assert "face: 80% was not reached, and these are too few objects to rule it out" in tuner.sentences.value
    assert "person: these images have no objects" in tuner.sentences.value
    assert figures(tuner, "face")[1] == "0.750"
    assert caption(tuner).startswith("face: 2 of 2 detected")

    tuner.sliders[FACE].value = 0.9
    assert f"face: threshold 0.900 by hand, above {at:.3f}; recall 0.500" in html.unescape(tuner.sentences.value)
    assert "80% is not proven" in tuner.sentences.value


def test_saved_thresholds_are_a_profile_for_the_service(tuner: ThresholdTuner, tmp_path: Path) -> None:
    tuner.sliders[FACE].value = 0.25
    tuner.name.value = "street"

    tuner.save.click()

    file = tmp_path / "profiles" / "street.json"
    profile = ThresholdProfile.load(file)
    assert profile.thresholds == {FACE: 0.25, PLATE_TYPE: 0.5}
    assert profile.models == {FACE: "fake@1", PLATE_TYPE: "fake@1"}
    assert profile.target_recall is None
    assert profile.figures[FACE]["recall"] == 0.75
    assert profile.figures[FACE]["false_blurs_per_picture"] == 1
    assert "No threshold for person" in tuner.saved.value
    command = re.findall("<pre>(.*)</pre>", tuner.saved.value)[0]
    words = shlex.split(html.unescape(command))
    assert words[:6] == ["cd", str(ROOT), "&&", sys.executable, "-m", "anonymizer"]
    create = ["profile", "create", "street", "--from", str(file), "--replace", "--activate", "--accept-unproven"]
    assert words[6:] == create
    assert tuner.saved_profile == profile
    tuner.sliders[FACE].value = 0.3
    assert tuner.saved_profile is None
    assert tuner.saved.value == "The sliders were moved after street was saved: save it again."
    tuner.sliders[FACE].value = 0.25
    tuner.save.click()
    # a person set them
    assert set(profile.unproven()) == {FACE, PLATE_TYPE}
    assert "The face threshold is not proven: it has no verdict" in tuner.saved.value
    assert "--accept-unproven" in tuner.saved.value


def test_a_profile_has_the_verdicts_of_what_was_chosen_at_it_and_below(tuner: ThresholdTuner) -> None:
    tuner.target.value = 0.8
    tuner.choose.click()
    assert "these are too few" in tuner.sentences.value
    chosen = tuner.sliders[FACE].value
    assert tuner.profile("street").figures[FACE]["verdict"] == "too few objects"
    assert "too few objects (4 objects in 3 images)" in tuner.profile("street").unproven()[FACE]

    tuner.sliders[FACE].value = chosen - 0.1
    assert tuner.profile("street").figures[FACE]["verdict"] == "too few objects"
    tuner.sliders[FACE].value = chosen + 0.1
    assert "verdict" not in tuner.profile("street").figures[FACE]


def test_a_threshold_that_reached_its_target_is_proven_until_the_slider_goes_up(tmp_path: Path) -> None:
    box = (10, 10, 30, 40)
    result = evaluate_pictures(tmp_path, [{FACE: ([box], [(*box, 0.7)])} for _ in range(30)])
    tuner = ThresholdTuner(result, folder=tmp_path)
    tuner.target.value = 0.9
    tuner.choose.click()
    assert tuner.sliders[FACE].value == pytest.approx(0.7, abs=0.0011)
    assert tuner.profile("street").unproven() == {}
    tuner.sliders[FACE].value = 0.3
    assert tuner.profile("street").unproven() == {}
    tuner.sliders[FACE].value = 0.8
    assert set(tuner.profile("street").unproven()) == {FACE}


def test_the_target_is_kept_until_a_slider_is_moved(tuner: ThresholdTuner) -> None:
    tuner.target.value = 0.9
    tuner.choose.click()
    assert tuner.profile("street").target_recall == 0.9

    tuner.sliders[FACE].value = 0.6

    assert tuner.profile("street").target_recall is None


def test_a_name_that_is_not_allowed_is_said_and_nothing_written(tuner: ThresholdTuner, tmp_path: Path) -> None:
    tuner.name.value = "Main street"

    tuner.save.click()

    assert "name is &#x27;Main street&#x27;, but must be" in tuner.message.value
    assert not list(tmp_path.glob("profiles/*"))


def test_a_picture_that_is_gone_is_said_and_no_other_one_shown(tuner: ThresholdTuner, result: EvaluationResult) -> None:
    result.images[1].path.unlink()

    tuner.picture.value = 1

    assert "1.png cannot be read" in tuner.message.value
    assert tuner.view.value == b"" and tuner.caption.value == ""
    tuner.picture.value = 0
    assert tuner.message.value == "" and shown(tuner).shape == (100, 200, 3)


def test_other_models_than_those_of_the_findings_are_refused(result: EvaluationResult, tmp_path: Path) -> None:
    anonymizer, cache = models_and_cache(tmp_path, "other")

    tuner = ThresholdTuner(result, anonymizer, cache=cache)

    assert "is of fake@1, but the anonymizer has other@1" in tuner.message.value
    assert tuner.view.value == b""


def test_what_nobody_foresaw_is_shown_whole(tuner: ThresholdTuner) -> None:
    del tuner.sliders[PERSON]

    tuner.sliders[FACE].value = 0.25

    assert "Traceback" in tuner.message.value and "KeyError" in tuner.message.value


def test_nothing_judged_is_nothing_to_tune(result: EvaluationResult) -> None:
    tuner = ThresholdTuner(replace(result, types={}))

    tuner.save.click()

    assert tuner.sliders == {} and tuner.view.value == b""
    assert "thresholds is" in tuner.message.value


def test_a_slider_does_not_round_a_threshold_up(tuner: ThresholdTuner, result: EvaluationResult) -> None:
    tuner.choose.click()

    at = tuner.sliders[PLATE_TYPE].value
    assert at <= float(result[PLATE_TYPE].scores[0])
    assert math.isclose(at * 1000, round(at * 1000))
