"""What stayed below its threshold in a video is kept as candidates, in a bounded size, and a review can take it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from anonymizer import Detections, ObjectType, Options
from anonymizer.pipeline.review.edits import parse_review
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.video.review.candidates import (
    MOST_IN_FRAME,
    MOST_OF_ONE,
    CandidateLinker,
    CandidateTracks,
    faint_finds,
    taken_candidates,
    uncovered,
)

FACE, PLATE = ObjectType.FACE.number, ObjectType.LICENSE_PLATE.number
FPS = 25


def finds(*rows: tuple[int, float, float], side: float = 20) -> Detections:
    """Finds of a type, at an x, with a score."""
    boxes = np.array([[x, 0, x + side, side] for _, x, _ in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, [score for *_, score in rows], [kind for kind, *_ in rows], ["m"] * len(rows))


def linked(frames: Mapping[int, Detections], *, most: int = 1000, first_id: int = 5) -> CandidateTracks:
    linker = CandidateLinker(Options(), most)
    for number in range(max(frames, default=-1) + 1):
        linker.add(number, number / FPS, frames.get(number, Detections.empty()))
    return linker.finish(first_id)


def state(**body: object) -> ReviewState:
    return ReviewState().apply(parse_review(body).edits, lambda _, reference: f"t{reference.number}")


def test_a_video_without_faint_finds_has_no_candidates() -> None:
    found = linked({})
    assert len(found.numbers) == 0
    assert found.rows() == {}
    assert found.objects({1}, np.arange(3) / FPS) == {}
    # but a low threshold would show all there is
    assert found.least[FACE] == pytest.approx(0.1)


def test_faint_finds_are_those_between_a_fifth_of_the_threshold_and_the_threshold() -> None:
    found = finds((FACE, 0, 0.5), (FACE, 30, 0.49), (FACE, 60, 0.11), (FACE, 90, 0.09))
    assert faint_finds(found, Options()).scores.tolist() == pytest.approx([0.49, 0.11])


def test_what_an_object_of_its_type_covers_is_no_candidate() -> None:
    faint = finds((FACE, 0, 0.3), (FACE, 100, 0.3), (PLATE, 0, 0.3))
    objects = finds((FACE, 2, 0.9))
    assert uncovered(faint, objects).boxes[:, 0].tolist() == [100, 0]
    assert len(uncovered(faint, Detections.empty())) == 3
    # one that lies within a large object is covered too
    assert len(uncovered(finds((FACE, 5, 0.3), side=10), finds((FACE, 0, 0.9), side=80))) == 0


def test_finds_are_joined_while_they_overlap_and_fill_the_gaps_between_them() -> None:
    moving = {number: finds((FACE, 2.0 * number, 0.2 + number / 100)) for number in range(10) if number not in (4, 5)}
    moving[3] = Detections.merge([moving[3], finds((PLATE, 6, 0.2))])
    found = linked(moving)
    assert sorted(found.rows()) == [5, 6]
    face = found.rows()[5]
    assert found.numbers[face].tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    assert found.best(face) == face.stop - 1
    objects = found.objects({5}, np.arange(40) / FPS)
    # half a second longer, as tracking covers an object
    assert sorted(objects) == list(range(9 + 12 + 1))
    assert {str(objects[number].sources[0]) for number in (0, 3, 6, 9)} == {"detector"}
    assert {str(objects[number].sources[0]) for number in (4, 5, 10, 21)} == {"tracker"}
    # in a gap it is where the straight line is, and larger
    x1, _, x2, _ = objects[4].boxes[0]
    assert (x1 + x2) / 2 == pytest.approx(8 + 10)
    assert x2 - x1 > 20
    assert {int(one.track_ids[0]) for one in objects.values()} == {5}


def test_at_low_rates_a_candidate_is_kept_for_ten_frames_as_tracking_keeps_an_object() -> None:
    found = linked({20: finds((FACE, 0, 0.3))})
    (candidate,) = found.rows()
    for rate, frames in ((12.5, 10), (5, 5), (FPS, 12)):
        objects = found.objects({candidate}, np.arange(50) / rate)
        assert sorted(objects) == list(range(20 - frames, 20 + frames + 1)), rate


def test_a_long_pause_begins_another_candidate() -> None:
    found = linked({0: finds((FACE, 0, 0.3)), 20: finds((FACE, 0, 0.4))})
    assert len(found.rows()) == 2


def test_thresholds_and_decisions_take_candidates() -> None:
    found = linked({0: finds((FACE, 0, 0.3), (FACE, 100, 0.4))})
    low, high = (key for key, _ in sorted(found.rows().items(), key=lambda item: found.sightings.scores[item[1]].max()))
    assert taken_candidates(found, ReviewState()) == set()
    assert taken_candidates(found, state(thresholds={"face": 0.35})) == {high}
    assert taken_candidates(found, state(thresholds={"license-plate": 0.1})) == set()
    assert taken_candidates(found, state(take=[{"candidate": low}])) == {low}
    dropped = state(thresholds={"face": 0.2}, drop=[{"track_id": high}])
    assert taken_candidates(found, dropped) == {low}


def test_no_more_sightings_are_kept_than_fit_and_the_lowest_threshold_says_so() -> None:
    frames = {30 * at: finds((FACE, 0, 0.1 + 0.3 * at / 50)) for at in range(51)}
    found = linked(frames, most=10)
    assert len(found.numbers) == 10
    assert found.sightings.scores.min() == pytest.approx(0.1 + 0.3 * 41 / 50)
    least = found.least[FACE]
    assert 0.1 + 0.3 * 40 / 50 < least <= found.sightings.scores.min()
    assert found.least[PLATE] == pytest.approx(0.1)


def test_a_crowded_frame_keeps_its_best_finds() -> None:
    crowd = finds(*((FACE, 30.0 * at, 0.15 + 0.001 * at) for at in range(MOST_IN_FRAME + 50)))
    found = linked({0: crowd}, most=10_000)
    assert len(found.numbers) == MOST_IN_FRAME
    assert found.least[FACE] == pytest.approx(0.15 + 0.049, abs=1e-4)


def test_a_candidate_that_lasts_long_keeps_its_ends_and_its_best_sighting() -> None:
    count = 3 * MOST_OF_ONE
    frames = {number: finds((FACE, 0, 0.45 if number == 777 else 0.2)) for number in range(count)}
    found = linked(frames, most=100_000)
    (rows,) = found.rows().values()
    assert len(found.numbers) <= MOST_OF_ONE
    assert (found.numbers[0], found.numbers[-1]) == (0, count - 1)
    assert found.numbers[found.best(rows)] == 777
