"""The device that models run on, and how images get there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import DetectorFailed, InvalidParameter

if TYPE_CHECKING:
    # at first use: the name of a device can be checked without the seconds that torch takes
    import torch
    from torch import Tensor

__all__ = ["check_device", "on_device", "resolve_device"]

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


def check_device(name: str) -> str:
    """Check the name of a device. Whether the device exists is checked when a model is loaded.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        The name.

    Raises:
        InvalidParameter: the name is none of these.
    """
    if not isinstance(name, str) or not _DEVICE.fullmatch(name):
        raise InvalidParameter("device", name, "auto, cpu, cuda or cuda:N")
    return name


def resolve_device(name: str) -> torch.device:
    """Get the device of a name; `auto` is the first GPU, or the CPU on a machine without a GPU.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        InvalidParameter: the name is none of these.
        DetectorFailed: the machine does not have this device.
    """
    import torch

    check_device(name)
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device("cuda:0" if name == "cuda" else name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DetectorFailed(f"device is {name!r}, but this machine has {torch.cuda.device_count()} GPU(s).")
    return device


def on_device(images: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Copy images to a device as one batch.

    Args:
        images: b images of one size, (h, w, 3) uint8.
        device: where the batch is needed; a GPU copies from pinned memory.

    Returns:
        (b, 3, h, w) uint8.
    """
    import torch

    batch = torch.from_numpy(np.stack(images))
    if device.type == "cuda":
        batch = batch.pin_memory().to(device, non_blocking=True)
    return batch.permute(0, 3, 1, 2)
