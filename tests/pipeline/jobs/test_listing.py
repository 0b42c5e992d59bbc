"""`jobs.listing`: no original is ever replaced, or taken for a result, by whatever name it is reached."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from anonymizer import Options
from anonymizer.pipeline import folders
from anonymizer.pipeline.folders import Job, State
from tests.fakes import fake_anonymizer
from tests.pictures import drawn, encoded


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two originals of the same name, `in/a.jpg` and `in/sub/a.jpg`, in the current folder."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.jpg").write_bytes(encoded(drawn(seed=1)))
    (tmp_path / "in" / "sub" / "a.jpg").write_bytes(encoded(drawn(seed=2)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def link_to_file(tree: Path) -> None:
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere" / "a.jpg").symlink_to(tree / "in" / "sub" / "a.jpg")


def link_to_folder(tree: Path) -> None:
    (tree / "results").symlink_to(tree / "in")


def link_from_inside(tree: Path) -> None:
    (tree / "original.jpg").write_bytes(encoded())
    (tree / "in" / "sub" / "a.jpg").unlink()
    (tree / "in" / "sub" / "a.jpg").symlink_to(tree / "original.jpg")


def hard_link(tree: Path) -> None:
    (tree / "out").mkdir()
    os.link(tree / "in" / "a.jpg", tree / "out" / "a.jpg")


def nothing(tree: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "source", "target", "words"),
    [
        (nothing, "in/sub/a.jpg", "in", "holds the input in/sub/a.jpg"),
        (nothing, "in/a.jpg", "in", "is where the input in/a.jpg lies"),
        (nothing, "in/a.jpg", ".", "holds the input in/a.jpg"),
        (nothing, "in/sub/a.jpg", "in/sub/../../in", "holds the input"),
        (link_to_folder, "in/sub/a.jpg", "results", "holds the input"),
        (link_to_folder, "results/sub/a.jpg", "in", "holds the input"),
        (link_to_file, "elsewhere/a.jpg", "in", "holds the input"),
        (link_to_file, "elsewhere", "in", "holds the input elsewhere/a.jpg"),
        (link_from_inside, "in/sub/a.jpg", "in", "holds the input"),
        (hard_link, "in/a.jpg", "out", "out/a.jpg is the original in/a.jpg"),
        (hard_link, "in", "out", "out/a.jpg is the original in/a.jpg"),
    ],
)
def test_an_output_folder_that_holds_an_original_is_refused(
    tree: Path, prepare: Callable[[Path], None], source: str, target: str, words: str
) -> None:
    prepare(tree)
    with pytest.raises(ValueError, match=words):
        folders.list_jobs(Path(source), Path(target))


def test_an_original_is_no_result_even_if_it_becomes_one_during_the_run(tree: Path) -> None:
    (job,), _ = folders.list_jobs(Path("in/a.jpg"), Path("out"))
    hard_link(tree)
    content = job.source.read_bytes()
    for overwrite in (False, True):
        (outcome,) = folders.run_jobs([job], Options(), overwrite=overwrite, make_anonymizer=fake_anonymizer)
        assert outcome.state is State.FAILED
        assert "out/a.jpg is the original itself" in outcome.detail
        assert job.source.read_bytes() == job.target.read_bytes() == content


def test_a_link_to_an_original_elsewhere_is_an_input(tree: Path) -> None:
    link_from_inside(tree)
    (job,), _ = folders.list_jobs(Path("in/sub/a.jpg"), Path("out"))
    assert job == Job(Path("in/sub/a.jpg"), Path("out/a.jpg"))


def test_a_mask_does_not_take_the_place_of_another_result(tree: Path) -> None:
    (tree / "in" / "a.jpg.binary-mask.png").write_bytes(encoded(drawn(), "PNG"))
    jobs, _ = folders.list_jobs(Path("in"), Path("out"))
    masks = Options(save_mask="binary")  # type: ignore[arg-type]
    outcomes = {
        each.job.source.name: each for each in folders.run_jobs(jobs[:2], masks, make_anonymizer=fake_anonymizer)
    }
    assert outcomes["a.jpg"].state is State.FAILED
    assert "name of another one's result: a.jpg.binary-mask.png" in outcomes["a.jpg"].detail
    assert outcomes["a.jpg.binary-mask.png"].state is State.DONE


def test_hidden_folders_are_left_alone_whatever_they_hold(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "in" / ".Trashes").mkdir()
    (tree / "in" / ".cache").mkdir()
    (tree / "in" / ".cache" / "link").symlink_to(tree)
    real = os.scandir

    def scandir(path: str) -> object:
        # root may read every folder, so that the mode alone would not do
        if Path(path).name == ".Trashes":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    jobs, others = folders.list_jobs(Path("in"), Path("out"))
    assert ([job.source for job in jobs], others) == ([Path("in/a.jpg"), Path("in/sub/a.jpg")], 0)


def test_what_is_left_alone_is_told(tree: Path) -> None:
    (tree / "in" / "._a.jpg").write_bytes(b"AppleDouble")
    (tree / "in" / "notes.txt").write_text("text")
    os.mkfifo(tree / "in" / "pipe.mp4")
    told: list[Path] = []
    _, others = folders.list_jobs(Path("in"), Path("out"), on_left_alone=told.append)
    assert sorted(told) == [Path("in/._a.jpg"), Path("in/notes.txt"), Path("in/pipe.mp4")]
    assert others == 3


def test_a_hidden_picture_that_is_named_is_a_job_and_an_apple_double_is_not(tree: Path) -> None:
    (tree / "in" / "._a.jpg").write_bytes(b"\0\x05\x16\x07\0\2\0\0Mac OS X        " + bytes(4000))
    told: list[Path] = []
    assert folders.list_jobs(Path("in/._a.jpg"), Path("out"), on_left_alone=told.append) == ([], 1)
    assert told == [Path("in/._a.jpg")]
    (tree / "in" / "a.jpg").rename(tree / "in" / ".a.jpg")
    assert folders.list_jobs(Path("in/.a.jpg"), Path("out")) == ([Job(Path("in/.a.jpg"), Path("out/.a.jpg"))], 0)


@pytest.mark.parametrize("ending", "wmv flv vob mxf mpg m2v mts mod rmvb insv h264 3g2 ogv".split())
def test_videos_that_are_not_supported_are_jobs_that_fail_by_name(tree: Path, ending: str) -> None:
    (tree / "in" / f"b.{ending}").write_bytes(b"\0\1\2" * 100)
    jobs, others = folders.list_jobs(Path("in"), Path("out"))
    assert others == 0
    (outcome,) = folders.run_jobs(jobs[1:2], Options(), make_anonymizer=fake_anonymizer)
    assert (outcome.job.source.name, outcome.state) == (f"b.{ending}", State.FAILED)


@pytest.mark.parametrize("method", ["blur", "detect"])
@pytest.mark.parametrize("stem", ["n" * 251, "ü" * 125 + "n", "图" * 83 + "nn"])
def test_names_of_255_bytes_have_all_files_and_are_skipped_the_next_time(tree: Path, stem: str, method: str) -> None:
    name = f"{stem}.jpg"
    assert len(name.encode()) == 255
    (tree / "long").mkdir()
    (tree / "long" / name).write_bytes(encoded())
    (job,), _ = folders.list_jobs(Path("long"), Path("out"))
    options = Options(method=method, save_mask="all")  # type: ignore[arg-type]
    (outcome,) = folders.run_jobs([job], options, make_anonymizer=fake_anonymizer)
    assert outcome.state is State.DONE, outcome.detail
    found = sorted(path.name for path in Path("out").iterdir())
    assert sum(each.endswith((".json", ".binary-mask.png", ".instance-mask.png")) for each in found) == 3
    assert (name in found) == (method == "blur")
    (again,) = folders.run_jobs([job], options, make_anonymizer=fake_anonymizer)
    assert (again.state, again.output) == (State.SKIPPED, outcome.output)
