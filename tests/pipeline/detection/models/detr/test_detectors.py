from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from anonymizer.pipeline.detection.models.detr.detectors import RFDETR, DEIMv2, DFine
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed, TooManyObjects
from tests.pipeline.detection.models.detr.made import made_file

#: a row of a network: classes with their logits, and centre and size as shares of the input
Row = tuple[dict[int, float], tuple[float, float, float, float]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_file("dfine_n", tmp_path_factory.mktemp("dfine") / "dfine_n_coco.pth")


@pytest.fixture(scope="module")
def detector(weights: Path) -> DFine:
    return DFine(weights, device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def segmenting(tmp_path_factory: pytest.TempPathFactory) -> RFDETR:
    file = made_file("rfdetr_seg_m", tmp_path_factory.mktemp("rfdetr") / "rf-detr-seg-medium.pt")
    return RFDETR(file, device="cpu", model_id="rf-detr-seg-m")


def outputs(rows: Sequence[Row], classes: int, queries: int, masks: Tensor | None = None) -> tuple[Tensor, ...]:
    """What a network returns for one image: these rows, and queries that found nothing."""
    logits = torch.full((1, queries, classes), -9.0)
    boxes = torch.full((1, queries, 4), 0.5)
    for number, (chances, box) in enumerate(rows):
        for name, logit in chances.items():
            logits[0, number, name] = logit
        boxes[0, number] = torch.tensor(box)
    return (logits, boxes) if masks is None else (logits, boxes, masks)


@pytest.fixture
def answering(detector: DFine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DFine]:
    """The detector with a network that gives the same rows for every image, and keeps its inputs in `seen`."""

    def with_rows(*rows: Row, seen: list[Tensor] | None = None, queries: int = 300) -> DFine:
        def network(pixels: Tensor) -> tuple[Tensor, ...]:
            if seen is not None:
                seen.append(pixels)
            return tuple(output.repeat(len(pixels), 1, 1) for output in outputs(rows, 80, queries))

        monkeypatch.setattr(detector, "_network", network)
        return detector

    return with_rows


def picture(height: int = 100, width: int = 200) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)


def test_images_of_a_batch_give_what_they_give_alone(detector: DFine) -> None:
    images = [picture(90, 120), picture(90, 120)[:, ::-1].copy(), picture(90, 120) // 3]

    together = detector.detect(images, 640)

    for image, found in zip(images, together, strict=True):
        (alone,) = detector.detect([image], 640)
        assert found.scores == pytest.approx(alone.scores, abs=1e-3)
        assert found.boxes == pytest.approx(alone.boxes, abs=0.2)
        assert set(found.models) <= {"d-fine-n"}


@pytest.mark.slow
def test_openvino_agrees_with_torch(
    weights: Path, detector: DFine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = [picture(90, 120), picture(90, 120)[::-1].copy()]

    found = DFine(weights, device="cpu", runtime="openvino").detect(images, 640)

    for ours, expected in zip(found, detector.detect(images, 640), strict=True):
        assert ours.scores == pytest.approx(expected.scores, abs=1e-3)
        assert ours.boxes == pytest.approx(expected.boxes, abs=0.2)


def test_pico_finds_its_size_in_the_file(tmp_path: Path) -> None:
    detector = DEIMv2(
        made_file("deimv2_pico", tmp_path / "pico.pth", fainter=6),
        device="cpu",
        runtime="torch",
        model_id="deimv2-pico",
    )
    (found,) = detector.detect([picture()], 640)
    assert (found.boxes <= [200, 100, 200, 100]).all()
    assert detector.id == "deimv2-pico"


def test_cocos_classes_are_persons_and_vehicles(answering: Callable[..., DFine]) -> None:
    # counted from 0: a bicycle (1), a train (6) and a traffic light (9) are neither
    rows = [({number: 2.0}, (0.1 * n + 0.05, 0.5, 0.05, 0.5)) for n, number in enumerate([0, 1, 2, 3, 5, 6, 7, 9])]

    (found,) = answering(*rows).detect([picture()], 640)

    assert found.count_by_type() == {ObjectType.PERSON: 1, ObjectType.VEHICLE: 4}
    assert found.of_type(ObjectType.PERSON).boxes == pytest.approx(np.array([[5, 25, 15, 75]]), abs=1e-3)
    assert found.scores == pytest.approx(np.full(5, 0.8808), abs=1e-4)


def test_a_car_that_is_a_truck_too_is_one_vehicle(answering: Callable[..., DFine]) -> None:
    (found,) = answering(({2: 0.5, 7: 1.0}, (0.5, 0.5, 0.2, 0.2))).detect([picture()], 640)
    assert found.scores == pytest.approx([0.7311], abs=1e-4)


def test_the_same_object_twice_is_one(answering: Callable[..., DFine]) -> None:
    rows = [({0: 1.0}, (0.5, 0.5, 0.2, 0.2)), ({0: 2.0}, (0.501, 0.5, 0.2, 0.2)), ({0: 1.5}, (0.55, 0.5, 0.2, 0.2))]
    (found,) = answering(*rows).detect([picture()], 640)
    assert found.scores == pytest.approx([0.8808, 0.8176], abs=1e-4)


def test_as_many_as_it_has_queries_are_too_many(answering: Callable[..., DFine]) -> None:
    rows = [({0: 1.0}, (n / 20, 0.5, 0.02, 0.2)) for n in range(20)]
    assert len(answering(*rows[:-1], queries=20).detect([picture()], 640)[0]) == 19
    with pytest.raises(TooManyObjects, match="20 objects in one view"):
        answering(*rows, queries=20).detect([picture()], 640)


def test_values_that_are_no_numbers_give_no_result(answering: Callable[..., DFine]) -> None:
    with pytest.raises(DetectorFailed, match="not finite numbers"):
        answering(({0: float("nan")}, (0.5, 0.5, 0.2, 0.2))).detect([picture()], 640)


@pytest.mark.parametrize("size_hw", [(100, 200), (480, 640), (1, 1), (2000, 3000)])
def test_up_to_two_to_one_an_image_fills_the_input(answering: Callable[..., DFine], size_hw: tuple[int, int]) -> None:
    seen: list[Tensor] = []
    (found,) = answering(({0: 1.0}, (0.5, 0.5, 1.0, 1.0)), seen=seen).detect(
        [np.full((*size_hw, 3), 255, np.uint8)], 640
    )
    assert seen[0].shape == (1, 3, 640, 640)
    assert seen[0].min() == seen[0].max() == 1
    assert found.boxes.tolist() == [[0, 0, size_hw[1], size_hw[0]]]


@pytest.mark.parametrize(
    ("size_hw", "side", "scaled_hw"), [((100, 400), 640, (160, 640)), ((90, 120), 320, (240, 320))]
)
def test_longer_ones_and_smaller_scales_keep_their_shape(
    answering: Callable[..., DFine], size_hw: tuple[int, int], side: int, scaled_hw: tuple[int, int]
) -> None:
    seen: list[Tensor] = []
    height, width = scaled_hw
    row = ({0: 1.0}, (width / 2 / 640, height / 2 / 640, width / 640, height / 640))
    (found,) = answering(row, seen=seen).detect([np.full((*size_hw, 3), 255, np.uint8)], side)
    assert seen[0][0, 0, :height, :width].min() == 1
    assert seen[0][0, 0].sum() == height * width
    assert found.boxes == pytest.approx(np.array([[0, 0, size_hw[1], size_hw[0]]]), abs=1e-3)


def test_a_box_in_the_padding_is_none(answering: Callable[..., DFine]) -> None:
    (found,) = answering(({0: 1.0}, (0.5, 0.8, 0.1, 0.1))).detect([picture(100, 400)], 640)
    assert len(found) == 0


def test_its_scale_is_that_of_its_training(detector: DFine) -> None:
    assert detector.scales(100) == detector.scales(6000) == (640,)
    with pytest.raises(DetectorFailed, match="takes scales up to 640 pixels, not 1280"):
        detector.detect([picture()], 1280)


# --- masks ---


@pytest.mark.slow
def test_masks_lie_in_pixels_of_the_image(segmenting: RFDETR, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.full((1, 200, 108, 108), -5.0)
    # the left half of the image is the object
    masks[0, 0, :, :54] = 5
    rows = [({1: 3.0}, (0.5, 0.5, 0.5, 0.5)), ({3: 3.0}, (0.9, 0.9, 0.1, 0.1))]
    monkeypatch.setattr(segmenting, "_network", lambda pixels: outputs(rows, 91, 200, masks))

    (found,) = segmenting.detect([picture(100, 200)], 432)

    assert found.count_by_type() == {ObjectType.PERSON: 1, ObjectType.VEHICLE: 1}
    person, vehicle = found.masks
    assert person is not None
    assert (person.x, person.y, person.pixels.shape) == (50, 25, (50, 100))
    assert person.pixels[:, :49].all()
    assert not person.pixels[:, 51:].any()
    # no pixel of the vehicle is the object: its box is redacted
    assert vehicle is None


@pytest.mark.slow
def test_masks_of_a_long_image_leave_out_the_padding(segmenting: RFDETR, monkeypatch: pytest.MonkeyPatch) -> None:
    # 400 x 100 becomes 432 x 108, on top of the input: the object is the top left quarter of the image
    masks = torch.full((1, 200, 108, 108), -5.0)
    masks[0, 0, :13, :54] = 5
    monkeypatch.setattr(
        segmenting, "_network", lambda pixels: outputs([({1: 3.0}, (0.5, 0.125, 1, 0.25))], 91, 200, masks)
    )

    (found,) = segmenting.detect([picture(100, 400)], 432)

    assert found.boxes == pytest.approx(np.array([[0, 0, 400, 100]]), abs=1e-3)
    (mask,) = found.masks
    assert mask is not None
    assert mask.pixels.shape == (100, 400)
    assert mask.pixels[:47, :198].all()
    assert not mask.pixels[50:].any()
    assert not mask.pixels[:, 202:].any()


@pytest.mark.slow
def test_the_real_network_makes_masks(segmenting: RFDETR) -> None:
    one, other = segmenting.detect([picture(60, 80), picture(60, 80)], 432)
    assert one.boxes == pytest.approx(other.boxes, abs=0.1)
    assert all(mask is None or mask.pixels.any() for mask in one.masks)
    assert segmenting.scales(4000) == (432,)
    assert segmenting.tile_side == 432


def test_colours_are_normalised_as_in_training() -> None:
    pixels = torch.tensor([[[[0.485]], [[0.456]], [[0.406]]], [[[1.0]], [[1.0]], [[1.0]]]])
    normalised = RFDETR._normalise(object.__new__(RFDETR), pixels)
    assert normalised[0].abs().max() == 0
    assert normalised[1].flatten().tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-3)
