"""Networks on torch, on any device."""

from __future__ import annotations

import warnings

import onnx
import torch
from onnx import numpy_helper
from onnx2torch import convert
from onnx2torch.node_converters.slice import OnnxSlice
from torch import Tensor, nn

__all__ = ["TorchNetwork"]


class TorchNetwork:
    """A network that torch runs.

    Args:
        module: in evaluation mode; it is moved to the device and type.
        device: where it runs.
        dtype: of weights and inputs.
    """

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self._module, self._dtype = module.to(device, dtype), dtype
        for submodule in module.modules():
            # only the convolutions: constants of five dimensions have no such format
            if isinstance(submodule, nn.Conv2d):
                submodule.to(memory_format=torch.channels_last)

    @classmethod
    def from_onnx(cls, model: onnx.ModelProto, device: torch.device, dtype: torch.dtype) -> TorchNetwork:
        """Convert an ONNX model to a torch module that takes batches of any length.

        Args:
            model: the model; its reshapes are changed.
            device: where it runs.
            dtype: of weights and inputs.

        Raises:
            Exception: of onnx2torch, if the model is not such a network.
        """
        _free_batch(model.graph)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = convert(model).eval()
        for path, submodule in list(module.named_modules()):
            if isinstance(submodule, OnnxSlice):
                module.set_submodule(path, _Slice())
        return cls(module, device, dtype)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            inputs: tensors on the device of the network. Images (b, 3, h, w) and vectors of numbers of any type.

        Returns:
            The outputs, float32.
        """
        cast = [tensor.to(self._dtype) if tensor.is_floating_point() else tensor for tensor in inputs]
        ready = [each.contiguous(memory_format=torch.channels_last) if each.ndim == 4 else each for each in cast]
        results = self._module(*ready)
        return tuple(output.float() for output in ([results] if isinstance(results, Tensor) else results))


class _Slice(nn.Module):
    """Slice of ONNX. The version of onnx2torch indexes with a list, whose meaning torch is about to change."""

    def forward(
        self, tensor: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        index = [slice(None)] * tensor.ndim
        where = range(len(starts)) if axes is None else axes.tolist()
        by = [1] * len(starts) if steps is None else steps.tolist()
        for axis, start, end, step in zip(where, starts.tolist(), ends.tolist(), by, strict=True):
            index[axis] = slice(start, end, step)
        return tensor[tuple(index)]


def _free_batch(graph: onnx.GraphProto) -> None:
    """Let reshapes keep the number of images, if the export fixed it to one.

    With the shape [1, 85, -1] a second image ends up in the rows of the first. With [1, 2, 32, 40, 40] a second image
    is an error. A 0 takes the length from the input. Reshapes whose shape the graph computes are left as they are.
    """
    shapes = {shape for node in graph.node if node.op_type == "Reshape" for shape in node.input[1:2]}
    tensors = [tensor for tensor in graph.initializer if tensor.name in shapes]
    tensors += [node.attribute[0].t for node in graph.node if node.op_type == "Constant" and node.output[0] in shapes]
    for tensor in tensors:
        shape = numpy_helper.to_array(tensor).copy()
        if len(shape) > 2 and shape[0] == 1:
            shape[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
