"""Detection networks from ONNX files, on any runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor

from anonymizer.pipeline.detection.inference_errors import check_finite
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.devices import on_device
from anonymizer.pipeline.runtime.choice import Runtime
from anonymizer.pipeline.runtime.loading import load_onnx

__all__ = ["OnnxNetwork"]


class OnnxNetwork:
    """A network from an ONNX file that takes batches of any length.

    Args:
        model_id: id of the model; errors name it.
        weights: the ONNX file.
        runtime: what runs it, other than `AUTO`.
        device: where torch runs it.
        dtype: of weights and inputs on torch; outputs are float32.
        outputs: how many outputs are returned, from the first; default: all.
        any_size: the network takes images of any size, whatever the file says; default: False.
        exact: the network returns coordinates, which need float32; default: False.

    Attributes:
        input_side: side in pixels of the square input that the file was exported for; None: it takes any size.

    Raises:
        ValueError: `any_size` is set, and the network takes images of one size only.
        Exception: of onnx or the runtime, if the file is not such a network.
    """

    def __init__(
        self,
        model_id: str,
        weights: Path,
        *,
        runtime: Runtime,
        device: torch.device,
        dtype: torch.dtype,
        outputs: int | None = None,
        any_size: bool = False,
        exact: bool = False,
    ) -> None:
        model = onnx.load(weights)
        self._model_id, self._device, self._runtime = model_id, device, runtime
        self._output_names = [output.name for output in model.graph.output][:outputs]
        self.input_side: int | None = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value or None
        _drop_constant_inputs(model.graph)
        if any_size:
            _check_any_size(weights.name, model.graph)
            _free_size(model.graph)
        self._network = load_onnx(model, runtime=runtime, device=device, dtype=dtype, exact=exact)

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
        tensor = (tensor.flip(1) if bgr else tensor).float()
        tensor = tensor.div_(255) if unit else tensor
        # many files are exported for one image, and on a CPU a batch is no faster than its images one by one
        batches = [tensor] if self._runtime is Runtime.TORCH else list(torch.split(tensor, 1))
        parts = zip(*(self._network(batch)[: len(self._output_names)] for batch in batches), strict=True)
        outputs = {name: torch.cat(part) for name, part in zip(self._output_names, parts, strict=True)}
        check_finite(f"detector {self._model_id}", *outputs.values())
        return outputs


def _drop_constant_inputs(graph: onnx.GraphProto) -> None:
    """Older exports list their weights as inputs too, and ONNX Runtime then takes them for variables."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _check_any_size(name: str, graph: onnx.GraphProto) -> None:
    """Refuse a network that reshapes its maps to sizes from the file.

    OpenVINO does not notice that they disagree with other inputs, and writes outside of its memory.

    Raises:
        ValueError: it is such a network.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    shapes = [node.input[1] for node in graph.node if node.op_type == "Reshape" and node.input[1] in constants]
    for shape in (onnx.numpy_helper.to_array(constants[each]) for each in shapes):
        if len(shape) >= 4 and (shape[-2:] > 1).all():
            raise ValueError(f"{name} takes images of one size only: it has maps of {shape[-1]} x {shape[-2]}")


def _free_size(graph: onnx.GraphProto) -> None:
    """Forget the number, the height and the width of the images that the file was exported for."""
    batch, _, height, width = graph.input[0].type.tensor_type.shape.dim
    batch.dim_param, height.dim_param, width.dim_param = "batch", "height", "width"
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
