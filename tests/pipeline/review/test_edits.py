"""What a review may ask for, and what it makes of the objects of an image or of a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anonymizer import Detections, ObjectType, Options
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.options import Method
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.review.edits import ObjectRef, parse_review
from anonymizer.pipeline.review.selection import effect_groups, select
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.review.tracks import TrackReview, moved_region, region_at

FACE = {"type": "face", "box": [10, 20, 30, 60]}
KEYS = [{"time": 2.0, "box": [0, 0, 10, 10]}, {"time": 1.0, "box": [20, 0, 40, 20]}]


def found() -> Detections:
    boxes = np.array([[20, 20, 60, 70], [100, 100, 160, 120], [200, 50, 240, 90]], np.float32)
    return Detections(boxes, [0.9, 0.7, 0.3], [0, 1, 0], ["a"] * 3, track_ids=np.array([5, 6, 7]))


def applied(*bodies: dict[str, Any]) -> ReviewState:
    state = ReviewState()
    for body in bodies:
        state = state.apply(parse_review(body).edits, lambda _, reference: f"c{reference.number}")
    return state


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "body is '[]'"),
        ({}, "of which one is not empty"),
        ({"more": 1}, "body is 'more'"),
        ({"add": {}}, "add is '{}'"),
        ({"add": [{"type": "cat", "box": [1, 2, 3, 4]}]}, "face, license-plate, person, vehicle"),
        ({"add": [{"type": "face"}]}, "add is"),
        ({"add": [FACE | {"source": "detector"}]}, "add is"),
        ({"add": [FACE | {"method": "detect"}]}, "blur, pixelate or blacken"),
        ({"add": [FACE | {"kernel_size": -1}]}, "add.kernel_size is '-1'"),
        ({"add": [{"type": "face", "keyframes": []}]}, "add is"),
        ({"add": [{"type": "face", "keyframes": [KEYS[0], KEYS[0]]}]}, "frames of different times"),
        ({"add": [{"type": "face", "keyframes": [KEYS[0], {"time": 5, "ellipse": [5, 5, 2, 2]}]}]}, "of one kind"),
        ({"add": [{"type": "face", "keyframes": KEYS, "follow": "both"}]}, "one key frame, not 2"),
        ({"add": [{"type": "face", "keyframes": [{"box": [1, 2, 3, 4]}]}]}, "add.keyframes.time is 'None'"),
        ({"drop": [{"id": 1, "track_id": 2}]}, 'objects such as {"id": 3} or {"track_id": 7}'),
        ({"drop": [{"id": True}]}, "drop is"),
        ({"visible": [{"id": 1, "method": "blur"}]}, "visible is"),
        ({"change": [{"id": 1}]}, "method, kernel_size or both"),
        ({"thresholds": {"cat": 0.5}}, "scores by type"),
        ({"thresholds": {"face": 2}}, "thresholds.face is '2'"),
        ({"approve": 1}, "approve is '1', but must be true or false"),
        ({"restore": 0}, "restore is '0'"),
        ({"restore": 1, "drop": [{"id": 1}]}, "given without add, drop"),
        ({"base": "2", "approve": True}, "base is '2'"),
        ({"comment": "x" * 2001}, "at most 2000 characters"),
    ],
)
def test_what_is_not_allowed_is_named_with_its_value(body: object, words: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        parse_review(body)
    assert words in str(raised.value)


def test_a_state_is_read_back_as_it_was_written() -> None:
    state = applied(
        {
            "add": [
                FACE | {"method": "blacken"},
                {"type": "person", "keyframes": KEYS},
                {"type": "person", "keyframes": KEYS[:1], "follow": "both", "to": 9},
                {"type": "vehicle", "polygon": [[1, 1], [9, 1], [5, 9]], "from": 1, "to": 2},
            ],
            "drop": [{"id": 3}],
        },
        {"visible": [{"id": 1}], "change": [{"id": 2, "kernel_size": 0.5}], "thresholds": {"face": 0.25}},
    )
    assert ReviewState.from_json(state.as_json()) == state
    assert [key.time_s for key in state.added[1].keys] == [1.0, 2.0]
    assert (state.added[1].start_s, state.added[1].end_s) == (1.0, 2.0)
    assert (state.added[2].start_s, state.added[2].end_s) == (0.0, 9.0)
    assert (state.added[3].start_s, state.added[3].end_s) == (1.0, 2.0)


def test_the_objects_of_an_image_follow_from_all_reviews() -> None:
    regions = [{"type": "person", "box": [0, 0, 9, 9]}, {"type": "person", "box": [900, 0, 909, 9]}]
    options = Options(method="blur", regions=regions)
    state = applied({"add": [FACE], "drop": [{"id": 0}], "thresholds": {"face": 0.25}}, {"visible": [{"id": 2}]})
    state = state.apply(parse_review({"change": [{"id": 9, "method": "blacken"}]}).edits, lambda _, reference: "a0")
    chosen = state.options(options)
    selection = select(found(), over_threshold(found(), chosen), (300, 300), chosen, state)
    # a region outside of the image is no object
    assert selection.keys == ("c1", "c2", "r0", "a0")
    assert selection.is_visible.tolist() == [False, True, False, False]
    assert selection.objects.sources.tolist() == ["detector", "detector", "caller", "caller"]
    assert selection.notes == {3: {"method": "blacken"}}
    drawn = selection.regions((300, 300), chosen)
    assert [region.row for region in drawn] == [0, 2, 3]
    groups = list(effect_groups(drawn, selection.changes, chosen))
    assert [(each.method, len(group)) for each, group in groups] == [(Method.BLUR, 2), (Method.BLACKEN, 1)]
    assert len(redaction_regions(selection.objects, (300, 300), chosen)) == 4


def test_a_changed_object_is_redacted_again() -> None:
    state = applied({"visible": [{"id": 1}]}, {"change": [{"id": 1, "method": "pixelate"}]})
    assert state.visible == frozenset()


def test_weaker_effects_are_drawn_on_what_stronger_ones_left() -> None:
    options = Options(method="blacken", margin=0.0)
    pixels = np.random.default_rng(0).integers(60, 256, (100, 100, 3), np.uint8)
    over = Detections(np.array([[20, 20, 60, 60], [30, 30, 70, 70]], np.float32), [0.9, 0.9], [2, 2], ["a"] * 2)
    state = applied({"change": [{"id": 1, "method": "blur"}]})
    selection = select(over, np.ones(2, bool), (100, 100), options, state)
    out = selection.redact_colours(pixels, 0, selection.regions((100, 100), options), options, seed=1)
    # what both cover is black
    assert out[30:60, 30:60].max() == 0
    assert (out[62:70, 62:70] != pixels[62:70, 62:70]).mean() > 0.9


def test_key_frames_are_joined_by_straight_lines() -> None:
    (added,) = parse_review({"add": [{"type": "face", "keyframes": KEYS}]}).edits.add
    assert region_at(added.keys, 1.5).box == (10, 0, 25, 15)
    assert region_at(added.keys, 0.0).box == (20, 0, 40, 20)
    assert region_at(added.keys, 7.0).box == (0, 0, 10, 10)
    (round_,) = parse_review({"add": [{"type": "face", "ellipse": [50, 50, 10, 20]}]}).edits.add
    moved = moved_region(round_.keys[0].region, np.array([80, 60, 100, 100], np.float32))
    assert moved.points == ((90, 80), (10, 20))


def test_tracks_go_stay_visible_and_come_in_a_video() -> None:
    state = ReviewState().apply(
        parse_review(
            {
                "add": [{"type": "face", "keyframes": KEYS}],
                "drop": [{"track_id": 5}],
                "visible": [{"track_id": 6}],
                "thresholds": {"face": 0.4},
            }
        ).edits,
        lambda _, reference: f"t{reference.number}",
    )
    review = TrackReview(state, Options(), 100, {5: 0.9, 6: 0.7, 7: 0.3})
    during = review.select(review.apply(found(), 0, 1.5, (300, 300)))
    assert during.objects.track_ids.tolist() == [6, 100]
    assert during.keys == ("t6", "a0")
    assert during.is_visible.tolist() == [True, False]
    assert review.apply(found(), 0, 2.5, (300, 300)).track_ids.tolist() == [6]
    # a track stays where its best score is high enough
    better = TrackReview(state, Options(), 100, {7: 0.5})
    assert better.apply(found(), 0, 0.0, (300, 300)).track_ids.tolist() == [6, 7]
    dropped = ReviewState(added=state.added, dropped=frozenset({"a0"}))
    assert TrackReview(dropped, Options(), 100).apply(found(), 0, 1.5, (300, 300)).track_ids.tolist() == [5, 6, 7]


def test_references_are_named_in_words() -> None:
    assert [str(ObjectRef(3, is_track=False)), str(ObjectRef(7, is_track=True))] == ["id 3", "track_id 7"]
    assert ObjectType.FACE in parse_review({"thresholds": {"face": 0.5}}).edits.thresholds
