"""The project's own detector from version 3 on: all four object types in one pass of `NanoDetNetwork`."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from anonymizer.pipeline.detection.models.nanodet.detector import NanoDetBase
from anonymizer.pipeline.detection.models.nanodet.network import NanoDetNetwork
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["OwnNanoDet", "load_own"]


class OwnNanoDet(NanoDetBase):
    """Runs `NanoDetNetwork` of four types with weights from a safetensors file.

    Args:
        weights: the safetensors file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch` or `openvino`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
        OSError, ValueError, RuntimeError: the file does not hold such weights.
    """

    object_types: tuple[ObjectType, ...] = OBJECT_TYPES
    min_score = 0.05

    def __init__(self, weights: Path, *, device: str = "auto", runtime: str = "auto", model_id: str = "own-3") -> None:
        super().__init__(load_own(weights), device=device, runtime=runtime, model_id=model_id)

    def _type_scores(self, scores: Tensor) -> Tensor:
        return scores


def load_own(weights: Path) -> NanoDetNetwork:
    """Read the network of the own detector.

    Args:
        weights: a safetensors file, as `anonymizer.training.train.save_weights` writes it.

    Returns:
        The network in float32, in evaluation mode.

    Raises:
        OSError, ValueError, RuntimeError: the file does not hold such weights.
    """
    network = NanoDetNetwork().eval()
    state = {name: value.to(torch.float32) for name, value in load_file(weights).items()}
    # strict, except for the counters of the batch norms, which only training needs
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"{weights.name} holds the weights of another network")
    return network
