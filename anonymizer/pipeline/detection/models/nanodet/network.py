"""The network of NanoDet-Plus-m-1.5x (RangiLyu/nanodet, Apache-2.0), which the project's own detector shares.

It has 2.5 M parameters, in three parts:

- NanoDetBackbone: ShuffleNetV2 1.5x (Ma et al., arXiv 1807.11164), with outputs at strides 8, 16 and 32.
- Neck: path aggregation (Liu et al., arXiv 1803.01534) with Ghost blocks (Han et al., arXiv 1911.11907), and a further
  output at stride 64.
- Head: each cell predicts one score for each class, and a distribution over its distances to the four sides of a box
  (generalised focal loss, Li et al., arXiv 2006.04388).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BINS", "STRIDES", "NanoDetConvNorm", "NanoDetNetwork", "boxes_xyxy", "cells_of", "expected_distances"]

STRIDES = (8, 16, 32, 64)
#: A distance is one of 0..7 strides, or between two of them.
BINS = 8
#: mean and standard deviation of the channels, in the order R, G, B
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
#: channels of the backbone after the stem and after each stage, and the units of each stage
_CHANNELS, _UNITS = (24, 176, 352, 704), (4, 8, 4)


class NanoDetConvNorm(nn.Module):
    """Convolution, batch norm, and leaky ReLU if `active`.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side of the filter in cells.
        stride: 1 or 2.
        groups: groups of channels that are filtered apart.
        active: whether leaky ReLU follows.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """From (b, inputs, h, w) to (b, outputs, h / stride, w / stride), rounded up."""
        x = self.norm(self.conv(x))
        return functional.leaky_relu(x, 0.1) if self.active else x


class ShuffleUnit(nn.Module):
    """A unit of ShuffleNetV2: half of the channels pass, the other half is filtered, and both are mixed."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride = stride
        if stride > 1:
            depthwise = NanoDetConvNorm(inputs, inputs, 3, stride=stride, groups=inputs, active=False)
            self.branch1 = nn.Sequential(depthwise, NanoDetConvNorm(inputs, half))
        self.branch2 = nn.Sequential(
            NanoDetConvNorm(inputs if stride > 1 else half, half),
            NanoDetConvNorm(half, half, 3, stride=stride, groups=half, active=False),
            NanoDetConvNorm(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        """From (b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        if self.stride > 1:
            first, second = self.branch1(x), self.branch2(x)
        else:
            first, second = x.chunk(2, 1)
            second = self.branch2(second)
        x = torch.cat([first, second], 1)
        batch, channels, height, width = x.shape
        return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)


class NanoDetBackbone(nn.Module):
    """ShuffleNetV2 1.5x without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = NanoDetConvNorm(3, _CHANNELS[0], 3, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                ShuffleUnit(inputs, outputs, 2), *(ShuffleUnit(outputs, outputs, 1) for _ in range(units - 1))
            )
            for inputs, outputs, units in zip(_CHANNELS, _CHANNELS[1:], _UNITS, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """From normalised images (b, 3, h, w) to feature maps at strides 8, 16 and 32."""
        x = functional.max_pool2d(self.stem(x), 3, 2, 1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class NanoDetSeparable(nn.Module):
    """Depth-wise separable convolution: a 5 x 5 filter on each channel, then a 1 x 1 convolution."""

    def __init__(self, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = NanoDetConvNorm(channels, channels, 5, stride=stride, groups=channels)
        self.pointwise = NanoDetConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """From (b, channels, h, w) to (b, channels, h / stride, w / stride)."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class Ghost(nn.Module):
    """Half of the channels come from a 1 x 1 convolution, the others from a cheap 3 x 3 filter on each of these."""

    def __init__(self, inputs: int, outputs: int, *, active: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.primary = NanoDetConvNorm(inputs, half, active=active)
        self.cheap = NanoDetConvNorm(half, half, 3, groups=half, active=active)

    def forward(self, x: Tensor) -> Tensor:
        """From (b, inputs, h, w) to (b, outputs, h, w)."""
        y = self.primary(x)
        return torch.cat([y, self.cheap(y)], 1)


class GhostBlock(nn.Module):
    """Two Ghost modules with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.ghost1, self.ghost2 = Ghost(inputs, outputs, active=True), Ghost(outputs, outputs, active=False)
        self.shortcut = nn.Sequential(
            NanoDetConvNorm(inputs, inputs, 5, groups=inputs, active=False),
            NanoDetConvNorm(inputs, outputs, active=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """From (b, inputs, h, w) to (b, outputs, h, w)."""
        y: Tensor = self.ghost2(self.ghost1(x)) + self.shortcut(x)
        return y


class Neck(nn.Module):
    """Ghost-PAN: mixes the feature maps from coarse to fine and back, and adds a coarser one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(NanoDetConvNorm(inputs, channels) for inputs in _CHANNELS[1:])
        self.top_down = nn.ModuleList(GhostBlock(2 * channels, channels) for _ in range(2))
        self.down = nn.ModuleList(NanoDetSeparable(channels, stride=2) for _ in range(2))
        self.bottom_up = nn.ModuleList(GhostBlock(2 * channels, channels) for _ in range(2))
        self.extra_in, self.extra_out = NanoDetSeparable(channels, stride=2), NanoDetSeparable(channels, stride=2)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """From the maps of the backbone to four maps (b, channels, h, w) at the strides `STRIDES`."""
        fine, middle, coarse = (reduce(level) for reduce, level in zip(self.reduce, maps, strict=True))
        middle = self.top_down[0](torch.cat([_upsample(coarse), middle], 1))
        fine = self.top_down[1](torch.cat([_upsample(middle), fine], 1))
        middle = self.bottom_up[0](torch.cat([self.down[0](fine), middle], 1))
        last = self.bottom_up[1](torch.cat([self.down[1](middle), coarse], 1))
        return [fine, middle, last, self.extra_in(coarse) + self.extra_out(last)]


class NanoDetNetwork(nn.Module):
    """Anchor-free detector.

    Args:
        classes: number of classes; 80 of COCO for the published weights, 4 object types for the own detector.
        channels: of the neck and the head.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int = 4, channels: int = 128) -> None:
        super().__init__()
        self.classes = classes
        self.backbone, self.neck = NanoDetBackbone(), Neck(channels)
        self.head = nn.ModuleList(
            nn.Sequential(NanoDetSeparable(channels), NanoDetSeparable(channels)) for _ in STRIDES
        )
        self.predict = nn.ModuleList(nn.Conv2d(channels, classes + 4 * BINS, 1) for _ in STRIDES)
        # not saved: constants of the network
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict scores and a box for each cell.

        Args:
            x: (b, 3, h, w) RGB, 0..255; h and w are multiples of 32.

        Returns:
            logits: (b, n, classes).
            bins: (b, n, 4 * BINS) logits of the distances to the left, top, right and bottom of the box.
        """
        return self.head_outputs(self.features(x))

    def features(self, x: Tensor) -> list[Tensor]:
        """The feature maps of the backbone at strides 8, 16 and 32, for images (b, 3, h, w) RGB, 0..255."""
        # the published weights were trained on BGR
        maps: list[Tensor] = self.backbone(((x - self.mean) / self.std).flip(1))
        return maps

    def head_outputs(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Run the neck and the head on the feature maps of the backbone; returns what `forward` returns."""
        levels = zip(self.predict, self.head, self.neck(maps), strict=True)
        rows = torch.cat([predict(head(level)).flatten(2) for predict, head, level in levels], 2).transpose(1, 2)
        return rows[..., : self.classes], rows[..., self.classes :]


def cells_of(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """The cells of all feature maps, in the order of the network's outputs.

    Args:
        height, width: of the network's input, in pixels.
        device: of the result.

    Returns:
        (n, 3) float32, x and y of each cell and its stride, in pixels.
    """
    maps = []
    for stride in STRIDES:
        rows, columns = (torch.arange(-(-length // stride), device=device) for length in (height, width))
        y, x = torch.meshgrid(rows * stride, columns * stride, indexing="ij")
        maps.append(torch.stack([x, y, torch.full_like(x, stride)], -1).reshape(-1, 3))
    return torch.cat(maps).float()


def expected_distances(bins: Tensor) -> Tensor:
    """The mean of each distribution over distances.

    Args:
        bins: (..., 4 * BINS) logits, as the network returns them.

    Returns:
        (..., 4) float32 distances to the left, top, right and bottom, in strides.
    """
    shares = bins.reshape(*bins.shape[:-1], 4, BINS).float().softmax(-1)
    return (shares * torch.arange(BINS, device=bins.device)).sum(-1)


def boxes_xyxy(distances: Tensor, cells: Tensor) -> Tensor:
    """Boxes of cells.

    Args:
        distances: (..., n, 4) to the left, top, right and bottom, in strides.
        cells: (n, 3) as `cells_of` returns them.

    Returns:
        (..., n, 4) x1, y1, x2, y2 in pixels of the network's input.
    """
    centre, stride = cells[:, :2], cells[:, 2:]
    return torch.cat([centre - distances[..., :2] * stride, centre + distances[..., 2:] * stride], -1)


def _upsample(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
