"""The network of the project's own detector: faces, license plates, persons and vehicles in one pass.

The network has 3.1 M parameters, in three parts:

- Backbone: EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946; the Lite variant of tensorflow/tpu), with outputs at
  strides 8, 16 and 32.
- Neck: path aggregation (PAN, Liu et al., arXiv 1803.01534) with depth-wise 5 x 5 convolutions.
- Head: anchor-free (FCOS, Tian et al., arXiv 1904.01355). Each cell predicts one score for each object type, and its
  distances to the four sides of a box.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["STRIDES", "OwnNetwork", "boxes_xyxy", "cells_of"]

STRIDES = (8, 16, 32)
#: the stages of the backbone: repeats, kernel, stride of the first block, expansion, channels in, channels out
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
#: the stages whose outputs the neck takes, and their channels
_TAPS = {2: 40, 4: 112, 6: 320}


class ConvNorm(nn.Module):
    """Convolution, batch norm, and ReLU6 if `active`. With stride 2 it pads as TensorFlow does.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side of the filter in cells.
        stride: 1 or 2.
        groups: groups of channels that are filtered apart.
        active: whether ReLU6 follows.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.kernel, self.active = stride, kernel, active
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        """From (b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        if self.stride == 2:
            before = (self.kernel - 2) // 2
            after = self.kernel - 2 - before
            x = functional.pad(x, [before, after, before, after])
        x = self.norm(self.conv(x))
        return functional.relu6(x, inplace=not self.training) if self.active else x


class InvertedResidual(nn.Module):
    """Expand the channels, filter each of them, and project (MobileNetV2, Sandler et al., arXiv 1801.04381).

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side of the filter in cells.
        stride: 1 or 2.
        expansion: channels between, as a multiple of `inputs`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = ConvNorm(inputs, inner) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride=stride, groups=inner)
        self.project = ConvNorm(inner, outputs, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """From (b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Backbone(nn.Module):
    """EfficientNet-Lite0 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList()
        self._taps = set()
        for stage, (repeats, kernel, stride, expansion, inputs, outputs) in enumerate(_STAGES):
            for n in range(repeats):
                self.blocks.append(
                    InvertedResidual(
                        inputs if n == 0 else outputs,
                        outputs,
                        kernel,
                        stride=stride if n == 0 else 1,
                        expansion=expansion,
                    )
                )
            if stage in _TAPS:
                self._taps.add(len(self.blocks) - 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """From normalised images (b, 3, h, w) to feature maps at strides 8, 16 and 32."""
        x = self.stem(x)
        maps = []
        for n, block in enumerate(self.blocks):
            x = block(x)
            if n in self._taps:
                maps.append(x)
        return maps


class Separable(nn.Module):
    """Depth-wise separable convolution: a 5 x 5 filter on each channel, then a 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvNorm(inputs, inputs, 5, stride=stride, groups=inputs)
        self.pointwise = ConvNorm(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """From (b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class OwnNetwork(nn.Module):
    """Anchor-free detector for the four object types, in the order of `OBJECT_TYPES`.

    Args:
        channels: of the neck and the head.
        types: number of object types.
    """

    def __init__(self, channels: int = 80, types: int = 4) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.lateral = nn.ModuleList(ConvNorm(inputs, channels) for inputs in _TAPS.values())
        self.top_down = nn.ModuleList(Separable(2 * channels, channels) for _ in range(2))
        self.bottom_up = nn.ModuleList(Separable(2 * channels, channels) for _ in range(2))
        self.down = nn.ModuleList(Separable(channels, channels, stride=2) for _ in range(2))
        self.head = nn.ModuleList(
            nn.Sequential(Separable(channels, channels), Separable(channels, channels)) for _ in STRIDES
        )
        self.score = nn.ModuleList(nn.Conv2d(channels, types, 1) for _ in STRIDES)
        self.distance = nn.ModuleList(nn.Conv2d(channels, 4, 1) for _ in STRIDES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict a box and four scores for each cell.

        Args:
            x: (b, 3, h, w) RGB, 0..1; h and w are multiples of 32.

        Returns:
            logits: (b, n, 4), one for each object type.
            distances: (b, n, 4) from the cell to the left, top, right and bottom of its box, in strides.
            cells: (n, 3) x and y of the cell's centre, and its stride, in pixels.
        """
        return self.head_outputs(self.features(x))

    def features(self, x: Tensor) -> list[Tensor]:
        """The feature maps of the backbone at strides 8, 16 and 32, for images (b, 3, h, w) RGB, 0..1."""
        maps: list[Tensor] = self.backbone((x - 0.498) / 0.502)
        return maps

    def head_outputs(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Run the neck and the head on the feature maps of the backbone; returns what `forward` returns."""
        fine, middle, coarse = (lateral(level) for lateral, level in zip(self.lateral, maps, strict=True))
        middle = self.top_down[0](torch.cat([middle, _upsample(coarse)], 1))
        fine = self.top_down[1](torch.cat([fine, _upsample(middle)], 1))
        middle = self.bottom_up[0](torch.cat([middle, self.down[0](fine)], 1))
        coarse = self.bottom_up[1](torch.cat([coarse, self.down[1](middle)], 1))
        logits, distances, cells = [], [], []
        for n, level in enumerate((fine, middle, coarse)):
            features = self.head[n](level)
            logits.append(self.score[n](features).flatten(2).transpose(1, 2))
            distances.append(functional.softplus(self.distance[n](features).float()).flatten(2).transpose(1, 2))
            cells.append(_cells(features.shape[-2], features.shape[-1], STRIDES[n], features.device))
        return torch.cat(logits, 1).float(), torch.cat(distances, 1), torch.cat(cells)


def cells_of(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """The cells of all feature maps, in the order of the network's outputs.

    Args:
        height, width: of the network's input, in pixels: multiples of 32.
        device: of the result.

    Returns:
        (n, 3) float32, x and y of each cell's centre and its stride, in pixels.
    """
    device = torch.device(device)
    return torch.cat([_cells(height // stride, width // stride, stride, device) for stride in STRIDES]).float()


def boxes_xyxy(distances: Tensor, cells: Tensor) -> Tensor:
    """Decode the network's outputs to boxes.

    Args:
        distances: (b, n, 4), as `OwnNetwork.forward` returns them.
        cells: (n, 3), as `OwnNetwork.forward` returns them.

    Returns:
        (b, n, 4) x1, y1, x2, y2 in pixels of the network's input.
    """
    centre, stride = cells[:, :2], cells[:, 2:]
    return torch.cat([centre - distances[..., :2] * stride, centre + distances[..., 2:] * stride], -1)


def _upsample(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _cells(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    centres = torch.stack([(x + 0.5) * stride, (y + 0.5) * stride, torch.full_like(x, stride, dtype=torch.float)], -1)
    return centres.reshape(-1, 3)
