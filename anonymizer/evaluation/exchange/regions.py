"""Labels as `regions`: what `POST /v1/file` and the review of a task redact besides what is found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from anonymizer.evaluation.exchange.pictures import ExchangedPicture
from anonymizer.pipeline.files.whole import side_file
from anonymizer.pipeline.options.drawn import DrawnRegion, Shape

__all__ = ["regions_of", "write_regions"]


def regions_of(picture: ExchangedPicture) -> list[dict[str, Any]]:
    """Make the value of `regions` for one image: a polygon where an outline is labelled, a box elsewhere.

    Ignored labels are included, because nobody can say that they need no redaction.

    Args:
        picture: the image with its objects.

    Returns:
        JSON values, as `parse_regions` reads them.
    """
    rows = []
    for each in picture.objects:
        x1, y1, x2, y2 = each.box
        shapes: list[tuple[Shape, tuple[tuple[float, float], ...]]] = [(Shape.BOX, ((x1, y1), (x2, y2)))]
        if each.outline:
            polygons = [np.asarray(polygon, float).tolist() for polygon in each.outline]
            shapes = [(Shape.POLYGON, tuple((x, y) for x, y in polygon)) for polygon in polygons]
        rows += [DrawnRegion(each.object_type, shape, points).as_json() for shape, points in shapes]
    return rows


def write_regions(pictures: Iterable[ExchangedPicture], folder: Path) -> int:
    """Write a file `NAME.regions.json` for each image; its content is the value of `regions`.

    Args:
        pictures: the images with their objects.
        folder: it is created if it is missing. Sub-folders are kept.

    Returns:
        The number of files.

    Raises:
        OSError: a file cannot be written.
    """
    count = 0
    for picture in pictures:
        target = folder / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        side_file(target, ".regions.json").write_text(json.dumps(regions_of(picture)))
        count += 1
    return count
