"""One labelled picture as it would be redacted at any thresholds, and what is right and wrong in it."""

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
from anonymizer.evaluation.metrics.predictions import analyse
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.outputs.overlay import COLOURS
from anonymizer.pipeline.redaction.effects import redact
from anonymizer.pipeline.redaction.regions import redaction_regions

__all__ = ["Order", "Preview", "Seen", "in_order"]

Image = NDArray[np.uint8]
Thresholds = Mapping[ObjectType, float]

#: how much of a line is drawn and how much is left out, in line widths
_SOLID, _DASHED, _DOTTED = (1, 0), (5, 4), (1, 2)
_BLACK, _GREY = (0, 0, 0), (210, 210, 210)


class Order(StrEnum):
    """Which pictures of a set come first."""

    MISSES = "most misses first"
    FALSE_BLURS = "most false blurs first"
    SET = "as in the set"


@dataclass(frozen=True)
class Seen:
    """What is right and wrong in one picture, of one type.

    Attributes:
        leaks: objects of which more than a tenth of the pixels stays visible.
    """

    objects: int
    found: int
    leaks: int
    false_blurs: int

    def __str__(self) -> str:
        objects = f"{self.found} of {self.objects} found, {self.leaks} visible" if self.objects else "none labelled"
        return f"{objects}, {self.false_blurs} false {'blur' if self.false_blurs == 1 else 'blurs'}"


def in_order(findings: EvaluationResult, thresholds: Thresholds, order: Order = Order.MISSES) -> list[int]:
    """Places in `Findings.images` of the pictures that were judged for any type."""
    counts = np.zeros(len(findings.images))
    judged = np.zeros(len(findings.images), bool)
    for each, found in findings.types.items():
        judged[found.image_indices] = True
        if order is Order.MISSES:
            counts[found.image_indices] += found.by_picture(found.match_score < thresholds[each])
        elif order is Order.FALSE_BLURS:
            counts[found.image_indices] += found.by_picture(
                ~found.hit & (found.scores >= thresholds[each]), "detection"
            )
    places = np.argsort(-counts, kind="stable")
    return [int(place) for place in places[judged[places]]]


class Preview:
    """One picture of a set; only types that are labelled completely in it are looked at.

    Args:
        place: in `findings.images`.
        anonymizer: redacts persons and vehicles by their outlines, as the service does, and what was found of objects
            that count neither way too; without it only detections that were judged, as boxes and ellipses.
        cache: where `evaluate` kept what was found; without, where it does by itself.

    Raises:
        ValueError: the picture cannot be read, or the anonymizer's models are not those of the findings.
    """

    def __init__(
        self,
        findings: EvaluationResult,
        place: int,
        anonymizer: Anonymizer | None = None,
        cache: DetectionCache | None = None,
    ) -> None:
        self.place, self.image = place, findings.images[place]
        self.pixels: Image = self.image.pixels()
        self._options = findings.options
        self._types = {each: found for each, found in findings.types.items() if place in found.image_indices}
        self._rows = {each: int(np.flatnonzero(found.image_indices == place)[0]) for each, found in self._types.items()}
        self._anonymizer = anonymizer
        if anonymizer is None:
            self._found = Detections.merge(self._judged(each) for each in self._types)
        else:
            self._found = _looked(findings, self.image, list(self._types), anonymizer, cache or DetectionCache())

    def draw(
        self, thresholds: Thresholds, *, method: Method = Method.BLUR, boxes: bool = True, side: int | None = 960
    ) -> Image:
        """The picture redacted at these thresholds.

        Args:
            thresholds: of every type of the findings.
            method: `detect` redacts nothing.
            boxes: draw what was found as solid boxes, what was missed dashed, false blurs dotted, and objects that
                count neither way as thin grey ones.
            side: longer side in pixels of the result, where the picture is larger; None: as it is.

        Returns:
            (h, w, 3) uint8 RGB.
        """
        options = _options(self._options, thresholds, method)
        over = over_threshold(self._found, options)
        if self._anonymizer and not options.bbox and method is not Method.DETECT:
            # masks are kept: each object is segmented once
            self._found = self._anonymizer.engine.add_masks(
                self.pixels.shape[:2], lambda: self.pixels, self._found, over
            )
        size_hw = (self.pixels.shape[0], self.pixels.shape[1])
        out = redact(self.pixels, redaction_regions(self._found[over], size_hw, options), options, seed=0)
        scale = min((side or max(size_hw)) / max(size_hw), 1.0)
        if scale < 1:
            size_wh = (round(size_hw[1] * scale), round(size_hw[0] * scale))
            out = np.asarray(cv2.resize(out, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
        for frame in self._frames(thresholds) if boxes else ():
            frame.draw(out, scale)
        return out

    def seen(self, thresholds: Thresholds) -> dict[ObjectType, Seen]:
        """What is right and wrong at these thresholds, of each type that is labelled here."""
        counted = {}
        for each, found in self._types.items():
            mine, detected = self._mine(each)
            at = thresholds[each]
            counted[each] = Seen(
                objects=int(mine.sum()),
                found=int((found.match_score[mine] >= at).sum()),
                leaks=int((found.cover_score[mine] < at).sum()),
                false_blurs=int((~found.hit & (found.scores >= at))[detected].sum()),
            )
        return counted

    def _mine(self, object_type: ObjectType) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(n,) and (m,): which objects and detections of the findings are of this picture."""
        found, row = self._types[object_type], self._rows[object_type]
        return found.object_picture == row, found.picture == row

    def _judged(self, object_type: ObjectType) -> Detections:
        found, (_, mine) = self._types[object_type], self._mine(object_type)
        n = int(mine.sum())
        return Detections(found.boxes[mine], found.scores[mine], np.full(n, object_type.number), np.full(n, "judged"))

    def _frames(self, thresholds: Thresholds) -> Iterator[_Frame]:
        for each, found in self._types.items():
            mine, detected = self._mine(each)
            at, colour = thresholds[each], COLOURS[each]
            over = detected & (found.scores >= at)
            objects = self.image.objects[each]
            yield from (_Frame(box, _GREY, _SOLID, thin=True) for box in objects.boxes[objects.ignored])
            yield from (_Frame(box, colour, _DASHED) for box in found.object_boxes[mine & (found.match_score < at)])
            yield from (_Frame(box, colour, _DOTTED) for box in found.boxes[over & ~found.hit])
            yield from (_Frame(box, colour, _SOLID) for box in found.boxes[over & found.hit])


class _Frame(NamedTuple):
    box: NDArray[np.float32]
    colour: tuple[int, int, int]
    pattern: tuple[int, int]
    thin: bool = False

    def draw(self, pixels: Image, scale: float) -> None:
        """In place, on a black one that is a little wider, so that it shows on any ground."""
        line = 1 if self.thin else max(round(min(pixels.shape[:2]) / 250), 2)
        (x1, y1), (x2, y2) = np.rint(self.box.reshape(2, 2) * scale).astype(int).tolist()
        corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)])
        dash, gap = (length * line for length in self.pattern)
        for wide, ink in ((line + (1 if self.thin else 2), _BLACK), (line, self.colour)):
            for a, b in pairwise(corners):
                for start, end in _strokes(a, b, dash, gap):
                    cv2.line(pixels, start.tolist(), end.tolist(), ink, wide)


def _looked(
    findings: EvaluationResult,
    image: LabelledImage,
    types: list[ObjectType],
    anonymizer: Anonymizer,
    cache: DetectionCache,
) -> Detections:
    """All that was found, from the cache."""
    keys = anonymizer.store.keys(types)
    for each in types:
        if keys[each] != findings.keys[each]:
            raise ValueError(
                f"The findings of {each.words}s are of {findings.keys[each]}, but the anonymizer has {keys[each]}."
            )
    looked = analyse([image], anonymizer, types, findings.format, cache=cache, problems=Problems(), progress=False)
    return Detections.merge(looked.found[each][0].detections for each in types)


def _options(options: Options, thresholds: Thresholds, method: Method) -> Options:
    changed: dict[str, Any] = {f"{each.value.replace('-', '_')}_threshold": value for each, value in thresholds.items()}
    return replace(options, method=method, **changed)


def _strokes(
    a: NDArray[np.int_], b: NDArray[np.int_], dash: int, gap: int
) -> Iterator[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """The parts of one side that are drawn, each from (x, y) to (x, y)."""
    count = max(round(int(np.abs(b - a).max()) / (dash + gap)), 1) if gap else 1
    for number in range(count):
        ends = np.array([[number], [number + dash / (dash + gap)]]) / count
        start, end = np.rint(a + (b - a) * ends).astype(int)
        yield start, end
