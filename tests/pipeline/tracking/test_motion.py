from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from anonymizer.pipeline.tracking.global_motion import GlobalMotion
from anonymizer.pipeline.tracking.motion import (
    DAMPING_S,
    MotionState,
    Observation,
    estimate_velocity,
    interpolate,
    predict,
)
from tests.pipeline.tracking.scenes import PICTURE_HW, SIDE, SIZE_HW, at, picture, texture


def observed(number: int, x: float, y: float = 100) -> Observation:
    return Observation(number, number / 10, np.array(at(x, y), np.float32), 0.9, "fake")


STILL = np.zeros(2, np.float32)


def test_velocity_is_in_pixels_per_second() -> None:
    assert estimate_velocity([observed(0, 0), observed(1, 99), observed(4, 40, 108)]).tolist() == [100, 20]


def test_a_single_observation_has_no_velocity() -> None:
    assert estimate_velocity([observed(3, 50)]).tolist() == [0, 0]


def test_a_prediction_follows_what_is_seen() -> None:
    state = MotionState.from_observation(observed(0, 100, 160), STILL)

    predict([state], picture(at(100)), picture(at(110, 164)), 0.1, (0.5, 0.5))

    assert np.abs(state.box - at(110, 164)).max() < 1
    assert state.velocity == pytest.approx([50, 20], abs=5)
    assert (state.confirmed, state.unobserved_s) == (True, pytest.approx(0.1))


def test_what_flow_loses_is_searched_for() -> None:
    state = MotionState.from_observation(observed(0, 300, 160), STILL)

    predict([state], picture(at(300)), picture(at(350, 170)), 0.1, (0.5, 0.5))

    assert np.abs(state.box - at(350, 170)).max() < 2
    assert state.confirmed


def test_a_large_object_that_leaves_the_frame_is_searched_for_by_what_stays() -> None:
    street, car = texture(5, 360, 640), 255 - texture(6, 120, 120)
    before, after = street.copy(), street.copy()
    # it drives into a shadow, which flow does not bear
    before[260:, 100:220], after[280:, 140:260] = car[:100], car[:80] // 2
    box = np.array([100, 260, 220, 360], np.float32)
    state = MotionState.from_observation(Observation(0, 0.0, box, 0.9, "fake"), STILL)

    predict([state], before, after, 0.15, (1, 1))

    assert np.abs(state.box[:3] - [140, 280, 260]).max() < 3
    assert state.confirmed


class TestBorder:
    """Of an object that the border of the frame cuts off, more is seen as it moves into the frame."""

    def moved(self, *places: float) -> list[float]:
        state = MotionState.from_observation(observed(0, places[0], 160), STILL)
        for number, (before, after) in enumerate(pairwise(places), 1):
            predict([state], picture(at(before)), picture(at(after)), number / 10, (0.5, 0.5))
        return [float(side) for side in state.box]

    def test_its_box_grows(self) -> None:
        assert self.moved(600, 580) == pytest.approx((580, 160, 640, 200), abs=1)
        assert self.moved(0, 20) == pytest.approx((0, 160, 60, 200), abs=1)

    def test_it_has_at_most_twice_the_side_that_was_seen(self) -> None:
        assert self.moved(600, 580, 560, 540) == pytest.approx((540, 160, 620, 200), abs=8)

    def test_a_box_within_the_frame_keeps_its_size(self) -> None:
        assert self.moved(590, 570) == pytest.approx((570, 160, 610, 200), abs=1)


def test_a_prediction_without_flow_moves_on_and_slows_down() -> None:
    plain = np.full(PICTURE_HW, 90, np.uint8)
    state = MotionState.from_observation(observed(0, 100), np.array([100, 0], np.float32))

    predict([state], plain, plain, 0.1, (0.5, 0.5))

    assert state.box.tolist() == pytest.approx(at(110, 100))
    assert state.velocity[0] == pytest.approx(100 * math.exp(-0.1 / DAMPING_S))
    assert not state.confirmed


class TestAlternative:
    """Where an object is if it moves with the scene, although optical flow does not find it there."""

    PLAIN = np.full(PICTURE_HW, 90, np.uint8)

    def predicted(self, *motions: GlobalMotion | None, scene_moves: bool = True) -> MotionState:
        state = MotionState.from_observation(observed(0, 100), np.array([-100, 0], np.float32))
        for number, motion in enumerate(motions, 1):
            predict([state], self.PLAIN, self.PLAIN, number / 10, (0.5, 0.5), motion, scene_moves=scene_moves)
        return state

    def pan(self, shift: float) -> GlobalMotion:
        """A motion that the corners near the object do not have."""
        starts = np.stack(np.meshgrid(np.arange(10, 320, 20), np.arange(10, 180, 20)), -1).reshape(-1, 2)
        matrix = np.array([[1, 0, shift], [0, 1, 0]], np.float32)
        ends = np.where(starts[:, :1] < 150, starts, starts + np.array([shift, 0]))
        return GlobalMotion(matrix, starts.astype(np.float32), ends.astype(np.float32), starts[:, 0] >= 150, 20.0)

    def test_it_moves_with_the_scene_beside_the_last_velocity(self) -> None:
        state = self.predicted(self.pan(20))

        assert not state.confirmed
        assert state.box.tolist() == pytest.approx(at(90, 100))
        # twice as many pixels in the frame, and the object's own velocity on top
        assert state.alternative is not None
        assert state.alternative.tolist() == pytest.approx(at(130, 100))
        assert state.core.tolist() == pytest.approx([*at(90, 100)[:2], *at(130, 100)[2:]])

    def test_it_stays_where_the_motion_is_not_known(self) -> None:
        state = self.predicted(self.pan(20), None)

        assert state.alternative is not None
        assert state.alternative.tolist() == pytest.approx(at(130, 100))

    def test_a_scene_that_does_not_move_or_an_object_that_is_seen_has_none(self) -> None:
        assert self.predicted(None, None, scene_moves=False).alternative is None
        state = self.predicted(self.pan(20))
        state.observe(observed(2, 300))
        assert state.core.tolist() == pytest.approx(at(300, 100))

    def test_what_left_the_frame_with_its_velocity_may_still_be_there(self) -> None:
        state = self.predicted(None)
        state.box = np.array(at(-500), np.float32)
        assert state.is_visible(SIZE_HW)
        state.alternative = state.box
        assert not state.is_visible(SIZE_HW)


@pytest.mark.parametrize(("x", "visible"), [(0, True), (-35, True), (-37, False), (700, False)])
def test_an_object_of_which_a_tenth_is_inside_is_visible(x: float, visible: bool) -> None:
    assert MotionState.from_observation(observed(0, x), STILL).is_visible(SIZE_HW) == visible


class TestInterpolate:
    first, last = observed(0, 100), observed(10, 200)

    def box(self, forward: dict[int, float], backward: dict[int, float]) -> list[float]:
        paths = [
            {number: np.array(at(x, 100), np.float32) for number, x in path.items()} for path in (forward, backward)
        ]
        return [float(side) for side in interpolate(self.first, self.last, 3, 0.3, *paths)]

    def test_without_flow_it_is_the_straight_line(self) -> None:
        assert self.box({}, {}) == pytest.approx(at(130, 100))

    def test_where_flow_lost_it_the_motion_of_the_scene_counts_too(self) -> None:
        first, last, loose = observed(0, 100), observed(4, 140), [np.array(at(60, 100), np.float32)]
        assert interpolate(first, last, 2, 0.2, {}, {}, loose).tolist() == [60, 100, 60 + SIDE + 60, 100 + SIDE]
        way = {2: np.array(at(120, 100), np.float32), 4: np.array(at(140, 100), np.float32)}
        assert interpolate(first, last, 2, 0.2, way, {}, loose).tolist() == pytest.approx(at(120, 100))

    def test_flow_that_misses_the_end_is_corrected_on_the_way(self) -> None:
        assert self.box({3: 127, 10: 190}, {}) == pytest.approx(at(130, 100))

    def test_flow_that_differs_from_the_straight_line_is_covered_too(self) -> None:
        assert self.box({3: 110, 10: 200}, {3: 110, 0: 100}) == pytest.approx((110, 100, 170, 140))

    def test_flow_that_differs_from_either_end_is_covered_twice(self) -> None:
        assert self.box({3: 110, 10: 200}, {3: 150, 0: 100}) == pytest.approx((110, 100, 190, 140))

    def test_flow_that_does_not_reach_the_other_end_is_covered_too(self) -> None:
        assert self.box({3: 60}, {}) == pytest.approx((60, 100, 170, 140))
        assert self.box({3: 60}, {3: 130, 0: 100}) == pytest.approx((130, 100, 170, 140))

    @pytest.mark.parametrize(
        ("first", "last", "way"),
        [
            # the object leaves the frame, or comes into it
            ((40, 100, 80, 140), (0, 100, 20, 140), {2: (0, 100, 40, 140), 4: (-20, 100, 20, 140)}),
            ((0, 100, 20, 140), (20, 100, 60, 140), {2: (0, 100, 40, 140), 4: (0, 100, 60, 140)}),
        ],
    )
    def test_it_reaches_the_border_that_cuts_it_off(
        self, first: Sequence[float], last: Sequence[float], way: dict[int, Sequence[float]]
    ) -> None:
        ends = [
            Observation(number, number / 10, np.array(box, np.float32), 0.9, "fake")
            for number, box in ((0, first), (4, last))
        ]
        path = {number: np.array(box, np.float32) for number, box in way.items()}

        box = interpolate(ends[0], ends[1], 2, 0.2, path, {}, size_hw=SIZE_HW)

        assert box[0] == 0
        assert box[2] >= 40

    def test_flow_that_arrives_elsewhere_is_covered_too(self) -> None:
        assert self.box({3: 60, 10: 20}, {}) == pytest.approx((60, 100, 170, 140))
