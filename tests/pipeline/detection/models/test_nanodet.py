"""NanoDet-Plus and the own detector with its network: made weights and the installed ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.nanodet.detector import PAD, NanoDet
from anonymizer.pipeline.detection.models.nanodet.network import STRIDES, NanoDetNetwork, cells_of, expected_distances
from anonymizer.pipeline.detection.models.nanodet.own import OwnNanoDet, load_own
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER
from anonymizer.training.train import save_weights
from tests.pipeline.detection.models.nanodet_export import export, random_network

WEIGHTS = MODELS_FOLDER / "own-3.safetensors"


@pytest.fixture(scope="module")
def detector() -> OwnNanoDet:
    return OwnNanoDet(WEIGHTS, device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def street(data: Path) -> np.ndarray:
    (image,) = LabelledSet.read(data / "val.json").of(["voc"], 1)
    return image.pixels()


def noise(height: int = 96, width: int = 160) -> torch.Tensor:
    return 255 * torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_it_is_small() -> None:
    network = load_own(WEIGHTS)
    assert WEIGHTS.stat().st_size < 8_000_000
    assert sum(each.numel() for each in network.parameters()) < 4_000_000


def test_the_fused_network_is_the_same_function(detector: OwnNanoDet) -> None:
    with torch.inference_mode():
        fused, plain = detector._network(noise()), load_own(WEIGHTS)(noise())
    for value, wanted in zip(fused, plain, strict=True):
        torch.testing.assert_close(value, wanted, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("size_hw", [(64, 64), (96, 160), (416, 320)])
def test_there_is_a_cell_for_each_row(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    with torch.inference_mode():
        logits, bins = random_network(4)(noise(height, width))
    cells = cells_of(height, width)
    assert logits.shape == (2, len(cells), 4)
    assert bins.shape == (2, len(cells), 32)
    assert cells[0].tolist() == [0, 0, STRIDES[0]]
    assert cells[1].tolist() == [8, 0, 8]
    assert set(cells[:, 2].tolist()) == set(STRIDES)


def test_a_distance_is_the_mean_of_its_bins() -> None:
    bins = torch.full((1, 32), -30.0)
    bins[0, [2, 8 + 5, 8 + 6, 24]] = 0.0
    assert expected_distances(bins)[0].tolist() == pytest.approx([2.0, 5.5, 3.5, 0.0], abs=1e-4)


def test_boxes_are_where_the_network_says(detector: OwnNanoDet, street: np.ndarray) -> None:
    (found,) = detector.detect([street], 416)
    letterbox = Letterbox.of(street, 416, pad=PAD)
    with torch.inference_mode():
        pixels = torch.from_numpy(letterbox(street)).permute(2, 0, 1)[None].float()
        logits, bins = detector._network(pixels)
    best = int(logits[0].amax(1).argmax())
    x, y, stride = cells_of(*letterbox.canvas_wh[::-1])[best].tolist()
    left, top, right, bottom = (expected_distances(bins[0, best]) * stride).tolist()
    scale = max(street.shape[:2]) / 416
    wanted = np.clip(np.array([x - left, y - top, x + right, y + bottom]) * scale, 0, [*street.shape[1::-1]] * 2)
    row = int(found.scores.argmax())
    assert found.boxes[row] == pytest.approx(wanted, abs=1.0)
    assert found.scores[row] == pytest.approx(float(logits[0].sigmoid().max()), abs=1e-4)
    assert set(found.models) == {"own-3"}


def test_a_batch_gives_what_one_by_one_gives(detector: OwnNanoDet, street: np.ndarray) -> None:
    pair = [street, np.ascontiguousarray(street[:, ::-1])]
    together = detector.detect(pair, 320)
    for image, found in zip(pair, together, strict=True):
        (alone,) = detector.detect([image], 320)
        assert found.boxes == pytest.approx(alone.boxes, abs=0.05)
        assert found.scores == pytest.approx(alone.scores, abs=1e-4)


def test_it_detects_persons_and_vehicles_of_photos(detector: OwnNanoDet, data: Path) -> None:
    """Most of the large objects of a few photos."""
    hits = objects = 0
    for image in LabelledSet.read(data / "val.json").of(["voc"], 12):
        (found,) = detector.detect([image.pixels()], 416)
        for kind in (ObjectType.PERSON, ObjectType.VEHICLE):
            known, sure = image.objects[kind], found.of_type(kind)
            for box in known.boxes[~known.ignored]:
                centre = (box[:2] + box[2:]) / 2
                near = sure.boxes[sure.scores > 0.3]
                inside = ((near[:, :2] < centre) & (near[:, 2:] > centre)).all(1)
                hits, objects = hits + bool(inside.any()), objects + 1
    assert objects >= 10
    assert hits >= 0.7 * objects


def test_other_weights_are_refused(tmp_path: Path) -> None:
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="another network"):
        OwnNanoDet(tmp_path / "other.safetensors", device="cpu")
    save_weights(NanoDetNetwork(80), tmp_path / "coco.safetensors")
    with pytest.raises(RuntimeError, match="size mismatch"):
        OwnNanoDet(tmp_path / "coco.safetensors", device="cpu")


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_values_that_are_no_numbers_give_no_result(runtime: str, tmp_path: Path) -> None:
    weights = load_file(WEIGHTS)
    weights["predict.0.bias"] = torch.full_like(weights["predict.0.bias"], torch.nan)
    save_file(weights, tmp_path / "nan.safetensors")
    with pytest.raises((DetectorFailed, ValueError), match="not finite numbers"):
        OwnNanoDet(tmp_path / "nan.safetensors", device="cpu", runtime=runtime).detect(
            [np.zeros((64, 64, 3), np.uint8)], 64
        )


def test_a_picture_of_one_pixel_can_be_looked_at(detector: OwnNanoDet) -> None:
    (found,) = detector.detect([np.zeros((1, 1, 3), np.uint8)], 2)
    assert (found.boxes <= 1).all()


def test_classes_of_coco_become_object_types(tmp_path: Path) -> None:
    network = random_network(80)
    for each in network.predict:
        assert isinstance(each, nn.Conv2d) and each.bias is not None
        nn.init.constant_(each.bias[:80], -8.0)
        # cars, and bicycles, which are no vehicles here
        nn.init.constant_(each.bias[1:3], 4.0)
    detector = NanoDet(export(network, tmp_path / "nanodet.onnx"), device="cpu", runtime="torch")
    (found,) = detector.detect([np.full((96, 96, 3), 90, np.uint8)], 96)
    assert set(found.types) == {ObjectType.VEHICLE.number}
    assert detector.object_types == (ObjectType.PERSON, ObjectType.VEHICLE)
    assert len(OBJECT_TYPES) == 4


@pytest.mark.parametrize(
    ("long_side", "scales", "video_scale"),
    [
        (1, (2,), 2),
        (246, (320,), 320),
        (320, (320, 416), 416),
        (492, (320, 416), 416),
        (493, (320, 416, 800), 416),
        (738, (320, 416, 800), 416),
        (739, (416, 640, 960), 416),
        (984, (416, 640, 960), 640),
        (6000, (416, 640, 960, 1280), 640),
    ],
)
def test_scales(detector: OwnNanoDet, long_side: int, scales: tuple[int, ...], video_scale: int) -> None:
    assert (detector.scales(long_side), detector.video_scale(long_side)) == (scales, video_scale)
