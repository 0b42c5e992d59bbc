"""Merging: boxes of one object become one box, and many boxes take little time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from anonymizer.pipeline.detection.merging import View, join_doubles, merge_views
from anonymizer.pipeline.detections import Detections, ObjectType

FACE, PERSON = ObjectType.FACE, ObjectType.PERSON


def found(object_type: ObjectType, *rows: tuple[float, float, float, float, float]) -> Detections:
    """Detections from rows of x1, y1, x2, y2 and score."""
    values = np.array(rows, np.float32).reshape(-1, 5)
    types = np.full(len(rows), object_type.number)
    return Detections(values[:, :4], values[:, 4], types, np.full(len(rows), "model"))


def whole(side: int, size: int = 1000) -> View:
    return View(0, 0, size, size, side)


def merged(*parts: Detections, **options: bool) -> Detections:
    sides = itertools.count(400, 100)
    return merge_views([(whole(next(sides)), part) for part in parts], (1000, 1000), **options)


@pytest.mark.parametrize("object_type", ObjectType)
def test_boxes_of_one_object_become_their_mean_weighted_by_the_scores(object_type: ObjectType) -> None:
    result = merged(found(object_type, (100, 100, 200, 200, 0.75)), found(object_type, (104, 92, 220, 204, 0.25)))
    assert result.boxes.tolist() == [[101, 98, 205, 201]]
    assert result.scores == pytest.approx([0.75 + 0.3 * 0.25 * 0.25])


def test_a_box_without_a_second_one_stays_exactly_as_it_is() -> None:
    odd = np.array([0.1, 1 / 3, 0.7, 2 / 3], np.float32) * 1000
    result = merged(found(FACE, (*odd.tolist(), 0.123)), found(PERSON, (*odd.tolist(), 0.4)))
    assert (result.boxes == odd).all()
    assert len(result) == 2


def test_two_boxes_of_one_view_are_two_objects_and_a_model_gives_at_most_one_to_each() -> None:
    two = found(FACE, (100, 100, 200, 200, 0.9), (110, 100, 210, 200, 0.8))
    one = found(FACE, (104, 100, 204, 200, 0.7))
    assert len(merged(two)) == 2
    assert len(merged(one, two)) == 2
    # without `one_of_each`, whatever overlaps the best box belongs to it
    lead = found(FACE, (104, 100, 204, 200, 0.95))
    assert len(merged(lead, two)) == 1
    assert len(merged(lead, two, one_of_each=True)) == 2


def test_faces_with_nearly_the_same_box_become_one_that_holds_both() -> None:
    near = found(FACE, (100, 100, 200, 200, 0.9), (90, 104, 190, 208, 0.6), (110, 96, 196, 190, 0.5))
    apart = found(FACE, (140, 100, 240, 200, 0.4))
    joined = join_doubles(Detections.merge([near, apart]), FACE)
    assert joined.boxes.tolist() == [[90, 96, 200, 208], [140, 100, 240, 200]]
    assert joined.scores == pytest.approx([0.9, 0.4])
    # persons may stand before each other
    persons = found(PERSON, (100, 100, 200, 200, 0.9), (90, 104, 190, 208, 0.6))
    assert join_doubles(persons, FACE) is persons


def test_what_was_covered_before_faces_are_joined_is_covered_afterwards() -> None:
    chance = np.random.default_rng(6)
    corners = chance.uniform(0, 60, (300, 2))
    sides = chance.uniform(20, 40, (300, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    scores = np.sort(chance.random(300))[::-1].astype(np.float32)
    before = Detections(boxes, scores, np.full(300, FACE.number), np.full(300, "model"))
    after = join_doubles(before, FACE)
    assert 0 < len(after) < 300
    assert (np.diff(after.scores) <= 0).all()
    for box in before.boxes:
        assert ((after.boxes[:, :2] <= box[:2]) & (after.boxes[:, 2:] >= box[2:])).all(axis=1).any()


def test_a_part_that_a_tile_cuts_off_makes_the_object_larger_and_never_smaller() -> None:
    tile = View(0, 0, 500, 500, 500)
    parts = [(whole(400), found(PERSON, (300, 300, 480, 480, 0.8))), (tile, found(PERSON, (310, 330, 500, 490, 0.9)))]
    result = merge_views(parts, (1000, 1000))
    assert result.boxes.tolist() == [[300, 300, 500, 490]]


def grouped_one_by_one(boxes: np.ndarray, scores: np.ndarray, views: np.ndarray) -> list[set[int]]:
    """The definition: the best box takes what overlaps it in other views, then the next one that is left."""
    left, groups = sorted(range(len(boxes)), key=lambda row: -scores[row]), []
    while left:
        lead, *rest = left
        group = {lead}
        for row in rest:
            low, high = np.maximum(boxes[lead, :2], boxes[row, :2]), np.minimum(boxes[lead, 2:], boxes[row, 2:])
            shared = np.prod(np.clip(high - low, 0, None))
            union = sum(np.prod(boxes[each, 2:] - boxes[each, :2]) for each in (lead, row)) - shared
            if views[lead] != views[row] and shared > 0.5 * union:
                group.add(row)
        groups.append(group)
        left = [row for row in rest if row not in group]
    return groups


def test_groups_are_those_of_the_definition_on_random_boxes() -> None:
    rng = np.random.default_rng(5)
    for count in (1, 7, 60, 200):
        corners = rng.uniform(50, 900, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 90, (count, 2))], 1).astype(np.float32)
        scores = rng.permutation(np.linspace(0.1, 0.9, count)).astype(np.float32)
        views = rng.integers(0, 3, count)
        rows = np.column_stack([boxes, scores])
        result = merged(*(found(FACE, *map(tuple, rows[views == number])) for number in range(3)))
        expected = []
        for group in grouped_one_by_one(boxes, scores, views):
            members = np.array(sorted(group))
            expected.append(np.average(boxes[members].astype(float), axis=0, weights=scores[members]))
        assert len(result) == len(expected)
        key = lambda values: np.array(sorted(map(tuple, values)))  # noqa: E731
        assert np.abs(key(result.boxes) - key(expected)).max() < 0.01


def test_twenty_thousand_objects_in_four_views_are_merged() -> None:
    rng = np.random.default_rng(3)
    columns, rows = np.meshgrid(np.arange(200), np.arange(100))
    corners = np.stack([columns, rows], -1).reshape(-1, 2) * 40.0
    boxes = np.concatenate([corners, corners + 30], 1)
    parts = []
    for side in (2000, 4000, 6000, 8000):
        moved = boxes + rng.uniform(-2, 2, boxes.shape)
        scores = rng.uniform(0.1, 0.9, (len(boxes), 1))
        parts.append((View(0, 0, 8000, 4000, side), found(FACE, *np.concatenate([moved, scores], 1))))
    result = merge_views(parts, (4000, 8000))
    assert len(result) == 20_000
    nearest = np.sort((result.boxes[:, :2] + result.boxes[:, 2:]) / 2, 0)
    assert np.abs(nearest - np.sort(corners + 15, 0)).max() < 2
