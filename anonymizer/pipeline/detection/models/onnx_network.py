"""ONNX files as torch modules, so that they run on the same device and in the same way as the other networks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from onnx2torch import convert
from onnx2torch.node_converters.slice import OnnxSlice
from torch import Tensor, nn

from anonymizer.pipeline.detection.inference_errors import check_finite
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.devices import on_device

__all__ = ["OnnxNetwork"]


class OnnxNetwork:
    """A network from an ONNX file that takes batches of any length.

    Args:
        model_id: id of the model; errors name it.
        weights: the ONNX file.
        device: where the network runs.
        dtype: of weights and inputs; outputs are float32.
        outputs: how many outputs are returned, from the first; default: all.

    Attributes:
        input_side: side in pixels of the square input that the file was exported for; None: it takes any size.

    Raises:
        Exception: of onnx or onnx2torch, if the file is not such a network.
    """

    def __init__(
        self,
        model_id: str,
        weights: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        outputs: int | None = None,
    ) -> None:
        model = onnx.load(weights)
        _free_batch(model.graph)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = convert(model).eval()
        for path, submodule in list(module.named_modules()):
            if isinstance(submodule, OnnxSlice):
                module.set_submodule(path, _Slice())
        self._model_id, self._device, self._dtype = model_id, device, dtype
        self._output_names = [output.name for output in model.graph.output][:outputs]
        self._module = module.to(device, dtype)
        # only the convolutions: constants of five dimensions have no such format
        for submodule in module.modules():
            if isinstance(submodule, nn.Conv2d):
                submodule.to(memory_format=torch.channels_last)
        self.input_side: int | None = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value or None

    def __call__(self, inputs: Sequence[Image], *, bgr: bool, unit: bool = False) -> dict[str, Tensor]:
        """Run the network.

        Args:
            inputs: n images of one size, (h, w, 3) uint8 RGB.
            bgr: whether the network takes blue as the first channel.
            unit: whether the network takes values 0..1; default: 0..255.

        Returns:
            By name, the outputs for n images, float32.

        Raises:
            DetectorFailed: an output is not finite.
        """
        tensor = on_device(inputs, self._device)
        tensor = (tensor.flip(1) if bgr else tensor).to(self._dtype)
        tensor = (tensor.div_(255) if unit else tensor).contiguous(memory_format=torch.channels_last)
        results = self._module(tensor)
        tensors = [results] if isinstance(results, Tensor) else list(results)[: len(self._output_names)]
        outputs = {name: output.float() for name, output in zip(self._output_names, tensors, strict=True)}
        check_finite(f"detector {self._model_id}", *outputs.values())
        return outputs


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
