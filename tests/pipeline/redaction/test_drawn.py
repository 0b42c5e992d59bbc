"""Regions that the caller draws are redacted besides what is found, or alone."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType, Source
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.drawn import DrawnRegion, Shape
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.drawn import drawn_objects
from tests.videos import moving_square

ROWS = [
    {"type": "face", "box": [10, 20, 60.5, 90]},
    {"type": "person", "polygon": [[100, 10], [160, 10], [130, 80]], "from": 0.5},
    {"type": "license-plate", "ellipse": [200, 50, 30, 10], "to": 2},
]
ALONE = {"face": False, "license_plate": False, "person": False, "vehicle": False}


def test_regions_are_read_and_written() -> None:
    options = Options(regions=json.dumps(ROWS))  # type: ignore[arg-type]
    face, person, plate = options.regions
    assert (face.type, face.shape, face.box) == (ObjectType.FACE, Shape.BOX, (10, 20, 60.5, 90))
    assert (person.box, person.start_s) == ((100, 10, 160, 80), 0.5)
    assert (plate.box, plate.end_s) == ((170, 40, 230, 60), 2)
    assert Options.from_params(options.as_params())[0] == options
    assert json.loads(json.dumps(options.as_params())) == options.as_params()


@pytest.mark.parametrize(
    "row",
    [
        {"type": "face"},
        {"type": "dog", "box": [0, 0, 9, 9]},
        {"box": [0, 0, 9, 9]},
        {"type": "face", "box": [0, 0, 9]},
        {"type": "face", "box": [9, 0, 0, 9]},
        {"type": "face", "box": [0, 0, float("nan"), 9]},
        {"type": "face", "box": [0, 0, 1e999, 9]},
        {"type": "face", "box": [0, 0, True, 9]},
        {"type": "face", "box": [0, 0, 9, 9], "ellipse": [5, 5, 2, 2]},
        {"type": "face", "box": [0, 0, 9, 9], "form": 1},
        {"type": "face", "polygon": [[0, 0], [9, 9]]},
        {"type": "face", "polygon": [[0, 0], [9, 0], [4, 0]]},
        {"type": "face", "ellipse": [5, 5, 0, 2]},
        {"type": "face", "box": [0, 0, 9, 9], "from": 3, "to": 2},
        {"type": "face", "box": [0, 0, 9, 9], "from": -1},
        7,
        None,
    ],
)  # fmt: skip
def test_a_region_that_is_none_is_refused(row: object) -> None:
    with pytest.raises(InvalidParameter, match=r"regions is .*JSON list such as"):
        Options(regions=[row])  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="regions is"):
        Options(regions=json.dumps(row))  # type: ignore[arg-type]


def test_a_mask_has_every_pixel_that_a_region_touches() -> None:
    size = (100, 300)
    found = drawn_objects(Options(regions=ROWS).regions, size)  # type: ignore[arg-type]
    box, polygon, ellipse = (mask.full(size) for mask in found.masks if mask is not None)
    assert box[20:90, 10:61].all()
    assert box.sum() == 70 * 51
    # against the area by hand: a triangle, an ellipse; their edges touch half a pixel more
    assert polygon.sum() == pytest.approx(60 * 70 / 2, rel=0.06)
    assert polygon[10, 100] or polygon[11, 101]
    assert ellipse.sum() == pytest.approx(np.pi * 30 * 10, rel=0.09)
    assert ellipse.sum() >= np.pi * 30 * 10
    assert {str(source) for source in found.sources} == {Source.CALLER}


def test_regions_outside_of_the_image_are_left_out_and_others_are_cut_off() -> None:
    regions = (
        DrawnRegion(ObjectType.FACE, Shape.BOX, ((-50, -50), (10, 10))),
        DrawnRegion(ObjectType.FACE, Shape.BOX, ((500, 0), (510, 10))),
        DrawnRegion(ObjectType.FACE, Shape.ELLIPSE, ((-5, 50), (9, 9))),
    )
    first, second = drawn_objects(regions, (100, 300)).masks
    assert first is not None
    assert first.full((100, 300)).sum() == 100
    assert second is not None
    assert second.full((100, 300))[:, 4:].sum() == 0


def test_regions_alone_run_no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    anonymizer = Anonymizer()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a detector was asked for")

    monkeypatch.setattr(anonymizer.store, "detector", refuse)
    image = np.random.default_rng(0).integers(0, 255, (100, 300, 3), np.uint8)
    options = Options(**ALONE, method="blacken", regions=ROWS, margin=0, face_anonymization_gradient_start=0)  # type: ignore[arg-type]
    result = anonymizer.image(image, options)
    assert result.counts == {"face": 1, "license-plate": 1, "person": 1}
    changed = (result.image != image).any(2)
    assert changed[20:90, 10:61].mean() > 0.99
    assert not result.image[25:85, 15:55].any()
    assert not changed[:, :9].any()
    # its receipt does not claim that a detector looked
    assert result.receipt(format="png").content["analysed"]["all_pixels"] is False
    (face, *_) = [row for row in result.metadata["detections"] if row["type_label"] == "face"]
    assert (face["source"], face["score"], face["model"], face["is_anonymised"]) == ("caller", 1.0, "", True)


def test_without_regions_one_type_must_be_true() -> None:
    with pytest.raises(InvalidParameter, match="true for at least one of"):
        Options(**ALONE).object_types()  # type: ignore[arg-type]


def test_a_region_of_a_video_is_redacted_in_its_seconds(tmp_path: Path) -> None:
    source = moving_square(tmp_path / "clip.mp4", seconds=2, audio=None)
    row = {"type": "vehicle", "box": [280, 210, 320, 240], "from": 0.5, "to": 1}
    options = Options(**ALONE, method="blacken", regions=[row])  # type: ignore[arg-type]
    (tmp_path / "out").mkdir()
    result = Anonymizer().video(source, tmp_path / "out", options)
    assert result.anonymised is not None
    assert result.counts == {"vehicle": 1}
    dark = [grey.mean() < 20 for grey in corners(result.anonymised)]
    assert not any(grey.mean() < 20 for grey in corners(source))
    # 25 frames a second
    assert dark == [13 <= number <= 25 for number in range(50)]


def corners(video: Path) -> list[np.ndarray]:
    """The grey values of the bright corner of each frame."""
    with av.open(video) as file:
        return [frame.to_ndarray(format="gray")[-30:, -40:] for frame in file.decode(video=0)]
