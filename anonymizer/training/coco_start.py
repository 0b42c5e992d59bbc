"""The initial weights of the own detector: NanoDet-Plus-m-1.5x, which was trained on COCO.

The published weights have their batch norms folded into the convolutions. Training needs norms, so each convolution
gets one again. The norms take the statistics of real batches; the function of the network stays the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from anonymizer.pipeline.detection.models.nanodet.network import NanoDetConvNorm, NanoDetNetwork
from anonymizer.pipeline.detection.models.nanodet.weights import load_onnx, set_folded

__all__ = ["is_coco", "load_coco", "start_from", "unfold_norms"]

#: number of classes of COCO, and the classes that a vehicle is: car (twice: most vehicles are), truck, bus, motorcycle
COCO, PERSON, VEHICLES = 80, 0, (2, 2, 2, 5, 7, 3)
#: biases of scores that are near zero at the start: that of faces, and that of license plates
FACE_BIAS, PLATE_BIAS = -4.0, -4.6
#: the parts of a name in the recovered file, and what they are called in `NanoDetNetwork`
_NAMES = (
    (r"^/backbone/conv1/.*", "backbone.stem"),
    (r"^/backbone/stage(\d)/stage\d\.(\d)/(branch\d)/branch\d\.(\d)/.*", r"backbone.stages.\1.\2.\3.\4"),
    (r"^/fpn/reduce_layers\.(\d)/.*", r"neck.reduce.\1"),
    (r"^/fpn/(top_down|bottom_up)_blocks\.(\d)/blocks/blocks\.0/(ghost\d)/(\w+?)_.*", r"neck.\1.\2.\3.\4"),
    (r"^/fpn/(top_down|bottom_up)_blocks\.(\d)/blocks/blocks\.0/shortcut/shortcut\.(\d)/.*", r"neck.\1.\2.shortcut.\3"),
    (r"^/fpn/downsamples\.(\d)/(\w+)/.*", r"neck.down.\1.\2"),
    (r"^/fpn/extra_lvl_(in|out)_conv\.0/(\w+)/.*", r"neck.extra_\1.\2"),
    (r"^/head/cls_convs\.(\d)\.(\d)/(\w+)/.*", r"head.\1.\2.\3"),
    (r"^/head/gfl_cls\.(\d)/.*", r"predict.\1"),
)


def is_coco(file: Path) -> bool:
    """Whether a file holds weights of COCO, and not of the own detector.

    Args:
        file: an ONNX or safetensors file.

    Raises:
        OSError: it cannot be read.
    """
    if file.suffix == ".onnx":
        return True
    with safe_open(file, "pt") as tensors:
        return "steps" in (tensors.metadata() or {})


def load_coco(file: Path) -> NanoDetNetwork:
    """Read a network of 80 classes with the published weights.

    Args:
        file: `nanodet-plus-m-1.5x_416.onnx` of the NanoDet project, or the safetensors file of recovered weights, whose
            metadata has the steps of the graph.

    Returns:
        The network, whose norms change nothing.

    Raises:
        OSError, ValueError: the file does not hold these weights.
    """
    network = NanoDetNetwork(COCO).eval()
    if file.suffix == ".onnx":
        load_onnx(network, file)
        return network
    with safe_open(file, "pt") as tensors:
        steps = json.loads((tensors.metadata() or {}).get("steps", "[]"))
        weights = [tensors.get_tensor(settings["w"]).float() for kind, _, _, settings in steps if kind == "conv"]
        biases = {
            _module_name(outputs[0][0]): tensors.get_tensor(settings["b"]).float().flatten()
            for kind, _, outputs, settings in steps
            if kind == "bias"
        }
    # the bias of a convolution is the next step after it, under the same name
    set_folded(network, dict(zip(biases, zip(weights, biases.values(), strict=True), strict=True)), file.name)
    return network


def _module_name(step: str) -> str:
    for pattern, name in _NAMES:
        if re.match(pattern, step):
            path = re.sub(pattern, name, step)
            # activations had numbers too, and the stages were counted from two
            path = re.sub(r"(branch1|shortcut)\.2$", r"\1.1", path).replace("branch2.3", "branch2.1")
            path = path.replace("branch2.5", "branch2.2")
            return re.sub(r"stages\.(\d)", lambda stage: f"stages.{int(stage[1]) - 2}", path)
    raise ValueError(f"step {step!r} belongs to another network.")


def start_from(coco: NanoDetNetwork) -> NanoDetNetwork:
    """Make the own detector's network from the network of 80 classes.

    Persons keep the class of COCO, vehicles get the mean of their classes. Faces begin as faint persons, and license
    plates at random.

    Args:
        coco: the network of 80 classes; it is not changed.

    Returns:
        A network of four object types, in the order of `OBJECT_TYPES`.
    """
    network = NanoDetNetwork()
    state = {name: value for name, value in coco.state_dict().items() if not name.startswith("predict")}
    network.load_state_dict(state, strict=False)
    vehicles = list(VEHICLES)
    for ours, theirs in zip(network.predict, coco.predict, strict=True):
        assert isinstance(ours, nn.Conv2d) and isinstance(theirs, nn.Conv2d) and ours.bias is not None
        assert theirs.bias is not None
        with torch.no_grad():
            nn.init.normal_(ours.weight[1:2], std=0.01)
            ours.weight[0], ours.weight[2] = theirs.weight[PERSON] * 0.3, theirs.weight[PERSON]
            # the mean of several classes is less sure than the best of them
            ours.weight[3] = theirs.weight[vehicles].mean(0) * 1.1
            ours.weight[4:] = theirs.weight[COCO:]
            vehicle = float(theirs.bias[vehicles[2:]].mean())
            ours.bias[:4] = torch.tensor([FACE_BIAS, PLATE_BIAS, float(theirs.bias[PERSON]), vehicle])
            ours.bias[4:] = theirs.bias[COCO:]
    return network


@torch.no_grad()
def unfold_norms(network: NanoDetNetwork, batches: Iterable[Tensor]) -> None:
    """Give each norm the statistics of its convolution's outputs, without changing the function of the network.

    Args:
        network: the network; it is changed, and left in evaluation mode.
        batches: images (b, 3, h, w) RGB, 0..255.
    """
    sums: dict[str, list[Tensor]] = {}
    blocks = {name: module for name, module in network.named_modules() if isinstance(module, NanoDetConvNorm)}

    def observe(name: str, output: Tensor) -> None:
        values = output.float()
        count = torch.tensor(values.numel() / values.shape[1])
        parts = [count, values.sum((0, 2, 3)), (values**2).sum((0, 2, 3))]
        sums[name] = [a + b for a, b in zip(sums[name], parts, strict=True)] if name in sums else parts

    hooks = [
        block.conv.register_forward_hook(lambda _module, _inputs, output, name=name: observe(name, output))
        for name, block in blocks.items()
    ]
    network.eval()
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    for name, block in blocks.items():
        norm = block.norm
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        count, total, squares = sums[name]
        mean = total / count
        variance = (squares / count - mean**2).clamp(min=1e-4)
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        offset = norm.bias - norm.running_mean * gain
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(gain * torch.sqrt(variance + norm.eps))
        norm.bias.copy_(offset + gain * mean)
