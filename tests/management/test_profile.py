"""`manage.py profile`, as a user types it, and the other commands that a profile changes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from anonymizer import checks
from anonymizer.models import Profile
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import engine, profiles
from tests.conftest import ROOT
from tests.pictures import drawn, encoded

database = pytest.mark.django_db(transaction=True)
FACE, PLATE, PERSON, VEHICLE = ObjectType
MEASURED = {
    "name": "street",
    "thresholds": {"face": 0.25, "person": 0.125},
    "format": "auto",
    "models": {"face": "old@7"},
    "target_recall": 0.98,
    "figures": {
        "face": {"recall": 0.98765, "verdict": "reached"},
        "person": {"recall": 0.99, "verdict": "reached", "proven_threshold": 0.125},
    },
}
ACCEPT = "--accept-unproven"


def profile(*arguments: object) -> tuple[str, str, str]:
    """What the command says, and with what sentence it fails."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("profile", *map(str, arguments), stdout=out, stderr=err)
    except CommandError as error:
        return out.getvalue(), err.getvalue(), str(error)
    return out.getvalue(), err.getvalue(), ""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(MEASURED))
    return path


def manage(folder: Path, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"ANONYMIZER_DATA_DIR": str(folder)}
    command = [sys.executable, "manage.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, **options)


@database
def test_one_is_made_of_thresholds_and_activated() -> None:
    out, _, error = profile("create", "Night", "--face-threshold", ".3", "--format", "auto", "--activate", ACCEPT)
    assert error == ""
    assert out.splitlines()[0] == "night: saved, face 0.3"
    active = profiles.active()
    assert active is not None
    assert (active.name, active.thresholds, str(active.format)) == ("night", {FACE: 0.3}, "auto")


@database
def test_one_is_made_of_a_file_under_another_name(file: Path) -> None:
    assert profile("create", "day", "--from", file)[2] == ""
    kept = profiles.get("day")
    assert kept.to_dict() | {"created": "", "name": "street"} == {**MEASURED, "created": ""}
    assert profiles.active() is None


@database
def test_what_is_given_beside_a_file_takes_the_place_of_what_was_measured(file: Path) -> None:
    profile("create", "day", "--from", file, "--face-threshold", "0.5", "--vehicle-threshold", "0.1", ACCEPT)
    kept = profiles.get("day")
    assert kept.thresholds == {FACE: 0.5, PERSON: 0.125, VEHICLE: 0.1}
    assert (kept.target_recall, kept.figures) == (None, {PERSON: MEASURED["figures"]["person"]})
    profile("create", "day", "--from", file, "--format", "whole", "--replace", ACCEPT)
    assert (str(profiles.get("day").format), profiles.get("day").figures) == ("whole", {})


@database
def test_a_name_that_is_taken_is_replaced_only_on_request(file: Path) -> None:
    profile("create", "day", "--from", file)
    assert "name is 'day'" in profile("create", "day", "--face-threshold", "0.9")[2]
    assert profile("create", "day", "--face-threshold", "0.9", "--replace", ACCEPT)[2] == ""
    assert profiles.get("day").thresholds == {FACE: 0.9}


@database
def test_the_list_has_a_row_for_each(file: Path) -> None:
    assert "There are no profiles" in profile("list")[0]
    profile("create", "street", "--from", file)
    profile("create", "night", "--vehicle-threshold", "0.1", "--activate", ACCEPT)
    heading, night, street = profile("list")[0].splitlines()
    assert heading.split() == ["name", "active", "thresholds", "target", "recall", "models", "created"]
    assert night.split()[:5] == ["night", "yes", "vehicle", "0.1", "-"]
    assert street.split()[:7] == ["street", "-", "face", "0.25,", "person", "0.125", "0.98"]
    assert " old " in street


@database
def test_all_that_is_known_is_shown_and_what_is_doubtful(file: Path) -> None:
    profile("create", "street", "--from", file, "--activate")
    out, err, _ = profile("show", "street")
    assert "street (active)" in out
    assert "target recall: 0.98" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["threshold", "0.25", "0.125"] in rows
    assert ["recall", "0.9877", "0.99"] in rows
    assert "was chosen with old@7" in err


@database
def test_activating_says_what_is_doubtful_and_none_ends_it(file: Path) -> None:
    profile("create", "street", "--from", file)
    out, err, _ = profile("activate", "street")
    assert "street: active" in out
    assert "was chosen with old@7" in err
    out, err, error = profile("activate", "--none")
    assert (err, error, profiles.active()) == ("", "", None)
    assert "No profile is active" in out


@database
def test_export_gives_what_create_takes(file: Path, tmp_path: Path) -> None:
    profile("create", "street", "--from", file)
    out, _, _ = profile("export", "street")
    assert ThresholdProfile.from_json(out) == profiles.get("street")
    profile("export", "street", tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_text() == out
    profile("create", "copy", "--from", tmp_path / "copy.json")
    assert profiles.get("copy").to_dict() == profiles.get("street").to_dict() | {"name": "copy"}


#: what six faces once gave, without a word
SIX_FACES = {
    "name": "six",
    "thresholds": {"face": 0.97, "person": 0.1},
    "figures": {
        "face": {"verdict": "too few objects", "objects": 6, "pictures": 2, "pictures_needed": 298},
        "person": {"verdict": "reached"},
    },
}


@database
def test_a_type_that_is_not_proven_is_refused_with_the_reason_unless_that_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "six.json"
    path.write_text(json.dumps(SIX_FACES))
    out, _, error = profile("create", "six", "--from", path, "--activate")
    reason = "too few objects (6 objects in 2 images); about 298 images like these would be enough."
    assert f"face 0.97 is not proven: {reason}" in error
    assert "person" not in error
    assert ACCEPT in error
    assert (out, Profile.objects.count(), profiles.active()) == ("", 0, None)

    assert profile("create", "six", "--from", path, ACCEPT)[2] == ""
    assert f"face 0.97 is not proven: {reason}" in profile("activate", "six")[2]
    assert profiles.active() is None
    out, err, error = profile("activate", "six", ACCEPT)
    assert (error, "six: active" in out) == ("", True)
    assert f"The face threshold of profile six is not proven: {reason}" in err


@database
@pytest.mark.parametrize(
    "given",
    [
        ("--face-threshold", "0.3"),
        ("--from", "measured", "--face-threshold", "0.3"),
        # what was measured with another format proves nothing
        ("--from", "measured", "--format", "whole"),
        # a file of an earlier version
        ("--from", "old"),
    ],
)
def test_without_a_verdict_a_type_is_not_proven(given: tuple[str, ...], file: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps(MEASURED | {"figures": {"face": {"recall": 1.0}, "person": {"recall": 1.0}}}))
    paths = {"measured": str(file), "old": str(old)}
    error = profile("create", "day", *(paths.get(each, each) for each in given))[2]
    assert "face 0.3 is not proven: it has no verdict" in error or "face 0.25 is not proven: it has no verdict" in error
    assert ACCEPT in error
    assert Profile.objects.count() == 0


@database
def test_a_profile_that_was_saved_before_there_were_verdicts_is_judged_when_it_is_activated() -> None:
    Profile.objects.create(name="old", data={"name": "old", "thresholds": {"face": 0.9}})
    assert "face 0.9 is not proven: it has no verdict" in profile("activate", "old")[2]
    assert profiles.active() is None


@database
def test_delete_leaves_the_active_one() -> None:
    profile("create", "night", "--face-threshold", "0.1", "--activate", ACCEPT)
    assert "not active" in profile("delete", "night")[2]
    profile("activate", "--none")
    assert profile("delete", "night") == ("night: deleted\n", "", "")
    assert Profile.objects.count() == 0


@database
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "a"), "create takes --from FILE.json, or a threshold such as --face-threshold"),
        (("create", "a/b", "--face-threshold", "0.1"), "name is 'a/b'"),
        (("create", "none", "--face-threshold", "0.1"), "name is 'none'"),
        (("create", "a", "--face-threshold", "2"), "thresholds.face is '2', but must be a number from 0 to 1"),
        (("create", "a", "--face-threshold", "0.1", "--format", "x"), "format is 'x'"),
        (("create", "a", "--from", "/no/such/file"), "--from /no/such/file cannot be read: No such file"),
        (("create", "a", "--from", str(ROOT / "README.md")), "must be a JSON object"),
        (("show", "a"), "profile is 'a'"),
        (("export", "a"), "profile is 'a'"),
        (("delete", "a"), "profile is 'a'"),
        (("activate", "a"), "profile is 'a'"),
        (("activate",), "activate takes the name of a profile, or --none"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], sentence: str) -> None:
    out, _, error = profile(*arguments)
    assert sentence in error
    assert (out, Profile.objects.count()) == ("", 0)


@database
def test_a_place_that_cannot_be_written_is_named(file: Path) -> None:
    profile("create", "street", "--from", file)
    assert profile("export", "street", file / "below")[2] == f"{file / 'below'} cannot be written: Not a directory."


@pytest.mark.slow
def test_the_exit_code_tells_and_standard_input_is_taken(file: Path, tmp_path: Path) -> None:
    done = manage(tmp_path / "data", "profile", "list")
    assert done.returncode == 1
    assert "run `anonymizer manage migrate`" in done.stderr
    assert "Traceback" not in done.stderr
    manage(tmp_path / "data", "migrate", "--verbosity", "0")
    done = manage(tmp_path / "data", "profile", "create", "day", "--from", "-", input=file.read_text())
    assert (done.returncode, done.stdout) == (0, "day: saved, face 0.25, person 0.125\n"), done.stderr
    assert manage(tmp_path / "data", "profile", "nonsense").returncode == 2


# --- check ---


@database
def test_check_warns_of_an_active_profile_of_other_models(file: Path) -> None:
    profile("create", "street", "--from", file)
    assert checks.check_profile(None) == []
    profile("activate", "street")
    (found,) = checks.check_profile(None)
    assert found.id == "anonymizer.W004"
    assert "face threshold of profile street was chosen with old@7" in found.msg
    key = engine.store().keys((FACE,))[FACE]
    same = ThresholdProfile(name="street", thresholds={FACE: 0.1}, models={FACE: key})
    profiles.save(same, replace=True, accept_unproven=True)
    assert checks.check_profile(None) == []


def test_check_makes_no_database(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert manage(tmp_path / "data", "check").returncode == 0
    assert not (tmp_path / "data" / "db.sqlite3").exists()


# --- anonymize ---


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(drawn(), "PNG"))
    return path


def anonymize(picture: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    folder = picture.parent
    places = ("--input", picture, "--output", folder / "out", "--overwrite")
    return manage(folder / "data", "anonymize", *places, "--face", "--method", "detect", *arguments)


def metadata(picture: Path) -> dict[str, Any]:
    return dict(json.loads((picture.parent / "out" / f"{picture.name}.json").read_text()))


@pytest.mark.slow
def test_a_file_is_taken_without_a_database(picture: Path, file: Path) -> None:
    done = anonymize(picture, "--profile", file)
    assert done.returncode == 0, done.stderr
    assert metadata(picture)["profile"] == "street"
    assert "face threshold of profile street was chosen with old@7" in done.stderr
    assert not (picture.parent / "data" / "db.sqlite3").exists()


@pytest.mark.slow
def test_a_profile_of_the_database_is_taken_by_its_name_only(picture: Path) -> None:
    done = anonymize(picture, "--profile", "night")
    assert done.returncode == 2
    assert "--profile night: there is no database of profiles here; name a file." in done.stderr
    manage(picture.parent / "data", "migrate", "--verbosity", "0")
    manage(picture.parent / "data", "profile", "create", "night", "--face-threshold", "0.1", "--activate", ACCEPT)
    assert anonymize(picture, "--profile", "night").returncode == 0
    assert metadata(picture)["profile"] == "night"
    assert anonymize(picture).returncode == 0
    assert metadata(picture)["profile"] is None
    done = anonymize(picture, "--profile", "day")
    assert done.returncode == 2
    assert "profile is 'day', but must be one of the profiles night" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("gone.json", None, "cannot be read: No such file"),
        ("bad.json", '{"name": "a", "thresholds": {"face": 2}}', "thresholds.face is '2'"),
        ("bad.json", "text", "must be a JSON object"),
    ],
)
def test_a_file_that_is_no_profile_is_named(picture: Path, name: str, content: str | None, sentence: str) -> None:
    if content is not None:
        (picture.parent / name).write_text(content)
    done = anonymize(picture, "--profile", picture.parent / name)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
