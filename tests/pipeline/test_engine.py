"""Several models for one type, and scores that are mapped to chances."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, ObjectType
from anonymizer.pipeline.detection.calibration import Calibration, Calibrations
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Whole

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
PICTURE = np.zeros((200, 300, 3), np.uint8)
Found = list[tuple[tuple[float, float, float, float], float, ObjectType]]


@dataclass
class Told:
    """A detector that finds what it is told to, in every view."""

    id: str
    found: Found = field(default_factory=list)
    error: Exception | None = None
    object_types: tuple[ObjectType, ...] = (FACE, PLATE)
    min_score: float = 0.05
    least_size: float = 8.0
    tile_side: int = 300
    device: str = "cpu"

    def scales(self, long_side: int) -> tuple[int, ...]:
        return (300,)

    def warm_up(self) -> None:
        pass

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        if self.error:
            raise self.error
        boxes = np.array([box for box, _, _ in self.found], np.float32).reshape(-1, 4)
        scores, types = [score for _, score, _ in self.found], [each.number for _, _, each in self.found]
        return [Detections(boxes, scores, types, [self.id] * len(boxes)) for _ in images]


class Together(ModelStore):
    """Two models for plates, the first of which serves faces alone."""

    costs: ClassVar[dict[ObjectType, float]] = {}

    def __init__(self, first: Told, second: Told, maps: dict[str, dict[ObjectType, Calibration]]) -> None:
        super().__init__(device="cpu")
        self.both, self.maps = [first, second], maps

    def serves(self) -> dict[ObjectType, tuple[str, ...]]:
        return {FACE: (self.both[0].id,), PLATE: (self.both[0].id, self.both[1].id)}

    def calibrations(self, model_id: str) -> Calibrations:
        return Calibrations(self.maps.get(model_id, {}))

    def miss_cost(self, object_type: ObjectType) -> float:
        return self.costs.get(object_type, 1.0)

    def detectors(self, object_types: object) -> list[Told]:  # type: ignore[override]
        return self.both


def found(first: Found, second: Found, **maps: dict[ObjectType, Calibration]) -> Detections:
    (of_one,) = Anonymizer(store=Together(Told("a", first), Told("b", second), maps)).engine.detect(
        [PICTURE], [FACE, PLATE], Whole()
    )
    return of_one


def rows(detections: Detections) -> list[tuple[str, float]]:
    return [
        (str(model), round(float(score), 3)) for model, score in zip(detections.models, detections.scores, strict=True)
    ]


def test_nothing_found_is_nothing() -> None:
    assert len(found([], [])) == 0


def test_what_both_found_is_there_once_with_the_higher_score() -> None:
    box, nearly = (10, 10, 60, 30), (11, 10, 61, 31)
    assert rows(found([(box, 0.6, PLATE)], [(nearly, 0.8, PLATE)])) == [("b", 0.8)]
    assert rows(found([(box, 0.9, PLATE)], [(nearly, 0.8, PLATE)])) == [("a", 0.9)]


def test_a_second_model_adds_what_the_first_did_not_find() -> None:
    both = found([((10, 10, 60, 30), 0.6, PLATE)], [((100, 100, 160, 130), 0.3, PLATE)])
    assert rows(both) == [("a", 0.6), ("b", 0.3)]


def test_a_box_of_the_second_takes_the_place_of_one_box_of_the_first_only() -> None:
    near, far = (10, 10, 60, 60), (22, 10, 72, 60)
    both = found([(near, 0.6, PLATE), (far, 0.5, PLATE)], [((15, 10, 65, 60), 0.9, PLATE)])
    assert rows(both) == [("b", 0.9), ("a", 0.5)]
    assert both.boxes[1].tolist() == list(far)


def test_a_type_that_one_model_serves_is_not_taken_from_the_other() -> None:
    assert rows(found([((10, 10, 60, 60), 0.6, FACE)], [((100, 10, 160, 60), 0.9, FACE)])) == [("a", 0.6)]


def test_scores_become_chances_and_stay_sorted() -> None:
    low, high = (10, 10, 60, 60), (100, 10, 160, 60)
    half = Calibration(((0.0, 0.0), (1.0, 0.5)))
    of_one = found([(low, 0.9, FACE), (high, 0.6, PLATE)], [], a={FACE: half})
    assert rows(of_one) == [("a", 0.6), ("a", 0.45)]


def test_the_higher_chance_counts_not_the_higher_score() -> None:
    box = (10, 10, 60, 30)
    low = Calibration(((0.0, 0.0), (1.0, 0.5)))
    assert rows(found([(box, 0.6, PLATE)], [(box, 0.9, PLATE)], b={PLATE: low})) == [("a", 0.6)]


def test_chances_are_weighted_by_what_a_miss_of_their_type_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Together, "costs", {FACE: 4.0})
    face, plate = (10, 10, 60, 60), (100, 10, 160, 60)
    # .5 becomes 4 * .5 / (4 * .5 + .5) = .8
    assert rows(found([(face, 0.5, FACE), (plate, 0.6, PLATE)], [])) == [("a", 0.8), ("a", 0.6)]


def test_models_are_merged_by_chances_before_misses_are_weighted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Together, "costs", {PLATE: 4.0})
    box = (10, 10, 60, 30)
    low = Calibration(((0.0, 0.0), (1.0, 0.5)))
    assert rows(found([(box, 0.6, PLATE)], [(box, 0.9, PLATE)], b={PLATE: low})) == [("a", 0.857)]


def test_without_the_second_there_is_no_result() -> None:
    store = Together(Told("a", [((10, 10, 60, 30), 0.6, PLATE)]), Told("b", error=DetectorFailed("b failed")), {})
    with pytest.raises(DetectorFailed, match="b failed"):
        Anonymizer(store=store).engine.detect([PICTURE], [PLATE], Whole())
