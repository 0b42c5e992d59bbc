"""`Detections`: arrays side by side."""

from __future__ import annotations

import io

import numpy as np
import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, Detection, Detections, Mask, ObjectType, Source


def some(n: int = 3, *, masks: tuple[Mask | None, ...] = ()) -> Detections:
    boxes = np.arange(4 * n).reshape(n, 4)
    return Detections(boxes, np.linspace(0.2, 0.9, n), np.arange(n) % 4, ["a"] * n, masks=masks)


def test_none_is_a_normal_value() -> None:
    none = Detections.empty()
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)
    assert none.count_by_type() == {}
    assert len(none[np.zeros(0, bool)]) == 0
    assert len(Detections.merge([none, none])) == 0


def test_arrays_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores must have the shape \(3,\).* not \(2,\)"):
        Detections(np.zeros((3, 4)), np.zeros(2), np.zeros(3), ["a"] * 3)
    with pytest.raises(ValueError, match=r"\(n, 4\), not \(3,\)"):
        Detections(np.zeros(3), np.zeros(3), np.zeros(3), ["a"] * 3)


def test_picking_keeps_the_rows_together() -> None:
    mask = Mask(1, 2, np.ones((2, 3), bool))
    picked = some(masks=(None, mask, None))[np.array([False, True, True])]
    assert picked.boxes[:, 0].tolist() == [4, 8]
    assert picked.masks == (mask, None)
    assert some()[[2, 0]].types.tolist() == [2, 0]


def test_merging_keeps_the_order() -> None:
    merged = Detections.merge([some(2), Detections.empty(), some(1)])
    assert merged.boxes[:, 0].tolist() == [0, 4, 0]
    assert set(merged.sources) == {Source.DETECTOR}
    assert merged.track_ids.tolist() == [-1, -1, -1]


def test_types_are_picked_and_counted() -> None:
    found = some(5)
    assert len(found.of_type(ObjectType.FACE, ObjectType.VEHICLE)) == 3
    assert found.count_by_type() == {each: 2 if each is ObjectType.FACE else 1 for each in OBJECT_TYPES}


@pytest.mark.parametrize("n", [0, 3])
def test_what_is_saved_is_loaded(n: int) -> None:
    pixels = np.random.default_rng(0).random((5, 7)) > 0.5
    found = some(n, masks=(None, Mask(3, 4, pixels), None)[:n])
    file = io.BytesIO()
    found.save(file)
    file.seek(0)
    loaded = Detections.load(file)
    for name in ("boxes", "scores", "types", "models", "sources", "track_ids"):
        assert np.array_equal(getattr(loaded, name), getattr(found, name))
    if n:
        mask = loaded.masks[1]
        assert mask is not None
        assert (mask.x, mask.y) == (3, 4)
        assert np.array_equal(mask.pixels, pixels)


def test_codes_are_those_of_the_contract() -> None:
    assert [each.code for each in OBJECT_TYPES] == [103, 104, 101, 102]
    assert [each.flag for each in OBJECT_TYPES] == [32, 64, 128, 16]


def test_it_iterates_over_single_objects() -> None:
    mask = Mask(1, 2, np.ones((2, 3), bool))
    found = some(masks=(None, mask, None))
    one = list(found)[1]
    assert isinstance(one, Detection)
    assert one == found[1] == found[-2] == found[np.int64(1)]
    assert (one.box, one.object_type, one.model) == ((4.0, 5.0, 6.0, 7.0), ObjectType.LICENSE_PLATE, "a")
    assert one.score == pytest.approx(0.55)
    assert (one.source, one.track_id, one.mask) == (Source.DETECTOR, None, mask)
    assert list(Detections.empty()) == []


def test_a_track_has_a_number() -> None:
    found = Detections(np.zeros((2, 4)), [1, 1], [0, 0], ["a"] * 2, track_ids=np.array([0, 7]))
    assert [detection.track_id for detection in found] == [0, 7]


@pytest.mark.parametrize("index", [3, -4])
def test_a_number_beyond_the_objects_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"index {index} is out of range: there are 3 objects"):
        some()[index]


def test_it_is_shown_shortly() -> None:
    found = some(100)
    assert repr(found) == "Detections(100 objects: 25 face, 25 license-plate, 25 person, 25 vehicle)"
    assert repr(Detections.empty()) == "Detections(0 objects)"
    assert repr(found[0]) == "Detection(face 0.200 at [0, 1, 2, 3], a)"
    assert repr(Mask(1, 2, np.ones((2, 3), bool))) == "Mask(3 x 2 pixels at (1, 2), source='')"


def test_a_notebook_shows_the_first_objects_as_a_table() -> None:
    html = some(25)._repr_html_()
    assert html.count("<tr>") == 1 + 20
    assert "... 5 more" in html
    assert "license plate" in html
    assert "more" not in some(20)._repr_html_()


def test_a_mask_is_laid_into_its_image() -> None:
    whole = Mask(1, 2, np.ones((2, 3), bool)).full((6, 5))
    assert whole.shape == (6, 5)
    assert whole.sum() == 6
    assert whole[2:4, 1:4].all()
