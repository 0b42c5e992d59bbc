"""Chances from scores: which map of a model an object gets, and the weight of a miss."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from anonymizer.pipeline.detection.calibration import (
    SMALL_PX,
    Calibration,
    Calibrations,
    unweigh_misses,
    weigh_misses,
)
from anonymizer.pipeline.detections import Detections, ObjectType

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE


def times(share: float) -> Calibration:
    return Calibration(((0.0, 0.0), (1.0, share)))


def found(*sides: float, object_type: ObjectType = FACE) -> Detections:
    """Objects of these shorter sides, all with the score .8."""
    boxes = np.array([(0, 0, side, 2 * side) for side in sides], np.float32).reshape(-1, 4)
    n = len(sides)
    return Detections(boxes, [0.8] * n, [object_type.number] * n, ["a"] * n)


def scores(calibrations: Calibrations, detections: Detections, **how: bool) -> list[float]:
    return [round(float(score), 4) for score in calibrations.apply(detections, **how).scores]


@pytest.mark.parametrize("close", [False, True])
def test_nothing_found_stays_nothing(close: bool) -> None:
    assert len(Calibrations({FACE: times(0.5)}, {FACE: times(0.25)}).apply(Detections.empty(), close=close)) == 0


def test_a_type_without_a_map_keeps_its_scores() -> None:
    assert scores(Calibrations({PLATE: times(0.5)}), found(8, 40)) == [0.8, 0.8]


def test_small_objects_have_their_own_map_where_there_is_one() -> None:
    maps = Calibrations({FACE: times(0.5), PLATE: times(0.5)}, {FACE: times(0.25)})
    assert scores(maps, found(SMALL_PX - 0.5, SMALL_PX)) == [0.4, 0.2]
    assert scores(maps, found(SMALL_PX - 0.5, SMALL_PX, object_type=PLATE)) == [0.4, 0.4]


def test_enlarged_views_have_their_own_map_where_there_is_one() -> None:
    maps = Calibrations(
        {FACE: times(0.5), PLATE: times(0.5)}, {FACE: times(0.25), PLATE: times(0.25)}, {FACE: times(1)}
    )
    assert scores(maps, found(8, 40), close=True) == [0.8, 0.8]
    assert scores(maps, found(8, 40), close=False) == [0.4, 0.2]
    assert scores(maps, found(8, 40, object_type=PLATE), close=True) == [0.4, 0.2]


def test_chances_are_sorted_with_their_boxes() -> None:
    of_both = Calibrations({FACE: times(0.5)}, {FACE: times(0.25)}).apply(found(8, 40))
    assert of_both.boxes[:, 2].tolist() == [40, 8]


def test_the_digest_of_a_type_changes_with_each_of_its_maps() -> None:
    states = [
        Calibrations({FACE: times(0.5)}, maps.get("small", {}), maps.get("close", {}))
        for maps in ({}, {"small": {FACE: times(0.5)}}, {"close": {FACE: times(0.5)}}, {"small": {PLATE: times(0.5)}})
    ]
    digests = [state.digest(FACE) for state in states]
    assert len(set(digests[:3])) == 3
    assert digests[3] == digests[0]
    assert states[0].digest(PLATE) == ""


@pytest.mark.parametrize("miss_cost", [1, 4, 16])
def test_a_box_is_redacted_where_the_expected_miss_costs_more_than_a_needless_blur(miss_cost: float) -> None:
    chances = np.linspace(0, 1, 401)
    costlier = miss_cost * chances > 1 - chances
    undecided = np.isclose(miss_cost * chances, 1 - chances)
    assert ((weigh_misses(chances, miss_cost) > 0.5) == costlier)[~undecided].all()


@pytest.mark.parametrize("miss_cost", [1, 4, 16])
def test_the_weight_of_a_miss_keeps_ends_and_order_and_can_be_taken_back(miss_cost: float) -> None:
    chances = np.linspace(0, 1, 401, dtype=np.float32)
    weighted = weigh_misses(chances, miss_cost)
    assert (weighted[0], weighted[-1]) == (0, 1)
    assert (np.diff(weighted) > 0).all()
    assert_allclose(unweigh_misses(weighted, miss_cost), chances, atol=1e-5)


def test_a_cost_for_each_score_is_used_for_it() -> None:
    assert_allclose(weigh_misses([0.5, 0.5, 0.2], [1, 4, 4]), [0.5, 0.8, 0.5], atol=1e-6)
