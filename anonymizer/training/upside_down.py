"""Turn a labelled set upside down: the own detector never saw such images, so they show what fine-tuning does."""

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
    """Rotate the images and labels of a set by 180 degrees.

    An image that cannot be read is added to the problems of the set and left out.

    Args:
        images: the set; it is not changed.
        folder: where the rotated images are written, as JPEG. It is created if it does not exist.

    Returns:
        The rotated set.

    Raises:
        OSError: an image cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rotated = (_rotate_image(image, folder, images) for image in images.images)
    return images.subset(image for image in rotated if image is not None)


def _rotate_image(image: LabelledImage, folder: Path, images: LabelledSet) -> LabelledImage | None:
    try:
        pixels = image.pixels()
    except ValueError as error:
        images.problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), str(error))
        return None
    path = folder / f"{image.id}.jpg"
    # a copy, because OpenCV cannot write a view with negative strides
    if not cv2.imwrite(str(path), pixels[::-1, ::-1, ::-1].copy(), [cv2.IMWRITE_JPEG_QUALITY, 95]):
        raise OSError(f"{path} cannot be written.")
    size_wh = np.array(pixels.shape[1::-1], np.float32)
    return replace(
        image, path=path, objects={kind: _rotate_objects(objects, size_wh) for kind, objects in image.objects.items()}
    )


def _rotate_objects(objects: Objects, size_wh: NDArray[np.float32]) -> Objects:
    boxes = np.tile(size_wh, 2) - objects.boxes[:, [2, 3, 0, 1]]
    outlines = tuple(
        None if polygons is None else tuple(size_wh - polygon for polygon in polygons) for polygons in objects.outlines
    )
    return Objects(boxes, objects.ignored, outlines)
