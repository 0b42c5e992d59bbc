"""Pictures of what went wrong: the worst misses, and what was blurred for nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.findings import Findings
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.image_io import load_image
from anonymizer.pipeline.objects import ObjectType
from anonymizer.pipeline.overlay import COLOURS

__all__ = ["Mishap", "by_picture", "false_blurs", "thumbnail", "thumbnails", "worst_misses"]

#: what is shown round an object, as a multiple of its longer side
_ROUND = 1.5
_LEAST_PX = 64
#: grey where the picture ends
_OUTSIDE = 230


@dataclass(frozen=True)
class Mishap:
    """One object that was missed, or one detection that is no object.

    Attributes:
        box: (4,) float32.
        score: of a false blur; of a miss the highest threshold at which it would have been found, -1 where at none.
        visible: of a miss, whether it leaks: something else may have covered it. Of a false blur False.
    """

    kind: Literal["miss", "false blur"]
    object_type: ObjectType
    path: Path
    box: NDArray[np.float32]
    score: float
    visible: bool

    @property
    def words(self) -> str:
        """One line under a picture of it."""
        width, height = self.box[2:] - self.box[:2]
        size = f"{width:.0f} x {height:.0f} px"
        if self.kind == "false blur":
            return f"{size}, score {self.score:.2f}"
        found = f"found from {self.score:.2f} down" if self.score >= 0 else "found at no threshold"
        return f"{size}, {found}{'' if self.visible else ', covered all the same'}"


def worst_misses(findings: Findings, object_type: ObjectType, threshold: float, *, count: int = 12) -> list[Mishap]:
    """The objects that were missed, the largest that stay visible first: what everybody would recognise."""
    found = findings[object_type]
    rows = np.flatnonzero(found.found_at < threshold)
    area = (found.object_boxes[rows, 2:] - found.object_boxes[rows, :2]).prod(1)
    leaks = found.covered_at[rows] < threshold
    # as shares of their pictures: 50 pixels are much in a small one
    order = np.lexsort((-area / found.pixels[found.object_picture[rows]], ~leaks))
    return [
        Mishap(
            "miss",
            object_type,
            findings.images[found.places[found.object_picture[row]]].path,
            found.object_boxes[row],
            float(found.found_at[row]),
            bool(found.covered_at[row] < threshold),
        )
        for row in rows[order][:count]
    ]


def false_blurs(findings: Findings, object_type: ObjectType, threshold: float, *, count: int = 12) -> list[Mishap]:
    """Detections that are no object, the surest first."""
    found = findings[object_type]
    rows = np.flatnonzero(~found.hit & (found.scores >= threshold))
    rows = rows[np.argsort(-found.scores[rows], kind="stable")][:count]
    return [
        Mishap(
            "false blur",
            object_type,
            findings.images[found.places[found.picture[row]]].path,
            found.boxes[row],
            float(found.scores[row]),
            False,
        )
        for row in rows
    ]


def thumbnail(mishap: Mishap, pixels: NDArray[np.uint8], *, side: int = 160) -> NDArray[np.uint8]:
    """What a mishap looks like, with what is round it and its box in the colour of its type.

    Args:
        pixels: (h, w, 3) uint8 RGB of its picture.
        side: of the result in pixels.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    x1, y1, x2, y2 = mishap.box
    half = math.ceil(max((1 + _ROUND) * max(x2 - x1, y2 - y1), _LEAST_PX) / 2)
    left, top = round((x1 + x2) / 2) - half, round((y1 + y2) / 2) - half
    view = np.full((2 * half, 2 * half, 3), _OUTSIDE, np.uint8)
    rows, columns = (slice(max(at, 0), max(at + 2 * half, 0)) for at in (top, left))
    part = pixels[rows, columns]
    view[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
    how = cv2.INTER_AREA if 2 * half > side else cv2.INTER_CUBIC
    view = np.asarray(cv2.resize(view, (side, side), interpolation=how), np.uint8)
    first, second = np.rint((mishap.box.reshape(2, 2) - (left, top)) * side / (2 * half)).astype(int).tolist()
    cv2.rectangle(view, first, second, COLOURS[mishap.object_type], 2)
    return view


def by_picture(mishaps: Iterable[Mishap]) -> Iterator[tuple[Path, list[Mishap]]]:
    """Grouped, so that each picture is read once."""
    groups: dict[Path, list[Mishap]] = {}
    for each in mishaps:
        groups.setdefault(each.path, []).append(each)
    yield from groups.items()


def thumbnails(mishaps: Sequence[Mishap], *, side: int = 160) -> list[NDArray[np.uint8] | None]:
    """A thumbnail of each, None where its picture cannot be read; each picture is read once."""
    views: dict[int, NDArray[np.uint8]] = {}
    for path, of_picture in by_picture(mishaps):
        try:
            pixels = load_image(path)
        except (AnonymizerError, OSError):
            continue
        views |= {id(each): thumbnail(each, pixels, side=side) for each in of_picture}
    return [views.get(id(each)) for each in mishaps]
