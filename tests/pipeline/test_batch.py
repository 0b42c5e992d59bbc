"""`batch`: which files of a folder are taken, and where their results go."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymizer import Anonymizer, Options
from anonymizer.pipeline import batch
from anonymizer.pipeline.batch import State
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import drawn, encoded


def make() -> Anonymizer:
    return Anonymizer(store=FakeStore(FakeDetector()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encoded())
    (folder / "sub" / "picture").write_bytes(encoded(drawn(), "PNG"))
    (folder / "broken.png").write_bytes(b"text")
    (folder / "notes.txt").write_text("text")
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + b"\0" * 4000)
    return folder


def names(todo: list[batch.Job]) -> list[str]:
    return [each.source.name for each in todo]


def test_pictures_are_known_by_ending_or_by_their_bytes(folder: Path, tmp_path: Path) -> None:
    todo, others = batch.jobs(folder, tmp_path / "out")
    assert names(todo) == ["a.jpg", "broken.png", "clip.mp4", "picture"]
    assert others == 1
    assert todo[-1].target == tmp_path / "out" / "sub" / "picture"


def test_results_are_never_taken_as_input(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "a.jpg").write_bytes(encoded())
    assert names(batch.jobs(folder, folder / "out")[0]) == ["a.jpg", "broken.png", "clip.mp4", "picture"]


@pytest.mark.parametrize("source", ["in", "in/a.jpg"])
def test_originals_are_never_replaced(folder: Path, tmp_path: Path, source: str) -> None:
    with pytest.raises(ValueError, match="replace originals"):
        batch.jobs(tmp_path / source, folder)


def test_each_picture_is_done_or_failed_by_itself(folder: Path, tmp_path: Path) -> None:
    todo, _ = batch.jobs(folder, tmp_path / "out")
    outcomes = {each.job.source.name: each for each in batch.run(todo, Options(), make=make)}
    assert {name: each.state for name, each in outcomes.items()} == {
        "a.jpg": State.DONE,
        "picture": State.DONE,
        "broken.png": State.FAILED,
        "clip.mp4": State.FAILED,
    }
    assert "video (mp4)" in outcomes["clip.mp4"].detail
    assert outcomes["a.jpg"].counts["face"] == 1
    again = {each.job.source.name: each.state for each in batch.run(todo, Options(), make=make)}
    assert again["a.jpg"] is State.SKIPPED
    assert {each.state for each in batch.run(todo[:1], Options(), make=make, overwrite=True)} == {State.DONE}


def test_an_empty_folder_has_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert batch.jobs(tmp_path / "in", tmp_path / "out") == ([], 0)
    assert list(batch.run([], Options(), make=make)) == []
