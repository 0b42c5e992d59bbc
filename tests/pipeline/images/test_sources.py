"""What a caller hands over as one image or many."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anonymizer.pipeline.errors import AnonymizerError, InvalidParameter, SourceNotFound
from anonymizer.pipeline.images.io import check_header, load_image
from anonymizer.pipeline.images.sources import expand_sources, load_source, source_name
from tests.pictures import drawn, encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images, one of them without an ending, and two other files."""
    (tmp_path / "sub").mkdir()
    for name in ("b.jpg", "a.PNG", "sub/c.jpeg", "sub/raw"):
        (tmp_path / name).write_bytes(encoded(kind="PNG" if name == "a.PNG" else "JPEG"))
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "sub" / "empty").touch()
    return tmp_path


def test_one_image_is_loaded_however_it_is_given(tmp_path: Path) -> None:
    content, picture = encoded(kind="PNG"), drawn()
    (tmp_path / "a.png").write_bytes(content)
    path = tmp_path / "a.png"
    for source in (path, str(path), content, io.BytesIO(content), np.asarray(picture), picture):
        assert np.array_equal(load_source(source).rgb(), np.asarray(picture))
    assert load_source(path).name == "a.png"
    assert load_source(picture, name="b").name == "b"


@pytest.mark.parametrize("source", [7, None, [1], object()])
def test_anything_else_is_refused(source: object) -> None:
    with pytest.raises(InvalidParameter, match=r"^images\[3\] is 'a \w+', but must be a path, bytes"):
        load_source(source, parameter="images[3]")  # type: ignore[arg-type]


def test_a_missing_file_is_one_error_of_ours_and_of_python(tmp_path: Path) -> None:
    for load in (load_source, load_image, check_header):
        with pytest.raises(SourceNotFound, match=r"^There is no file .*/none\.jpg\.$"):
            load(tmp_path / "none.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError):
        load_source(tmp_path / "file" / "a.jpg")
    assert issubclass(SourceNotFound, AnonymizerError)
    assert SourceNotFound.status == 400


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="must be a file, not a folder"):
        load_source(tmp_path)


def test_a_folder_is_its_images_in_order(folder: Path) -> None:
    names = [Path(str(path)).relative_to(folder).as_posix() for path in expand_sources(folder)]
    assert names == ["a.PNG", "b.jpg", "sub/c.jpeg", "sub/raw"]
    assert list(expand_sources(str(folder))) == list(expand_sources(folder))


def test_a_glob_is_the_images_that_match(folder: Path) -> None:
    assert expand_sources(f"{folder}/*") == [folder / "a.PNG", folder / "b.jpg"]
    assert expand_sources(f"{folder}/**/*.jp*g") == [folder / "b.jpg", folder / "sub" / "c.jpeg"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].jpg"
    path.write_bytes(encoded())
    assert expand_sources(str(path)) == [str(path)]


def test_no_image_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(SourceNotFound, match="There is no image in the folder "):
        expand_sources(tmp_path)
    with pytest.raises(SourceNotFound, match=r"No image matches .*\*\.txt"):
        expand_sources(f"{tmp_path}/*.txt")


def test_one_image_becomes_a_list_of_one_and_a_stack_one_of_many() -> None:
    content, array = encoded(), np.asarray(drawn())
    file = io.BytesIO(content)
    assert expand_sources(content) == [content]
    assert expand_sources(file) == [file]
    assert len(list(expand_sources(array))) == 1
    assert len(list(expand_sources(np.stack([array] * 3)))) == 3
    given = iter([content])
    assert expand_sources(given) is given
    with pytest.raises(InvalidParameter, match="images is 'a int', but must be a folder, a glob"):
        expand_sources(7, parameter="images")  # type: ignore[arg-type]


def test_sources_have_names_for_messages() -> None:
    assert source_name(Path("a/b.jpg"), 0) == "a/b.jpg"
    assert source_name(b"...", 4) == "image 5"


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    # tests may run as root, who can read every folder
    def refuse(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="locked"):
        expand_sources(tmp_path)


def test_folders_that_are_links_are_named(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "d.jpg").write_bytes(encoded())
    (folder / "link").symlink_to(other)
    with pytest.raises(OSError, match="link: The folder is a link, which is not followed"):
        expand_sources(folder)
    told: dict[Path, str] = {}
    found = list(expand_sources(folder, on_unsearched=told.setdefault))
    assert [Path(str(path)).name for path in found] == ["a.PNG", "b.jpg", "c.jpeg", "raw"]
    assert told == {folder / "link": "The folder is a link, which is not followed."}


def test_hidden_files_and_what_is_no_regular_file_are_left_alone(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anonymizer")
    expand_sources(folder)
    before = [record.args for record in caplog.records]
    (folder / "._b.jpg").write_bytes(b"AppleDouble")
    (folder / ".trash").mkdir()
    (folder / ".trash" / "d.jpg").write_bytes(encoded())
    (folder / ".trash" / "link").symlink_to(folder)
    # reading it would wait for a writer
    os.mkfifo(folder / "pipe.jpg")
    names = [Path(str(path)).name for path in expand_sources(folder)]
    assert names == ["a.PNG", "b.jpg", "c.jpeg", "raw"]
    left_alone = [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]
    assert left_alone[-1] == (before[-1][0] if before else 0) + 3
