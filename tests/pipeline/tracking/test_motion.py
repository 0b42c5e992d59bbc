from __future__ import annotations

import math

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
from tests.pipeline.tracking.scenes import PICTURE_HW, SIDE, SIZE_HW, at, picture


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

    def test_flow_that_arrives_elsewhere_is_covered_too(self) -> None:
        assert self.box({3: 60, 10: 20}, {}) == pytest.approx((60, 100, 170, 140))
