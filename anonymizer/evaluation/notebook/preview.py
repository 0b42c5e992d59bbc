"""Preview one labelled image as it would be redacted at any thresholds, and count its errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.evaluation.metrics.predictions import predict
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.outputs.overlay import COLOURS
from anonymizer.pipeline.redaction.effects import redact
from anonymizer.pipeline.redaction.regions import redaction_regions

__all__ = ["ImageCounts", "ImageOrder", "Preview", "order_images"]

Image = NDArray[np.uint8]
Thresholds = Mapping[ObjectType, float]

#: how much of a line is drawn and how much is left out, as multiples of the line's width
_SOLID, _DASHED, _DOTTED = (1, 0), (5, 4), (1, 2)
_BLACK, _GREY = (0, 0, 0), (210, 210, 210)


class ImageOrder(StrEnum):
    """The order in which the images of a set are listed."""

    MISSES = "most misses first"
    FALSE_BLURS = "most false blurs first"
    SET = "as in the set"


@dataclass(frozen=True)
class ImageCounts:
    """The counts of one object type in one image.

    Attributes:
        objects: labelled objects.
        detected: objects that a detection matches.
        leaks: objects of which more than a tenth of the pixels stays visible.
        false_blurs: detections that match no labelled object.
    """

    objects: int
    detected: int
    leaks: int
    false_blurs: int

    def __str__(self) -> str:
        objects = (
            f"{self.detected} of {self.objects} detected, {self.leaks} visible" if self.objects else "none labelled"
        )
        return f"{objects}, {self.false_blurs} false {'blur' if self.false_blurs == 1 else 'blurs'}"


def order_images(result: EvaluationResult, thresholds: Thresholds, order: ImageOrder = ImageOrder.MISSES) -> list[int]:
    """Sort the images that were evaluated for at least one type.

    Args:
        result: what `evaluate` returned.
        thresholds: a threshold, 0..1, for each object type of the result.
        order: the order; default: most misses first.

    Returns:
        Indices into `result.images`. Images with equal counts keep the order of the set.
    """
    counts = np.zeros(len(result.images))
    evaluated = np.zeros(len(result.images), bool)
    for object_type, of_type in result.types.items():
        threshold = thresholds[object_type]
        evaluated[of_type.image_indices] = True
        if order is ImageOrder.MISSES:
            counts[of_type.image_indices] += of_type.by_picture(of_type.match_score < threshold)
        elif order is ImageOrder.FALSE_BLURS:
            wrong = ~of_type.hit & (of_type.scores >= threshold)
            counts[of_type.image_indices] += of_type.by_picture(wrong, "detection")
    indices = np.argsort(-counts, kind="stable")
    return [int(index) for index in indices[evaluated[indices]]]


class Preview:
    """One image of a set; only the object types that are completely labelled in it are shown.

    Args:
        result: what `evaluate` returned.
        index: index of the image in `result.images`.
        anonymizer: with it, persons and vehicles are redacted by their outlines, as the service does, and detections
            of ignored objects are redacted too. Default: none; only detections that were evaluated are redacted, as
            boxes, and as ellipses for faces.
        cache: the cache that `evaluate` used; default: the default cache.

    Raises:
        ValueError: the image cannot be read, or the models of the anonymizer are not those of the result.

    Examples:
        >>> preview = Preview(result, order_images(result, thresholds)[0])  # doctest: +SKIP
        >>> show(preview.draw(thresholds))  # doctest: +SKIP
    """

    def __init__(
        self,
        result: EvaluationResult,
        index: int,
        anonymizer: Anonymizer | None = None,
        cache: DetectionCache | None = None,
    ) -> None:
        self.index, self.image = index, result.images[index]
        self.pixels: Image = self.image.pixels()
        self._options = result.options
        self._types = {each: of_type for each, of_type in result.types.items() if index in of_type.image_indices}
        self._rows = {
            each: int(np.flatnonzero(of_type.image_indices == index)[0]) for each, of_type in self._types.items()
        }
        self._anonymizer = anonymizer
        if anonymizer is None:
            self._detections = Detections.merge(self._evaluated_detections(each) for each in self._types)
        else:
            cache = cache or DetectionCache()
            self._detections = _cached_detections(result, self.image, list(self._types), anonymizer, cache)

    def __repr__(self) -> str:
        types = ", ".join(object_type.value for object_type in self._types)
        height, width = self.pixels.shape[:2]
        return f"Preview({self.image.path.name[-100:]}, {width} x {height} pixels, labelled: {types or 'nothing'})"

    def draw(
        self, thresholds: Thresholds, *, method: Method = Method.BLUR, boxes: bool = True, side: int | None = 960
    ) -> Image:
        """Draw the image as it is redacted at these thresholds.

        Args:
            thresholds: a threshold, 0..1, for each object type of the result.
            method: how to redact; default: blur. `detect` redacts nothing.
            boxes: draw boxes: solid for detected objects, dashed for missed objects, dotted for false blurs, and thin
                grey for ignored objects; default: True.
            side: the longer side in pixels to which a larger image is scaled down; default: 960. None: do not scale.

        Returns:
            (h, w, 3) uint8 RGB.
        """
        options = _with_thresholds(self._options, thresholds, method)
        chosen = over_threshold(self._detections, options)
        if self._anonymizer and not options.bbox and method is not Method.DETECT:
            # masks are kept, so that each object is segmented once
            self._detections = self._anonymizer.engine.add_masks(
                self.pixels.shape[:2], lambda: self.pixels, self._detections, chosen
            )
        size_hw = (self.pixels.shape[0], self.pixels.shape[1])
        drawn = redact(self.pixels, redaction_regions(self._detections[chosen], size_hw, options), options, seed=0)
        scale = min((side or max(size_hw)) / max(size_hw), 1.0)
        if scale < 1:
            size_wh = (round(size_hw[1] * scale), round(size_hw[0] * scale))
            drawn = np.asarray(cv2.resize(drawn, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
        for frame in self._frames(thresholds) if boxes else ():
            frame.draw(drawn, scale)
        return drawn

    def counts(self, thresholds: Thresholds) -> dict[ObjectType, ImageCounts]:
        """Count objects, detections and errors at these thresholds.

        Args:
            thresholds: a threshold, 0..1, for each object type of the result.

        Returns:
            The counts of each type that is labelled in this image.
        """
        counts = {}
        for object_type, of_type in self._types.items():
            objects, detections = self._rows_of_image(object_type)
            threshold = thresholds[object_type]
            counts[object_type] = ImageCounts(
                objects=int(objects.sum()),
                detected=int((of_type.match_score[objects] >= threshold).sum()),
                leaks=int((of_type.cover_score[objects] < threshold).sum()),
                false_blurs=int((~of_type.hit & (of_type.scores >= threshold))[detections].sum()),
            )
        return counts

    def _rows_of_image(self, object_type: ObjectType) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(n,) and (m,) bool: which objects and which detections of the result belong to this image."""
        of_type, row = self._types[object_type], self._rows[object_type]
        return of_type.object_picture == row, of_type.picture == row

    def _evaluated_detections(self, object_type: ObjectType) -> Detections:
        of_type, (_, rows) = self._types[object_type], self._rows_of_image(object_type)
        n = int(rows.sum())
        types, models = np.full(n, object_type.number), np.full(n, "evaluated")
        return Detections(of_type.boxes[rows], of_type.scores[rows], types, models)

    def _frames(self, thresholds: Thresholds) -> Iterator[_Frame]:
        for object_type, of_type in self._types.items():
            rows, detections = self._rows_of_image(object_type)
            threshold, colour = thresholds[object_type], COLOURS[object_type]
            missed = rows & (of_type.match_score < threshold)
            chosen = detections & (of_type.scores >= threshold)
            objects = self.image.objects[object_type]
            yield from (_Frame(box, _GREY, _SOLID, thin=True) for box in objects.boxes[objects.ignored])
            yield from (_Frame(box, colour, _DASHED) for box in of_type.object_boxes[missed])
            yield from (_Frame(box, colour, _DOTTED) for box in of_type.boxes[chosen & ~of_type.hit])
            yield from (_Frame(box, colour, _SOLID) for box in of_type.boxes[chosen & of_type.hit])


class _Frame(NamedTuple):
    """A box to draw."""

    box: NDArray[np.float32]
    colour: tuple[int, int, int]
    pattern: tuple[int, int]
    thin: bool = False

    def draw(self, pixels: Image, scale: float) -> None:
        """Draw in place, on a slightly wider black frame that makes it visible on any background."""
        line = 1 if self.thin else max(round(min(pixels.shape[:2]) / 250), 2)
        (x1, y1), (x2, y2) = np.rint(self.box.reshape(2, 2) * scale).astype(int).tolist()
        corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)])
        dash, gap = (length * line for length in self.pattern)
        for width, colour in ((line + (1 if self.thin else 2), _BLACK), (line, self.colour)):
            for a, b in pairwise(corners):
                for start, end in _strokes(a, b, dash, gap):
                    cv2.line(pixels, start.tolist(), end.tolist(), colour, width)


def _cached_detections(
    result: EvaluationResult,
    image: LabelledImage,
    types: list[ObjectType],
    anonymizer: Anonymizer,
    cache: DetectionCache,
) -> Detections:
    """All detections in an image, from the cache if they are there."""
    keys = anonymizer.store.keys(types)
    for object_type in types:
        if keys[object_type] != result.keys[object_type]:
            raise ValueError(
                f"The result for {object_type.words}s is of {result.keys[object_type]}, "
                f"but the anonymizer has {keys[object_type]}."
            )
    predictions = predict([image], anonymizer, types, result.format, cache=cache, problems=Problems(), progress=False)
    return Detections.merge(predictions.detections[object_type][0].detections for object_type in types)


def _with_thresholds(options: Options, thresholds: Thresholds, method: Method) -> Options:
    changed: dict[str, Any] = {f"{each.value.replace('-', '_')}_threshold": value for each, value in thresholds.items()}
    return replace(options, method=method, **changed)


def _strokes(
    a: NDArray[np.int_], b: NDArray[np.int_], dash: int, gap: int
) -> Iterator[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """The parts of one side that are drawn, as pairs of start and end (x, y)."""
    count = max(round(int(np.abs(b - a).max()) / (dash + gap)), 1) if gap else 1
    for number in range(count):
        ends = np.array([[number], [number + dash / (dash + gap)]]) / count
        start, end = np.rint(a + (b - a) * ends).astype(int)
        yield start, end
