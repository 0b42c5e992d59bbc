"""The device that models run on, and the way of pictures to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anonymizer.pipeline.errors import DetectorFailed

__all__ = ["on_device", "resolve_device"]


def resolve_device(wanted: str) -> torch.device:
    """`auto` is the first GPU where there is one.

    Raises:
        DetectorFailed: the device is not there.
    """
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise DetectorFailed(f"device is {wanted!r}, but must be auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DetectorFailed(f"device is {wanted!r}, but this machine has {torch.cuda.device_count()} GPU(s).")
    return torch.device("cuda:0") if wanted == "cuda" else device


def on_device(images: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Images of one size, (h, w, 3) uint8, as one tensor (b, 3, h, w) uint8 on a device; a GPU reads pinned memory."""
    batch = torch.from_numpy(np.stack(images))
    if device.type == "cuda":
        batch = batch.pin_memory().to(device, non_blocking=True)
    return batch.permute(0, 3, 1, 2)
