"""Fine-tuning on drawn pictures: what is split, what is learnt, what is kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.pipeline.detection.calibration import Calibration, Calibrations
from anonymizer.pipeline.detection.models.nanodet.own import OwnNanoDet
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.training.finetune import GENTLE, OWN, calibrations, finetune, split
from anonymizer.training.samples import read_samples

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
NONE = Objects(np.zeros((0, 4), np.float32), np.zeros(0, bool))
BEFORE = Calibration(((0.0, 0.0), (1.0, 1.0)))


def scene(number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A magenta rectangle on grey, and its box (1, 4)."""
    rng = np.random.default_rng(number)
    pixels = np.full((120, 160, 3), 90, np.uint8) + rng.integers(0, 20, (120, 160, 1), np.uint8)
    x, y = (int(each) for each in rng.integers(4, 50, 2))
    pixels[y : y + 60, x : x + 80] = (230, 20, 230)
    return pixels, np.array([[x, y, x + 80, y + 60]], np.float32)


def drawn(folder: Path, count: int, labelled: tuple[ObjectType, ...] = (VEHICLE,)) -> LabelledSet:
    """A set of such scenes, the rectangle a vehicle."""
    images = []
    for number in range(count):
        pixels, box = scene(number)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels[..., ::-1])
        objects = dict.fromkeys(OBJECT_TYPES, NONE) | {VEHICLE: Objects(box, np.zeros(1, bool))}
        images.append(LabelledImage(number, path, "drawn", labelled, objects, (120, 160)))
    return LabelledSet(tuple(images), "drawn")


def names(part: LabelledSet) -> set[str]:
    return {each.path.name for each in part.images}


def test_each_picture_belongs_to_one_part_whatever_the_order(tmp_path: Path) -> None:
    whole = drawn(tmp_path, 40)
    learn, judge = split(whole, hold_out=0.3)
    again = split(whole.subset(reversed(whole.images)), hold_out=0.3)

    assert names(learn) | names(judge) == names(whole)
    assert not names(learn) & names(judge)
    assert 4 <= len(judge.images) <= 20
    assert (names(again[0]), names(again[1])) == (names(learn), names(judge))


def test_a_picture_stays_in_its_part_when_the_set_grows(tmp_path: Path) -> None:
    whole = drawn(tmp_path, 40)
    learn, judge = split(whole.subset(whole.images[:20]))
    later = split(whole)
    assert names(learn) <= names(later[0])
    assert names(judge) <= names(later[1])


def test_copies_of_a_picture_are_not_parted(tmp_path: Path) -> None:
    whole = drawn(tmp_path, 10)
    copies = []
    for each in whole.images:
        path = each.path.with_name(f"copy-{each.path.name}")
        shutil.copyfile(each.path, path)
        copies.append(replace(each, path=path))
    for part in split(whole.subset([*whole.images, *copies])):
        found = names(part)
        assert {f"copy-{name}" for name in found if not name.startswith("copy-")} <= found


def test_pictures_of_one_kind_stay_together(tmp_path: Path) -> None:
    learn, judge = split(drawn(tmp_path, 30), by=lambda each: f"drive {each.id % 5}")
    kinds = [{each.id % 5 for each in part.images} for part in (learn, judge)]
    assert not kinds[0] & kinds[1]
    assert all(kinds)


@pytest.mark.parametrize("hold_out", [0.001, 0.5, 0.999])
def test_no_part_of_two_pictures_is_empty(tmp_path: Path, hold_out: float) -> None:
    learn, judge = split(drawn(tmp_path, 2), hold_out=hold_out)
    assert len(learn.images) == len(judge.images) == 1


@pytest.mark.parametrize(
    ("count", "hold_out", "sentence"),
    [(0, 0.5, "two different pictures"), (1, 0.5, "two different pictures"), (3, 0, "hold_out is 0, but must"),
     (3, 1.0, "hold_out is 1.0, but must")],
)  # fmt: skip
def test_what_cannot_be_split_is_an_error(tmp_path: Path, count: int, hold_out: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        split(drawn(tmp_path, count), hold_out=hold_out)


def test_it_learns_what_it_is_shown_and_forgets_nothing_else(tmp_path: Path) -> None:
    learn, judge = split(drawn(tmp_path, 16))
    small = replace(GENTLE, sides=(160,), batch=1, rate=2e-3)
    weights = finetune(learn, tmp_path / "out", steps=25, recipe=small, progress=False)

    def found(file: Path) -> list[tuple[float, float]]:
        """For each picture the best score of the vehicle, and the most that is said of another type."""
        detector = OwnNanoDet(file, device="cpu")
        detector.min_score = 0.001
        best = []
        for image in judge.images:
            (of_one,) = detector.detect([image.pixels()], 160)
            vehicle, others = of_one.of_type(VEHICLE), of_one.of_type(FACE, PLATE, PERSON)
            best.append((max(vehicle.scores, default=0.0), max(others.scores, default=0.0)))
        return best

    before, after = np.array(found(OWN)), np.array(found(weights))
    assert np.mean(after[:, 0]) > np.mean(before[:, 0]) + 0.1
    assert np.abs(after[:, 1] - before[:, 1]).max() < 0.1
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_what_is_frozen_stays_and_nothing_of_an_earlier_run_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"of another set")
    small = replace(GENTLE, sides=(64,), batch=1)
    tuned = load_file(finetune(drawn(tmp_path, 4), tmp_path / "out", steps=3, recipe=small, progress=False))
    start = load_file(OWN)

    assert set(tuned) == set(start)
    changed = {name for name in tuned if not torch.equal(tuned[name], start[name])}
    frozen = ("backbone.stem.", *(f"backbone.stages.{n}." for n in range(GENTLE.frozen)))
    assert not [name for name in changed if name.startswith(frozen) or "running" in name]
    assert "predict.0.weight" in changed
    assert "backbone.stages.2.3.branch2.2.conv.weight" in changed


def test_a_set_that_teaches_nothing_is_an_error(tmp_path: Path) -> None:
    images = drawn(tmp_path, 2, labelled=())
    bare = images.subset(replace(each, objects=dict.fromkeys(OBJECT_TYPES, NONE)) for each in images.images)
    with pytest.raises(ValueError, match="None of 2 pictures can be used"):
        finetune(bare, tmp_path / "out", progress=False)


def test_a_picture_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    images = drawn(tmp_path, 3)
    images.images[1].path.write_bytes(b"no picture")
    samples = read_samples(images, progress=False)
    assert len(samples) == 2
    assert [each.where for each in images.problems] == [str(images.images[1].path)]
    maps, _ = calibrations(OWN, images, Calibrations(), progress=False)
    assert maps == Calibrations()
    assert len(images.problems) == 2


def test_scores_are_measured_where_enough_was_found(data: Path) -> None:
    whole = LabelledSet.read(data / "val.json")
    faces = whole.subset(each for each in whole.images if each.source == "fddb")
    few, many = faces.subset(faces.images[:4]), faces.subset(faces.images[4:64])
    before = Calibrations({FACE: BEFORE}, small={FACE: BEFORE}, close={FACE: BEFORE})

    maps, notes = calibrations(OWN, few, before, progress=False)
    assert maps == before
    assert len(notes) == 3
    assert all("are too few to calibrate" in note for note in notes)
    maps, notes = calibrations(OWN, many, before, progress=False)
    assert maps.whole[FACE] != BEFORE
    assert maps.close[FACE] != BEFORE
    assert notes[0].startswith("face: calibrated with")
    assert notes[2].startswith("face in enlarged views: calibrated with")


def test_a_calibration_that_makes_chances_worse_on_other_pictures_is_not_used(data: Path) -> None:
    whole = LabelledSet.read(data / "val.json")
    images = [each for each in whole.images if each.source == "fddb"][:60]
    # the pictures for the judgement say the opposite of those for the fit: nothing is labelled in them
    odd = [
        replace(each, objects=each.objects | {FACE: NONE}) if number % 2 else each for number, each in enumerate(images)
    ]
    doubtful = Calibrations({FACE: Calibration(((0.0, 0.0), (1.0, 0.01)))})
    maps, notes = calibrations(OWN, whole.subset(odd), doubtful, progress=False)
    assert maps == doubtful
    assert "makes the chances worse on the other pictures" in notes[0]
