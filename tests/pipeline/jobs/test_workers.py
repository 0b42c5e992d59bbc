"""`jobs.workers`: what worker processes tell, and what happens when one cannot start or dies by itself."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from anonymizer import Anonymizer, Options
from anonymizer.pipeline import folders
from anonymizer.pipeline.folders import Job, NoWorker, State
from tests.fakes import FakeDetector, FakeStore, fake_anonymizer
from tests.pictures import drawn, encoded
from tests.videos import moving_square

OPTIONS = Options(face=True, save_mask="none")  # type: ignore[arg-type]


class EndsInWhite(FakeDetector):
    """A detector whose process ends in the middle of a picture that is white at its first pixel."""

    def detect(self, images, side):  # type: ignore[no-untyped-def]
        if any(image[0, 0].min() > 250 for image in images):
            os._exit(7)
        return super().detect(images, side)


def ends_in_white() -> Anonymizer:
    return Anonymizer(store=FakeStore(EndsInWhite()))


def ends_at_once() -> Anonymizer:
    os._exit(3)


def cannot_be_made() -> Anonymizer:
    raise ValueError("no models")


def jobs(folder: Path, *names: str, white: tuple[str, ...] = ()) -> list[Job]:
    (folder / "in").mkdir()
    for name in names:
        picture = drawn()
        if name in white:
            picture.paste((255, 255, 255), (0, 0, 16, 16))
        (folder / "in" / name).write_bytes(encoded(picture, "PNG"))
    return folders.list_jobs(folder / "in", folder / "out")[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_ends_costs_its_file(tmp_path: Path, workers: int) -> None:
    todo = jobs(tmp_path, *"abcdef", white=("b", "e", "f"))
    outcomes = {
        outcome.job.source.name: outcome
        for outcome in folders.run_jobs(todo, OPTIONS, workers=workers, make_anonymizer=ends_in_white)
    }
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        name: State.FAILED if name in "bef" else State.DONE for name in "abcdef"
    }
    assert outcomes["b"].detail == "The process that worked on it ended with exit code 7."
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "a.json", "c", "c.json", "d", "d.json"]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("make", "code"), [(ends_at_once, 3), (cannot_be_made, 1)])
def test_processes_that_cannot_start_end_the_run(
    tmp_path: Path, make: object, code: int, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes = folders.run_jobs(jobs(tmp_path, *"abc"), OPTIONS, workers=workers, make_anonymizer=make)  # type: ignore[arg-type]
    with pytest.raises(NoWorker, match=f"No worker process can be started. .* exit code {code}"):
        list(outcomes)
    assert ("no models" in capfd.readouterr().err) == (code == 1)
    assert multiprocessing.active_children() == []


def test_the_processes_end_when_nobody_wants_more_outcomes(tmp_path: Path) -> None:
    outcomes = folders.run_jobs(jobs(tmp_path, *"abcd"), OPTIONS, workers=2, make_anonymizer=fake_anonymizer)
    assert next(outcomes).state is State.DONE
    assert multiprocessing.active_children() != []
    outcomes.close()
    assert multiprocessing.active_children() == []
    assert list((tmp_path / "out").glob(".*")) == []


def test_a_video_with_a_name_of_255_bytes_tells_its_progress_and_gets_a_shorter_name_beside_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    # no encoder writes this one: its result is an MP4, with another ending
    old = moving_square(tmp_path / "in" / "old.avi", seconds=0.4, codec="msmpeg4v2", audio=None)
    source = old.rename(tmp_path / "in" / ("图" * 83 + "nn.avi"))
    todo, _ = folders.list_jobs(tmp_path / "in", tmp_path / "out")
    told: list[tuple[Path, int | None]] = []
    for expected in (State.DONE, State.SKIPPED):
        (outcome,) = folders.run_jobs(
            todo, Options(face=True), workers=1, make_anonymizer=fake_anonymizer,
            on_progress=lambda job, progress: told.append((job.source, progress.total)),
        )  # fmt: skip
        assert outcome.state is expected, outcome.detail
        assert outcome.output is not None
        assert outcome.output.name.startswith("图" * 70)
        assert outcome.output.suffix == ".mp4"
    assert told[-1] == (source, 10)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 4
    assert max(len(name.encode()) for name in names) <= 255


def test_a_folder_in_the_place_of_a_result_is_no_result(tmp_path: Path) -> None:
    todo = jobs(tmp_path, "a")
    (tmp_path / "out" / "a").mkdir(parents=True)
    (outcome,) = folders.run_jobs(todo, OPTIONS, make_anonymizer=fake_anonymizer)
    assert outcome.state is State.FAILED
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
