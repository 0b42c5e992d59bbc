"""The causes of misses and false finds, and the contact sheets of the worst ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import LabelledImage, Objects
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from benchmarks.worst_finds import Case, Cause, case_cell, cases, missed_badness, save, some, worst

FACE, PERSON = ObjectType.FACE, ObjectType.PERSON


def labelled(path: Path, number: int = 1, **boxes: list[tuple[float, float, float, float]]) -> LabelledImage:
    """An image with boxes of some types; all types are fully labelled."""
    arrays = {each: np.array(boxes.get(each.value, []), np.float32).reshape(-1, 4) for each in OBJECT_TYPES}
    objects = {each: Objects(array, np.zeros(len(array), bool)) for each, array in arrays.items()}
    return LabelledImage(number, path, "made", tuple(OBJECT_TYPES), objects, (200, 400))


def faces(*rows: tuple[float, float, float, float, float]) -> Detections:
    values = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(values[:, :4], values[:, 4], np.full(len(rows), FACE.number), np.full(len(rows), "model"))


@pytest.fixture
def image(tmp_path: Path) -> LabelledImage:
    cv2.imwrite(str(tmp_path / "made.png"), np.full((200, 400, 3), 90, np.uint8))
    places = [(10, 10, 50, 50), (100, 10, 140, 50), (200, 10, 240, 50), (300, 10, 340, 50)]
    return labelled(tmp_path / "made.png", face=places, person=[(10, 100, 50, 190)])


def test_each_miss_and_each_false_find_has_its_cause(image: LabelledImage) -> None:
    found = faces(
        (10, 10, 50, 50, 0.9), (12, 10, 52, 50, 0.8),  # right, and the same face again
        (100, 10, 140, 50, 0.3),  # right, but faint
        (200, 30, 240, 70, 0.7),  # half beside it
        (10, 100, 50, 190, 0.6), (150, 120, 170, 140, 0.55), (150, 150, 170, 170, 0.4),  # a person, nothing, faint
    )  # fmt: skip
    missed, false = cases(image, FACE, found)
    assert [(round(case.score, 2), case.cause) for case in missed] == [
        (0.3, Cause.FAINT), (0, Cause.BOX), (0, Cause.NOTHING),
    ]  # fmt: skip
    assert [(round(case.score, 2), case.cause) for case in false] == [
        (0.8, Cause.TWICE), (0.7, Cause.BOX), (0.6, Cause.OTHER), (0.55, Cause.NOTHING),
    ]  # fmt: skip


def test_the_worst_misses_are_large_and_faint_and_of_different_images(tmp_path: Path) -> None:
    def miss(number: int, side: float, score: float) -> Case:
        box = np.array([0, 0, side, 2 * side], np.float32)
        return Case(labelled(tmp_path / "none.png", number), FACE, box, score, Cause.FAINT)

    listed = [miss(1, 40, 0.0), miss(1, 90, 0.1), miss(2, 100, 0.9), miss(3, 30, 0.0), miss(4, 5, 0.0)]
    assert [case.image.id for case in worst(listed, 3, missed_badness)] == [1, 3, 2]


def test_the_sheets_show_the_case_in_its_surroundings(image: LabelledImage, tmp_path: Path) -> None:
    (miss, *_), _ = cases(image, FACE, faces((100, 10, 140, 50, 0.9)))
    save(tmp_path, "misses", [case_cell(miss, faces())] * 7)
    first, second = (cv2.imread(str(tmp_path / f"misses-{number}.png")) for number in (1, 2))
    assert first is not None and second is not None
    assert first.shape[0] == 2 * second.shape[0]
    # a red box of the missed face, and the grey image around it
    assert ((first == (0, 0, 255)).all(2)).any()
    assert ((first == (90, 90, 90)).all(2)).mean() > 0.5


def test_pictures_are_drawn_evenly_and_the_same_for_one_seed(tmp_path: Path) -> None:
    images = [labelled(tmp_path / "a.png", number) for number in range(9)]
    chosen = some(images, 4, seed=3)
    assert [image.id for image in chosen] == [image.id for image in some(images, 4, seed=3)]
    assert len({image.id for image in chosen}) == 4
