"""Random weights of NanoDet-Plus, and the ONNX file that its project would export of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from anonymizer.pipeline.detection.models.nanodet.network import NanoDetNetwork


class _Published(nn.Module):
    """As the project exports it: normalised images with blue first, and one output with the scores before the bins."""

    def __init__(self, network: NanoDetNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits, bins = self.network.head_outputs(self.network.backbone(x))
        return torch.cat([logits.sigmoid(), bins], -1)


def random_network(classes: int) -> NanoDetNetwork:
    """A network in evaluation mode whose weights and norms are random, and whose scores are spread over 0..1."""
    torch.manual_seed(5)
    network = NanoDetNetwork(classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def export(network: NanoDetNetwork, file: Path) -> Path:
    """Write the ONNX file, for images of 416 x 416 pixels."""
    published = _Published(network).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(published, (torch.zeros(1, 3, 416, 416),), str(file), dynamo=False, opset_version=11)
    return file
