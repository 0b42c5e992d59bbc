"""Canvases to learn from: what is shown where is planned first, then drawn, on the CPU or on a GPU.

A plan is small and made of numbers; drawing is what costs. Both renderers give the same canvas within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.training.samples import Sample, Targets

__all__ = ["Canvas", "Chooser", "Look", "Placement", "draw", "plan"]

PAD = 114
#: How far a picture is zoomed, by source: dashcam plates are tiny, plates and faces elsewhere fill the picture.
ZOOM = {"dashcam": (0.9, 2.6), "anpr": (0.35, 1.5), "cars": (0.35, 1.5), "fddb": (0.35, 1.5)}
ANY_ZOOM = (0.5, 1.7)
#: how often a picture of a source is shown
SHARE = {"highway": 0.7, "anpr": 0.8, "dashcam": 2.0, "cars": 3.0}
#: an object of which less is visible, or whose longer side is shorter in pixels, is ignored
LEAST_VISIBLE, LEAST_PX = 0.4, 6


@dataclass(frozen=True)
class Placement:
    """One picture in one rectangle of a canvas.

    Attributes:
        sample: its number.
        flipped: left and right.
        scale: of the picture.
        left, top: of the scaled picture in the rectangle.
        x1, y1, x2, y2: the rectangle.
    """

    sample: int
    flipped: bool
    scale: float
    left: float
    top: float
    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True)
class Look:
    """What is done to the pixels of a canvas.

    Attributes:
        colour: (3, 4) float32, a matrix and an offset on RGB 0..255.
        gamma: above 1 is darker.
        motion: length in pixels and angle in degrees of a blur; 0 for none.
        soften: sigma in pixels of a Gaussian blur; 0 for none.
        noise: sigma of added noise, 0..255.
        seed: of that noise.
        jpeg: quality of a compression; 0 for none.
    """

    colour: NDArray[np.float32]
    gamma: float = 1.0
    motion: tuple[int, float] = (0, 0.0)
    soften: float = 0.0
    noise: float = 0.0
    seed: int = 0
    jpeg: int = 0


@dataclass(frozen=True)
class Canvas:
    """A square that is to be drawn, and the objects on it; `silent` as in `Sample`."""

    side: int
    placements: tuple[Placement, ...]
    look: Look
    targets: Targets
    unlabelled: NDArray[np.bool_]


class Chooser:
    """Draws samples, those of some sources more often."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        shares = np.array([SHARE.get(each.source, 1.0) for each in samples])
        self._until = np.cumsum(shares / shares.sum())

    def __call__(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self._until, rng.random())), len(self._until) - 1)


def plan(samples: Sequence[Sample], choose: Chooser, side: int, rng: np.random.Generator, *, mosaic: float) -> Canvas:
    """Decide on a canvas.

    Args:
        side: in pixels.
        mosaic: how often it is made of four pictures, 0..1.
    """
    placements = _four(samples, choose, side, rng) if rng.random() < mosaic else [_one(samples, choose, side, rng)]
    targets = Targets.merge([_placed(samples[each.sample], each) for each in placements])
    # a type of which one of the pictures says nothing is learnt nowhere on the canvas but where objects are given
    unlabelled = np.any([samples[each.sample].unlabelled for each in placements], 0)
    return Canvas(side, tuple(placements), _look(rng), targets, unlabelled)


def _four(samples: Sequence[Sample], choose: Chooser, side: int, rng: np.random.Generator) -> list[Placement]:
    x, y = (int(side * rng.uniform(0.35, 0.65)) for _ in range(2))
    placements = []
    for x1, y1, x2, y2 in ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side)):
        number = choose(rng)
        height, width = samples[number].pixels.shape[:2]
        scale = side / max(height, width) * rng.uniform(0.4, 0.9)
        left, top = _anywhere(x2 - x1 - width * scale, rng), _anywhere(y2 - y1 - height * scale, rng)
        placements.append(Placement(number, rng.random() < 0.5, scale, left, top, x1, y1, x2, y2))
    return placements


def _one(samples: Sequence[Sample], choose: Chooser, side: int, rng: np.random.Generator) -> Placement:
    number = choose(rng)
    sample, flipped = samples[number], bool(rng.random() < 0.5)
    height, width = sample.pixels.shape[:2]
    scale = side / max(height, width)
    if rng.random() < 0.7 or sample.source == "dashcam":
        low, high = ZOOM.get(sample.source, ANY_ZOOM)
        scale *= math.exp(rng.uniform(math.log(low), math.log(high)))
    left, top = _anywhere(side - width * scale, rng), _anywhere(side - height * scale, rng)
    boxes = sample.targets.boxes[~sample.targets.ignored]
    if len(boxes) and max(height, width) * scale > side * 1.3 and rng.random() < 0.8:
        # a zoomed crop keeps one of the objects in view
        box = _flipped(boxes, width)[rng.integers(len(boxes))] if flipped else boxes[rng.integers(len(boxes))]
        left = _towards((box[0] + box[2]) / 2 * scale, side, width * scale, rng)
        top = _towards((box[1] + box[3]) / 2 * scale, side, height * scale, rng)
    return Placement(number, flipped, scale, left, top, 0, 0, side, side)


def _anywhere(room: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(min(0.0, room), max(0.0, room)))


def _towards(centre: float, side: int, length: float, rng: np.random.Generator) -> float:
    """Where a picture begins so that a point of it lies near the middle of the canvas, and little of that is bare."""
    room = side - length
    return float(np.clip(side / 2 - centre + rng.uniform(-0.3, 0.3) * side, min(0.0, room), max(0.0, room)))


def _flipped(boxes: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


def _placed(sample: Sample, at: Placement) -> Targets:
    """The objects of a picture that lie in the placement's rectangle, in pixels of the canvas."""
    boxes = _flipped(sample.targets.boxes, sample.pixels.shape[1]) if at.flipped else sample.targets.boxes
    boxes = boxes * at.scale + np.array([at.left, at.top] * 2, np.float32)
    whole = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    boxes = np.clip(boxes, 0, [at.x2 - at.x1, at.y2 - at.y1] * 2).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    ignored = sample.targets.ignored | (sides.prod(1) < LEAST_VISIBLE * whole) | (sides.max(1, initial=0) < LEAST_PX)
    there = np.asarray((sides > 2).all(1), bool)
    return Targets(boxes + np.array([at.x1, at.y1] * 2, np.float32), sample.targets.types, ignored)[there]


def _look(rng: np.random.Generator) -> Look:
    colour, gamma = np.eye(3, 4, dtype=np.float32), 1.0
    if rng.random() < 0.5:
        grey = np.full((3, 3), 1 / 3)
        saturation, bright, contrast = rng.uniform(0.4, 1.5), rng.uniform(0.6, 1.4), rng.uniform(0.8, 1.2)
        matrix = (saturation * np.eye(3) + (1 - saturation) * grey) * bright * contrast
        # a cast of colour, as of evening light or a white balance that is off
        matrix *= rng.uniform(0.9, 1.1, (3, 1))
        colour = np.concatenate([matrix, np.full((3, 1), 128 * (1 - contrast))], 1).astype(np.float32)
    if rng.random() < 0.05:
        colour = np.concatenate([np.full((3, 3), 1 / 3), np.zeros((3, 1))], 1).astype(np.float32)
    noise = 0.0
    if rng.random() < 0.08:
        # night: dark and grainy
        gamma, noise = rng.uniform(1.4, 2.2), rng.uniform(4, 14)
    elif rng.random() < 0.08:
        noise = rng.uniform(3, 10)
    motion = (int(rng.integers(3, 8)), float(rng.uniform(0, 180))) if rng.random() < 0.06 else (0, 0.0)
    soften = float(rng.uniform(0.5, 1.2)) if rng.random() < 0.08 else 0.0
    jpeg = int(rng.integers(25, 75)) if rng.random() < 0.1 else 0
    return Look(colour, gamma, motion, soften, noise, int(rng.integers(2**31)), jpeg)


def draw(canvas: Canvas, samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """The canvas on the CPU, (side, side, 3) uint8 RGB."""
    pixels = np.full((canvas.side, canvas.side, 3), PAD, np.uint8)
    for each in canvas.placements:
        pixels[each.y1 : each.y2, each.x1 : each.x2] = _warped(samples[each.sample].pixels, each)
    return finished(pixels, canvas.look)


def _warped(image: NDArray[np.uint8], at: Placement) -> NDArray[np.uint8]:
    image = np.ascontiguousarray(image[:, ::-1]) if at.flipped else image
    scale = at.scale
    if scale < 0.6:
        # so much smaller that each pixel must be a mean of many
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        scale = 1.0
    matrix = np.array([[scale, 0, at.left], [0, scale, at.top]], np.float32)
    size = (at.x2 - at.x1, at.y2 - at.y1)
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(PAD,) * 3), np.uint8)


def finished(pixels: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB with its look."""
    if not np.array_equal(look.colour, np.eye(3, 4)):
        pixels = np.asarray(cv2.transform(pixels, look.colour), np.uint8)
    if look.gamma != 1:
        levels = 255 * (np.arange(256) / 255) ** look.gamma
        pixels = np.asarray(cv2.LUT(pixels, levels.round().astype(np.uint8)), np.uint8)
    if look.motion[0]:
        pixels = np.asarray(cv2.filter2D(pixels, -1, motion_kernel(*look.motion)), np.uint8)
    if look.soften:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), look.soften), np.uint8)
    if look.noise:
        grain = np.random.default_rng(look.seed).normal(0, look.noise, pixels.shape)
        pixels = (pixels + grain).clip(0, 255).astype(np.uint8)
    return compressed(pixels, look.jpeg) if look.jpeg else pixels


def compressed(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 as it comes back from a JPEG of that quality."""
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def motion_kernel(length: int, angle: float) -> NDArray[np.float32]:
    """A straight line through the middle, sum 1."""
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2] = 1
    turn = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), angle, 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (side, side)), np.float32)
    return np.asarray(kernel / kernel.sum(), np.float32)
