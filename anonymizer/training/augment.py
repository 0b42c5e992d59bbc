"""Data augmentation: plan a canvas of one or four images, then draw it on the CPU or on a GPU.

A plan is small and consists of numbers; drawing takes most of the time. Both renderers give the same canvas within
rounding. Four images on one canvas are a mosaic (Bochkovskiy et al. 2020, YOLOv4, arXiv 2004.10934).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import ObjectType
from anonymizer.training.samples import Sample, Targets

__all__ = [
    "Patch",
    "Photometry",
    "Placement",
    "SampleChooser",
    "TrainingCanvas",
    "apply_photometry",
    "compress_jpeg",
    "draw",
    "draw_patches",
    "motion_kernel",
    "plan",
]

#: grey level of the canvas where no image is
PAD = 114
#: Range of the zoom by source. Plates of dashcams are tiny; plates and faces of other sources fill the image.
ZOOM = {
    "dashcam": (0.9, 2.6), "anpr": (0.35, 1.5), "cars": (0.35, 1.5), "fddb": (0.25, 1.5),
    "wider-train": (0.7, 2.2), "coco-person": (0.5, 1.8), "plates-world": (0.6, 2.2),
}  # fmt: skip
ANY_ZOOM = (0.5, 1.7)
#: relative frequency of the images of a source; default: 1
SHARE = {
    "voc": 0.7, "highway": 0.5, "fddb": 0.7, "anpr": 0.5, "dashcam": 1.6, "cars": 3.0,
    "wider-train": 3.5, "coco-person": 2.5, "coco-objects": 2.5, "plates-world": 3.5,
}  # fmt: skip
#: An object is ignored if a smaller share of it is visible, or if its longer side is shorter, in pixels.
LEAST_VISIBLE, LEAST_PX = 0.4, 6
#: Probability that faces of a canvas wear medical masks, that one of these faces does, and that it rains.
MASKED, WEARS_MASK, RAIN = 0.12, 0.7, 0.03
#: shorter side in pixels of the smallest face that gets a mask, and the usual colours: white, light blue, black
LEAST_MASKED_PX, MASK_COLOURS = 10, ((235, 238, 240), (140, 185, 215), (35, 35, 40))


@dataclass(frozen=True)
class Placement:
    """One image in one rectangle of a canvas.

    Attributes:
        sample: index of the sample.
        flipped: whether left and right are exchanged.
        scale: factor by which the image is scaled.
        left, top: position of the scaled image in the rectangle, in pixels.
        x1, y1, x2, y2: the rectangle, in pixels of the canvas.
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
class Photometry:
    """Photometric changes of a canvas, applied in the order of the attributes.

    Attributes:
        colour: (3, 4) float32, a matrix and an offset for RGB values of 0..255.
        gamma: exponent for values of 0..1; above 1 makes the canvas darker; default: 1.
        motion: length in pixels and angle in degrees of a motion blur; default: length 0, no blur.
        soften: sigma in pixels of a Gaussian blur; default: 0, no blur.
        noise: sigma of added Gaussian noise, 0..255; default: 0, no noise.
        seed: seed of the noise.
        jpeg: quality of a JPEG compression, 1..100; default: 0, no compression.
    """

    colour: NDArray[np.float32]
    gamma: float = 1.0
    motion: tuple[int, float] = (0, 0.0)
    soften: float = 0.0
    noise: float = 0.0
    seed: int = 0
    jpeg: int = 0


@dataclass(frozen=True)
class Patch:
    """A polygon, or a line of two points, that is drawn on a canvas: a medical mask, or a streak of rain.

    Attributes:
        points: (k, 2) float32, x and y in pixels of the canvas.
        colour: (3,) RGB, 0..255.
        opacity: 0..1.
    """

    points: NDArray[np.float32]
    colour: tuple[int, int, int]
    opacity: float


@dataclass(frozen=True)
class TrainingCanvas:
    """The plan of a square training image.

    Attributes:
        side: width and height in pixels.
        placements, patches: the images on it, and what is drawn on them.
        photometry: the changes of its pixels.
        targets: the objects on it, in pixels of the canvas.
        unlabelled: (4,) bool, the types that are not completely labelled in one of the images.
    """

    side: int
    placements: tuple[Placement, ...]
    patches: tuple[Patch, ...]
    photometry: Photometry
    targets: Targets
    unlabelled: NDArray[np.bool_]


class SampleChooser:
    """Chooses samples at random; some sources are chosen more often.

    Args:
        samples: the samples to choose from.

    A call with a random generator returns the index of a sample.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        shares = np.array([SHARE.get(sample.source, 1.0) for sample in samples])
        self._cumulative = np.cumsum(shares / shares.sum())

    def __call__(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self._cumulative, rng.random())), len(self._cumulative) - 1)


def plan(
    samples: Sequence[Sample], choose: SampleChooser, side: int, rng: np.random.Generator, *, mosaic: float
) -> TrainingCanvas:
    """Plan a random canvas.

    Args:
        samples: the samples that `choose` returns indices of.
        choose: chooses a sample.
        side: width and height of the canvas in pixels.
        rng: makes all random decisions.
        mosaic: the probability that the canvas has four images, 0..1. Otherwise it has one.

    Returns:
        The plan, with the objects on the canvas.
    """
    placements = (
        _place_four(samples, choose, side, rng) if rng.random() < mosaic else [_place_one(samples, choose, side, rng)]
    )
    targets = Targets.merge([_visible_targets(samples[each.sample], each) for each in placements])
    # if one image is not labelled for a type, the canvas is not labelled for it
    unlabelled = np.any([samples[each.sample].unlabelled for each in placements], 0)
    patches = (*_random_masks(targets, rng), *_random_rain(side, rng))
    return TrainingCanvas(side, tuple(placements), patches, _random_photometry(rng), targets, unlabelled)


def _place_four(
    samples: Sequence[Sample], choose: SampleChooser, side: int, rng: np.random.Generator
) -> list[Placement]:
    x, y = (int(side * rng.uniform(0.35, 0.65)) for _ in range(2))
    placements = []
    for x1, y1, x2, y2 in ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side)):
        number = choose(rng)
        height, width = samples[number].pixels.shape[:2]
        scale = side / max(height, width) * rng.uniform(0.4, 0.9)
        left, top = _random_offset(x2 - x1 - width * scale, rng), _random_offset(y2 - y1 - height * scale, rng)
        placements.append(Placement(number, rng.random() < 0.5, scale, left, top, x1, y1, x2, y2))
    return placements


def _place_one(samples: Sequence[Sample], choose: SampleChooser, side: int, rng: np.random.Generator) -> Placement:
    number = choose(rng)
    sample, flipped = samples[number], bool(rng.random() < 0.5)
    height, width = sample.pixels.shape[:2]
    scale = side / max(height, width)
    if rng.random() < 0.7 or sample.source == "dashcam":
        low, high = ZOOM.get(sample.source, ANY_ZOOM)
        scale *= math.exp(rng.uniform(math.log(low), math.log(high)))
    left, top = _random_offset(side - width * scale, rng), _random_offset(side - height * scale, rng)
    boxes = sample.targets.boxes[~sample.targets.ignored]
    if len(boxes) and max(height, width) * scale > side * 1.3 and rng.random() < 0.8:
        # a zoomed crop keeps one of the objects in view
        box = _flipped(boxes, width)[rng.integers(len(boxes))] if flipped else boxes[rng.integers(len(boxes))]
        left = _offset_near_centre((box[0] + box[2]) / 2 * scale, side, width * scale, rng)
        top = _offset_near_centre((box[1] + box[3]) / 2 * scale, side, height * scale, rng)
    return Placement(number, flipped, scale, left, top, 0, 0, side, side)


def _random_offset(room: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(min(0.0, room), max(0.0, room)))


def _offset_near_centre(centre: float, side: int, length: float, rng: np.random.Generator) -> float:
    """The position of an image for which one of its points lies near the middle of the canvas."""
    room = side - length
    return float(np.clip(side / 2 - centre + rng.uniform(-0.3, 0.3) * side, min(0.0, room), max(0.0, room)))


def _flipped(boxes: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


def _visible_targets(sample: Sample, at: Placement) -> Targets:
    """The objects of an image that lie in the placement's rectangle, in pixels of the canvas."""
    boxes = _flipped(sample.targets.boxes, sample.pixels.shape[1]) if at.flipped else sample.targets.boxes
    boxes = boxes * at.scale + np.array([at.left, at.top] * 2, np.float32)
    whole = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    boxes = np.clip(boxes, 0, [at.x2 - at.x1, at.y2 - at.y1] * 2).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    ignored = sample.targets.ignored | (sides.prod(1) < LEAST_VISIBLE * whole) | (sides.max(1, initial=0) < LEAST_PX)
    kept = np.asarray((sides > 2).all(1), bool)
    return Targets(boxes + np.array([at.x1, at.y1] * 2, np.float32), sample.targets.types, ignored)[kept]


def _random_masks(targets: Targets, rng: np.random.Generator) -> list[Patch]:
    """Medical masks on some of the faces: they cover the face from the nose to the chin."""
    if rng.random() >= MASKED:
        return []
    patches = []
    for x1, y1, x2, y2 in targets.boxes[(targets.types == ObjectType.FACE.number) & ~targets.ignored]:
        width, height = x2 - x1, y2 - y1
        if min(width, height) < LEAST_MASKED_PX or rng.random() >= WEARS_MASK:
            continue
        top, slope = y1 + height * rng.uniform(0.42, 0.6), height * rng.uniform(-0.06, 0.06)
        inset, chin = width * rng.uniform(0, 0.12), y2 + height * rng.uniform(-0.04, 0.02)
        left, middle, right, cheek = x1 + inset, (x1 + x2) / 2, x2 - inset, y2 - height * 0.15
        upper = [(left, top - slope), (middle, top - height * 0.05), (right, top + slope)]
        points = [*upper, (right - width * 0.08, cheek), (middle, chin), (left + width * 0.08, cheek)]
        colour = rng.integers(0, 256, 3) if rng.random() < 0.25 else np.array(MASK_COLOURS[rng.integers(3)])
        red, green, blue = np.clip(colour * rng.uniform(0.6, 1.05), 0, 255).astype(int).tolist()
        patches.append(Patch(np.array(points, np.float32), (red, green, blue), 0.95))
    return patches


def _random_rain(side: int, rng: np.random.Generator) -> list[Patch]:
    """Streaks of rain, all in nearly one direction."""
    if rng.random() >= RAIN:
        return []
    length, angle = rng.uniform(0.02, 0.07) * side, rng.uniform(-0.35, 0.35)
    starts = rng.uniform(0, side, (int(rng.integers(side // 6, side // 2)), 2))
    angles = angle + rng.normal(0, 0.03, len(starts))
    steps = length * np.stack([np.sin(angles), np.cos(angles)], 1)
    grey, opacity = int(rng.integers(150, 230)), float(rng.uniform(0.25, 0.5))
    streaks = np.stack([starts, starts + steps], 1).astype(np.float32)
    return [Patch(points, (grey,) * 3, opacity) for points in streaks]


def draw_patches(canvas: TrainingCanvas) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """Draw the patches of a canvas on a layer of its own.

    Returns:
        The colours, (side, side, 3) uint8 RGB, and the opacity, (side, side) float32, 0..1. None: there are no patches.
    """
    if not canvas.patches:
        return None
    colours = np.zeros((canvas.side, canvas.side, 3), np.uint8)
    opacity = np.zeros((canvas.side, canvas.side), np.uint8)
    for patch in canvas.patches:
        # OpenCV takes whole numbers, here with four bits after the point
        points = np.round(patch.points * 16).astype(np.int32)
        for layer, value in ((colours, list(patch.colour)), (opacity, [round(patch.opacity * 255)])):
            if len(points) == 2:
                cv2.line(layer, points[0].tolist(), points[1].tolist(), value, 1, cv2.LINE_8, 4)
            else:
                cv2.fillConvexPoly(layer, points, value, cv2.LINE_8, 4)
    return colours, np.asarray(opacity / 255, np.float32)


def _random_photometry(rng: np.random.Generator) -> Photometry:
    colour, gamma = np.eye(3, 4, dtype=np.float32), 1.0
    if rng.random() < 0.5:
        grey = np.full((3, 3), 1 / 3)
        saturation, bright, contrast = rng.uniform(0.4, 1.5), rng.uniform(0.6, 1.4), rng.uniform(0.8, 1.2)
        matrix = (saturation * np.eye(3) + (1 - saturation) * grey) * bright * contrast
        # a colour cast, as from evening light or a wrong white balance
        matrix *= rng.uniform(0.9, 1.1, (3, 1))
        colour = np.concatenate([matrix, np.full((3, 1), 128 * (1 - contrast))], 1).astype(np.float32)
    if rng.random() < 0.05:
        colour = np.concatenate([np.full((3, 3), 1 / 3), np.zeros((3, 1))], 1).astype(np.float32)
    noise = 0.0
    if rng.random() < 0.08:
        # night: dark and noisy
        gamma, noise = rng.uniform(1.4, 2.2), rng.uniform(4, 14)
    elif rng.random() < 0.08:
        noise = rng.uniform(3, 10)
    motion = (int(rng.integers(3, 8)), float(rng.uniform(0, 180))) if rng.random() < 0.06 else (0, 0.0)
    soften = float(rng.uniform(0.5, 1.2)) if rng.random() < 0.08 else 0.0
    jpeg = int(rng.integers(25, 75)) if rng.random() < 0.1 else 0
    return Photometry(colour, gamma, motion, soften, noise, int(rng.integers(2**31)), jpeg)


def draw(canvas: TrainingCanvas, samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """Draw a canvas on the CPU.

    Args:
        canvas: the plan.
        samples: the samples that the plan was made with.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    pixels = np.full((canvas.side, canvas.side, 3), PAD, np.uint8)
    for each in canvas.placements:
        pixels[each.y1 : each.y2, each.x1 : each.x2] = _place_image(samples[each.sample].pixels, each)
    layer = draw_patches(canvas)
    if layer is not None:
        colours, opacity = layer
        pixels = np.round(pixels + (colours.astype(np.float32) - pixels) * opacity[..., None]).astype(np.uint8)
    return apply_photometry(pixels, canvas.photometry)


def _place_image(image: NDArray[np.uint8], at: Placement) -> NDArray[np.uint8]:
    image = np.ascontiguousarray(image[:, ::-1]) if at.flipped else image
    scale = at.scale
    if scale < 0.6:
        # each pixel is the mean of many, because bilinear sampling would skip some
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        scale = 1.0
    matrix = np.array([[scale, 0, at.left], [0, scale, at.top]], np.float32)
    size = (at.x2 - at.x1, at.y2 - at.y1)
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(PAD,) * 3), np.uint8)


def apply_photometry(pixels: NDArray[np.uint8], photometry: Photometry) -> NDArray[np.uint8]:
    """Apply photometric changes to an image.

    Args:
        pixels: (h, w, 3) uint8 RGB; it is not changed.
        photometry: the changes.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    if not np.array_equal(photometry.colour, np.eye(3, 4)):
        pixels = np.asarray(cv2.transform(pixels, photometry.colour), np.uint8)
    if photometry.gamma != 1:
        levels = 255 * (np.arange(256) / 255) ** photometry.gamma
        pixels = np.asarray(cv2.LUT(pixels, levels.round().astype(np.uint8)), np.uint8)
    if photometry.motion[0]:
        pixels = np.asarray(cv2.filter2D(pixels, -1, motion_kernel(*photometry.motion)), np.uint8)
    if photometry.soften:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), photometry.soften), np.uint8)
    if photometry.noise:
        grain = np.random.default_rng(photometry.seed).normal(0, photometry.noise, pixels.shape)
        pixels = (pixels + grain).clip(0, 255).astype(np.uint8)
    return compress_jpeg(pixels, photometry.jpeg) if photometry.jpeg else pixels


def compress_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress an image as JPEG and decode it again.

    Args:
        pixels: (h, w, 3) uint8.
        quality: 1..100.

    Returns:
        (h, w, 3) uint8.
    """
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def motion_kernel(length: int, angle: float) -> NDArray[np.float32]:
    """Make the kernel of a motion blur, a straight line through the middle.

    Args:
        length: in pixels; an even length is made one longer.
        angle: in degrees.

    Returns:
        (k, k) float32 with the sum 1.
    """
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2] = 1
    turn = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), angle, 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (side, side)), np.float32)
    return np.asarray(kernel / kernel.sum(), np.float32)
