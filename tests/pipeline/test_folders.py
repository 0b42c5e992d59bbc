"""`folders`: which files of a folder are taken, and where their results go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anonymizer import Anonymizer, Options
from anonymizer.pipeline import folders
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.folders import Job, State
from anonymizer.pipeline.options.formats import Whole
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import drawn, encoded
from tests.videos import moving_square


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


def names(todo: list[folders.Job]) -> list[str]:
    return [each.source.name for each in todo]


def test_pictures_are_known_by_ending_or_by_their_bytes(folder: Path, tmp_path: Path) -> None:
    todo, others = folders.list_jobs(folder, tmp_path / "out")
    assert names(todo) == ["a.jpg", "broken.png", "clip.mp4", "picture"]
    assert others == 1
    assert todo[-1].target == tmp_path / "out" / "sub" / "picture"


def test_results_are_never_taken_as_input(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "a.jpg").write_bytes(encoded())
    assert names(folders.list_jobs(folder, folder / "out")[0]) == ["a.jpg", "broken.png", "clip.mp4", "picture"]


@pytest.mark.parametrize("source", ["in", "in/a.jpg"])
def test_originals_are_never_replaced(folder: Path, tmp_path: Path, source: str) -> None:
    with pytest.raises(ValueError, match="replace originals"):
        folders.list_jobs(tmp_path / source, folder)


def test_an_output_folder_that_holds_the_input_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="holds the input folder"):
        folders.list_jobs(folder / "sub", folder)


def test_hidden_files_and_what_is_no_regular_file_are_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "._a.jpg").write_bytes(encoded())
    (folder / ".trash").mkdir()
    (folder / ".trash" / "b.jpg").write_bytes(encoded())
    os.mkfifo(folder / "pipe.jpg")
    todo, others = folders.list_jobs(folder, tmp_path / "out")
    assert names(todo) == ["a.jpg", "broken.png", "clip.mp4", "picture"]
    assert others == 4


def test_other_video_endings_are_named(folder: Path, tmp_path: Path) -> None:
    for name in ("c.3gp", "c.wmv", "c.mts"):
        (folder / name).write_bytes(b"\0" * 100)
    (folder / "program.mts").write_text("export {}")
    todo, others = folders.list_jobs(folder, tmp_path / "out")
    assert {"c.3gp", "c.wmv", "c.mts"} <= set(names(todo))
    assert others == 2


def test_folders_that_are_links_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (folder / "link").symlink_to(tmp_path / "else")
    told: dict[Path, str] = {}
    todo, _ = folders.list_jobs(folder, tmp_path / "out", on_unsearched=told.setdefault)
    assert names(todo) == ["a.jpg", "broken.png", "clip.mp4", "picture"]
    assert told == {folder / "link": "The folder is a link, which is not followed."}
    with pytest.raises(OSError, match="is a link"):
        folders.list_jobs(folder, tmp_path / "out")


def test_folders_that_cannot_be_read_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        # root may read every folder, so that the mode alone would not do
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    told: dict[Path, str] = {}
    folders.list_jobs(folder, tmp_path / "out", on_unsearched=told.setdefault)
    assert told == {folder / "sub": "The folder cannot be read: Permission denied."}


def test_each_picture_is_done_or_failed_by_itself(folder: Path, tmp_path: Path) -> None:
    todo, _ = folders.list_jobs(folder, tmp_path / "out")
    outcomes = {each.job.source.name: each for each in folders.run_jobs(todo, Options(), make_anonymizer=make)}
    assert {name: each.state for name, each in outcomes.items()} == {
        "a.jpg": State.DONE,
        "picture": State.DONE,
        "broken.png": State.FAILED,
        "clip.mp4": State.FAILED,
    }
    assert "video is broken" in outcomes["clip.mp4"].detail
    assert outcomes["a.jpg"].counts["face"] == 1
    again = {each.job.source.name: each.state for each in folders.run_jobs(todo, Options(), make_anonymizer=make)}
    assert again["a.jpg"] is State.SKIPPED
    assert {each.state for each in folders.run_jobs(todo[:1], Options(), make_anonymizer=make, overwrite=True)} == {
        State.DONE
    }


def test_an_outcome_has_the_result_and_the_warnings_of_the_picture(tmp_path: Path) -> None:
    source = tmp_path / "large.jpg"
    source.write_bytes(encoded(drawn(1000, 600)))
    (job,), _ = folders.list_jobs(source, tmp_path / "out")
    (outcome,) = folders.run_jobs([job], Options(format=Whole()), make_anonymizer=make)
    assert (outcome.state, outcome.output) == (State.DONE, tmp_path / "out" / "large.jpg")
    assert len(outcome.warnings) == 1
    assert outcome.seconds > 0
    (outcome,) = folders.run_jobs([job], Options(method="detect"), make_anonymizer=make, overwrite=True)
    assert outcome.output == tmp_path / "out" / "large.jpg.json"


def test_strict_gives_no_result_of_a_picture_that_is_not_fully_analysed(folder: Path, tmp_path: Path) -> None:
    (folder / "large.jpg").write_bytes(encoded(drawn(1000, 600)))
    todo, _ = folders.list_jobs(folder, tmp_path / "out")
    whole = Options(format=Whole())
    outcomes = {each.job.source.name: each for each in folders.run_jobs(todo, whole, make_anonymizer=make, strict=True)}
    assert outcomes["a.jpg"].state is State.DONE
    large = outcomes["large.jpg"]
    assert (large.state, large.output) == (State.FAILED, None)
    assert "not fully analysed" in large.detail
    assert len(large.warnings) == 1
    assert list((tmp_path / "out").glob("large*")) == []


class TestVideos:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        (tmp_path / "in").mkdir()
        return moving_square(tmp_path / "in" / "clip.mp4", seconds=0.4)

    def test_the_progress_within_one_is_told(self, source: Path, tmp_path: Path) -> None:
        job = Job(source, tmp_path / "out" / "clip.mp4")
        told: list[tuple[Job, int | None]] = []
        shown = lambda job, now: told.append((job, now.total))  # noqa: E731
        (outcome,) = folders.run_jobs([job], Options(face=True), make_anonymizer=make, on_progress=shown)
        assert outcome.state is State.DONE, outcome.detail
        assert outcome.counts["face"] >= 1
        assert told[-1] == (job, 10)

    def test_a_name_with_colons_works_by_a_relative_path(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(source.parent)
        job = Job(source.rename("12:30:45.mp4"), tmp_path / "out" / "12:30:45.mp4")
        (outcome,) = folders.run_jobs([job], Options(face=True), make_anonymizer=make)
        assert outcome.state is State.DONE, outcome.detail

    def test_what_fails_leaves_nothing(self, source: Path, tmp_path: Path) -> None:
        detector = FakeDetector(error=DetectorFailed("The detector fake failed."))
        job = Job(source, tmp_path / "out" / "clip.mp4")
        (outcome,) = folders.run_jobs([job], Options(), make_anonymizer=lambda: Anonymizer(store=FakeStore(detector)))
        assert (outcome.state, outcome.detail) == (State.FAILED, "The detector fake failed.")
        assert list((tmp_path / "out").iterdir()) == []

    def test_strict_gives_no_result_of_one_that_is_not_fully_analysed(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        source = moving_square(tmp_path / "in" / "large.mp4", seconds=0.2, size_wh=(960, 540))
        job = Job(source, tmp_path / "out" / "large.mp4")
        (outcome,) = folders.run_jobs([job], Options(face=True), make_anonymizer=make, strict=True)
        assert outcome.state is State.FAILED
        assert "not fully analysed" in outcome.detail
        assert list((tmp_path / "out").iterdir()) == []

    def test_results_do_not_take_each_others_names(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        moving_square(tmp_path / "in" / "a.avi", seconds=0.2, codec="msmpeg4v2", audio=None)
        moving_square(tmp_path / "in" / "a.avi.mp4", seconds=0.2, audio=None)
        todo, _ = folders.list_jobs(tmp_path / "in", tmp_path / "out")
        first, second = folders.run_jobs(todo, Options(), make_anonymizer=make)
        assert (first.state, second.state) == (State.FAILED, State.DONE)
        assert "the name of another one's" in first.detail


def test_an_empty_folder_has_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert folders.list_jobs(tmp_path / "in", tmp_path / "out") == ([], 0)
    assert list(folders.run_jobs([], Options(), make_anonymizer=make)) == []
