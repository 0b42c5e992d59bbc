"""Canvases to learn from: objects stay where their pixels are, whatever is done to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from anonymizer.training.augment import Photometry, SampleChooser, draw, motion_kernel, plan
from anonymizer.training.augment_gpu import draw_torch
from anonymizer.training.samples import Sample, Targets

PLAIN = Photometry(np.eye(3, 4, dtype=np.float32))


def sample(size_hw: tuple[int, int], box: tuple[int, int, int, int], source: str = "voc") -> Sample:
    """A grey picture with one white object, which is a person."""
    pixels = np.full((*size_hw, 3), 60, np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = 255
    targets = Targets(np.array([box], np.float32), np.array([2], np.int64), np.array([False]))
    return Sample(pixels, targets, np.zeros(4, bool), source)


SAMPLES = [
    sample((300, 400), (100, 120, 180, 260)),
    sample((250, 180), (20, 30, 90, 100)),
    sample((120, 400), (300, 10, 390, 110), "dashcam"),
]


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_the_boxes_are_where_the_objects_are(mosaic: float) -> None:
    rng, choose = np.random.default_rng(3), SampleChooser(SAMPLES)
    seen = 0
    for _ in range(60):
        canvas = replace(plan(SAMPLES, choose, 256, rng, mosaic=mosaic), photometry=PLAIN)
        pixels = draw(canvas, SAMPLES)
        known = np.zeros(pixels.shape[:2], bool)
        for x1, y1, x2, y2 in canvas.targets.boxes.round().astype(int):
            inner = pixels[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
            assert (inner > 200).all()
            known[max(y1 - 2, 0) : y2 + 2, max(x1 - 2, 0) : x2 + 2] = True
            seen += 1
        # white that no box tells of is a sliver that was too small for one
        assert ((pixels[..., 0] > 200) & ~known).sum() < 3 * 256
    assert seen > 40


def test_a_sliver_of_an_object_is_ignored() -> None:
    rng, choose = np.random.default_rng(5), SampleChooser(SAMPLES[:1])
    canvases = [plan(SAMPLES[:1], choose, 128, rng, mosaic=0) for _ in range(200)]
    area = 80 * 140
    for canvas in canvases:
        scale = canvas.placements[0].scale
        for box, ignored in zip(canvas.targets.boxes, canvas.targets.ignored, strict=True):
            visible = np.prod(box[2:] - box[:2]) / (area * scale**2)
            assert ignored == (visible < 0.4) or abs(visible - 0.4) < 1e-3


def test_the_same_seed_plans_and_draws_the_same() -> None:
    def drawn() -> list[np.ndarray]:
        rng = np.random.default_rng(7)
        return [draw(plan(SAMPLES, SampleChooser(SAMPLES), 128, rng, mosaic=0.5), SAMPLES) for _ in range(20)]

    assert all(np.array_equal(*pair) for pair in zip(drawn(), drawn(), strict=True))


def test_torch_draws_what_the_cpu_draws() -> None:
    noise = np.random.default_rng(1)
    samples = [replace(each, pixels=smooth(noise, each.pixels.shape[:2])) for each in SAMPLES]
    images = [torch.from_numpy(each.pixels).permute(2, 0, 1) for each in samples]
    rng, choose = np.random.default_rng(11), SampleChooser(samples)
    for _ in range(60):
        canvas = plan(samples, choose, 192, rng, mosaic=0.5)
        canvas = replace(canvas, photometry=replace(canvas.photometry, noise=0.0, jpeg=0))
        apart = draw(canvas, samples).astype(int) - draw_torch(canvas, images).permute(1, 2, 0).numpy()
        assert np.abs(apart).mean() < 2


def test_noise_is_as_strong_in_torch() -> None:
    canvas = plan(SAMPLES, SampleChooser(SAMPLES), 192, np.random.default_rng(1), mosaic=0)
    images = [torch.from_numpy(each.pixels).permute(2, 0, 1) for each in SAMPLES]
    plain, grainy = (replace(canvas, photometry=replace(PLAIN, noise=noise)) for noise in (0.0, 8.0))
    grain = draw_torch(grainy, images).float() - draw_torch(plain, images).float()
    dark = draw_torch(plain, images) < 200
    assert 7 < float(grain[dark].std()) < 9


@pytest.mark.parametrize(("length", "angle"), [(3, 0.0), (5, 45.0), (7, 130.0)])
def test_a_motion_blur_keeps_the_brightness(length: int, angle: float) -> None:
    assert motion_kernel(length, angle).sum() == pytest.approx(1)


def smooth(noise: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """A picture of waves, as rounding shows most where pixels change most."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    waves = [np.sin(x / noise.uniform(12, 40) + y / noise.uniform(12, 40)) for _ in range(3)]
    return (127 + 100 * np.stack(waves, -1)).astype(np.uint8)
