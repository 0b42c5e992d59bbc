"""Which runtime a network runs on: OpenVINO on a CPU, torch on a GPU."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING

from anonymizer.pipeline.errors import DetectorFailed, InvalidParameter

if TYPE_CHECKING:
    import torch

__all__ = ["Runtime", "check_runtime", "resolve_runtime"]


class Runtime(StrEnum):
    """A runtime, as the setting names it.

    Each network that a runtime cannot take runs on torch: ONNX Runtime takes only models that come as an ONNX file.
    """

    #: OpenVINO on a CPU if it is installed, else torch
    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


def check_runtime(name: str) -> Runtime:
    """Check the name of a runtime.

    Args:
        name: `auto`, `torch`, `openvino` or `onnxruntime`.

    Raises:
        InvalidParameter: the name is none of these.
    """
    try:
        return Runtime(name)
    except ValueError:
        raise InvalidParameter("runtime", name, "auto, torch, openvino or onnxruntime") from None


def resolve_runtime(name: str, device: torch.device) -> Runtime:
    """Choose the runtime for a device.

    Args:
        name: `auto`, `torch`, `openvino` or `onnxruntime`.
        device: the device of the networks. On a GPU every network runs on torch.

    Returns:
        A runtime other than `AUTO`.

    Raises:
        InvalidParameter: the name is none of these.
        DetectorFailed: the runtime is not installed.
    """
    runtime = check_runtime(name)
    if device.type != "cpu":
        return Runtime.TORCH
    if runtime is Runtime.AUTO:
        return Runtime.OPENVINO if find_spec("openvino") else Runtime.TORCH
    if runtime is not Runtime.TORCH and find_spec(runtime.value) is None:
        raise DetectorFailed(
            f"runtime is {name!r}, but the package {runtime.value} is not installed. "
            f"Run `pip install {runtime.value}`, or choose auto."
        )
    return runtime
