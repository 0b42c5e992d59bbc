"""Faces found again by averages of redacted pictures, by someone who has the very photos.

A real attacker has other photos of the same people at best. The results are therefore upper bounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.attacks.redactions import SENSOR_NOISE, Redaction, WithoutNoise, crop_around
from anonymizer.evaluation.metrics.redaction_strength import Cutout

__all__ = ["face_linkage"]

#: rows and columns to which a redacted face is averaged, and views of each original that the attacker averages
FACE_GRID, KNOWN_VIEWS = (16, 16), 8


def face_linkage(
    faces: Sequence[Cutout], redaction: Redaction, *, pictures: int = 30, seed: int = 0
) -> NDArray[np.int64]:
    """Find redacted faces again among the originals, by the average of several aligned pictures.

    The pictures of a face are made from one photo: moved, turned, scaled, lit from another side and in another colour.
    They are aligned by their boxes, which are a few percent off. The attacker redacts the originals with the same
    software, moved in other ways, averages them too, and compares what differs from the average face.

    Args:
        faces: at least 3, with about half of the shorter side around the box.
        redaction: the setting that is attacked.
        pictures: how many of them show each face.
        seed: of places, light and noise.

    Returns:
        (n,) the rank of each true face, 1 = first. By chance it is (n + 1) / 2 on average.
    """
    rng = np.random.default_rng(seed)
    known = np.stack([_average_face(face, redaction, KNOWN_VIEWS, rng, known=True) for face in faces])
    probes = np.stack([_average_face(face, redaction, pictures, rng, known=False) for face in faces])
    gallery = _standardised(known)
    likeness = _standardised(probes) @ gallery.T
    true = likeness.diagonal()[:, None]
    better, equal = (likeness > true).sum(1), (likeness == true).sum(1)
    return np.asarray(1 + better + rng.integers(equal), np.int64)


def _average_face(
    face: Cutout, redaction: Redaction, pictures: int, rng: np.random.Generator, *, known: bool
) -> NDArray[np.float64]:
    """The average of redacted pictures of a face; those that the attacker makes (known) have no noise."""
    averages = []
    height, width = face.pixels.shape[:2]
    centre, side = (face.box[:2] + face.box[2:]) / 2, face.short_side
    for _ in range(pictures):
        matrix = cv2.getRotationMatrix2D([float(at) for at in centre], rng.uniform(-5, 5), rng.uniform(0.93, 1.07))
        matrix[:, 2] = matrix[:, 2] + rng.uniform(-0.04, 0.04, 2) * side
        moved = cv2.warpAffine(face.pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        box = (face.box + rng.normal(0, 0.02, 4) * side).astype(np.float32)
        if known:
            shown = WithoutNoise(redaction, moved.shape, box).shown(moved)
        else:
            noisy = _in_other_light(moved, rng) + rng.normal(0, SENSOR_NOISE, moved.shape)
            pixels = np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
            shown = redaction(pixels, box, int(rng.integers(2**63))).astype(np.float32)
        averages.append(cv2.resize(crop_around(shown, box, 0), FACE_GRID, interpolation=cv2.INTER_AREA))
    return np.asarray(np.mean(averages, axis=0), np.float64)


def _in_other_light(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Light from another side, in another colour, and another exposure."""
    height, width = pixels.shape[:2]
    slope = rng.uniform(-0.3, 0.3, 2)
    across, down = np.linspace(-1, 1, width) * slope[0], np.linspace(-1, 1, height) * slope[1]
    light = (1 + across + down[:, None])[..., None] * rng.uniform(0.9, 1.1, 3) * rng.uniform(0.8, 1.1)
    return np.asarray(pixels * light + rng.uniform(-10, 10), np.float32)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each face as its difference from the average one, without its own brightness and contrast."""
    flat = values.reshape(len(values), -1, 3)
    flat = flat - flat.mean(1, keepdims=True)
    flat = (flat - flat.mean(0)).reshape(len(values), -1)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    # a black face has no direction, only the rounding of its zeros
    return np.asarray(np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-2))
