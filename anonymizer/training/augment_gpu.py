"""Draw canvases with torch, on the device that holds the images; same result as `augment.draw` within rounding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from anonymizer.training.augment import (
    PAD,
    Photometry,
    Placement,
    TrainingCanvas,
    compress_jpeg,
    draw_patches,
    motion_kernel,
)

__all__ = ["draw_torch"]


def draw_torch(canvas: TrainingCanvas, images: Sequence[Tensor]) -> Tensor:
    """Draw a canvas with torch.

    Args:
        canvas: the plan.
        images: for each sample (3, h, w) uint8 RGB, all on one device.

    Returns:
        (3, side, side) uint8 RGB on that device.
    """
    device = images[canvas.placements[0].sample].device
    pixels = torch.full((3, canvas.side, canvas.side), float(PAD), device=device)
    for each in canvas.placements:
        pixels[:, each.y1 : each.y2, each.x1 : each.x2] = _place_image(images[each.sample].float(), each)
    layer = draw_patches(canvas)
    if layer is not None:
        colours, opacity = (torch.from_numpy(array).to(device) for array in layer)
        pixels = pixels.round() + (colours.permute(2, 0, 1).float() - pixels.round()) * opacity
    return _apply_photometry(pixels.round().clamp(0, 255), canvas.photometry)


def _place_image(image: Tensor, at: Placement) -> Tensor:
    image, scale = image.flip(2) if at.flipped else image, at.scale
    if scale < 0.6:
        size = [max(1, round(side * scale)) for side in image.shape[1:]]
        image, scale = functional.interpolate(image[None], size, mode="area")[0], 1.0
    height, width = image.shape[1:]
    x = (torch.arange(at.x2 - at.x1, device=image.device) - at.left) / scale
    y = (torch.arange(at.y2 - at.y1, device=image.device) - at.top) / scale
    # pixel positions as -1..1, from the centre of the first pixel to the centre of the last
    down, across = torch.meshgrid(2 * y / max(1, height - 1) - 1, 2 * x / max(1, width - 1) - 1, indexing="ij")
    grid = torch.stack([across, down], -1)[None]
    # grid_sample gives 0 beyond the image: after the shift this is the padding
    return functional.grid_sample(image[None] - PAD, grid, align_corners=True)[0] + PAD


def _apply_photometry(pixels: Tensor, photometry: Photometry) -> Tensor:
    device = pixels.device
    matrix = torch.from_numpy(photometry.colour).to(device)
    pixels = (torch.einsum("ij,jhw->ihw", matrix[:, :3], pixels) + matrix[:, 3, None, None]).round().clamp(0, 255)
    if photometry.gamma != 1:
        pixels = 255 * (pixels / 255) ** photometry.gamma
    if photometry.motion[0]:
        pixels = _convolve(pixels, torch.from_numpy(motion_kernel(*photometry.motion)).to(device))
    if photometry.soften:
        reach = max(1, round(4 * photometry.soften))
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=device) / photometry.soften) ** 2)
        pixels = _convolve(pixels, torch.outer(line, line) / line.sum() ** 2)
    if photometry.noise:
        grain = torch.Generator(device).manual_seed(photometry.seed)
        pixels = pixels + photometry.noise * torch.randn(pixels.shape, generator=grain, device=device)
    drawn = pixels.round().clamp(0, 255).to(torch.uint8)
    if photometry.jpeg:
        # only a tenth of the canvases, and the encoder of the CPU is available everywhere
        drawn = (
            torch.from_numpy(compress_jpeg(drawn.permute(1, 2, 0).cpu().numpy(), photometry.jpeg))
            .permute(2, 0, 1)
            .to(device)
        )
    return drawn


def _convolve(pixels: Tensor, kernel: Tensor) -> Tensor:
    reach = kernel.shape[0] // 2
    padded = functional.pad(pixels[None], [reach] * 4, mode="reflect")
    return functional.conv2d(padded, kernel.expand(3, 1, *kernel.shape).contiguous(), groups=3)[0]
