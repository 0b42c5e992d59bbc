from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.roi_heads import paste_masks_in_image

from anonymizer.pipeline.detection.models.mask_rcnn import MAX_OBJECTS, MaskRCNN, paste_mask
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed, TooManyObjects

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision's own for COCO, from random initialisation."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("mask_rcnn") / "weights.pth"
    torch.save(maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=91).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def detector(weights: Path) -> MaskRCNN:
    return MaskRCNN(weights, device="cpu")


@pytest.fixture
def answering(detector: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MaskRCNN]:
    """The detector with a network that gives the same rows, label, score and box each, for every picture."""

    def with_rows(*rows: tuple[int, float, tuple[float, float, float, float]], mask: Tensor | None = None) -> MaskRCNN:
        full = torch.ones(28, 28) if mask is None else mask
        result = {
            "boxes": torch.tensor([box for _, _, box in rows]).reshape(-1, 4),
            "scores": torch.tensor([score for _, score, _ in rows]),
            "labels": torch.tensor([label for label, _, _ in rows], dtype=torch.int64),
            "masks": full.expand(len(rows), 1, 28, 28),
        }
        monkeypatch.setattr(detector, "_network", lambda images: [result for _ in images])
        return detector

    return with_rows


def picture(height: int = 100, width: int = 200) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)


def test_the_real_network_runs_on_random_weights(detector: MaskRCNN) -> None:
    image = picture(32, 48)

    one, other = detector.detect([image, image], 48)

    assert one.boxes == pytest.approx(other.boxes, abs=0.01)
    assert (one.boxes >= 0).all()
    assert (one.boxes <= [48, 32, 48, 32]).all()
    assert set(one.models) <= {"mask-rcnn-r50-v2"}


def test_its_network_gives_what_torchvisions_gives(detector: MaskRCNN, weights: Path) -> None:
    """At the size it is looked at in: the transform that scales nothing changes nothing else, and no mask is lost."""
    network = maskrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, num_classes=91, min_size=64, max_size=96, box_score_thresh=0.0,
        box_detections_per_img=5, rpn_pre_nms_top_n_test=50, rpn_post_nms_top_n_test=50,
    ).eval()  # fmt: skip
    network.load_state_dict(torch.load(weights, weights_only=True))
    heads, proposals = detector._network.roi_heads, detector._network.rpn
    ours = heads.score_thresh, heads.detections_per_img, proposals._pre_nms_top_n, proposals._post_nms_top_n
    image = torch.from_numpy(picture(64, 96)).permute(2, 0, 1) / 255
    try:
        heads.score_thresh, heads.detections_per_img = 0.0, 5
        proposals._pre_nms_top_n = proposals._post_nms_top_n = {"training": 50, "testing": 50}
        with torch.inference_mode():
            (found,), (expected,) = detector._network([image]), network([image])
    finally:
        heads.score_thresh, heads.detections_per_img, proposals._pre_nms_top_n, proposals._post_nms_top_n = ours

    assert len(found["boxes"]) == 5
    torch.testing.assert_close(found["boxes"], expected["boxes"])
    torch.testing.assert_close(found["scores"], expected["scores"])
    whole = paste_masks_in_image(found["masks"], found["boxes"], (64, 96))
    torch.testing.assert_close(whole, expected["masks"])


def test_no_limit_is_left_that_a_crowd_could_reach(detector: MaskRCNN) -> None:
    assert detector._network.roi_heads.detections_per_img >= 2000
    assert detector._network.rpn.pre_nms_top_n() >= 4000
    assert detector._network.rpn.post_nms_top_n() >= 4000


def test_cocos_classes_are_persons_and_vehicles(answering: Callable[..., MaskRCNN]) -> None:
    # a bicycle (2), a train (7) and a traffic light (10) are neither
    labels = [1, 2, 3, 4, 6, 7, 8, 10]
    detector = answering(*((label, 0.9, (20.0 * n, 10.0, 20.0 * n + 15, 30.0)) for n, label in enumerate(labels)))

    (found,) = detector.detect([picture()], 200)

    assert found.count_by_type() == {ObjectType.PERSON: 1, ObjectType.VEHICLE: 4}
    assert found.of_type(ObjectType.PERSON).boxes.tolist() == [[0, 10, 15, 30]]


def test_a_car_that_is_a_truck_too_is_one_vehicle(answering: Callable[..., MaskRCNN]) -> None:
    detector = answering((3, 0.6, (10.0, 10.0, 50.0, 50.0)), (8, 0.7, (10.0, 10.0, 50.0, 51.0)))

    (found,) = detector.detect([picture()], 200)

    assert found.scores.tolist() == pytest.approx([0.7])


def test_boxes_and_masks_are_in_pixels_of_the_picture(answering: Callable[..., MaskRCNN]) -> None:
    left_half = torch.zeros(28, 28)
    left_half[:, :14] = 1
    detector = answering((1, 0.9, (10.0, 5.0, 30.0, 25.0)), mask=left_half)

    (found,) = detector.detect([picture(100, 200)], 50)

    assert found.boxes.tolist() == [[40, 20, 120, 100]]
    (mask,) = found.masks
    assert mask is not None
    assert (mask.x, mask.y) == (40, 20)
    assert mask.pixels.shape == (80, 80)
    assert mask.pixels[1:79, 2:39].all()
    assert not mask.pixels[:, 41:].any()


def test_a_mask_with_nothing_in_it_leaves_the_box(answering: Callable[..., MaskRCNN]) -> None:
    detector = answering((1, 0.9, (10.0, 5.0, 30.0, 25.0)), mask=torch.full((28, 28), 0.4))

    (found,) = detector.detect([picture()], 200)

    assert found.masks == (None,)


@pytest.mark.parametrize(
    "box", [(10.3, 20.7, 80.2, 61.9), (0.0, 0.0, 33.3, 100.0), (150.6, 40.0, 200.0, 100.0), (0.0, 0.0, 200.0, 100.0)]
)
def test_a_mask_is_pasted_as_torchvision_does_it(box: tuple[float, ...]) -> None:
    """But for its rounding of the box to whole pixels."""
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    chances = torch.from_numpy(np.clip(1.4 - np.hypot(x, y + 0.3 * x), 0, 1)).float()
    expected = paste_masks_in_image(chances[None, None], torch.tensor([box]), (100, 200))[0, 0].numpy() > 0.5

    mask = paste_mask(chances, torch.tensor(box), (100, 200))

    assert mask is not None
    height, width = mask.pixels.shape
    whole = np.zeros((100, 200), bool)
    whole[mask.y : mask.y + height, mask.x : mask.x + width] = mask.pixels
    assert (whole & expected).sum() / (whole | expected).sum() > 0.95


def test_a_mask_smaller_than_a_pixel_has_its_pixel() -> None:
    mask = paste_mask(torch.ones(28, 28), torch.tensor([5.2, 5.2, 5.9, 5.9]), (100, 200))

    assert mask is not None
    assert (mask.x, mask.y, mask.pixels.tolist()) == (5, 5, [[True]])


def test_a_thousand_objects_have_a_thousand_masks(answering: Callable[..., MaskRCNN]) -> None:
    boxes = [(20.0 * x, 20.0 * y, 20.0 * x + 16, 20.0 * y + 18) for x in range(50) for y in range(30)]
    detector = answering(*((1, 0.9, box) for box in boxes))

    (found,) = detector.detect([picture(600, 1000)], 1000)

    assert len(found) == 1500
    assert all(mask is not None and mask.pixels.shape == (18, 16) for mask in found.masks)


def test_as_many_as_it_can_give_are_too_many(answering: Callable[..., MaskRCNN]) -> None:
    detector = answering(*((62, 0.9, (0.0, 0.0, 5.0, 5.0)) for _ in range(MAX_OBJECTS)))

    with pytest.raises(TooManyObjects, match="2000 objects in one view"):
        detector.detect([picture()], 200)


def test_values_that_are_no_numbers_give_no_result(answering: Callable[..., MaskRCNN]) -> None:
    detector = answering((1, float("nan"), (10.0, 5.0, 30.0, 25.0)))

    with pytest.raises(DetectorFailed, match="not finite numbers"):
        detector.detect([picture()], 200)


def test_nothing_found_is_a_result(answering: Callable[..., MaskRCNN]) -> None:
    (found,) = answering().detect([picture()], 200)

    assert len(found) == 0


@pytest.mark.parametrize(("size_hw", "side"), [((1, 1), 2), ((3, 200), 100)])
def test_tiny_pictures_can_be_looked_at(detector: MaskRCNN, size_hw: tuple[int, int], side: int) -> None:
    (found,) = detector.detect([np.zeros((*size_hw, 3), np.uint8)], side)

    assert (found.boxes <= [size_hw[1], size_hw[0]] * 2).all()


def test_its_size_is_that_of_its_training(detector: MaskRCNN) -> None:
    assert detector.scales(6000) == detector.scales(700) == (1333,)
    assert detector.scales(100) == (200,)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")

    with pytest.raises(RuntimeError, match="Missing key"):
        MaskRCNN(tmp_path / "other.pth", device="cpu")
