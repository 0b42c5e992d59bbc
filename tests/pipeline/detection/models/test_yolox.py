from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from anonymizer.pipeline.detection import windows
from anonymizer.pipeline.detection.models.letterbox import Letterbox
from anonymizer.pipeline.detection.models.yolox import LARGEST_PX, PAD, YoloX
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.options.formats import Thorough
from tests.pipeline.detection.models import onnx_reference as reference


@pytest.fixture(scope="module")
def weights(data: Path) -> Path:
    return data / "weights" / "yolox_nano.onnx"


@pytest.fixture(scope="module")
def detector(weights: Path) -> YoloX:
    return YoloX(weights, device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def photos(data: Path) -> list[np.ndarray]:
    return [reference.photos(data, "highway", 1)[0][0], *(pixels for pixels, _ in reference.photos(data, "voc", 3))]


def scaled(image: np.ndarray, side: int) -> tuple[int, int]:
    return round(image.shape[1] * side / max(image.shape[:2])), round(image.shape[0] * side / max(image.shape[:2]))


def test_it_is_the_network_of_the_file(weights: Path, detector: YoloX, photos: list[np.ndarray]) -> None:
    inputs = reference.on_canvas(photos[0], scaled(photos[0], 416), (416, 416), PAD)
    (expected,) = reference.run(weights, inputs[:, ::-1]).values()

    with torch.inference_mode():
        (rows,) = detector._network([inputs[0].transpose(1, 2, 0).astype(np.uint8)], bgr=True).values()

    np.testing.assert_allclose(rows.numpy(), expected, atol=5e-4, rtol=5e-4)


def test_a_batch_stays_in_its_own_rows(detector: YoloX, photos: list[np.ndarray]) -> None:
    three = [np.ascontiguousarray(photos[0][y : y + 96, :128]) for y in (0, 50, 100)]
    with torch.inference_mode():
        (together,) = detector._network(three, bgr=True).values()
        alone = [next(iter(detector._network([each], bgr=True).values())) for each in three]

    assert together.shape == (3, 252, 85)
    torch.testing.assert_close(together, torch.cat(alone), atol=5e-4, rtol=5e-4)


@pytest.mark.parametrize("number", range(4))
def test_it_finds_what_a_plain_decoder_finds(
    number: int, weights: Path, detector: YoloX, photos: list[np.ndarray]
) -> None:
    """In square pictures: for others its canvas is smaller than the square that the file's network takes."""
    side = min(photos[number].shape[:2])
    image = np.ascontiguousarray(photos[number][:side, :side])
    raw = reference.run(weights, reference.on_canvas(image, (416, 416), (416, 416), PAD)[:, ::-1])["output"][0]
    cells = np.concatenate([reference.cells((416, 416), stride) for stride in (8, 16, 32)])
    strides = np.repeat([8, 16, 32], [52**2, 26**2, 13**2])[:, None]
    centre, half = (raw[:, :2] + cells) * strides, np.exp(raw[:, 2:4]) * strides / 2
    boxes = np.concatenate([centre - half, centre + half], 1) * side / 416
    of_classes = raw[:, 4:5] * raw[:, 5:]

    (found,) = detector.detect([image], 416)

    assert (found.scores > 0.3).any()
    for name, classes in ((ObjectType.PERSON, [0]), (ObjectType.VEHICLE, [2, 3, 5, 7])):
        scores = of_classes[:, classes].max(1)
        box, score = boxes[scores > 0.3], scores[scores > 0.3]
        keep = reference.kept(box, score, 0.55)
        sure = found.of_type(name)
        sure = sure[sure.scores > 0.3]
        sure = sure[np.argsort(-sure.scores)]
        assert len(sure) == len(keep)
        assert sure.boxes == pytest.approx(np.clip(box[keep], 0, side).reshape(-1, 4), abs=1)
        assert sure.scores == pytest.approx(score[keep], abs=2e-3)


@pytest.mark.parametrize("side", [256, 416, 640])
def test_pictures_of_a_batch_give_what_they_give_alone(side: int, photos: list[np.ndarray], detector: YoloX) -> None:
    three = [photos[0], photos[0][:, ::-1].copy(), photos[0] // 2]

    together = detector.detect(three, side)

    for image, found in zip(three, together, strict=True):
        assert reference.same(found, *detector.detect([image], side))
        assert len(found)
        assert {OBJECT_TYPES[each] for each in found.types} <= set(detector.object_types)
        assert set(found.models) == {"yolox-nano"}


def test_boxes_end_with_the_picture(photos: list[np.ndarray], detector: YoloX) -> None:
    for image in photos:
        part = np.ascontiguousarray(image[: image.shape[0] * 2 // 3, image.shape[1] // 3 :])
        (found,) = detector.detect([part], 416)

        height, width = part.shape[:2]
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [width, height] * 2).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_a_vehicle_cut_by_a_border_is_found_up_to_it(data: Path, detector: YoloX) -> None:
    image, boxes = reference.photos(data, "highway", 4)[3]
    widths = boxes[:, 2] - boxes[:, 0]
    x1, _, x2, _ = boxes[widths.argmax()].astype(int)
    part = np.ascontiguousarray(image[:, : x2 - (x2 - x1) // 3])

    (found,) = detector.detect([part], 416)

    sure = found.of_type(ObjectType.VEHICLE)
    assert (sure.boxes[sure.scores > 0.3][:, 2] > part.shape[1] - 6).any()


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2000), (2000, 3)])
def test_tiny_pictures_have_nothing_above_the_thresholds(detector: YoloX, size_hw: tuple[int, int]) -> None:
    for side in detector.scales(max(size_hw)):
        (found,) = detector.detect([np.full((*size_hw, 3), 127, np.uint8)], side)
        assert (found.scores < 0.4).all()


def test_no_vehicle_of_a_crowd_is_lost(data: Path, detector: YoloX) -> None:
    image, boxes = reference.photos(data, "highway", 4)[3]
    box = boxes[(boxes[:, 2] - boxes[:, 0]).argmax()]
    sheet = reference.crowd(reference.cut(image, box, 0.2, (64, 64)), 40, 38)

    (found,) = windows.detect_windows([sheet], Thorough(), detector, [ObjectType.VEHICLE])

    sure = found[found.scores > 0.2]
    centres = (sure.boxes[:, :2] + sure.boxes[:, 2:]) / 2
    assert len({(int(x) // 64, int(y) // 64) for x, y in centres}) >= 0.97 * 40 * 38


def test_what_is_large_is_left_to_the_smaller_scales(photos: list[np.ndarray], detector: YoloX) -> None:
    for image in photos:
        (found,) = detector.detect([image], 640)

        lengths = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1) * 640 / max(image.shape[:2])
        assert (lengths <= LARGEST_PX + 1).all()


def test_its_sizes(detector: YoloX) -> None:
    assert detector.scales(6000) == (256, 416, 640, 1280)
    assert detector.scales(640) == (256, 416, 640)
    assert detector.scales(100) == (200,)


def test_a_file_of_larger_training_keeps_large_objects_up_to_its_own_side(weights: Path, tmp_path: Path) -> None:
    """As YOLOX-s: the same outputs as YOLOX-nano, exported for 640 pixels."""
    model = onnx.load(weights)
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = 640
    onnx.save(model, tmp_path / "yolox_s.onnx")
    larger, usual = YoloX(tmp_path / "yolox_s.onnx", device="cpu", model_id="yolox-s"), YoloX(weights, device="cpu")
    # one person, 400 x 600 pixels on the canvas, as the network gives it
    boxes, scores = torch.tensor([[20.0, 20.0, 420.0, 620.0]]), torch.tensor([[0.9, 0.0]])
    letterbox = Letterbox.of(np.zeros((640, 640, 3), np.uint8), 640, pad=PAD)

    assert len(larger._select(boxes, scores, letterbox, 640)) == 1
    assert len(usual._select(boxes, scores, letterbox, 640)) == 0
    assert len(larger._select(boxes, scores, letterbox, 1280)) == 0
