"""Threshold profiles by themselves: what is allowed in one, how it is written down, and when it is doubted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.formats import Auto, Whole
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile

FACE, PLATE, PERSON, VEHICLE = ObjectType
MEASURED = ThresholdProfile(
    name="street",
    thresholds={FACE: 0.31, PLATE: 0.2},
    format=Auto(),
    models={FACE: "a@1+b@2", PLATE: "b@2"},
    target_recall=0.98,
    figures={FACE: {"recall": 0.981, "objects": 412, "verdict": "reached", "pictures_needed": None}},
    created="2026-11-24T10:00:00+00:00",
)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    MEASURED.save(tmp_path / "street.json")
    assert ThresholdProfile.load(tmp_path / "street.json") == MEASURED
    assert json.loads((tmp_path / "street.json").read_text())["thresholds"] == {"face": 0.31, "license-plate": 0.2}


def test_by_hand_a_name_and_thresholds_are_enough() -> None:
    profile = ThresholdProfile.from_json('{"name": " Night.Shift ", "thresholds": {"license_plate": 0.3}}')
    assert (profile.name, profile.thresholds) == ("night.shift", {PLATE: 0.3})
    assert (profile.format, profile.models, profile.target_recall, profile.created) == (None, {}, None, "")


def test_its_options_are_those_of_a_request() -> None:
    options = Options(**MEASURED.options())
    assert (options.face_threshold, options.license_plate_threshold, options.image_format) == (0.31, 0.2, Auto())
    assert options.profile == "street"
    # what it does not name stays
    assert options.person_threshold == Options().person_threshold


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": None}, "name is ''"),
        ({"name": "none"}, "name is 'none'"),
        ({"name": "a/b"}, "name is 'a/b', but must be a name of at most 63 letters"),
        ({"name": "-a"}, "begins with a letter or a digit"),
        ({"name": "a" * 64}, "at most 63"),
        ({"thresholds": {}}, "a threshold for at least one of face, license-plate, person, vehicle"),
        ({"thresholds": None}, "a threshold for at least one"),
        ({"thresholds": [0.5]}, "thresholds is '[0.5]'"),
        ({"thresholds": {"face": 1.5}}, "thresholds.face is '1.5', but must be a number from 0 to 1"),
        ({"thresholds": {"face": True}}, "thresholds.face is 'True'"),
        ({"thresholds": {"face": math.nan}}, "thresholds.face is 'nan'"),
        ({"thresholds": {"dog": 0.5}}, "an object type in thresholds is 'dog', but must be one of face"),
        ({"format": "tiles"}, "format is 'tiles', but must be whole, auto"),
        ({"models": {"cat": "a@1"}}, "an object type in models is 'cat'"),
        ({"models": {"face": 7}}, "models.face is '7', but must be text"),
        ({"target_recall": 98}, "target_recall is '98', but must be a number from 0 to 1"),
        ({"figures": {"face": [1]}}, "figures.face is '[1]'"),
        ({"figures": {"face": {"recall": [1]}}}, "figures.face.recall is '[1]', but must be a number or a text"),
        ({"created": "yesterday"}, "created is 'yesterday', but must be a date and time"),
        ({"created": 7}, "created is '7'"),
        ({"threshold": {}}, "a field of a profile is 'threshold', but must be one of name, thresholds"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        ThresholdProfile.from_dict(MEASURED.to_dict() | changes)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"verdict": "reached"}, ""),
        ({"verdict": "reached", "proven_threshold": 0.25}, ""),
        ({"verdict": "reached", "proven_threshold": 0.3}, ""),
        ({"verdict": "reached", "proven_threshold": 0.2}, "reached at 0.2, but not at this higher threshold"),
        # set by hand, or of an earlier version
        ({}, "it has no verdict"),
        ({"recall": 0.99}, "it has no verdict"),
        ({"verdict": None}, "it has no verdict"),
        ({"verdict": "out of reach"}, "out of reach"),
        ({"verdict": "reached and too few objects"}, "reached and too few objects"),
        ({"verdict": "too few objects", "objects": 6, "pictures": 2}, "too few objects (6 objects in 2 images)"),
        (
            {"verdict": "too few objects", "objects": 6, "pictures": 2, "pictures_needed": 150},
            "too few objects (6 objects in 2 images); about 150 images like these would be enough",
        ),
    ],
)
def test_a_type_is_proven_by_its_verdict_only(figures: dict[str, Any], reason: str) -> None:
    profile = ThresholdProfile(name="a", thresholds={FACE: 0.25}, figures={FACE: figures})
    read = ThresholdProfile.from_json(profile.to_json())
    assert (reason in read.unproven()[FACE]) if reason else read.unproven() == {}


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, b"\xff\xfe\x00", "[1]", "7"])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidParameter, match="a JSON object") as caught:
        ThresholdProfile.from_json(text)
    assert len(str(caught.value)) < 400


def test_numbers_of_numpy_are_kept_as_json_has_them() -> None:
    figures = {"recall": np.float32(0.5), "objects": np.int64(3), "best": math.inf}
    profile = ThresholdProfile(name="a", thresholds={FACE: np.float32(0.25)}, figures={FACE: figures})
    assert json.loads(profile.to_json())["figures"] == {"face": {"recall": 0.5, "objects": 3, "best": None}}
    assert profile.thresholds == {FACE: 0.25}


@pytest.mark.parametrize(
    ("changes", "keys", "doubted"),
    [
        ({}, {"face": "a@1+b@2", "license-plate": "b@2"}, []),
        ({}, {"face": "a@1+c@3", "license-plate": "b@2"}, ["face threshold of profile street was chosen with a@1+b@2"]),
        # nobody looks for faces
        ({}, {"license-plate": "b@2"}, []),
        # what it has no threshold for is no concern of its
        ({}, {"person": "p@1", "license-plate": "b@2"}, []),
        # the caller's own threshold
        ({"face_threshold": 0.5}, {"face": "a@1+c@3", "license-plate": "b@2"}, []),
        ({"format": Whole()}, {"face": "a@1+b@2"}, ["chosen with format auto, but whole is used"]),
        ({"format": Whole(), "face_threshold": 0.5}, {"face": "a@1+b@2"}, []),
    ],
)
def test_other_models_and_other_formats_are_doubted(
    changes: dict[str, object], keys: dict[str, str], doubted: list[str]
) -> None:
    found = MEASURED.mismatches(Options(**MEASURED.options() | changes), keys)
    assert len(found) == len(doubted)
    assert all(part in sentence for part, sentence in zip(doubted, found, strict=True))


def test_without_models_and_format_there_is_nothing_to_doubt() -> None:
    profile = ThresholdProfile(name="a", thresholds={FACE: 0.2})
    assert profile.mismatches(Options(**profile.options(), format=Auto()), {"face": "a@1"}) == []
