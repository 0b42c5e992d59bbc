"""Read the checkpoints of the networks' authors, and load them into the networks of the library transformers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["Rules", "load_strictly", "read_checkpoint", "rename_keys", "split_projections"]

#: regular expressions and their replacements, which are applied one after the other to every key
Rules = Sequence[tuple[str, str]]

#: where a checkpoint keeps its weights, the best ones first: the moving average is what its authors evaluate
PLACES = (("ema", "module"), ("model",), ("state_dict",))
#: the end of the keys of counters that matter in training only
COUNTER = ".num_batches_tracked"


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint without running code from it.

    Args:
        file: a `.safetensors` file, or what `torch.save` wrote; the options of a training may lie beside the weights.

    Returns:
        By key, the weights in float32 and other tensors as they are, without the counters of batch norms.

    Raises:
        OSError: the file cannot be read.
        pickle.UnpicklingError: it holds more than tensors, numbers, texts and options.
        ValueError: it holds no weights.
    """
    if file.suffix == ".safetensors":
        content: Any = load_file(file)
    else:
        # some authors keep the options of the training, which are plain values
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    weights = _find_weights(content)
    return {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in weights.items()
        if not key.endswith(COUNTER)
    }


def _find_weights(content: Any) -> dict[str, Tensor]:
    for place in PLACES:
        found = content
        for key in place:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            content = found
            break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(each, Tensor) for each in content.values())
    ):
        raise ValueError("the checkpoint holds no weights")
    return dict(content)


def rename_keys(weights: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Rename all keys.

    Args:
        weights: by key, as the authors name them.
        rules: applied one after the other to every key, each to all its matches.

    Raises:
        ValueError: two keys would get the same name.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        new = key
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if new in renamed:
            raise ValueError(f"two keys of the checkpoint become {new}")
        renamed[new] = tensor
    return renamed


def split_projections(weights: Mapping[str, Tensor], *, joined: str, parts: Sequence[str]) -> dict[str, Tensor]:
    """Split tensors that hold several layers on top of each other.

    Args:
        weights: by key.
        joined: a regular expression that matches the part of a key that names the joined layers.
        parts: what stands in its place in the keys of the single layers, from the first to the last.

    Returns:
        The weights, with the single layers in the place of the joined ones.
    """
    split: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        if re.search(joined, key):
            pieces = tensor.chunk(len(parts))
            split |= {re.sub(joined, part, key): piece for part, piece in zip(parts, pieces, strict=True)}
        else:
            split[key] = tensor
    return split


def load_strictly(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Load weights into a network, for inference.

    Args:
        network: whose every key must be among the weights, but for the counters of batch norms.
        weights: each of them must have a place in the network, and its shape.

    Returns:
        The network, in evaluation mode and without gradients.

    Raises:
        RuntimeError: a key is missing or unknown, or has another shape.
    """
    # a plain dictionary has no version: batch norms accept that their counters are missing
    network.load_state_dict(dict(weights), strict=True)
    return network.eval().requires_grad_(False)
