"""Labelled pictures that stand on their heads: the own detector knows none such, so they show what fine-tuning does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.datasets.issues import ProblemKind

__all__ = ["upside_down"]


def upside_down(images: LabelledSet, folder: Path) -> LabelledSet:
    """The set as if the camera had hung upside down. A picture that cannot be read is left out, and named a problem.

    Args:
        folder: for the pictures, as JPEG; made where it is missing.

    Raises:
        OSError: a picture cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = (_turned(each, folder, images) for each in images.images)
    return images.subset(each for each in found if each is not None)


def _turned(image: LabelledImage, folder: Path, images: LabelledSet) -> LabelledImage | None:
    try:
        pixels = image.pixels()
    except ValueError as error:
        images.problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), str(error))
        return None
    path = folder / f"{image.id}.jpg"
    # an array of its own: OpenCV takes no view that runs backwards
    if not cv2.imwrite(str(path), pixels[::-1, ::-1, ::-1].copy(), [cv2.IMWRITE_JPEG_QUALITY, 95]):
        raise OSError(f"{path} cannot be written.")
    size_wh = np.array(pixels.shape[1::-1], np.float32)
    return replace(image, path=path, objects={kind: _about(each, size_wh) for kind, each in image.objects.items()})


def _about(objects: Objects, size_wh: NDArray[np.float32]) -> Objects:
    boxes = np.tile(size_wh, 2) - objects.boxes[:, [2, 3, 0, 1]]
    outlines = tuple(
        None if polygons is None else tuple(size_wh - each for each in polygons) for polygons in objects.outlines
    )
    return Objects(boxes, objects.ignored, outlines)
