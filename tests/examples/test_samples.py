"""Which pictures notebooks work on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from anonymizer import Anonymizer, ObjectType
from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.matching import overlaps
from anonymizer.examples import builtin, samples
from anonymizer.pipeline.images.io import load_image
from tests.pictures import encoded
from tests.videos import frame_count, moving_square


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ANONYMIZER_SAMPLES", raising=False)
    monkeypatch.setenv("ANONYMIZER_NOTEBOOK_OUT", str(tmp_path / "out"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: five pictures in two sub-folders, a text that is called a picture, and notes."""
    place = tmp_path / "mine"
    for name in ("a/1.jpg", "a/2.png", "a/3.JPG", "b/4.jpg", "b/5.jpg"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(encoded())
    (place / "a" / "0.jpg").write_text("no picture")
    (place / "notes.txt").write_text("notes")
    return place


def coco(path: Path) -> Path:
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    return path


def test_the_argument_wins_over_the_environment_and_that_over_shared_data(
    folder: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data in samples.pictures()[0].parents
    monkeypatch.setenv("ANONYMIZER_SAMPLES", "builtin")
    persons = builtin.with_persons(samples.output("samples"))
    assert samples.pictures() == persons
    assert folder in samples.pictures(folder)[0].parents
    monkeypatch.setenv("ANONYMIZER_SAMPLES", str(folder))
    assert folder in samples.pictures()[0].parents
    assert samples.pictures("builtin") == persons


def test_without_any_folder_the_packages_have_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(samples, "_SHARED", tmp_path / "nowhere")
    assert samples.pictures() == builtin.with_persons(samples.output("samples"))
    assert [load_image(path).ndim for path in samples.pictures()] == [3] * 6
    assert samples.labelled().name == "builtin.json"
    assert samples.video().name == "builtin.mp4"


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, ["3.JPG"]), (2, ["2.png", "4.jpg"]), (5, ["1.jpg", "2.png", "3.JPG", "4.jpg", "5.jpg"])],
)
def test_pictures_of_a_folder_are_spread_over_it(folder: Path, count: int, names: list[str]) -> None:
    assert [path.name for path in samples.pictures(folder, count)] == names
    assert len(samples.pictures(folder, 100)) == 5


def test_pictures_of_shared_data_are_of_many_kinds_and_always_the_same(data: Path) -> None:
    chosen = samples.pictures(count=12)
    assert chosen == samples.pictures(data, 12)
    assert len(set(chosen)) == 12 and all(path.is_file() for path in chosen)
    assert Counter(path.parent.name for path in chosen) == dict.fromkeys(
        ("fddb", "cars", "voc", "dashcam", "highway", "images"), 2
    )


def test_shared_data_has_labels_and_a_video(data: Path) -> None:
    assert samples.labelled() == data / "val.json"
    assert samples.video().is_file()


@pytest.mark.parametrize("what", [samples.pictures, samples.labelled, samples.video])
def test_a_folder_that_is_not_there_is_named(what, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FileNotFoundError, match=rf"no folder {tmp_path}/nowhere: name one that has images"):
        what(tmp_path / "nowhere")
    monkeypatch.setenv("ANONYMIZER_SAMPLES", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match=r"gone \(ANONYMIZER_SAMPLES\)"):
        what()


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no image"):
        samples.pictures(tmp_path)


def test_no_pictures_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="count must be 1 or more, not 0"):
        samples.pictures(count=0)


def test_labels_are_the_folder_or_its_only_coco_file(folder: Path) -> None:
    (folder / "settings.json").write_text("[]")
    (folder / "broken.json").write_text("{")
    assert samples.labelled(folder) == folder
    first = coco(folder / "first.json")
    assert samples.labelled(folder) == first
    coco(folder / "second.json")
    assert samples.labelled(folder) == folder
    assert samples.labelled(first) == first


def test_a_video_of_the_folder_is_taken_where_there_is_one(folder: Path) -> None:
    assert samples.video(folder).name == "builtin.mp4"
    mine = moving_square(folder / "b" / "clip.mkv", seconds=0.2, audio=None)
    assert samples.video(folder) == mine


def test_the_packages_pictures_are_labelled_where_the_models_find_something() -> None:
    labelled = LabelledSet.read(samples.labelled("builtin"))
    assert len(labelled.images) == len(builtin.pictures())
    assert all(len(image.labelled) == 4 for image in labelled.images)
    pixels = [image.pixels() for image in labelled.images]
    assert [image.size_hw for image in labelled.images] == [image.shape[:2] for image in pixels]
    for image, found in zip(labelled.images, Anonymizer().detect(pixels), strict=True):
        for object_type in (ObjectType.FACE, ObjectType.PERSON):
            sure = found.of_type(object_type)[:3]
            for box in image.objects[object_type].boxes:
                assert overlaps(box, sure.boxes).max(initial=0) > 0.5, f"{object_type} in {image.path.name}"
    assert sum(len(image.objects[ObjectType.FACE].boxes) for image in labelled.images) == 3


def test_the_packages_video_shows_a_face_that_moves() -> None:
    with av.open(str(samples.video("builtin"))) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(frames) == 75 and frames[0].shape == (360, 640, 3)
    first, last = (found.of_type(ObjectType.FACE).boxes[0] for found in Anonymizer().detect([frames[0], frames[-1]]))
    assert np.abs(first - last).max() > 50


def test_what_is_made_of_the_packages_pictures_is_made_once() -> None:
    times = [function("builtin").stat().st_mtime_ns for function in (samples.labelled, samples.video)]
    assert [function("builtin").stat().st_mtime_ns for function in (samples.labelled, samples.video)] == times


def test_a_package_that_lacks_its_picture_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = builtin._PackagedImage("skimage", "data/lost.png", (1, 1), "")
    monkeypatch.setattr(builtin, "_IMAGES", (lost,))
    with pytest.raises(FileNotFoundError, match=r"skimage does not have data/lost\.png"):
        samples.pictures("builtin")


@pytest.mark.parametrize("start_s", [0.0, 1.5, 9.0])
def test_a_clip_is_a_part_of_a_video(tmp_path: Path, start_s: float) -> None:
    source = moving_square(tmp_path / "long.mp4", seconds=4)
    clip = samples.clip(source, tmp_path / "clip.mp4", start_s=start_s, seconds=1)
    assert frame_count(clip) == 25
    with av.open(str(clip)) as file:
        assert [stream.type for stream in file.streams] == ["video"]
        assert next(file.decode(video=0)).pts == 0


def test_a_video_that_is_shorter_than_the_clip_is_taken_whole(tmp_path: Path) -> None:
    source = moving_square(tmp_path / "short.mp4", seconds=0.4)
    assert frame_count(samples.clip(source, tmp_path / "clip.mp4", start_s=5)) == 10


def test_a_notebook_writes_where_it_is_told_and_else_in_the_projects_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert samples.output("01") == tmp_path / "out" / "01"
    assert (tmp_path / "out" / "01").is_dir()
    monkeypatch.delenv("ANONYMIZER_NOTEBOOK_OUT")
    place = samples.output("test-of-samples")
    assert place.parts[-3:] == ("build", "notebooks", "test-of-samples")
    place.rmdir()


def test_images_are_spread_over_all_sources_and_over_each() -> None:
    rows = [SimpleNamespace(source=source, path=Path(str(n))) for n, source in enumerate("aaaaaaaaaabbbbbbcc")]
    assert Counter(each.source for each in samples.spread(rows, 8)) == {"a": 3, "b": 3, "c": 2}
    assert samples.spread(rows, None) == rows
    numbered = [SimpleNamespace(source="a", path=Path(str(n))) for n in range(10)]
    assert [each.path.name for each in samples.spread(numbered, 2)] == ["2", "7"]
