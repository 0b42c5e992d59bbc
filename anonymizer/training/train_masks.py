"""Train the decoder that makes masks of persons and vehicles, on the fixed backbone of the own detector.

Run it again after each training of the detector. The labels (`anonymizer.training.mask_labels`) are made once and kept
in the folder --work. The decoder learns from three kinds of samples:

- labelled objects,
- objects that are partly hidden by other objects pasted on top, because streets are full of those,
- cut-outs pasted on other images, whose masks are exact.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from anonymizer.pipeline.detection.models.own_network import Backbone
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER
from anonymizer.pipeline.segmentation.crops import SPAN
from anonymizer.pipeline.segmentation.mask_head import (
    CROP_SIDE,
    MASK_SIDE,
    MaskDecoder,
    backbone_features,
    backbone_sha256,
    backbone_weights,
)
from anonymizer.training.mask_labels import SIDE, MaskSamples, load_mask_samples

__all__ = ["augment_sample", "main", "train"]

BATCH = 32
PEAK_RATE = 4e-3
#: Random error of the sides of a box, as a share of its size. It imitates the errors of a detector.
JITTER = 0.08
#: share of samples with another object on top, and of samples that are pasted on another image
HIDDEN, PASTED = 0.5, 0.25
#: An object can be cut out if the agreement of its estimates is higher.
SURE = 0.7
#: At least this share of a hidden object stays visible.
VISIBLE = 0.4

Image = NDArray[np.uint8]
Label = NDArray[np.float32]
T = TypeVar("T", np.uint8, np.float32)


def augment_sample(
    samples: MaskSamples, row: int, sure: NDArray[np.intp], rng: np.random.Generator
) -> tuple[Image, Label]:
    """Make a random training sample from one object.

    Args:
        samples: all objects.
        row: index of the object.
        sure: indices of the objects that can be cut out and pasted.
        rng: makes all random decisions.

    Returns:
        The crop, (CROP_SIDE, CROP_SIDE, 3) uint8 RGB, and its label, (MASK_SIDE, MASK_SIDE) float32, 0..1.
    """
    image, label = samples.images[row], samples.labels[row] / np.float32(255)
    width, height = samples.sizes[row]
    box = np.array([SIDE - width, SIDE - height, SIDE + width, SIDE + height]) / 2
    if samples.agreement[row] > SURE and rng.random() < PASTED:
        background = samples.images[rng.integers(len(samples))]
        image, label = _paste(background, image, label, np.eye(2, 3)), (label > 0.5).astype(np.float32)
    if len(sure) and rng.random() < HIDDEN:
        image, label, box = _paste_on_top(samples, int(rng.choice(sure)), image, label, box, rng)
    return _crop_randomly(image, label, box, rng)


def _paste(under: Image, over: Image, mask: Label, move: NDArray[np.float64]) -> Image:
    """Cut an object out of one window, and paste it moved on another window."""
    alpha = cv2.warpAffine(cv2.GaussianBlur((mask > 0.5).astype(np.float32), (3, 3), 0), move, (SIDE, SIDE))[..., None]
    return np.asarray(under * (1 - alpha) + cv2.warpAffine(over, move, (SIDE, SIDE)) * alpha, np.uint8)


def _paste_on_top(
    samples: MaskSamples, other: int, image: Image, label: Label, box: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Image, Label, NDArray[np.float64]]:
    """Paste another object over one side, if enough of the object stays visible."""
    scale, side = rng.uniform(0.4, 1.2), rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(0.25, 0.6) * (box[2:] - box[:2])
    centre = SIDE / 2 + np.array([np.cos(side), np.sin(side)]) * reach * 1.3
    move = np.array([[scale, 0, centre[0] - scale * SIDE / 2], [0, scale, centre[1] - scale * SIDE / 2]])
    mask = samples.labels[other] / np.float32(255)
    visible = label * (cv2.warpAffine(mask, move, (SIDE, SIDE)) <= 0.5)
    before, after = label > 0.5, visible > 0.5
    if after.sum() < max(VISIBLE * before.sum(), 1):
        return image, label, box
    # the sides of the box move as far as those of the visible mask
    return _paste(image, samples.images[other], mask, move), visible, box + _bounds(after) - _bounds(before)


def _bounds(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _crop_randomly(
    image: Image, label: Label, box: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Image, Label]:
    """Crop with a slightly wrong box, and at random mirror, blur and change the light."""
    size = np.tile(box[2:] - box[:2], 2)
    x1, y1, x2, y2 = box + rng.uniform(-JITTER, JITTER, 4) * size
    mirrored = rng.random() < 0.5
    crop = _crop_window(image, (x1, y1, x2, y2), CROP_SIDE, mirrored=mirrored)
    mask = _crop_window(label, (x1, y1, x2, y2), MASK_SIDE, mirrored=mirrored)
    if rng.random() < 0.6:
        small = int(rng.integers(24, 100))
        reduced = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        crop = np.asarray(cv2.resize(reduced, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)
    light = crop * rng.uniform(0.6, 1.3, 1 if rng.random() < 0.7 else 3) + rng.uniform(-25, 25)
    return np.asarray(np.clip(light, 0, 255), np.uint8), mask


def _crop_window(
    window: NDArray[T], box: tuple[float, float, float, float], side: int, *, mirrored: bool
) -> NDArray[T]:
    x1, y1, x2, y2 = box
    across, down = (side / (max(length, 1.0) * SPAN) for length in (x2 - x1, y2 - y1))
    matrix = np.array([[across, 0, side / 2 - (x1 + x2) / 2 * across], [0, down, side / 2 - (y1 + y2) / 2 * down]])
    if mirrored:
        matrix[0] = [-across, 0, side - matrix[0, 2]]
    grey = (127, 127, 127) if window.ndim == 3 else 0
    return np.asarray(cv2.warpAffine(window, matrix, (side, side), borderValue=grey), window.dtype)


def train(objects: MaskSamples, backbone: Backbone, *, samples: int, seed: int = 0) -> MaskDecoder:
    """Train a mask decoder.

    Args:
        objects: the labelled objects.
        backbone: the backbone of the detector; it is not changed.
        samples: how many samples the decoder learns from.
        seed: of all random decisions; the same seed gives the same decoder; default: 0.

    Returns:
        The trained decoder.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    decoder = MaskDecoder().to(memory_format=torch.channels_last)
    steps = max(samples // BATCH, 2)
    optimizer = torch.optim.AdamW(decoder.parameters(), PEAK_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    started, mean = time.perf_counter(), 0.0
    for step, (crops, labels, types) in enumerate(_batches(objects, steps, rng)):
        with torch.inference_mode():
            maps = backbone_features(backbone, crops)
        loss = _loss(decoder([each.clone() for each in maps], types), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        mean += (loss.item() - mean) / min(step + 1, 50)
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} of {steps}: loss {mean:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    return decoder.eval()


def _batches(samples: MaskSamples, steps: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    sure = np.flatnonzero(samples.agreement > SURE)
    order = np.concatenate([rng.permutation(len(samples)) for _ in range(steps * BATCH // len(samples) + 1)])
    for step in range(steps):
        rows = order[step * BATCH : (step + 1) * BATCH]
        crops, labels = zip(*(augment_sample(samples, row, sure, rng) for row in rows), strict=True)
        tensor = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(255)
        types = torch.from_numpy(samples.types[rows].astype(np.int64))
        yield tensor.contiguous(memory_format=torch.channels_last), torch.from_numpy(np.stack(labels)), types


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy and Dice loss (Milletari et al. 2016, V-Net, arXiv 1606.04797)."""
    predicted = logits.sigmoid()
    common = (predicted * labels).sum((1, 2)) * 2 + 1
    dice = 1 - common / (predicted.square().sum((1, 2)) + labels.square().sum((1, 2)) + 1)
    return functional.binary_cross_entropy_with_logits(logits, labels) + 0.5 * dice.mean()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m anonymizer.training.train_masks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("../shared/data"),
        help="folder with train.json and train/ (default: %(default)s)",
    )
    parser.add_argument(
        "--base", type=Path, default=MODELS_FOLDER / "own-detector.safetensors",
        help="weights of the detector (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=MODELS_FOLDER / "own-masks.safetensors",
        help="file for the weights of the decoder (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--work", type=Path, default=Path.home() / ".cache" / "own-masks",
        help="folder for labels that are kept (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--samples", type=int, default=16_000, help="training samples (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    weights = backbone_weights(given.base)
    backbone = Backbone().eval().to(memory_format=torch.channels_last)
    backbone.load_state_dict(weights)
    decoder = train(load_mask_samples(given.data, given.work), backbone, samples=given.samples)
    state = {name: each.contiguous() for name, each in decoder.state_dict().items()}
    save_file(state, given.out, {"backbone": backbone_sha256(weights)})
    print(f"{given.out}: {sum(each.numel() for each in decoder.parameters()):,} parameters", flush=True)


if __name__ == "__main__":
    main()
