"""`manage.py evaluate`, as a user types it."""

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

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import profiles
from tests.conftest import ROOT
from tests.evaluation.sets import coco
from tests.pictures import drawn, encoded

#: what is labelled in a drawn picture, in which nothing is to be found
LABEL = {"bbox": [2, 2, 10, 10]}


def run(*arguments: object, exit_code: int = 1) -> tuple[str, str, str]:
    """What the command says, and with what sentence it fails."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("evaluate", *map(str, arguments), stdout=out, stderr=err)
    except CommandError as error:
        assert error.returncode == exit_code
        return out.getvalue(), err.getvalue(), str(error)
    return out.getvalue(), err.getvalue(), ""


@pytest.fixture
def evaluate(tmp_path: Path) -> Any:
    """The command with a cache of the test's own and models that come with the install."""

    def evaluate(*arguments: object, model: str = "embedded") -> tuple[str, str, str]:
        return run("--cache", tmp_path / "cache.sqlite3", "--device", "cpu", "--model", model, *arguments)

    return evaluate


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]


def test_real_pictures_are_judged_once_and_told_in_a_table_a_page_and_json(data: Path, tmp_path: Path) -> None:
    cache, page, figures = tmp_path / "cache.sqlite3", tmp_path / "report.html", tmp_path / "figures.json"
    command = [
        sys.executable, "manage.py", "evaluate", "--set", data / "val.json", "--source", "fddb", "cars", "--limit", 3,
        "--cache", cache, "--device", "cpu", "--report", page, "--json", figures,
    ]  # fmt: skip
    # neither a server nor a database is needed
    env = os.environ | {"ANONYMIZER_DATA_DIR": str(tmp_path / "no-data"), "ANONYMIZER_SECRET_KEY": "x"}
    first, again = (
        subprocess.run(list(map(str, command)), cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        for _ in range(2)
    )
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "detecting: 100%" in first.stderr
    assert "6/6" in first.stderr
    assert "detecting" not in again.stderr
    assert first.stdout == again.stdout
    labelled = list(LabelledSet.read(data / "val.json").of(("fddb", "cars"), 3))
    known = {
        each: sum(int((~image.objects[each].ignored).sum()) for image in labelled if each in image.labelled)
        for each in (ObjectType.FACE, ObjectType.LICENSE_PLATE)
    }
    models = json.loads(figures.read_text())["models"]
    of_type = models[0]["types"]
    assert {each: row["objects"] for each, row in of_type.items()} == known
    assert of_type["face"]["recall"]["value"] > 0.5
    assert models[0]["name"] == "server (auto)"
    table = rows(first.stdout)
    assert [row[1:4] for row in table[2:]] == [[each, "3", str(count)] for each, count in known.items()]
    assert "it shows images that are not anonymised" in first.stdout
    assert "data:image/svg+xml" in page.read_text()
    assert not (tmp_path / "no-data").exists()


def test_models_are_judged_side_by_side_by_what_they_serve(data: Path, tmp_path: Path, evaluate: Any) -> None:
    page, figures = tmp_path / "report.html", tmp_path / "figures.json"
    out, err, failed = evaluate(
        "--model", "centerface", "--set", data / "val.json", "--source", "fddb", "voc", "--limit", 2,
        "--types", "face,person", "--segment", "--report", page, "--json", figures, "--no-thumbnails",
    )  # fmt: skip
    assert failed == ""
    assert [row[:2] for row in rows(out)[2:]] == [["embedded", "face"], ["embedded", "person"], ["centerface", "face"]]
    assert err.splitlines()[:2] == ["embedded:", "centerface:"]
    read = json.loads(figures.read_text())
    assert [each["segment"] for each in read["models"]] == [True, True]
    assert [each["names"] for each in read["comparisons"]] == [["embedded", "centerface"]]
    assert "evaluated with the outlines that are redacted" in page.read_text()
    assert "data:image/jpeg" not in page.read_text()


def test_what_is_wrong_with_pictures_is_named_and_counted_and_stops_only_a_strict_run(
    tmp_path: Path, evaluate: Any
) -> None:
    labelled = coco(
        tmp_path,
        [{"image_id": n, **LABEL} for n in range(1, 5)] + [{"bbox": [90, 2, 10, 10]}],
        pictures=[{"width": 320, "height": 240}] * 4,
    )
    for n in range(1, 5):
        (tmp_path / "set" / f"{n}.png").write_bytes(encoded(drawn(seed=n), "PNG"))
    (tmp_path / "set" / "2.png").write_bytes(b"no picture")
    # whole in its head, not in its pixels
    (tmp_path / "set" / "3.png").write_bytes(encoded(drawn(seed=3), "PNG")[:-3000])
    out, err, failed = evaluate("--set", labelled, "--types", "face", "--report", tmp_path / "report.html")
    assert failed == ""
    assert rows(out)[2][1:4] == ["face", "2", "3"]
    assert "2 problem(s):\npicture-broken: 2\n" in err
    assert "  2.png: " in err
    assert "3.png: " in err
    assert "picture-broken: 2" in (tmp_path / "report.html").read_text()
    _, _, failed = evaluate("--set", labelled, "--types", "face", "--strict")
    assert failed.startswith("picture-broken: 2.png: ")
    (tmp_path / "set" / "2.png").write_bytes(encoded(drawn(seed=2), "PNG"))
    _, _, failed = evaluate("--set", labelled, "--types", "face", "--strict")
    assert failed.startswith("picture-broken: ")
    assert "3.png" in failed


def test_where_no_picture_can_be_read_there_is_no_result(tmp_path: Path, evaluate: Any) -> None:
    labelled = coco(tmp_path, [LABEL], pictures=[{"width": 320, "height": 240}])
    (tmp_path / "set" / "1.png").write_bytes(encoded(drawn(), "PNG")[:-3000])
    out, err, failed = evaluate("--set", labelled, "--types", "face")
    assert failed == f"--set {labelled}: there is nothing to evaluate."
    assert "picture-broken: 1" in err
    assert out == ""


def test_an_empty_set_is_said_so(tmp_path: Path, evaluate: Any) -> None:
    (tmp_path / "nothing").mkdir()
    _, err, failed = evaluate("--set", tmp_path / "nothing")
    assert failed == f"--set {tmp_path / 'nothing'}: there is nothing to evaluate."
    assert "empty-set: 1" in err
    _, _, failed = evaluate("--set", tmp_path / "nothing", "--strict")
    assert failed.startswith("empty-set: ")


def test_models_that_there_is_nothing_to_judge_by_are_told_and_the_others_judged(tmp_path: Path, evaluate: Any) -> None:
    labelled = coco(tmp_path, [{"category_id": 2, **LABEL}])
    arguments = ("--set", labelled, "--labelled", "license-plate")
    out, err, failed = evaluate("--model", "own-3", *arguments, model="centerface")
    assert failed == ""
    assert [row[:2] for row in rows(out)[2:]] == [["own-3", "license-plate"]]
    assert "centerface: empty-set: set: no image is labelled for an object type to evaluate." in err
    _, _, failed = evaluate(*arguments, model="centerface")
    assert failed == f"--set {labelled}: there is nothing to evaluate."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nothing"], "There is no profile or detector 'nothing'. There are: profiles auto, embedded"),
        (["--model", "face=nothing"], "face may be served by centerface"),
        (["--model", "yunet-n"], "Run `anonymizer models fetch yunet-n`"),
        (["--model", "centerface", "--types", "person"], "centerface serves face, and none of --types person."),
        (["--types", "horse"], "--types is 'horse', but must be some of face, license-plate, person, vehicle"),
        (["--labelled", "horse"], "--labelled is 'horse', but must be some of face"),
        (["--source", "elsewhere"], "--source elsewhere: there are set."),
        (["--format", "tiny"], "format is 'tiny', but must be whole, auto"),
        (["--limit", "0"], "--limit is 0, but must be 1 or more."),
        (["--target", "98"], "--target is 98.0, but must be a number between 0 and 1."),
        (["--target", ".9", "0"], "--target is 0.0, but must be a number between 0 and 1."),
        (["--profile-name", "a b"], "--profile-name is 'a b', but must be a name"),
        (["--profile-name", "none"], "--profile-name is none"),
        (["--report", "/nowhere/report.html"], "--report /nowhere/report.html: there is no folder /nowhere."),
        (["--json", "/nowhere/figures.json"], "--json /nowhere/figures.json: there is no folder /nowhere."),
        (["--set", "/nowhere"], "--set: /nowhere does not exist."),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_looked_at(
    tmp_path: Path, settings: Any, arguments: list[str], said: str
) -> None:
    # as in a fresh clone: nothing was fetched
    settings.MODELS_DIR = tmp_path / "models"
    settings.MODELS_DIR.mkdir()
    for name in ("registry.toml", "own-3.safetensors", "own-detector.safetensors", "own-masks.safetensors"):
        (settings.MODELS_DIR / name).symlink_to(MODELS_FOLDER / name)
    labelled = coco(tmp_path, [LABEL])
    models = () if "--model" in arguments else ("--model", "embedded")
    out, _, failed = run("--set", labelled, "--cache", tmp_path / "cache.sqlite3", *models, *arguments, exit_code=2)
    assert said in failed
    assert out == ""
    assert not (tmp_path / "cache.sqlite3").exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    no_cache = tmp_path / "notes.txt"
    no_cache.write_text("This is no database. " * 99)
    for file in (no_cache, no_cache / "cache.sqlite3"):
        _, _, failed = run("--set", coco(tmp_path, [LABEL]), "--model", "embedded", "--cache", file, exit_code=2)
        assert failed.startswith(f"--cache {file}: it cannot keep the detections: ")


def test_thresholds_for_the_highest_target_are_saved_beside_the_report(tmp_path: Path, evaluate: Any) -> None:
    labelled = coco(tmp_path, [LABEL])
    (tmp_path / "out").mkdir()
    out, _, failed = evaluate(
        "--set", labelled, "--types", "face", "--target", ".5", ".9", "--profile-name", "street",
        "--report", tmp_path / "out" / "report.html",
    )  # fmt: skip
    assert failed == ""
    file = tmp_path / "out" / "street.json"
    assert f"{file}: written" in out
    profile = ThresholdProfile.load(file)
    assert (profile.name, profile.target_recall, set(profile.thresholds)) == ("street", 0.9, {ObjectType.FACE})
    assert "centerface@" in profile.models[ObjectType.FACE]
    # one face that was not found is no promise
    assert profile.figures[ObjectType.FACE]["verdict"] != "reached"
    assert "face: 90% " in out


def test_without_a_type_that_has_objects_there_is_no_profile(tmp_path: Path, evaluate: Any) -> None:
    _, _, failed = evaluate("--set", coco(tmp_path), "--types", "face", "--profile-name", "street")
    assert "thresholds" in failed
    assert not Path("street.json").exists()


@pytest.mark.django_db
def test_without_a_model_it_is_what_the_server_does_active_profile_included(tmp_path: Path, settings: Any) -> None:
    settings.OBJECT_TYPES, settings.MODELS = ["face", "license-plate"], "embedded"
    thresholds = {ObjectType.FACE: 0.33}
    street = ThresholdProfile(name="street", thresholds=thresholds, format="auto")  # type: ignore[arg-type]
    profiles.save(street, accept_unproven=True)
    profiles.activate("street", accept_unproven=True)
    figures = tmp_path / "figures.json"
    out, _, failed = run(
        "--set", coco(tmp_path, [LABEL]), "--cache", tmp_path / "cache.sqlite3", "--json", figures, "--device", "cpu"
    )
    assert failed == ""
    assert [row[:5] for row in rows(out)[2:]] == [
        ["server (embedded, street)", "face", "1", "1", "0.33"],
        ["server (embedded, street)", "license-plate", "1", "0", "0.50"],
    ]
    assert json.loads(figures.read_text())["models"][0]["format"] == "auto"
