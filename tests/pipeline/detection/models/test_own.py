from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from anonymizer.pipeline.detection.models import own
from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.own import LARGEST_PX, PAD, WHOLE_SIDE, OwnDetector
from anonymizer.pipeline.detection.models.own_network import OwnNetwork
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER

WEIGHTS = MODELS_FOLDER / "own-detector.safetensors"


@pytest.fixture(scope="module")
def detector() -> OwnDetector:
    return OwnDetector(WEIGHTS, device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def network() -> OwnNetwork:
    network = OwnNetwork().eval()
    network.load_state_dict(load_file(WEIGHTS), strict=False)
    return network


@pytest.fixture(scope="module")
def street(data: Path) -> np.ndarray:
    rows = json.loads((data / "val.json").read_text())["images"]
    path = next(data / "val" / each["file_name"] for each in rows if each["source"] == "highway")
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))


def noise() -> torch.Tensor:
    return torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))


def test_the_detectors_fused_network_is_the_same_function(detector: OwnDetector, network: OwnNetwork) -> None:
    with torch.inference_mode():
        fused, plain = detector._network(noise()), network(noise())[:2]

    for value, wanted in zip(fused, plain, strict=True):
        torch.testing.assert_close(value, wanted, atol=1e-4, rtol=1e-4)


def test_it_is_small(network: OwnNetwork) -> None:
    assert WEIGHTS.stat().st_size < 16_000_000
    assert sum(each.numel() for each in network.parameters()) < 4_000_000


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.safetensors")

    with pytest.raises(ValueError, match="another network"):
        OwnDetector(tmp_path / "other.safetensors", device="cpu", runtime="torch")


def test_weights_with_one_layer_missing_are_refused(tmp_path: Path) -> None:
    weights = load_file(WEIGHTS)
    weights.popitem()
    save_file(weights, tmp_path / "part.safetensors")

    with pytest.raises(ValueError, match="another network"):
        OwnDetector(tmp_path / "part.safetensors", device="cpu", runtime="torch")


def test_weights_that_are_no_numbers_give_no_result(tmp_path: Path) -> None:
    weights = load_file(WEIGHTS)
    weights["score.0.bias"] = torch.full_like(weights["score.0.bias"], torch.nan)
    save_file(weights, tmp_path / "nan.safetensors")
    detector = OwnDetector(tmp_path / "nan.safetensors", device="cpu", runtime="torch")

    with pytest.raises(DetectorFailed, match="not finite numbers"):
        detector.detect([np.zeros((64, 64, 3), np.uint8)], 64)


def test_it_finds_vehicles_in_a_street(detector: OwnDetector, street: np.ndarray) -> None:
    (found,) = detector.detect([street], 416)

    vehicles = found.of_type(ObjectType.VEHICLE)
    height, width = street.shape[:2]
    assert (vehicles.scores > 0.4).any()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()
    assert set(found.models) == {"own-2"}


def test_a_batch_gives_what_one_by_one_gives(detector: OwnDetector, street: np.ndarray) -> None:
    pair = [street, np.ascontiguousarray(street[:, ::-1])]

    together = detector.detect(pair, 320)

    for image, found in zip(pair, together, strict=True):
        (alone,) = detector.detect([image], 320)
        assert found.boxes == pytest.approx(alone.boxes, abs=0.05)
        assert found.scores == pytest.approx(alone.scores, abs=1e-4)


def test_what_is_large_is_left_to_the_smaller_scales(
    detector: OwnDetector, street: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lengths(picture: np.ndarray, side: int) -> np.ndarray:
        """Of what is found, in pixels of the larger view."""
        (found,) = detector.detect([picture], side)
        return np.asarray(np.ptp(found.boxes.reshape(-1, 2, 2), axis=1).max(1) * 640 / max(picture.shape[:2]))

    (found,) = detector.detect([street], WHOLE_SIDE)
    spans = np.ptp(found.boxes.reshape(-1, 2, 2), axis=1).max(1)
    row = np.argmax(spans * (found.scores > 0.4))
    centre, reach = found.boxes[row].reshape(2, 2).mean(0), spans[row]
    (left, top), (right, bottom) = (np.clip(centre + way * reach, 0, None).astype(int) for way in (-1, 1))
    near = np.ascontiguousarray(street[top:bottom, left:right])

    close = lengths(near, 640)
    assert len(close)
    assert (close <= LARGEST_PX + 1).all()
    assert (lengths(near, WHOLE_SIDE) > LARGEST_PX + 1).any()
    # the larger view would see it
    monkeypatch.setattr(own, "LARGEST_PX", np.inf)
    assert (lengths(near, 640) > LARGEST_PX + 1).any()


def test_a_plain_picture_has_nothing_above_the_thresholds(detector: OwnDetector) -> None:
    (found,) = detector.detect([np.full((240, 320, 3), 127, np.uint8)], 320)

    assert (found.scores < 0.4).all()


def test_a_picture_of_one_pixel_can_be_looked_at(detector: OwnDetector) -> None:
    for side in detector.scales(1):
        (found,) = detector.detect([np.zeros((1, 1, 3), np.uint8)], side)
        assert (found.scores < 0.4).all()


def test_a_large_picture_is_looked_at_in_1280_pixels_too(detector: OwnDetector) -> None:
    assert detector.scales(6000) == (256, 416, 640, 1280)
    assert detector.scales(640) == (256, 416, 640)
    assert detector.scales(100) == (200,)


def test_padding_is_right_and_below() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    padded = Letterbox.of(image, 100, pad=PAD)(image)

    assert padded.shape == (64, 128, 3)
    assert (padded[:50, :100] == 0).all()
    assert (padded[50:] == PAD).all()
    assert (padded[:, 100:] == PAD).all()
