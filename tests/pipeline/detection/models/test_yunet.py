from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from anonymizer.pipeline.detection import windows
from anonymizer.pipeline.detection.models.yunet import YuNet
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.options.formats import Thorough
from tests.pipeline.detection.models import onnx_reference as reference


@pytest.fixture(scope="module")
def weights(data: Path) -> Path:
    return data / "weights" / "yunet_n_dynamic.onnx"


@pytest.fixture(scope="module")
def detector(weights: Path) -> YuNet:
    return YuNet(weights, device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def photos(data: Path) -> list[np.ndarray]:
    return [pixels for pixels, _ in reference.photos(data, "fddb", 4)]


def canvas(image: np.ndarray, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    scale = side / max(image.shape[:2])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return size, (-(-size[0] // 32) * 32, -(-size[1] // 32) * 32)


@pytest.mark.parametrize("side", [160, 320, 500])
def test_it_is_the_network_of_the_file(side: int, weights: Path, detector: YuNet, photos: list[np.ndarray]) -> None:
    inputs = reference.on_canvas(photos[0], *canvas(photos[0], side), 0)
    expected = reference.run(weights, inputs[:, ::-1])

    with torch.inference_mode():
        outputs = detector._network([inputs[0].transpose(1, 2, 0).astype(np.uint8)], bgr=True)

    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name].numpy(), value, atol=5e-4, rtol=5e-4)


@pytest.mark.parametrize("number", range(3))
def test_it_finds_what_a_plain_decoder_finds(
    number: int, weights: Path, detector: YuNet, photos: list[np.ndarray]
) -> None:
    image = photos[number]
    height, width = image.shape[:2]
    size, padded = canvas(image, max(height, width))
    raw = reference.run(weights, reference.on_canvas(image, size, padded, 0)[:, ::-1])
    boxes, scores = [], []
    for stride in (8, 16, 32):
        centre = (reference.cells(padded, stride) + raw[f"bbox_{stride}"][0, :, :2]) * stride
        half = np.exp(raw[f"bbox_{stride}"][0, :, 2:]) * stride / 2
        boxes.append(np.concatenate([centre - half, centre + half], 1))
        scores.append(np.sqrt(raw[f"cls_{stride}"][0, :, 0] * raw[f"obj_{stride}"][0, :, 0]))
    box, score = np.concatenate(boxes), np.concatenate(scores)
    box, score = box[score > 0.4], score[score > 0.4]
    keep = reference.kept(box, score, 0.4)

    (found,) = detector.detect([image], max(height, width))

    found = found[found.scores > 0.4]
    found = found[np.argsort(-found.scores)]
    assert len(found) == len(keep) > 0
    assert found.boxes == pytest.approx(np.clip(box[keep], 0, [width, height] * 2), abs=1)
    assert found.scores == pytest.approx(score[keep], abs=2e-3)
    assert set(found.types) == {ObjectType.FACE.number}
    assert set(found.models) == {"yunet-n"}


def test_a_batch_gives_what_one_by_one_gives(photos: list[np.ndarray], detector: YuNet) -> None:
    three = [photos[0], photos[0][:, ::-1].copy(), photos[0] // 2]

    together = detector.detect(three, 320)

    for image, found in zip(three, together, strict=True):
        assert reference.same(found, *detector.detect([image], 320))
        assert len(found)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_face_at_the_border_ends_there(mirrored: bool, data: Path, detector: YuNet) -> None:
    image, boxes = reference.photos(data, "fddb", 4)[3]
    x1, _, x2, _ = boxes[0].astype(int)
    part = image[:, : x2 - (x2 - x1) // 4]
    part = np.ascontiguousarray(part[:, ::-1] if mirrored else part)

    (found,) = detector.detect([part], max(part.shape[:2]))

    height, width = part.shape[:2]
    sure = found.boxes[found.scores > 0.4]
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height] * 2).all()
    assert (sure[:, 0] < 4 if mirrored else sure[:, 2] > width - 4).any()


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2000), (2000, 3)])
def test_tiny_pictures_have_no_faces(detector: YuNet, size_hw: tuple[int, int]) -> None:
    for side in detector.scales(max(size_hw)):
        (found,) = detector.detect([np.full((*size_hw, 3), 127, np.uint8)], side)
        assert len(found) == 0


def test_no_face_of_a_crowd_is_lost(data: Path, detector: YuNet) -> None:
    image, boxes = reference.photos(data, "fddb", 4)[3]
    sheet = reference.crowd(reference.cut(image, boxes[0], 0.35, (56, 64)), 50, 31)

    (found,) = windows.detect_windows([sheet], Thorough(), detector, [ObjectType.FACE])

    sure = found[found.scores > 0.4]
    centres = (sure.boxes[:, :2] + sure.boxes[:, 2:]) / 2
    places = {(int(x) // 56, int(y) // 64) for x, y in centres}
    assert len(places) == 1550


@pytest.mark.parametrize(
    ("long_side", "scales"), [(300, (300,)), (640, (640, 256)), (1280, (1280, 256)), (6000, (1280, 256))]
)
def test_large_pictures_are_looked_at_in_a_small_size_too(
    detector: YuNet, long_side: int, scales: tuple[int, ...]
) -> None:
    assert detector.scales(long_side) == scales


def test_values_that_are_no_numbers_give_no_result(weights: Path) -> None:
    detector = YuNet(weights, device="cpu", runtime="torch")
    next(detector._network._network._module.parameters()).data.fill_(torch.nan)

    with pytest.raises(DetectorFailed, match="not finite numbers"):
        detector.detect([np.zeros((64, 64, 3), np.uint8)], 64)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "faces.onnx").write_bytes(b"nothing of the kind")

    with pytest.raises(Exception, match=r"(?i)protobuf|parsing"):
        YuNet(tmp_path / "faces.onnx", device="cpu", runtime="torch")
