"""Pictures of what went wrong: the worst misses, and what was blurred for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.metrics.leak_coverage import object_mask
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.images.io import load_image
from anonymizer.pipeline.outputs.overlay import COLOURS
from anonymizer.pipeline.redaction.regions import redaction_regions

__all__ = [
    "ErrorCase",
    "by_picture",
    "false_blurs",
    "found_but_visible",
    "thumbnail",
    "thumbnails",
    "what_is_left",
    "worst_misses",
]

#: what is shown round an object, as a multiple of its longer side
_ROUND = 1.5
_LEAST_PX = 64
#: grey where the picture ends, and where something is covered
_OUTSIDE, _COVERED = 230, 128
#: alpha at which nothing of a pixel is left
_FULL = 255


@dataclass(frozen=True)
class ErrorCase:
    """One object that was missed, or that was found and leaks, or one detection that is no object.

    Attributes:
        box: (4,) float32.
        score: of a false blur; of an object the highest threshold at which it is found, -1 where at none.
        visible: whether an object leaks: something else may cover what was missed. Of a false blur False.
        share: of the pixels of an object that was found and leaks, those that stay visible.
    """

    kind: Literal["miss", "leak", "false blur"]
    object_type: ObjectType
    path: Path
    box: NDArray[np.float32]
    score: float
    visible: bool
    share: float = math.nan

    @property
    def words(self) -> str:
        """One line under a picture of it."""
        width, height = self.box[2:] - self.box[:2]
        size = f"{width:.0f} x {height:.0f} px"
        if self.kind == "false blur":
            return f"{size}, score {self.score:.2f}"
        if self.kind == "leak":
            return f"{size}, found with {self.score:.2f}, {self.share:.0%} visible"
        found = f"found from {self.score:.2f} down" if self.score >= 0 else "found at no threshold"
        return f"{size}, {found}{'' if self.visible else ', covered all the same'}"


def worst_misses(
    findings: EvaluationResult, object_type: ObjectType, threshold: float, *, count: int = 12
) -> list[ErrorCase]:
    """The objects that were missed, the largest that stay visible first: what everybody would recognise."""
    found = findings[object_type]
    rows = np.flatnonzero(found.match_score < threshold)
    area = (found.object_boxes[rows, 2:] - found.object_boxes[rows, :2]).prod(1)
    leaks = found.cover_score[rows] < threshold
    # as shares of their pictures: 50 pixels are much in a small one
    order = np.lexsort((-area / found.pixels[found.object_picture[rows]], ~leaks))[:count]
    return [
        ErrorCase(
            "miss",
            object_type,
            findings.images[found.image_indices[found.object_picture[row]]].path,
            found.object_boxes[row],
            float(found.match_score[row]),
            bool(found.cover_score[row] < threshold),
        )
        for row in rows[order]
    ]


def found_but_visible(
    findings: EvaluationResult, object_type: ObjectType, threshold: float, *, count: int = 12
) -> list[ErrorCase]:
    """The objects that were found and leak all the same, those of which most stays visible first.

    How much that is goes by boxes, and ellipses for faces, also where outlines were judged.

    Raises:
        ValueError: a picture of which the size is not known cannot be read.
    """
    found = findings[object_type]
    rows = np.flatnonzero((found.match_score >= threshold) & (found.cover_score < threshold))
    error_cases = [
        ErrorCase(
            "leak",
            object_type,
            findings.images[found.image_indices[found.object_picture[row]]].path,
            found.object_boxes[row],
            float(found.match_score[row]),
            visible=True,
            share=_visible_share(findings, object_type, int(row), threshold),
        )
        for row in rows
    ]
    return sorted(error_cases, key=lambda each: -each.share)[:count]


def _visible_share(findings: EvaluationResult, object_type: ObjectType, row: int, threshold: float) -> float:
    """Of the pixels of an object, a row of the findings, those that are not covered at full strength."""
    found = findings[object_type]
    number = int(found.object_picture[row])
    image = findings.images[found.image_indices[number]]
    objects, size_hw = image.objects[object_type], image.size_hw or image.pixels().shape[:2]
    label = np.flatnonzero(~objects.ignored)[row - np.searchsorted(found.object_picture, number)]
    mask = object_mask(objects, int(label), object_type, size_hw)
    height, width = mask.pixels.shape
    covered = _covered(findings, object_type, number, threshold, size_hw)
    return float(1 - covered[mask.y : mask.y + height, mask.x : mask.x + width][mask.pixels].mean())


def _covered(
    findings: EvaluationResult, object_type: ObjectType, number: int, threshold: float, size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """(h, w) bool: what detections of a type cover at full strength in a picture, an index into `places`."""
    found = findings[object_type]
    mine = (found.picture == number) & (found.scores >= threshold)
    n = int(mine.sum())
    types = np.full(n, object_type.number)
    detections = Detections(found.boxes[mine], found.scores[mine], types, np.full(n, findings.name))
    covered = np.zeros(size_hw, bool)
    for shape in redaction_regions(detections, size_hw, findings.options):
        covered[shape.crop] |= shape.alpha == _FULL
    return covered


def false_blurs(
    findings: EvaluationResult, object_type: ObjectType, threshold: float, *, count: int = 12
) -> list[ErrorCase]:
    """Detections that are no object, the surest first."""
    found = findings[object_type]
    rows = np.flatnonzero(~found.hit & (found.scores >= threshold))
    rows = rows[np.argsort(-found.scores[rows], kind="stable")][:count]
    return [
        ErrorCase(
            "false blur",
            object_type,
            findings.images[found.image_indices[found.picture[row]]].path,
            found.boxes[row],
            float(found.scores[row]),
            False,
        )
        for row in rows
    ]


def thumbnail(error_case: ErrorCase, pixels: NDArray[np.uint8], *, side: int = 160) -> NDArray[np.uint8]:
    """What a mishap looks like, with what is round it and its box in the colour of its type.

    Args:
        pixels: (h, w, 3) uint8 RGB of its picture.
        side: of the result in pixels.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    x1, y1, x2, y2 = error_case.box
    half = math.ceil(max((1 + _ROUND) * max(x2 - x1, y2 - y1), _LEAST_PX) / 2)
    left, top = round((x1 + x2) / 2) - half, round((y1 + y2) / 2) - half
    view = np.full((2 * half, 2 * half, 3), _OUTSIDE, np.uint8)
    rows, columns = (slice(max(at, 0), max(at + 2 * half, 0)) for at in (top, left))
    part = pixels[rows, columns]
    view[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
    how = cv2.INTER_AREA if 2 * half > side else cv2.INTER_CUBIC
    view = np.asarray(cv2.resize(view, (side, side), interpolation=how), np.uint8)
    first, second = np.rint((error_case.box.reshape(2, 2) - (left, top)) * side / (2 * half)).astype(int).tolist()
    cv2.rectangle(view, first, second, COLOURS[error_case.object_type], 2)
    return view


def what_is_left(
    findings: EvaluationResult, error_case: ErrorCase, threshold: float, pixels: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The picture with everything in grey that detections of the mishap's type cover at full strength.

    Detections cover their boxes, and ellipses for faces: the outlines of persons and vehicles are not kept.

    Args:
        pixels: (h, w, 3) uint8 RGB of the mishap's picture. Not changed.
    """
    image_indices = findings[error_case.object_type].image_indices
    number = next(n for n, place in enumerate(image_indices) if findings.images[place].path == error_case.path)
    size_hw = (pixels.shape[0], pixels.shape[1])
    left = pixels.copy()
    left[_covered(findings, error_case.object_type, number, threshold, size_hw)] = _COVERED
    return left


def by_picture(error_cases: Iterable[ErrorCase]) -> Iterator[tuple[Path, list[ErrorCase]]]:
    """Grouped, so that each picture is read once."""
    groups: dict[Path, list[ErrorCase]] = {}
    for each in error_cases:
        groups.setdefault(each.path, []).append(each)
    yield from groups.items()


def thumbnails(
    error_cases: Sequence[ErrorCase],
    *,
    side: int = 160,
    changed: Callable[[ErrorCase, NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> list[NDArray[np.uint8] | None]:
    """A thumbnail of each, None where its picture cannot be read; each picture is read once.

    Args:
        changed: gives what is to be shown of a mishap's picture.
    """
    views: dict[int, NDArray[np.uint8]] = {}
    for path, of_picture in by_picture(error_cases):
        try:
            pixels = load_image(path)
        except (AnonymizerError, OSError):
            continue
        for each in of_picture:
            shown = pixels if changed is None else changed(each, pixels)
            views[id(each)] = thumbnail(each, shown, side=side)
    return [views.get(id(each)) for each in error_cases]
