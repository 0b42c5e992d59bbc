"""Load a network on the runtime that was chosen."""

from __future__ import annotations

from typing import Protocol

import onnx
import torch
from torch import Tensor, nn

from anonymizer.pipeline.runtime.choice import Runtime

__all__ = ["Network", "load_module", "load_onnx"]


class Network(Protocol):
    """A network on any runtime."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network on tensors of its device; returns float32 tensors."""
        ...


def load_module(
    module: nn.Module, *inputs: Tensor, name: str, runtime: Runtime, device: torch.device, dtype: torch.dtype
) -> Network:
    """Load a torch module. Only OpenVINO runs it without torch.

    Args:
        module: in evaluation mode, on the CPU, in float32.
        inputs: example inputs.
        name: of the network's class, for the cache of conversions.
        runtime: other than `AUTO`.
        device: where torch runs it.
        dtype: of weights and inputs on torch.
    """
    if runtime is Runtime.OPENVINO:
        from anonymizer.pipeline.runtime.openvino_network import OpenVinoNetwork

        return OpenVinoNetwork.from_module(module, *inputs, name=name)
    from anonymizer.pipeline.runtime.torch_network import TorchNetwork

    return TorchNetwork(module, device, dtype)


def load_onnx(
    model: onnx.ModelProto, *, runtime: Runtime, device: torch.device, dtype: torch.dtype, exact: bool = False
) -> Network:
    """Load an ONNX model.

    Args:
        model: the model; it may be changed.
        runtime: other than `AUTO`.
        device: where torch runs it.
        dtype: of weights and inputs on torch.
        exact: the network returns coordinates, which need float32; default: False.

    Raises:
        Exception: of the runtime, if the model is not such a network.
    """
    if runtime is Runtime.OPENVINO:
        from anonymizer.pipeline.runtime.openvino_network import OpenVinoNetwork

        return OpenVinoNetwork.from_onnx(model, exact=exact)
    if runtime is Runtime.ONNXRUNTIME:
        from anonymizer.pipeline.runtime.onnxruntime_network import OnnxRuntimeNetwork

        return OnnxRuntimeNetwork(model)
    from anonymizer.pipeline.runtime.torch_network import TorchNetwork

    return TorchNetwork.from_onnx(model, device, dtype)
