from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.pipeline.detection.canvases import GAP_PX, PAD, Canvas, Crop, pack
from anonymizer.pipeline.detection.merging import View
from anonymizer.pipeline.detections import Detections, ObjectType


def crop(width: int, height: int, zoom: float = 1.0, *, image: int = 0, x: int = 0, y: int = 0) -> Crop:
    return Crop(image, View(x, y, x + width, y + height, max(1, round(zoom * max(width, height)))))


def found(*boxes: tuple[float, float, float, float]) -> Detections:
    return Detections(np.reshape(boxes, (-1, 4)), [0.9] * len(boxes), [0] * len(boxes), ["fake"] * len(boxes))


def test_no_crop_needs_no_canvas() -> None:
    assert pack([], 640) == []


def test_a_crop_larger_than_a_canvas_is_an_error() -> None:
    with pytest.raises(ValueError, match="200 x 10 pixels does not fit"):
        pack([crop(200, 10)], 100)


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(1, 100)), max_size=60))
def test_each_crop_lies_on_one_canvas_apart_from_the_others(sizes: list[tuple[int, int]]) -> None:
    crops = [crop(*size) for size in sizes]

    canvases = pack(crops, 100)

    assert sorted(number for canvas in canvases for number, _, _ in canvas.placed) == list(range(len(crops)))
    for canvas in canvases:
        used = np.zeros((100 + GAP_PX, 100 + GAP_PX), int)
        for number, x, y in canvas.placed:
            width, height = crops[number].scaled_wh
            assert x + width <= 100
            assert y + height <= 100
            used[y : y + height + GAP_PX, x : x + width + GAP_PX] += 1
        assert used.max() == 1


def test_small_crops_share_a_canvas() -> None:
    assert len(pack([crop(100, 80)] * 20, 640)) == 1


def test_a_canvas_shows_the_crops_in_their_scale_and_ends_after_them() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:60, 40:80] = 255
    crops = [crop(40, 40, 2.0, x=40, y=20)]
    (canvas,) = pack(crops, 640)

    pixels = canvas.draw(crops, [image])

    assert pixels.shape == (160, 640, 3)
    assert (pixels[:80, :80] == 255).all()
    assert (pixels[80:] == PAD).all()
    assert (pixels[:, 80:] == PAD).all()


def test_boxes_are_mapped_back_to_their_crops() -> None:
    crops = [crop(100, 50, 2.0, x=300, y=40), crop(50, 50, 1.0, image=1)]
    canvas = Canvas(640, ((0, 0, 0), (1, 216, 0)))

    parts = dict(canvas.split(found((20, 10, 60, 30), (220, 5, 240, 25), (205, 0, 212, 40)), crops))

    # pixels of the views, at the scale of the image; what lies between the crops belongs to none
    assert parts[0].boxes.tolist() == [[10, 5, 30, 15]]
    assert parts[1].boxes.tolist() == [[4, 5, 24, 25]]


def test_a_box_that_crosses_the_border_of_its_crop_is_dropped_and_a_small_overhang_is_clipped() -> None:
    crops = [crop(100, 100)]
    canvas = Canvas(640, ((0, 0, 0),))

    ((_, part),) = canvas.split(found((60, 20, 104, 40), (60, 60, 130, 80)), crops)

    assert part.boxes.tolist() == [[60, 20, 100, 40]]


def test_types_and_scores_stay() -> None:
    crops = [crop(100, 100)]
    two = Detections([[0, 0, 10, 10], [50, 50, 60, 60]], [0.8, 0.3], [ObjectType.FACE.number, 1], ["a", "b"])

    ((_, part),) = Canvas(640, ((0, 0, 0),)).split(two, crops)

    assert (part.scores.tolist(), part.types.tolist(), part.models.tolist()) == (
        two.scores.tolist(),
        two.types.tolist(),
        ["a", "b"],
    )
