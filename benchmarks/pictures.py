"""Images that benchmarks make from those of a labelled set: a large one with small objects, and a close-up."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage, Objects
from anonymizer.pipeline.detections import ObjectType

__all__ = ["close_up", "large_picture"]

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


def large_picture(images: Iterable[LabelledImage], count: int = 20) -> tuple[Image, dict[ObjectType, Objects]]:
    """Make an image of 6000 x 4000 pixels with small faces and license plates on a grid, with their surroundings.

    Args:
        images: where photos and objects are taken from.
        count: how many objects are pasted, half of each type.

    Returns:
        (4000, 6000, 3) uint8 RGB, and by object type the pasted objects.
    """
    chance = np.random.default_rng(1)
    background: Image | None = None
    cuts: dict[ObjectType, list[tuple[Image, Boxes]]] = {ObjectType.FACE: [], ObjectType.LICENSE_PLATE: []}
    for image in images:
        pixels = image.pixels()
        if background is None and image.source == "voc" and pixels.shape[1] > pixels.shape[0]:
            background = np.asarray(cv2.resize(pixels, (6000, 4000), interpolation=cv2.INTER_CUBIC), np.uint8)
        for name in cuts.keys() & set(image.labelled):
            good = np.flatnonzero(~image.objects[name].ignored)
            if len(cuts[name]) < count // 2 and image.source in ("fddb", "dashcam", "cars") and len(good):
                cuts[name].append((pixels, image.objects[name].boxes[good[0]]))
        if background is not None and all(len(objects) == count // 2 for objects in cuts.values()):
            break
    if background is None:
        raise SystemExit("The set has no photo that can be enlarged.")
    placed = {}
    cells = chance.permutation(24)[:count]
    for kind, (name, objects) in enumerate(cuts.items()):
        boxes = []
        for (pixels, box), cell in zip(objects, cells[kind * count // 2 :], strict=False):
            at = np.array([cell % 6 * 1000 + 300, cell // 6 * 1000 + 300]) + chance.integers(0, 300, 2)
            boxes.append(paste(background, pixels, box, at, float(chance.uniform(24, 60))))
        placed[name] = Objects(np.array(boxes, np.float32), np.zeros(len(boxes), bool))
    return background, placed


def paste(onto: Image, pixels: Image, box: Boxes, at: NDArray[np.int_], side: float) -> Boxes:
    """Paste an object with its surroundings into an image, its longer side scaled to `side` pixels; return its box."""
    scale = side / float(max(box[2] - box[0], box[3] - box[1]))
    low = np.maximum(box[:2] - 1.5 * (box[2:] - box[:2]), 0).astype(int)
    high = np.minimum(box[2:] + 1.5 * (box[2:] - box[:2]), pixels.shape[1::-1]).astype(int)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    piece = cv2.resize(pixels[low[1] : high[1], low[0] : high[0]], None, fx=scale, fy=scale, interpolation=how)
    onto[at[1] : at[1] + piece.shape[0], at[0] : at[0] + piece.shape[1]] = piece
    return np.asarray((box - np.tile(low, 2)) * scale + np.tile(at, 2), np.float32)


def close_up(images: Iterable[LabelledImage]) -> tuple[Image, dict[ObjectType, Objects]]:
    """Make an image of 2000 x 2000 pixels with a face of 80 % of its height; return the image and its objects."""
    for image in images:
        faces = image.objects[ObjectType.FACE]
        if image.source != "fddb" or len(faces.boxes) != 1 or faces.ignored.any():
            continue
        (box,), pixels = faces.boxes, image.pixels()
        side = (box[3] - box[1]) / 0.8
        low = ((box[:2] + box[2:]) / 2 - side / 2).round().astype(int)
        high = low + round(side)
        if (low >= 0).all() and (high <= pixels.shape[1::-1]).all():
            face = cv2.resize(pixels[low[1] : high[1], low[0] : high[0]], (2000, 2000), interpolation=cv2.INTER_CUBIC)
            placed = (box - np.tile(low, 2)) * 2000 / (high - low)[0]
            return np.asarray(face, np.uint8), {ObjectType.FACE: Objects(placed[None], np.zeros(1, bool))}
    raise SystemExit("The set has no face that can be enlarged.")
