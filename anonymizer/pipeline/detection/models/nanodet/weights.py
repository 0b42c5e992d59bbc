"""Weights of NanoDet-Plus with folded norms, as its project publishes them, in the form of `NanoDetNetwork`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from anonymizer.pipeline.detection.models.nanodet.network import NanoDetConvNorm, NanoDetNetwork

__all__ = ["load_onnx", "set_folded"]

#: side in pixels of the image on which the network is compared with the file
_SIDE = 416
#: the largest difference of a score from that of the file
_TOLERANCE = 1e-3


def load_onnx(network: NanoDetNetwork, file: Path) -> None:
    """Load the weights of an ONNX file, and make sure that the network computes what the file computes.

    The names in such a file are numbers. Its convolutions are taken in their order, which is the order of execution.

    Args:
        network: it is changed, and left in evaluation mode.
        file: `nanodet-plus-m-1.5x_416.onnx` of the NanoDet project.

    Raises:
        OSError, ValueError: the file holds another network.
    """
    graph = onnx.load(file).graph
    tensors = {each.name: each for each in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Conv":
            if len(node.input) != 3 or not set(node.input[1:]) <= set(tensors):
                raise ValueError(f"{file.name}: a convolution has no constant weight and bias.")
            found.append(
                tuple(torch.from_numpy(numpy_helper.to_array(tensors[name]).copy()) for name in node.input[1:])
            )
    names = _execution_order(network)
    if len(names) != len(found):
        raise ValueError(f"{file.name} has {len(found)} convolutions, but the network has {len(names)}.")
    set_folded(network, dict(zip(names, found, strict=True)), file.name)
    _compare(network, file)


def set_folded(network: NanoDetNetwork, values: Mapping[str, tuple[Tensor, ...]], source: str) -> None:
    """Set the weights of all convolutions; norms only add the bias.

    Args:
        network: it is changed, and left in evaluation mode.
        values: by name of a `NanoDetConvNorm` or a convolution, its weight and bias.
        source: name of the file; errors begin with it.

    Raises:
        ValueError: a convolution is missing, is unknown, or has another shape.
    """
    modules = {name: network.get_submodule(name) for name in _execution_order(network)}
    if modules.keys() != values.keys():
        wrong = sorted(modules.keys() ^ values.keys())
        raise ValueError(f"{source} holds another network: {', '.join(wrong[:3])} differ.")
    with torch.no_grad():
        for name, module in modules.items():
            weight, bias = values[name]
            conv = module.conv if isinstance(module, NanoDetConvNorm) else module
            assert isinstance(conv, nn.Conv2d)
            if conv.weight.shape != weight.shape:
                shapes = f"{tuple(weight.shape)} instead of {tuple(conv.weight.shape)}"
                raise ValueError(f"{source} holds another network: {name} has the shape {shapes}.")
            conv.weight.copy_(weight)
            if not isinstance(module, NanoDetConvNorm):
                assert conv.bias is not None
                conv.bias.copy_(bias)
                continue
            norm = module.norm
            assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
            norm.weight.fill_(1.0)
            norm.bias.copy_(bias)
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0 - norm.eps)


def _execution_order(network: NanoDetNetwork) -> list[str]:
    """The names of all blocks with a convolution, in the order in which they run."""
    blocks: dict[nn.Module, str] = {}
    for name, module in network.named_modules():
        if isinstance(module, NanoDetConvNorm) or (isinstance(module, nn.Conv2d) and name.startswith("predict")):
            blocks[module] = name
    order: list[str] = []
    hooks = [
        block.register_forward_hook(lambda module, _inputs, _output: order.append(blocks[module])) for block in blocks
    ]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    return order


def _compare(network: NanoDetNetwork, file: Path) -> None:
    """Raise ValueError if the network and the file differ on a random image."""
    import openvino

    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, _SIDE, _SIDE)).astype(np.float32)
    with torch.inference_mode():
        tensor = torch.from_numpy(pixels)
        logits, bins = network(tensor)
        # the file takes normalised images, with blue first
        normalised = ((tensor - network.mean) / network.std).flip(1).numpy()
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    rows = np.asarray(core.compile_model(core.read_model(file), "CPU", exact)(normalised)[0])
    expected = torch.cat([logits.sigmoid(), bins], -1).numpy()
    if rows.shape != expected.shape or np.abs(rows - expected)[..., : network.classes].max() > _TOLERANCE:
        raise ValueError(f"{file.name} computes something else than NanoDet-Plus-m-1.5x.")
