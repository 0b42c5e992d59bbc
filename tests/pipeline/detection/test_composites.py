"""Objects that several looks at an image show."""

from __future__ import annotations

import pytest

from anonymizer import Detections
from anonymizer.pipeline.detection.composites import cover_all_looks


def found(*objects: tuple[tuple[int, int, int, int], float, int]) -> Detections:
    boxes, scores, types = zip(*objects, strict=True)
    return Detections(boxes, scores, types, ["fake"] * len(objects))


def test_a_box_covers_its_object_as_every_look_shows_it_and_nothing_else() -> None:
    looks = found(
        ((10, 10, 50, 60), 0.9, 0),
        # the same object, of which a dark look shows less on one side and more on the other
        ((14, 22, 54, 56), 0.6, 0),
        # too faint, of another type, and elsewhere
        ((0, 10, 50, 60), 0.4, 0), ((5, 5, 50, 60), 0.9, 1), ((45, 10, 90, 60), 0.9, 0),
    )  # fmt: skip
    grown = cover_all_looks(found(((12, 16, 52, 58), 0.9, 0), ((200, 0, 220, 20), 0.9, 0)), looks)
    assert grown.boxes.tolist() == [[10, 10, 54, 60], [200, 0, 220, 20]]
    assert grown.scores.tolist() == pytest.approx([0.9, 0.9])


def test_without_looks_boxes_stay() -> None:
    objects = found(((12, 16, 52, 58), 0.9, 0))
    assert cover_all_looks(objects, Detections.empty()).boxes.tolist() == objects.boxes.tolist()
