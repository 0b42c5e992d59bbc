"""The training of the mask decoder, on a few drawn objects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from anonymizer.pipeline.detection.models.own_network import Backbone
from anonymizer.pipeline.segmentation.mask_head import CROP_SIDE, MASK_SIDE
from anonymizer.training import mask_labels
from anonymizer.training.mask_labels import SIDE, MaskSamples
from anonymizer.training.train_masks import augment_sample, train


@pytest.fixture(scope="module")
def of() -> MaskSamples:
    """Green ellipses on noise, twice as high as wide."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (8, SIDE, SIDE, 3), np.uint8)
    labels = np.zeros((8, SIDE, SIDE), np.uint8)
    for image, label in zip(images, labels, strict=True):
        cv2.ellipse(label, (SIDE // 2, SIDE // 2), (32, 64), 0, 0, 360, 255, -1)
        image[label > 0] = (20, 230, 40)
    sizes = np.tile(np.array([65, 129], np.float32), (8, 1))
    return MaskSamples(images, labels, sizes, np.array([2, 3] * 4, np.uint8), np.ones(8, np.float32))


def test_a_sample_is_the_object_in_its_crop(of: MaskSamples) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        crop, label = augment_sample(of, 0, np.empty(0, np.intp), rng)
        assert crop.shape == (CROP_SIDE, CROP_SIDE, 3)
        assert label.shape == (MASK_SIDE, MASK_SIDE)
        assert 0.35 < (label > 0.5).mean() < 0.6
        assert label[MASK_SIDE // 2, MASK_SIDE // 2] == 1


def test_hidden_objects_are_partly_seen(of: MaskSamples) -> None:
    rng = np.random.default_rng(0)
    shares = [(augment_sample(of, 0, np.arange(8), rng)[1] > 0.5).mean() for _ in range(40)]
    assert min(shares) > 0.1
    assert np.std(shares) > 0.03


def test_the_label_follows_the_colours_and_stays_in_the_box(of: MaskSamples) -> None:
    label, agreement = mask_labels._label(of.images[0], of.sizes[0], None)
    side = label.shape[0]
    assert label[side // 2, side // 2] > 200
    assert label[2, 2] == label[side // 2, 2] == 0
    assert 0 <= agreement <= 1


def test_training_is_the_same_for_the_same_seed(of: MaskSamples, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    backbone = Backbone().eval()
    first, second = (train(of, backbone, samples=64).state_dict() for _ in range(2))
    for name, values in first.items():
        assert torch.equal(values, second[name])
