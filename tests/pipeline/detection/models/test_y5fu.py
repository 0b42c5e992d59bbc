from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.y5fu import Y5fu
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from tests.pipeline.detection.models import onnx_reference as reference

SIDES = (320, 640)


@pytest.fixture(scope="module")
def detectors(data: Path) -> dict[int, Y5fu]:
    return {
        side: Y5fu(data / "weights" / f"y5fu_{side}x_sim.onnx", device="cpu", runtime="torch", model_id=f"y5fu-{side}")
        for side in SIDES
    }


@pytest.fixture(scope="module")
def photos(data: Path) -> list[np.ndarray]:
    return [pixels for source in ("cars", "dashcam") for pixels, _ in reference.photos(data, source, 2)]


@pytest.mark.parametrize("side", SIDES)
def test_it_finds_what_onnxruntime_and_a_plain_decoder_find(
    side: int, data: Path, detectors: dict[int, Y5fu], photos: list[np.ndarray]
) -> None:
    total = 0
    for image in photos:
        height, width = image.shape[:2]
        size = round(width * side / max(height, width)), round(height * side / max(height, width))
        inputs = reference.on_canvas(image, size, (side, side), 0)
        (raw,) = reference.run(data / "weights" / f"y5fu_{side}x_sim.onnx", inputs / 255).values()
        with torch.inference_mode():
            (rows,) = (
                detectors[side]._network([inputs[0].transpose(1, 2, 0).astype(np.uint8)], bgr=False, unit=True).values()
            )
        np.testing.assert_allclose(rows.numpy(), raw, atol=2e-3, rtol=5e-4)
        score = raw[0, :, 4] * raw[0, :, 13:].max(1)
        centre, half = raw[0, :, :2], raw[0, :, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], 1) * max(height, width) / side
        boxes, score = boxes[score > 0.2], score[score > 0.2]
        keep = reference.kept(boxes, score, 0.5)

        (found,) = detectors[side].detect([image], side)

        found = found[found.scores > 0.2]
        found = found[np.argsort(-found.scores)]
        assert len(found) == len(keep)
        assert found.boxes == pytest.approx(np.clip(boxes[keep], 0, [width, height] * 2).reshape(-1, 4), abs=1)
        assert found.scores == pytest.approx(score[keep], abs=2e-3)
        assert set(found.types) <= {ObjectType.LICENSE_PLATE.number}
        assert set(found.models) <= {f"y5fu-{side}"}
        total += len(found)
    assert total > 0


@pytest.mark.parametrize("side", SIDES)
def test_a_batch_gives_what_one_by_one_gives(side: int, photos: list[np.ndarray], detectors: dict[int, Y5fu]) -> None:
    three = [photos[2], photos[2][:, ::-1].copy(), photos[2] // 2]

    together = detectors[side].detect(three, side)

    for image, found in zip(three, together, strict=True):
        assert reference.same(found, *detectors[side].detect([image], side), pixels=0.2)


def test_a_plate_at_the_border_ends_there(data: Path, detectors: dict[int, Y5fu]) -> None:
    touched = 0
    for image, boxes in reference.photos(data, "dashcam", 12):
        x1, _, x2, _ = boxes[0].astype(int)
        part = np.ascontiguousarray(image[:, : x2 - (x2 - x1) // 6])
        (found,) = detectors[640].detect([part], 640)

        assert (found.boxes >= 0).all()
        assert (found.boxes <= [part.shape[1], part.shape[0]] * 2).all()
        touched += bool((found.boxes[found.scores > 0.2][:, 2] > part.shape[1] - 4).any())
    assert touched >= 3


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2000), (2000, 3)])
def test_tiny_pictures_have_nothing_above_the_thresholds(detectors: dict[int, Y5fu], size_hw: tuple[int, int]) -> None:
    for side in detectors[320].scales(max(size_hw)):
        (found,) = detectors[320].detect([np.full((*size_hw, 3), 127, np.uint8)], side)
        assert (found.scores < 0.4).all()


@pytest.mark.parametrize("side", SIDES)
def test_no_plate_of_a_crowd_is_lost(side: int, detectors: dict[int, Y5fu]) -> None:
    """As many as lie side by side on the canvas; what the network itself sees has no limit but its cells."""
    corners = np.array([(x, y) for y in range(0, side, 7) for x in range(0, side, 7)], np.float32)
    boxes = torch.from_numpy(np.concatenate([corners, corners + 6], 1))
    letterbox = Letterbox.of(np.zeros((side, side, 3), np.uint8), side, pad=0, canvas_side=side)

    found = detectors[side]._select(boxes, torch.full([len(boxes)], 0.3), letterbox)

    assert len(found) == len(boxes) > 1500


def test_its_size_is_that_of_its_file(detectors: dict[int, Y5fu]) -> None:
    assert detectors[320].scales(6000) == (320, 208, 128)
    assert detectors[640].scales(100) == (640,)
    assert (detectors[320].tile_side, detectors[640].tile_side) == (320, 640)


def test_it_looks_at_no_larger_size(detectors: dict[int, Y5fu]) -> None:
    with pytest.raises(DetectorFailed, match="up to 320 pixels, not 640"):
        detectors[320].detect([np.zeros((64, 64, 3), np.uint8)], 640)


def test_a_network_of_any_size_is_another_one(data: Path) -> None:
    with pytest.raises(ValueError, match="no input of a fixed size"):
        Y5fu(data / "weights" / "yunet_n_dynamic.onnx", device="cpu", runtime="torch")
