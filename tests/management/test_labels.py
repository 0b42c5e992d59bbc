"""`anonymizer labels` and `anonymizer evaluate --detections`, as a user types them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.models import AuditAction, AuditEvent, FileKind, Kind, Review, Status, Task
from anonymizer.service import files
from tests.evaluation.sets import HEIGHT, WIDTH, boxes, coco, save_picture


def run(*arguments: object, exit_code: int = 1) -> tuple[str, str, str]:
    """What the command says, and with what sentence it fails."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(*map(str, arguments), stdout=out, stderr=err)
    except CommandError as error:
        assert error.returncode == exit_code
        return out.getvalue(), err.getvalue(), str(error)
    return out.getvalue(), err.getvalue(), ""


@pytest.fixture
def task(tmp_path: Path, db: None) -> Task:
    """A finished task, with its original and its metadata in the storages."""
    made = Task.objects.create(status=Status.DONE, name="street.png", object_types=["face", "person"])
    rows = [{"type_label": "face", "bbox": [2, 3, 12, 15], "score": 0.9, "model": "own-3"}]
    metadata = {"filename": "street.png", "size": [HEIGHT, WIDTH], "detections": rows}
    original = ContentFile(save_picture(tmp_path / "upload.png").read_bytes())
    files.put_original(made, original, "image/png", ".png").save()
    content = files.Artefact(FileKind.METADATA, json.dumps(metadata).encode(), "application/json", ".json")
    for stored in files.put(made, "1", [content]):
        stored.save()
    Task.objects.create(status=Status.FAILED, name="broken.png")
    return made


def test_finished_tasks_go_to_a_label_tool(task: Task, tmp_path: Path) -> None:
    out, _, failed = run("labels", "export", "--tasks", "--format", "cvat", "--output", tmp_path / "out")
    assert (out, failed) == (f"{tmp_path / 'out' / 'annotations.xml'}: 1 objects in 1 pictures\n", "")
    assert f'name="{task.pk}-street.png"' in (tmp_path / "out" / "annotations.xml").read_text()
    for ids, said in (
        ("1", "must be the id of a task"),
        (str(task.pk)[:-4] + "0000", "the id of a finished picture or video"),
    ):
        _, _, failed = run("labels", "export", "--tasks", ids, "--format", "coco", "--output", tmp_path / "out")
        assert said in failed


@pytest.fixture
def video_task(db: None) -> Task:
    """A finished task with a video of two frames and one track."""
    made = Task.objects.create(status=Status.DONE, kind=Kind.VIDEO, name="clip.mp4", object_types=["face"])
    rows = [{"type_label": "face", "bbox": [2, 3, 12, 15], "score": 0.9, "track_id": 1}]
    frames = [{"filename": "clip.mp4", "size": [HEIGHT, WIDTH], "detections": rows}] * 2
    content = files.Artefact(FileKind.METADATA, json.dumps(frames).encode(), "application/json", ".json")
    for stored in files.put(made, "1", [content]):
        stored.save()
    return made


def test_videos_go_to_cvat_as_tracks_and_to_no_other_tool(video_task: Task, tmp_path: Path) -> None:
    out, _, failed = run("labels", "export", "--tasks", "--format", "cvat", "--output", tmp_path / "out")
    file = tmp_path / "out" / f"{video_task.pk}-clip.mp4.xml"
    assert (out, failed) == (f"{file}: 1 tracks in 2 frames\n", "")
    _, _, failed = run("labels", "export", "--tasks", "--format", "coco", "--output", tmp_path / "coco")
    assert failed == "1 video(s) left out: only --format cvat exports videos."


def test_videos_of_a_mixed_set_are_named_where_they_are_left_out(task: Task, video_task: Task, tmp_path: Path) -> None:
    out, err, failed = run("labels", "export", "--tasks", "--format", "coco", "--output", tmp_path / "coco")
    assert "1 objects in 1 pictures" in out and failed == ""
    assert err == "1 video(s) left out: only --format cvat exports videos.\n"


def test_results_of_videos_alone_are_exported(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4.json").write_text('[{"filename": "clip.mp4", "size": [9, 16], "detections": []}]')
    out, _, failed = run("labels", "export", tmp_path, "--format", "cvat", "--output", tmp_path / "out")
    assert (out, failed) == (f"{tmp_path / 'out' / 'clip.mp4.xml'}: 0 tracks in 1 frames\n", "")
    empty = tmp_path / "empty"
    empty.mkdir()
    said = run("labels", "export", empty, "--format", "cvat", "--output", tmp_path / "out")[2]
    assert said == f"{empty}: there is no metadata of an image or a video"


def test_approved_tasks_become_a_labelled_set_in_one_command(task: Task, tmp_path: Path) -> None:
    _, _, failed = run("labels", "from-reviews", "--output", tmp_path / "set")
    assert failed == "There is no reviewed task with a picture that still has its original."
    Task.objects.filter(pk=task.pk).update(review=Review.APPROVED)
    out, _, failed = run("labels", "from-reviews", "--output", tmp_path / "set")
    assert failed == "" and out.endswith("The pictures in it are not anonymised.\n")
    labelled = LabelledSet.read(tmp_path / "set")
    assert [image.path.name for image in labelled.images] == [f"{task.pk}-street.png"]
    assert boxes(labelled.images[0]) == [[2, 3, 12, 15]]
    assert labelled.images[0].labelled == ("face", "person"), "only what was looked for is labelled"
    assert AuditEvent.objects.filter(task=task.pk, action=AuditAction.ORIGINAL_SEEN, actor="command").count() == 1
    task.file(FileKind.ORIGINAL).delete()  # type: ignore[union-attr]
    assert "that still has its original" in run("labels", "from-reviews", "--output", tmp_path / "set")[2]


def test_labels_come_back_as_regions_and_as_a_set(tmp_path: Path) -> None:
    labels = coco(
        tmp_path, [{"bbox": [2, 2, 8, 8]}, {"bbox": [1, 1, 8, 8], "category_id": 2}], names=("visage", "hund")
    )
    out, err, failed = run("labels", "import", labels, "--regions", tmp_path / "regions", "--map", "visage=face")
    assert (out, failed) == (f"{tmp_path / 'regions'}: 1 files\n", "")
    assert "visage  1       face" in err and "To read an unknown class: --map hund=TYPE" in err
    regions = json.loads((tmp_path / "regions" / "1.png.regions.json").read_text())
    assert regions == [{"type": "face", "box": [2, 2, 10, 10]}]
    arguments = ("--map", "visage=face,hund=none", "--format", "yolo", "--output", tmp_path / "yolo")
    _, err, failed = run("labels", "convert", labels, *arguments)
    assert failed == "" and "problem" not in err
    assert boxes(LabelledSet.read(tmp_path / "yolo").images[0]) == [[2, 2, 10, 10]]
    assert "problem" in run("labels", "summary", labels)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("labels", "export", "--format", "coco", "--output", "x"), "export takes a folder of metadata, or --tasks."),
        (("labels", "summary", "SET", "--map", "visage"), "--map is 'visage', but must be NAME=TYPE"),
        (("labels", "summary", "SET", "--map", "visage=head"), "--map is 'visage=head', but must be NAME=TYPE"),
        (("evaluate", "--set", "SET", "--detections", "/nowhere"), "--detections: "),
        (("evaluate", "--set", "SET", "--detections", "x", "--segment"), "--detections runs no model"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    labels = coco(tmp_path, [{"bbox": [2, 2, 8, 8]}])
    assert said in run(*(labels if word == "SET" else word for word in arguments), exit_code=2)[2]


def test_foreign_detections_are_evaluated_without_a_model(tmp_path: Path, settings: Any) -> None:
    settings.MODELS_DIR = tmp_path / "no-models"
    labels = coco(tmp_path, [{"bbox": [2, 2, 8, 8]}, {"bbox": [20, 2, 8, 8]}], names=("visage",))
    rows = [{"image_id": 1, "category_id": 1, "bbox": [2, 2, 8, 8], "score": 0.9}]
    (tmp_path / "results").mkdir()
    file = tmp_path / "results" / "mine.json"
    file.write_text(json.dumps(rows))
    arguments = ("--set", labels, "--map", "visage=face", "--cache", tmp_path / "cache.sqlite3")
    out, err, failed = run("evaluate", *arguments, "--detections", file, "--verbosity", 0)
    assert failed == ""
    assert any(
        [cell.strip() for cell in line.split("|")[1:5]] == ["mine", "face", "1", "2"] for line in out.splitlines()
    )
    assert next(line.split() for line in out.splitlines() if line.startswith("face  ")) == ["face", "1", "1"]
    assert "all           all" in out or "small (area below 32 x 32)" in out
    assert "COCO labels, 1 images" in err
