"""Checkpoints as the authors of the networks write them: their keys and shapes, with numbers that are made anew.

`*.keys` were written from the state dictionaries of the authors' networks, with neither the counters of batch norms
nor weights: `{0-4}` stands for five keys. The numbers depend on the key alone, so the same checkpoint can be loaded
into the authors' code.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent
#: parameters that are no weights, and their values in the authors' networks
CONSTANTS = {"up": 0.5, "reg_scale": 4.0, "anchors": 0.0, "valid_mask": 0.0, "num_points_scale": 0.2}


def made_checkpoint(name: str) -> dict[str, Tensor]:
    """The weights of a network, by the authors' keys.

    Args:
        name: of a file of keys, such as `dfine_n`.
    """
    weights: dict[str, Tensor] = {}
    for line in (FOLDER / f"{name}.keys").read_text().splitlines():
        pattern, shape = line.split()
        for key in _expand(pattern):
            weights[key] = _numbers(key, tuple(int(side) for side in shape.split("x")))
            if key.endswith("running_mean"):
                weights[key.replace("running_mean", "num_batches_tracked")] = torch.tensor(7)
    if name == "deimv2_pico":
        # all layers share one head
        for key in [key for key in weights if ".dec_bbox_head." in key]:
            weights[key] = weights[re.sub(r"dec_bbox_head\.\d", "dec_bbox_head.0", key)]
    return weights


def made_file(name: str, file: Path, *, fainter: float = 4.0) -> Path:
    """Write a checkpoint with smaller scores: as in a trained network, some queries find something, not all of them.

    Args:
        name: as `made_checkpoint` takes it.
        file: is written.
        fainter: what is taken from each logit.
    """
    made = made_checkpoint(name)
    for key in made:
        if key == "class_embed.bias" or (".dec_score_head." in key and key.endswith("bias")):
            made[key] = made[key] - fainter
    torch.save({"model": made}, file)
    return file


def made_picture(side: int) -> Tensor:
    """A picture of waves, (1, 3, side, side) float32 0..1."""
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    waves = [np.sin(2 * np.pi * (a * x + b * y + c * x * y)) for a, b, c in ((3, 1, 2), (1, 4, 5), (5, 2, 7))]
    return torch.from_numpy(np.stack(waves)[None] / 2 + 0.5).float()


def _expand(pattern: str) -> Iterator[str]:
    parts = re.split(r"\{(\d+)-(\d+)\}", pattern)
    ranges = [range(int(low), int(high) + 1) for low, high in zip(parts[1::3], parts[2::3], strict=True)]
    for numbers in itertools.product(*ranges):
        texts = [str(number) for number in numbers] + [""]
        yield "".join(itertools.chain(*zip(parts[::3], texts, strict=True)))


def _numbers(key: str, shape: tuple[int, ...]) -> Tensor:
    last = key.rpartition(".")[2]
    if last in CONSTANTS:
        return torch.full(shape, CONSTANTS[last])
    normal = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, np.float32)
    if last == "running_var":
        normal = 1 + 0.2 * np.tanh(normal)
    elif last in ("scale", "lambda1") or (last == "weight" and len(shape) == 1):
        normal = 1 + 0.1 * normal
    elif len(shape) > 1 and "embeddings" not in key:
        # keeps the size of what passes through: half of it is lost in ReLU and SiLU behind each convolution
        normal = normal * np.sqrt((2 if len(shape) == 4 else 1) / max(1, np.prod(shape[1:])))
    else:
        normal = 0.1 * normal
    return torch.from_numpy(np.asarray(normal, np.float32))
