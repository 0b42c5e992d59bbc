"""The command `anonymizer`: its help, its exit codes, and what `run` prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.utils.log import configure_logging

import anonymizer
from anonymizer import cli
from anonymizer.management.commands import anonymize
from anonymizer.pipeline.options.options import parameters
from tests.conftest import ROOT
from tests.fakes import fake_anonymizer
from tests.pictures import drawn, encoded

OUTCOME_KEYS = {"input", "output", "state", "counts", "warnings", "error", "seconds"}


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """The command sets variables for its process, which here is that of the tests."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    # the command has made handlers that write to what captured its output
    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `anonymizer run` use a fake detector, in its worker process too."""
    monkeypatch.setattr(anonymize, "make_anonymizer", fake_anonymizer)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(drawn()))
    return path


@pytest.fixture
def large_photo(tmp_path: Path) -> Path:
    """A photo that the fake detector analyses much smaller than it is."""
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(drawn(1000, 600)))
    return path


def call(*words: object) -> int:
    """The exit code of `anonymizer WORDS`."""
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)


def in_process(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anonymizer", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=120)


# --- help ---


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_the_commands_are_listed_in_a_line_each(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    width = max(map(len, cli.COMMANDS))
    for name, entry in cli.COMMANDS.items():
        assert f"  {name.ljust(width)}  {entry.help}" in lines


@pytest.mark.parametrize("words", [["--version"], ["run", "--version"], ["models", "--version"]])
def test_the_version_is_ours(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words) == 0
    assert capsys.readouterr().out == f"anonymizer {anonymizer.__version__}\n"


def test_an_unknown_command_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("surve") == 2
    told = capsys.readouterr().err
    assert "there is no command 'surve'. Did you mean serve?" in told
    assert all(name in told for name in cli.COMMANDS)


@pytest.mark.parametrize("name", [name for name, entry in cli.COMMANDS.items() if entry.module])
def test_each_help_has_examples_and_exit_codes_and_not_djangos_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(name, "--help") == 0
    told = capsys.readouterr().out
    assert f"usage: anonymizer {name}" in told
    assert "exit codes:" in told
    assert "--settings" not in told
    examples = told.split("examples:\n")[1].split("exit codes:")[0]
    assert 2 <= len(re.findall(rf"^  anonymizer {name}\b", examples, re.MULTILINE)) <= 5


def test_the_help_of_run_has_every_parameter_with_its_default_under_its_topic(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("run", "--help") == 0
    told = capsys.readouterr().out
    sections = dict(re.findall(r"^([a-z][a-z ]+):\n((?:  .*\n)+)", told, re.MULTILINE))
    for name, parameter in parameters().items():
        section = " ".join(sections[parameter.topic.value].split())
        entry = re.search(rf"--{name} .+?(?= --[a-z]|$)", section)
        assert entry is not None
        assert "default: " in entry[0]


# --- run ---


def test_each_file_is_one_line(photo: Path, tmp_path: Path, detector: None, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("run", photo, "--output", tmp_path / "out", "--face", "--license-plate")
    assert call(*arguments) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"done {photo}: 1 face, 1 license plate \(\d+\.\d s\)", first)
    assert last.startswith("1 done, 0 skipped (have a result), 0 failed, 0 other file(s) left alone")
    assert (tmp_path / "out" / "photo.jpg").is_file()
    assert call(*arguments) == 0
    assert capsys.readouterr().out.startswith(f"skipped {photo}: It already has a result.")


def test_a_flag_does_not_take_an_input_as_its_value(
    photo: Path, large_photo: Path, tmp_path: Path, detector: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--person", "false", "--face", photo, "--output", tmp_path / "out", "--license-plate", large_photo)
    assert call("run", *arguments, "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert [first["input"], second["input"]] == [str(photo), str(large_photo)]
    assert first["counts"] == {"face": 1, "license-plate": 1}


def test_json_is_one_line_for_each_file_and_nothing_else(
    photo: Path, large_photo: Path, tmp_path: Path, detector: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:900])
    out = tmp_path / "out"
    assert call("run", photo, large_photo, tmp_path / "cut.jpg", "--output", out, "--json", "--format", "whole") == 1
    told = capsys.readouterr()
    done, warned, failed = map(json.loads, told.out.splitlines())
    assert done.keys() == warned.keys() == failed.keys() == OUTCOME_KEYS
    assert (done["state"], done["output"], done["error"]) == ("done", str(out / "photo.jpg"), None)
    assert done["counts"]["face"] == 1
    assert "1000 pixels" in warned["warnings"][0]
    assert (failed["state"], failed["output"]) == ("failed", None)
    assert failed["error"]
    assert f"FAILED {tmp_path / 'cut.jpg'}: {failed['error']}" in told.err
    assert "2 done, 0 skipped" in told.err


def test_warnings_are_shown_and_strict_makes_them_failures(
    large_photo: Path, tmp_path: Path, detector: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", large_photo, "--output", tmp_path / "out", "--format", "whole") == 0
    assert f"warning {large_photo}: " in capsys.readouterr().out
    assert call("run", large_photo, "--output", tmp_path / "strict", "--strict", "--format", "whole") == 1
    told = capsys.readouterr()
    assert f"FAILED {large_photo}: It was not fully analysed" in told.out
    assert f"warning {large_photo}: " in told.out
    assert told.err == "anonymizer run: 1 file(s) failed and have no result.\n"
    assert not (tmp_path / "strict").exists()
    assert call("run", large_photo, "--output", tmp_path / "strict", "--strict") == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Name at least one image, video or folder."),
        (["gone.jpg"], "The input gone.jpg does not exist."),
        (["PHOTO", "--output", "PHOTO"], "is a file, but must be a folder."),
        (["PHOTO", "--fase"], "unrecognized arguments: --fase. See `anonymizer run --help`."),
        (["PHOTO", "--margin", "2"], "margin is '2', but must be a number from 0 to 1."),
        (["PHOTO", "--workers", "0"], "--workers is 0, but must be 1 or more."),
        (["PHOTO", "more/photo.jpg"], "would have the same result"),
    ],
)
def test_wrong_usage_is_one_sentence(
    photo: Path,
    tmp_path: Path,
    detector: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "photo.jpg").write_bytes(photo.read_bytes())
    assert call("run", "--output", "out", *("photo.jpg" if word == "PHOTO" else word for word in words)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("anonymizer run: ")
    assert sentence in told.err
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# --- the others ---


def test_a_wrong_setting_is_one_sentence() -> None:
    done = in_process("models", "list", ANONYMIZER_WORKERS="many")
    assert done.returncode == 2
    assert done.stderr.startswith("anonymizer models: ANONYMIZER_WORKERS is 'many'")
    assert len(done.stderr.splitlines()) == 1


def test_commands_without_a_database_leave_no_data_folder(tmp_path: Path) -> None:
    done = in_process("models", "list", ANONYMIZER_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert "own-detector" in done.stdout or "own-2" in done.stdout
    assert not (tmp_path / "data").exists()


def test_manage_runs_commands_of_django(tmp_path: Path) -> None:
    done = in_process("manage", "migrate", "--verbosity", "0", ANONYMIZER_DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "db.sqlite3").is_file()


def test_lab_starts_in_the_notebooks_with_the_given_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    folders: list[Path] = []
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "chdir", lambda folder: folders.append(Path(folder)))
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append(command) or 0)
    assert call("lab", "--no-browser") == 0
    assert folders == [ROOT / "notebooks"]
    assert commands[0][:3] == [sys.executable, "-m", "jupyterlab"]
    assert commands[0][-2:] == ["--allow-root", "--no-browser"]


def test_lab_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("lab", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: anonymizer lab")
