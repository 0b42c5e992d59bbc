"""`manage.py anonymize`: folders in, folders out, as a user types it. `anonymizer run` is in tests/test_cli.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.pictures import decoded, drawn, encoded
from tests.videos import cut_short, frame_count, moving_square

pytestmark = pytest.mark.slow


def anonymize(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    # a folder of data that does not exist: neither a server nor a database is needed
    env = os.environ | {"ANONYMIZER_DATA_DIR": str(folder / "no-data"), "ANONYMIZER_SECRET_KEY": "x"}
    command = [sys.executable, "manage.py", "anonymize", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder with a sub-folder, two drawn pictures, and a text."""
    folder = tmp_path / "album"
    (folder / "trip" / "day 1").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encoded(drawn(seed=1)))
    (folder / "trip" / "day 1" / "b.png").write_bytes(encoded(drawn(seed=2), "PNG"))
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_sub_folders_are_kept_and_results_are_skipped_the_next_time(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = anonymize("--input", album, "--output", out, "--face", "--save-mask", "binary", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 done, 0 skipped (have a result), 0 failed, 1 other file(s) left alone" in done.stdout
    names = sorted(str(each.relative_to(out)) for each in out.rglob("*") if each.is_file())
    assert names == [
        "a.jpg", "a.jpg.binary-mask.png", "a.jpg.json",
        "trip/day 1/b.png", "trip/day 1/b.png.binary-mask.png", "trip/day 1/b.png.json",
    ]  # fmt: skip
    assert json.loads((out / "a.jpg.json").read_text())["filename"] == "a.jpg"
    again = anonymize("--input", album, "--output", out, "--face", folder=tmp_path)
    assert "0 done, 2 skipped" in again.stdout
    assert not (tmp_path / "no-data" / "db.sqlite3").exists()


def test_a_failure_is_one_line_and_the_others_are_done(album: Path, tmp_path: Path) -> None:
    (album / "cut.jpg").write_bytes(encoded()[:900])
    out = tmp_path / "out"
    done = anonymize("--input", album, "--output", out, "--face", "--workers", 2, folder=tmp_path)
    assert done.returncode == 1
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "FAILED" in line]
    assert len(lines) == 1
    assert "cut.jpg" in lines[0]
    assert "2 done, 0 skipped (have a result), 1 failed" in done.stdout
    assert not (out / "cut.jpg").exists()


def test_a_real_face_is_covered(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "portrait.jpg"
    shutil.copy(data / "images" / "portrait.jpg", source)
    out = tmp_path / "out"
    done = anonymize("--input", source, "--output", out, "--face", "--method", "blacken", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    mask = decoded((out / "portrait.jpg.binary-mask.png").read_bytes())
    assert (mask == 255).any()
    assert decoded((out / "portrait.jpg").read_bytes())[mask == 255].mean() < 12
    found = json.loads((out / "portrait.jpg.json").read_text())["detections"]
    assert {each["type_label"] for each in found} == {"face"}


def test_videos_are_taken_too(album: Path, tmp_path: Path) -> None:
    moving_square(album / "trip" / "clip.mp4", seconds=0.4)
    moving_square(album / "old.avi", seconds=0.2, codec="msmpeg4v2", audio=None)
    moving_square(tmp_path / "whole.mov", seconds=0.4, codec="mjpeg", pixel_format="yuvj420p", audio=None)
    cut_short(tmp_path / "whole.mov", album / "cut.mov")
    out = tmp_path / "out"
    done = anonymize("--input", album, "--output", out, "--face", folder=tmp_path)
    assert "4 done, 0 skipped (have a result), 1 failed, 1 other file(s) left alone" in done.stdout, done.stderr
    assert "FAILED" in done.stderr + done.stdout
    assert "cut.mov: The video" in done.stderr + done.stdout
    names = {str(each.relative_to(out)) for each in out.rglob("*") if each.is_file()}
    # no encoder writes the old one: its result is an MP4
    assert sorted(each for each in names if "clip" in each or "old" in each) == [
        "old.avi.binary-mask.mkv", "old.avi.instance-mask.mkv", "old.avi.json", "old.avi.mp4",
        "trip/clip.mp4", "trip/clip.mp4.binary-mask.mkv", "trip/clip.mp4.instance-mask.mkv", "trip/clip.mp4.json",
    ]  # fmt: skip
    assert frame_count(out / "trip" / "clip.mp4") == frame_count(out / "trip" / "clip.mp4.binary-mask.mkv") == 10
    assert frame_count(out / "old.avi.mp4") == 5
    frames = json.loads((out / "trip" / "clip.mp4.json").read_text())
    assert [each["filename"] for each in frames] == ["clip.mp4"] * 10
    again = anonymize("--input", album, "--output", out, "--face", folder=tmp_path)
    assert "0 done, 4 skipped" in again.stdout


def test_detect_writes_no_picture(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    anonymize("--input", album / "a.jpg", "--output", out, "--method", "detect", "--save-mask", "none", folder=tmp_path)
    assert [each.name for each in out.iterdir()] == ["a.jpg.json"]
    again = anonymize("--input", album / "a.jpg", "--output", out, "--method", "detect", folder=tmp_path)
    assert "1 skipped" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--face-threshold", "2"], "face-threshold is '2'"),
        (["--workers", "0"], "--workers is 0"),
        (["--input", "/no/such/place"], "/no/such/place does not exist"),
        (["--output", "album"], "would replace originals"),
    ],
)
def test_bad_arguments_are_named(album: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    arguments = [str(tmp_path / each) if each == "album" else each for each in arguments]
    done = anonymize("--input", album, "--output", tmp_path / "out", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_originals_stay_as_they_were(album: Path, tmp_path: Path) -> None:
    before = (album / "a.jpg").read_bytes()
    anonymize("--input", album, "--output", album / "out", "--face", folder=tmp_path)
    anonymize("--input", album, "--output", album / "out", "--face", "--overwrite", folder=tmp_path)
    assert (album / "a.jpg").read_bytes() == before
    assert not (album / "out" / "out").exists()
    assert np.array_equal(decoded(before).shape, decoded((album / "out" / "a.jpg").read_bytes()).shape)


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ((), (True, False)),
        (("--keep-metadata", "all"), (True, True)),
        (("--keep-metadata", "none"), (False, False)),
        (("--strip-metadata",), (False, False)),
    ],
)
def test_names_are_kept_where_all_metadata_is_asked_for(
    arguments: tuple[str, ...], kept: tuple[bool, bool], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x013B] = "Model", "Somebody"
    (tmp_path / "a.jpg").write_bytes(encoded(exif=exif))
    done = anonymize("--input", tmp_path / "a.jpg", "--output", tmp_path / "out", "--face", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert tuple(tag in image.getexif() for tag in (0x0110, 0x013B)) == kept


def test_a_folder_that_is_a_link_is_named_and_the_command_fails(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "else").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(encoded())
    (tmp_path / "in" / "._a.jpg").write_bytes(b"AppleDouble")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "else")
    done = anonymize("--input", tmp_path / "in", "--output", tmp_path / "out", "--face", folder=tmp_path)
    assert done.returncode == 1
    assert f"NOT SEARCHED {tmp_path / 'in' / 'link'}: The folder is a link" in done.stderr
    assert "1 folder(s) were not searched." in done.stderr
    assert "1 done, 0 skipped (have a result), 0 failed, 1 other file(s)" in done.stdout


def test_an_output_folder_that_holds_the_input_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "a.jpg").write_bytes(encoded())
    before = (tmp_path / "a.jpg").read_bytes()
    done = anonymize("--input", tmp_path / "sub", "--output", tmp_path, "--face", "--overwrite", folder=tmp_path)
    assert done.returncode == 2
    assert "holds the input folder" in done.stderr
    assert (tmp_path / "a.jpg").read_bytes() == before


def test_json_has_a_line_for_each_file_and_each_folder_that_is_not_searched(tmp_path: Path) -> None:
    album, name = tmp_path / "in", "图" * 83 + "nn.jpg"
    (album / "link to a folder").mkdir(parents=True)
    (album / "link").symlink_to(album / "link to a folder")
    (album / name).write_bytes(encoded())
    (album / "._a.jpg").write_bytes(b"AppleDouble")
    (album / "b.wmv").write_bytes(b"\x30\x26\xb2\x75" + bytes(100))
    os.mkfifo(album / "pipe.mov")
    large = moving_square(album / "c.mp4", seconds=0.2, size_wh=(1920, 1080), audio=None)
    done = anonymize("--input", album, "--output", tmp_path / "out", "--face", "--json", folder=tmp_path)
    lines = {Path(line["input"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert {each: line["state"] for each, line in lines.items()} == {
        "link": "not searched", "._a.jpg": "left alone", "pipe.mov": "left alone",
        name: "done", "c.mp4": "done", "b.wmv": "failed",
    }  # fmt: skip
    assert len({tuple(line) for line in lines.values()}) == 1
    assert lines["link"]["error"] == "The folder is a link, which is not followed."
    assert "Windows Media" in lines["b.wmv"]["error"]
    assert "1920 pixels" in lines["c.mp4"]["warnings"][0]
    assert f"warning {large}: " in done.stderr
    assert done.returncode == 1
    assert "1 file(s) failed and have no result. 1 folder(s) were not searched." in done.stderr


@pytest.mark.parametrize(("source", "output"), [("sub/a.jpg", "."), ("a.jpg", "."), ("link/a.jpg", "sub/../sub")])
def test_a_file_in_the_output_folder_is_wrong_usage(tmp_path: Path, source: str, output: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    originals = [folder / "a.jpg" for folder in (tmp_path, tmp_path / "sub")]
    for original in originals:
        original.write_bytes(encoded())
    for words in ((), ("--overwrite",)):
        done = anonymize("--input", tmp_path / source, "--output", tmp_path / output, *words, folder=tmp_path)
        assert done.returncode == 2
        assert f"{tmp_path / source}" in done.stderr
        assert all(original.read_bytes() == encoded() for original in originals)


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs a device file")
def test_a_device_is_no_input(tmp_path: Path) -> None:
    done = anonymize("--input", "/dev/null", "--output", tmp_path / "out", folder=tmp_path)
    assert done.returncode == 2
    assert "/dev/null is neither a file nor a folder" in done.stderr
