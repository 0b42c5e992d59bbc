"""Examples of errors: objects that were missed or leak, and false blurs, each with a thumbnail."""

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
    "detected_but_visible",
    "false_blurs",
    "grey_out_covered",
    "group_by_picture",
    "thumbnail",
    "thumbnails",
    "worst_misses",
]

#: A thumbnail shows this much around an object, as a multiple of the box's longer side.
_ROUND = 1.5
_LEAST_PX = 64
#: grey levels beyond the image's border, and where something is covered
_OUTSIDE, _COVERED = 230, 128
#: The alpha of a pixel that is fully redacted.
_FULL = 255


@dataclass(frozen=True, repr=False)
class ErrorCase:
    """One error: an object that was missed, an object that was detected but leaks, or a false blur.

    Attributes:
        kind: which of the three it is.
        object_type: the type of the object or of the false detection.
        path: the image file.
        box: (4,) float32, x1, y1, x2, y2 in pixels.
        score: for a false blur its score. For an object the highest threshold at which it is detected, or -1 if it is
            detected at no threshold.
        visible: whether the object leaks. A missed object does not leak if something else covers it. False for a false
            blur.
        share: share of the object's pixels that stays visible, 0..1; only known for the kind "leak".
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
        """One line that describes the case, for example as a caption."""
        width, height = self.box[2:] - self.box[:2]
        size = f"{width:.0f} x {height:.0f} px"
        if self.kind == "false blur":
            return f"{size}, score {self.score:.2f}"
        if self.kind == "leak":
            return f"{size}, detected with {self.score:.2f}, {self.share:.0%} visible"
        detected = f"detected at {self.score:.2f} or lower" if self.score >= 0 else "detected at no threshold"
        return f"{size}, {detected}{'' if self.visible else ', but covered by something else'}"

    @property
    def caption(self) -> str:
        """The name of the image file, and what is wrong."""
        return f"{_short_name(self.path.name)}: {self.words}"

    def __repr__(self) -> str:
        return f"ErrorCase({self.kind}, {self.object_type.value}, {self.path.name[-80:]}: {self.words})"


def _short_name(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:20]}...{name[-17:]}"


def worst_misses(
    result: EvaluationResult, object_type: ObjectType, threshold: float, *, count: int = 12
) -> list[ErrorCase]:
    """List the objects that were missed, worst first.

    Objects that stay visible come before objects that something else covers. Larger objects come first, measured as a
    share of their image: 50 pixels are much in a small image.

    Args:
        result: what `evaluate` returned.
        object_type: the type of the objects.
        threshold: detections with a lower score, 0..1, do not count.
        count: the most cases that are returned; default: 12.
    """
    of_type = result[object_type]
    rows = np.flatnonzero(of_type.match_score < threshold)
    area = (of_type.object_boxes[rows, 2:] - of_type.object_boxes[rows, :2]).prod(1)
    leaks = of_type.cover_score[rows] < threshold
    order = np.lexsort((-area / of_type.pixels[of_type.object_picture[rows]], ~leaks))[:count]
    return [
        ErrorCase(
            "miss",
            object_type,
            result.images[of_type.image_indices[of_type.object_picture[row]]].path,
            of_type.object_boxes[row],
            float(of_type.match_score[row]),
            bool(of_type.cover_score[row] < threshold),
        )
        for row in rows[order]
    ]


def detected_but_visible(
    result: EvaluationResult, object_type: ObjectType, threshold: float, *, count: int = 12
) -> list[ErrorCase]:
    """List the objects that were detected but leak, the one with the largest visible share first.

    The visible share is measured with boxes, and with ellipses for faces, even if the evaluation used outlines.

    Args:
        result: what `evaluate` returned.
        object_type: the type of the objects.
        threshold: detections with a lower score, 0..1, do not count.
        count: the most cases that are returned; default: 12.

    Raises:
        ValueError: an image whose size is not known cannot be read.
    """
    of_type = result[object_type]
    rows = np.flatnonzero((of_type.match_score >= threshold) & (of_type.cover_score < threshold))
    error_cases = [
        ErrorCase(
            "leak",
            object_type,
            result.images[of_type.image_indices[of_type.object_picture[row]]].path,
            of_type.object_boxes[row],
            float(of_type.match_score[row]),
            visible=True,
            share=_visible_share(result, object_type, int(row), threshold),
        )
        for row in rows
    ]
    return sorted(error_cases, key=lambda error_case: -error_case.share)[:count]


def _visible_share(result: EvaluationResult, object_type: ObjectType, row: int, threshold: float) -> float:
    """Share of an object's pixels that is not fully redacted. The object is a row of the result's type."""
    of_type = result[object_type]
    number = int(of_type.object_picture[row])
    image = result.images[of_type.image_indices[number]]
    objects, size_hw = image.objects[object_type], image.size_hw or image.pixels().shape[:2]
    label = np.flatnonzero(~objects.ignored)[row - np.searchsorted(of_type.object_picture, number)]
    mask = object_mask(objects, int(label), object_type, size_hw)
    height, width = mask.pixels.shape
    covered = _covered_pixels(result, object_type, number, threshold, size_hw)
    return float(1 - covered[mask.y : mask.y + height, mask.x : mask.x + width][mask.pixels].mean())


def _covered_pixels(
    result: EvaluationResult, object_type: ObjectType, number: int, threshold: float, size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """(h, w) bool: the fully redacted pixels of an image. `number` is an index into the type's `image_indices`."""
    of_type = result[object_type]
    chosen = (of_type.picture == number) & (of_type.scores >= threshold)
    n = int(chosen.sum())
    types = np.full(n, object_type.number)
    detections = Detections(of_type.boxes[chosen], of_type.scores[chosen], types, np.full(n, result.name))
    covered = np.zeros(size_hw, bool)
    for region in redaction_regions(detections, size_hw, result.options):
        covered[region.crop] |= region.alpha == _FULL
    return covered


def false_blurs(
    result: EvaluationResult, object_type: ObjectType, threshold: float, *, count: int = 12
) -> list[ErrorCase]:
    """List the detections that match no labelled object, the one with the highest score first.

    Args:
        result: what `evaluate` returned.
        object_type: the type of the detections.
        threshold: detections with a lower score, 0..1, do not count.
        count: the most cases that are returned; default: 12.
    """
    of_type = result[object_type]
    rows = np.flatnonzero(~of_type.hit & (of_type.scores >= threshold))
    rows = rows[np.argsort(-of_type.scores[rows], kind="stable")][:count]
    return [
        ErrorCase(
            "false blur",
            object_type,
            result.images[of_type.image_indices[of_type.picture[row]]].path,
            of_type.boxes[row],
            float(of_type.scores[row]),
            False,
        )
        for row in rows
    ]


def thumbnail(error_case: ErrorCase, pixels: NDArray[np.uint8], *, side: int = 160) -> NDArray[np.uint8]:
    """Crop an error case with its surroundings, and draw its box in the colour of its type.

    Args:
        error_case: the case to show.
        pixels: (h, w, 3) uint8 RGB, the case's image.
        side: width and height of the thumbnail in pixels; default: 160.

    Returns:
        (side, side, 3) uint8 RGB. What lies beyond the image's border is grey.
    """
    x1, y1, x2, y2 = error_case.box
    half = math.ceil(max((1 + _ROUND) * max(x2 - x1, y2 - y1), _LEAST_PX) / 2)
    left, top = round((x1 + x2) / 2) - half, round((y1 + y2) / 2) - half
    view = np.full((2 * half, 2 * half, 3), _OUTSIDE, np.uint8)
    rows, columns = (slice(max(start, 0), max(start + 2 * half, 0)) for start in (top, left))
    part = pixels[rows, columns]
    view[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
    interpolation = cv2.INTER_AREA if 2 * half > side else cv2.INTER_CUBIC
    view = np.asarray(cv2.resize(view, (side, side), interpolation=interpolation), np.uint8)
    first, second = np.rint((error_case.box.reshape(2, 2) - (left, top)) * side / (2 * half)).astype(int).tolist()
    cv2.rectangle(view, first, second, COLOURS[error_case.object_type], 2)
    return view


def grey_out_covered(
    result: EvaluationResult, error_case: ErrorCase, threshold: float, pixels: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Paint everything grey that detections of the case's type fully redact; what is left stays visible.

    Detections cover their boxes, and ellipses for faces, because an evaluation keeps no outlines.

    Args:
        result: what `evaluate` returned.
        error_case: a case of this result.
        threshold: detections with a lower score, 0..1, do not count.
        pixels: (h, w, 3) uint8 RGB, the case's image; it is not changed.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    image_indices = result[error_case.object_type].image_indices
    number = next(n for n, index in enumerate(image_indices) if result.images[index].path == error_case.path)
    size_hw = (pixels.shape[0], pixels.shape[1])
    remaining = pixels.copy()
    remaining[_covered_pixels(result, error_case.object_type, number, threshold, size_hw)] = _COVERED
    return remaining


def group_by_picture(error_cases: Iterable[ErrorCase]) -> Iterator[tuple[Path, list[ErrorCase]]]:
    """Group error cases by image file, so that each file is read once.

    Args:
        error_cases: cases in any order.

    Returns:
        An iterator of files and their cases, in the order in which the files first occur.
    """
    groups: dict[Path, list[ErrorCase]] = {}
    for error_case in error_cases:
        groups.setdefault(error_case.path, []).append(error_case)
    yield from groups.items()


def thumbnails(
    error_cases: Sequence[ErrorCase],
    *,
    side: int = 160,
    changed: Callable[[ErrorCase, NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> list[NDArray[np.uint8] | None]:
    """Make a thumbnail of each error case; each image is read once.

    Args:
        error_cases: the cases to show.
        side: width and height of a thumbnail in pixels; default: 160.
        changed: a function that is given a case and its image, (h, w, 3) uint8 RGB, and returns what to show instead;
            default: the image as it is.

    Returns:
        For each case (side, side, 3) uint8 RGB, or None if its image cannot be read.
    """
    views: dict[int, NDArray[np.uint8]] = {}
    for path, of_picture in group_by_picture(error_cases):
        try:
            pixels = load_image(path)
        except (AnonymizerError, OSError):
            continue
        for error_case in of_picture:
            shown = pixels if changed is None else changed(error_case, pixels)
            views[id(error_case)] = thumbnail(error_case, shown, side=side)
    return [views.get(id(error_case)) for error_case in error_cases]
