"""Draws canvases with torch, on the device that holds the pictures: the same as `augment.draw` within rounding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from anonymizer.training.augment import PAD, Canvas, Look, Placement, compressed, motion_kernel

__all__ = ["draw_torch"]


def draw_torch(canvas: Canvas, images: Sequence[Tensor]) -> Tensor:
    """A canvas, (3, side, side) uint8 RGB on the pictures' device.

    Args:
        images: (3, h, w) uint8 RGB, in the order of the samples.
    """
    device = images[canvas.placements[0].sample].device
    pixels = torch.full((3, canvas.side, canvas.side), float(PAD), device=device)
    for each in canvas.placements:
        pixels[:, each.y1 : each.y2, each.x1 : each.x2] = _warped(images[each.sample].float(), each)
    return _finished(pixels.round().clamp(0, 255), canvas.look)


def _warped(image: Tensor, at: Placement) -> Tensor:
    image, scale = image.flip(2) if at.flipped else image, at.scale
    if scale < 0.6:
        size = [max(1, round(side * scale)) for side in image.shape[1:]]
        image, scale = functional.interpolate(image[None], size, mode="area")[0], 1.0
    height, width = image.shape[1:]
    x = (torch.arange(at.x2 - at.x1, device=image.device) - at.left) / scale
    y = (torch.arange(at.y2 - at.y1, device=image.device) - at.top) / scale
    # pixel numbers to -1..1, the middles of the outermost pixels
    down, across = torch.meshgrid(2 * y / max(1, height - 1) - 1, 2 * x / max(1, width - 1) - 1, indexing="ij")
    grid = torch.stack([across, down], -1)[None]
    # what lies beyond the picture is sampled as 0: so shifted, that is the padding
    return functional.grid_sample(image[None] - PAD, grid, align_corners=True)[0] + PAD


def _finished(pixels: Tensor, look: Look) -> Tensor:
    device = pixels.device
    matrix = torch.from_numpy(look.colour).to(device)
    pixels = (torch.einsum("ij,jhw->ihw", matrix[:, :3], pixels) + matrix[:, 3, None, None]).round().clamp(0, 255)
    if look.gamma != 1:
        pixels = 255 * (pixels / 255) ** look.gamma
    if look.motion[0]:
        pixels = _filtered(pixels, torch.from_numpy(motion_kernel(*look.motion)).to(device))
    if look.soften:
        reach = max(1, round(4 * look.soften))
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=device) / look.soften) ** 2)
        pixels = _filtered(pixels, torch.outer(line, line) / line.sum() ** 2)
    if look.noise:
        grain = torch.Generator(device).manual_seed(look.seed)
        pixels = pixels + look.noise * torch.randn(pixels.shape, generator=grain, device=device)
    drawn = pixels.round().clamp(0, 255).to(torch.uint8)
    if look.jpeg:
        # a tenth of the canvases; the encoder of the CPU is the one that there is everywhere
        drawn = (
            torch.from_numpy(compressed(drawn.permute(1, 2, 0).cpu().numpy(), look.jpeg)).permute(2, 0, 1).to(device)
        )
    return drawn


def _filtered(pixels: Tensor, kernel: Tensor) -> Tensor:
    reach = kernel.shape[0] // 2
    padded = functional.pad(pixels[None], [reach] * 4, mode="reflect")
    return functional.conv2d(padded, kernel.expand(3, 1, *kernel.shape).contiguous(), groups=3)[0]
