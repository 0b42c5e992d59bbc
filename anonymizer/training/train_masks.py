"""Trains the decoder that makes masks of persons and vehicles, on the own detector's backbone as it is.

python -m anonymizer.training.train_masks [--data ../shared/data] [--base models/own-detector.safetensors]
    [--out models/own-masks.safetensors] [--work ~/.cache/own-masks] [--samples 16000]

To be run again whenever the detector was trained again. The labels (`mask_labels`) are made once and kept in the folder
`work`. What is learnt from: labelled objects; objects hidden in part by others pasted on top of them, because a
street is full of those; and cut-outs pasted on other pictures, the masks of which are exact.
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
from anonymizer.pipeline.segmentation.crops import SPAN
from anonymizer.pipeline.segmentation.mask_head import (
    CROP_SIDE,
    MASK_SIDE,
    MaskDecoder,
    backbone_sum,
    backbone_weights,
    features,
)
from anonymizer.training.mask_labels import SIDE, Pieces, pieces

__all__ = ["main", "sample", "train"]

BATCH = 32
PEAK_RATE = 4e-3
#: how far a box's sides are off, as a share of its own, as a detector's are
JITTER = 0.08
#: shares of samples: with another object on top of it; cut out and pasted elsewhere
HIDDEN, PASTED = 0.5, 0.25
#: an object that can be cut out: how far the opinions on it agree
SURE = 0.7
#: of an object that something hides, at least this share is to be seen
VISIBLE = 0.4

Image = NDArray[np.uint8]
Label = NDArray[np.float32]
T = TypeVar("T", np.uint8, np.float32)


def sample(of: Pieces, row: int, sure: NDArray[np.intp], rng: np.random.Generator) -> tuple[Image, Label]:
    """One object as a detector would give it: its crop (CROP_SIDE, CROP_SIDE, 3) and label (MASK_SIDE, MASK_SIDE)."""
    image, label = of.images[row], of.labels[row] / np.float32(255)
    width, height = of.sizes[row]
    box = np.array([SIDE - width, SIDE - height, SIDE + width, SIDE + height]) / 2
    if of.agreement[row] > SURE and rng.random() < PASTED:
        background = of.images[rng.integers(len(of))]
        image, label = _pasted(background, image, label, np.eye(2, 3)), (label > 0.5).astype(np.float32)
    if len(sure) and rng.random() < HIDDEN:
        image, label, box = _hidden(of, int(rng.choice(sure)), image, label, box, rng)
    return _seen(image, label, box, rng)


def _pasted(under: Image, over: Image, mask: Label, move: NDArray[np.float64]) -> Image:
    """What a mask cuts out of one piece, moved, on another."""
    alpha = cv2.warpAffine(cv2.GaussianBlur((mask > 0.5).astype(np.float32), (3, 3), 0), move, (SIDE, SIDE))[..., None]
    return np.asarray(under * (1 - alpha) + cv2.warpAffine(over, move, (SIDE, SIDE)) * alpha, np.uint8)


def _hidden(
    of: Pieces, other: int, image: Image, label: Label, box: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Image, Label, NDArray[np.float64]]:
    """With another object in front of a side of it, if enough of it stays to be seen."""
    scale, side = rng.uniform(0.4, 1.2), rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(0.25, 0.6) * (box[2:] - box[:2])
    centre = SIDE / 2 + np.array([np.cos(side), np.sin(side)]) * reach * 1.3
    move = np.array([[scale, 0, centre[0] - scale * SIDE / 2], [0, scale, centre[1] - scale * SIDE / 2]])
    mask = of.labels[other] / np.float32(255)
    seen = label * (cv2.warpAffine(mask, move, (SIDE, SIDE)) <= 0.5)
    before, after = label > 0.5, seen > 0.5
    if after.sum() < max(VISIBLE * before.sum(), 1):
        return image, label, box
    # a box of what is to be seen: its sides move as far as those of the mask do
    return _pasted(image, of.images[other], mask, move), seen, box + _bounds(after) - _bounds(before)


def _bounds(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _seen(image: Image, label: Label, box: NDArray[np.float64], rng: np.random.Generator) -> tuple[Image, Label]:
    """Through a box that is a little off, maybe mirrored, small and in another light."""
    size = np.tile(box[2:] - box[:2], 2)
    x1, y1, x2, y2 = box + rng.uniform(-JITTER, JITTER, 4) * size
    mirrored = rng.random() < 0.5
    crop = _window(image, (x1, y1, x2, y2), CROP_SIDE, mirrored=mirrored)
    mask = _window(label, (x1, y1, x2, y2), MASK_SIDE, mirrored=mirrored)
    if rng.random() < 0.6:
        small = int(rng.integers(24, 100))
        reduced = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        crop = np.asarray(cv2.resize(reduced, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)
    light = crop * rng.uniform(0.6, 1.3, 1 if rng.random() < 0.7 else 3) + rng.uniform(-25, 25)
    return np.asarray(np.clip(light, 0, 255), np.uint8), mask


def _window(piece: NDArray[T], box: tuple[float, float, float, float], side: int, *, mirrored: bool) -> NDArray[T]:
    x1, y1, x2, y2 = box
    across, down = (side / (max(length, 1.0) * SPAN) for length in (x2 - x1, y2 - y1))
    turn = np.array([[across, 0, side / 2 - (x1 + x2) / 2 * across], [0, down, side / 2 - (y1 + y2) / 2 * down]])
    if mirrored:
        turn[0] = [-across, 0, side - turn[0, 2]]
    grey = (127, 127, 127) if piece.ndim == 3 else 0
    return np.asarray(cv2.warpAffine(piece, turn, (side, side), borderValue=grey), piece.dtype)


def train(of: Pieces, backbone: Backbone, *, samples: int, seed: int = 0) -> MaskDecoder:
    """A decoder for a backbone, trained on so many samples; the same for the same seed."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    decoder = MaskDecoder().to(memory_format=torch.channels_last)
    steps = max(samples // BATCH, 2)
    optimizer = torch.optim.AdamW(decoder.parameters(), PEAK_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    started, mean = time.perf_counter(), 0.0
    for step, (crops, labels, types) in enumerate(_batches(of, steps, rng)):
        with torch.inference_mode():
            maps = features(backbone, crops)
        loss = _loss(decoder([each.clone() for each in maps], types), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        mean += (loss.item() - mean) / min(step + 1, 50)
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} of {steps}: loss {mean:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    return decoder.eval()


def _batches(of: Pieces, steps: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    sure = np.flatnonzero(of.agreement > SURE)
    order = np.concatenate([rng.permutation(len(of)) for _ in range(steps * BATCH // len(of) + 1)])
    for step in range(steps):
        rows = order[step * BATCH : (step + 1) * BATCH]
        crops, labels = zip(*(sample(of, row, sure, rng) for row in rows), strict=True)
        tensor = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(255)
        types = torch.from_numpy(of.types[rows].astype(np.int64))
        yield tensor.contiguous(memory_format=torch.channels_last), torch.from_numpy(np.stack(labels)), types


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, and what the shapes' overlap lacks (Milletari et al., V-Net, arXiv 1606.04797)."""
    found = logits.sigmoid()
    common = (found * labels).sum((1, 2)) * 2 + 1
    dice = 1 - common / (found.square().sum((1, 2)) + labels.square().sum((1, 2)) + 1)
    return functional.binary_cross_entropy_with_logits(logits, labels) + 0.5 * dice.mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--base", type=Path, default=Path("models/own-detector.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("models/own-masks.safetensors"))
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "own-masks")
    parser.add_argument("--samples", type=int, default=16_000)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    weights = backbone_weights(given.base)
    backbone = Backbone().eval().to(memory_format=torch.channels_last)
    backbone.load_state_dict(weights)
    decoder = train(pieces(given.data, given.work), backbone, samples=given.samples)
    state = {name: each.contiguous() for name, each in decoder.state_dict().items()}
    save_file(state, given.out, {"backbone": backbone_sum(weights)})
    print(f"{given.out}: {sum(each.numel() for each in decoder.parameters()):,} parameters", flush=True)


if __name__ == "__main__":
    main()
