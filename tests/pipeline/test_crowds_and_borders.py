"""With the installed detectors, on real pictures: no limit takes from a crowd, what a border cuts is covered to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.images.io import encode_png
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Thorough
from anonymizer.pipeline.options.options import Method, Options
from tests.pipeline.detection.models.onnx_reference import crowd, cut

COLUMNS, ROWS = 40, 38
SOURCES = {
    ObjectType.FACE: "fddb",
    ObjectType.LICENSE_PLATE: "anpr",
    ObjectType.PERSON: "voc",
    ObjectType.VEHICLE: "highway",
}


@pytest.fixture(scope="module")
def anonymizer() -> Anonymizer:
    return Anonymizer(store=ModelStore(device="cpu", models="embedded"))


@pytest.fixture(scope="module")
def val(data: Path) -> LabelledSet:
    return LabelledSet.read(data / "val.json")


def largest(val: LabelledSet, kind: ObjectType, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A picture of a type, and the largest object in it."""
    images: list[LabelledImage] = [
        each for each in val.of([SOURCES[kind]]) if len(each.objects[kind].boxes) and kind in each.labelled
    ]
    boxes = images[number].objects[kind].boxes
    return images[number].pixels(), boxes[np.prod(boxes[:, 2:] - boxes[:, :2], 1).argmax()]


@pytest.mark.parametrize(
    ("kind", "cell", "context"), [("face", 48, 0.6), ("license-plate", 80, 1.0), ("person", 64, 0.15)]
)
def test_a_crowd_of_1520_loses_none(
    kind: str, cell: int, context: float, anonymizer: Anonymizer, val: LabelledSet
) -> None:
    wanted = ObjectType(kind)
    pixels, box = largest(val, wanted, 0)
    # a square round the object with some of what is round it, as wide as the object is long
    reach = (0.5 + context) * (box[2:] - box[:2]).max()
    middle = (box[:2] + box[2:]) / 2
    square = np.concatenate([middle - reach, middle + reach])
    sheet = crowd(cut(pixels, square, 0, (cell, cell)), COLUMNS, ROWS)

    (found,) = anonymizer.detect([sheet], [wanted], Thorough())

    sure = found[found.scores >= 0.1]
    centres = (sure.boxes[:, :2] + sure.boxes[:, 2:]) / 2
    assert len({(int(x) // cell, int(y) // cell) for x, y in centres}) == COLUMNS * ROWS


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom", "corner"])
@pytest.mark.parametrize(("kind", "number"), [("face", 0), ("vehicle", 3)])
def test_what_a_border_cuts_is_covered_to_the_edge(
    kind: str, number: int, side: str, anonymizer: Anonymizer, val: LabelledSet
) -> None:
    wanted = ObjectType(kind)
    pixels, box = largest(val, wanted, number)
    x1, y1, x2, y2 = box.round().astype(int)
    # a quarter of it is cut off
    across, down = (x2 - x1) // 4, (y2 - y1) // 4
    left = x1 + across if side in ("left", "corner") else 0
    top = y1 + down if side in ("top", "corner") else 0
    right = x2 - across if side == "right" else pixels.shape[1]
    bottom = y2 - down if side == "bottom" else pixels.shape[0]
    part = np.ascontiguousarray(pixels[top:bottom, left:right])

    result = anonymizer.image(
        encode_png(part),
        Options(method=Method.BLACKEN, **{each.value.replace("-", "_"): each is wanted for each in ObjectType}),
    )

    # the middle half of the visible part, up to the border
    rows = slice(max(y1 - top, 0), min(y2, bottom) - top)
    columns = slice(max(x1 - left, 0), min(x2, right) - left)
    strip = {
        "left": np.s_[rows, 0], "right": np.s_[rows, -1], "top": np.s_[0, columns], "bottom": np.s_[-1, columns],
        "corner": np.s_[0, columns],
    }[side]  # fmt: skip
    edge = result.binary_mask[strip]
    inner = edge[len(edge) // 4 : -(len(edge) // 4)]
    assert (inner == 255).all()
    if side == "corner":
        assert result.binary_mask[0, 0] == 255
