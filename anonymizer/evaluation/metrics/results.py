"""What models found in a labelled set, judged: every figure at every threshold, without looking again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.matching import SIZES, size_groups
from anonymizer.evaluation.metrics.statistics import Interval, interval
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.formats import Format
from anonymizer.pipeline.options.options import Options

__all__ = ["Curve", "EvaluationResult", "TypeResult"]


@dataclass(frozen=True)
class Curve:
    """Figures at rising thresholds, each (k,) float64; not a number where there is nothing to divide by.

    Attributes:
        recall: share of the objects that were found.
        precision: share of the detections that are objects.
        false_blurs: detections that are no object, a picture.
        leak_rate: share of the objects of which more than a tenth of the pixels stays visible.
        over_redaction: share of all pixels that is changed without need.
    """

    thresholds: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    f1: NDArray[np.float64]
    false_blurs: NDArray[np.float64]
    leak_rate: NDArray[np.float64]
    over_redaction: NDArray[np.float64]


@dataclass(frozen=True)
class TypeResult:
    """What was found of one type: pictures, objects and detections as arrays side by side.

    Attributes:
        places: (p,) places in `Findings.images` of the pictures in which the type is labelled completely.
        pixels: (p,) of each picture.
        object_picture: (n,) index into `places` of each object that counts.
        object_boxes: (n, 4) float32.
        match_score: (n,) the highest threshold at which the object is found, -1 where no detection fits.
        cover_score: (n,) the highest threshold at which its pixels are covered, -1 where it leaks at any.
        picture: (m,) index into `places` of each detection that counts; those of ignored objects do not.
        boxes: (m, 4) float32.
        scores: (m,) float32.
        hit: (m,) bool, whether it is an object.
        excess: (k, 3) float64: index into `places`, threshold, pixels changed without need from there down.
    """

    object_type: ObjectType
    image_indices: NDArray[np.intp]
    pixels: NDArray[np.float64]
    object_picture: NDArray[np.intp]
    object_boxes: NDArray[np.float32]
    match_score: NDArray[np.float32]
    cover_score: NDArray[np.float32]
    picture: NDArray[np.intp]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    hit: NDArray[np.bool_]
    excess: NDArray[np.float64]

    @property
    def pictures(self) -> int:
        return len(self.image_indices)

    @property
    def objects(self) -> int:
        return len(self.match_score)

    @property
    def sizes(self) -> NDArray[np.intp]:
        """(n,) the group of each object by its shorter side, as index into `SIZES`."""
        return size_groups(self.object_boxes)

    def curve(self, thresholds: ArrayLike | None = None) -> Curve:
        """All figures at each threshold; at 101 from 0 to 1 without."""
        at = np.linspace(0, 1, 101) if thresholds is None else np.asarray(thresholds, float)
        found, covered = _reach(self.match_score, at), _reach(self.cover_score, at)
        hits, all_of = _reach(self.scores[self.hit], at), _reach(self.scores, at)
        order = np.argsort(-self.excess[:, 1], kind="stable")
        added = np.concatenate([[0.0], np.cumsum(self.excess[order, 2])])
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = found / np.float64(self.objects)
            precision = hits / all_of
            return Curve(
                thresholds=at,
                recall=recall,
                precision=precision,
                f1=2 * precision * recall / (precision + recall),
                false_blurs=(all_of - hits) / np.float64(self.pictures),
                leak_rate=1 - covered / np.float64(self.objects),
                over_redaction=added[_reach(self.excess[:, 1], at).astype(int)] / self.pixels.sum(),
            )

    def by_picture(self, values: ArrayLike, of: str = "object") -> NDArray[np.float64]:
        """(p,) the sum of a value over the objects, or the detections, of each picture."""
        index = self.object_picture if of == "object" else self.picture
        return np.bincount(index, np.asarray(values, float), minlength=self.pictures).astype(float)

    def recall(self, threshold: float, *, size: int | None = None, confidence: float = 0.95) -> Interval:
        """Share of the objects that are found, with a bootstrap interval over pictures.

        Args:
            size: only objects of this group, an index into `SIZES`.
        """
        chosen = self._chosen(size)
        return interval(
            self.by_picture((self.match_score >= threshold) & chosen), self.by_picture(chosen), confidence=confidence
        )

    def leak_rate(self, threshold: float, *, size: int | None = None, confidence: float = 0.95) -> Interval:
        """Share of the objects of which more than a tenth of the pixels stays visible, with an interval."""
        chosen = self._chosen(size)
        leaks = self.by_picture((self.cover_score < threshold) & chosen)
        return interval(leaks, self.by_picture(chosen), confidence=confidence)

    def false_blurs(self, threshold: float, *, confidence: float = 0.95) -> Interval:
        """Detections that are no object, a picture, with an interval."""
        wrong = self.by_picture((self.scores >= threshold) & ~self.hit, "detection")
        return interval(wrong, np.ones(self.pictures), confidence=confidence)

    def over_redaction(self, threshold: float, *, confidence: float = 0.95) -> Interval:
        """Share of all pixels that is changed without need, with an interval."""
        rows = self.excess[self.excess[:, 1] >= threshold]
        pixels = np.bincount(rows[:, 0].astype(int), rows[:, 2], minlength=self.pictures)
        return interval(pixels, self.pixels, confidence=confidence)

    def size_counts(self) -> dict[int, int]:
        """How many objects there are of each group by size that occurs."""
        counts = np.bincount(self.sizes, minlength=len(SIZES))
        return {size: int(count) for size, count in enumerate(counts) if count}

    def of_pictures(self, kept: ArrayLike) -> TypeResult:
        """Only some pictures.

        Args:
            kept: (p,) bool.
        """
        kept = np.asarray(kept, bool)
        new = np.cumsum(kept) - 1
        of_object, of_found = kept[self.object_picture], kept[self.picture]
        rows = self.excess[kept[self.excess[:, 0].astype(int)]]
        excess = np.column_stack([new[rows[:, 0].astype(int)], rows[:, 1:]])
        return TypeResult(
            self.object_type,
            self.image_indices[kept],
            self.pixels[kept],
            new[self.object_picture[of_object]],
            self.object_boxes[of_object],
            self.match_score[of_object],
            self.cover_score[of_object],
            new[self.picture[of_found]],
            self.boxes[of_found],
            self.scores[of_found],
            self.hit[of_found],
            excess.reshape(-1, 3),
        )

    def _chosen(self, size: int | None) -> NDArray[np.bool_]:
        return np.ones(self.objects, bool) if size is None else self.sizes == size


@dataclass(frozen=True)
class EvaluationResult:
    """What models find in a labelled set.

    Attributes:
        name: of the models, as people call them.
        images: of the set, those too that could not be read.
        types: by object type, for those that are labelled in at least one picture and that the models serve.
        keys: by object type, the models that looked (`ModelStore.keys`).
        problems: of the set, and of reading its pictures.
        segment: persons and vehicles were judged by the outlines that the service would redact, not by their boxes.
    """

    name: str
    set_name: str
    images: tuple[LabelledImage, ...]
    types: Mapping[ObjectType, TypeResult]
    keys: Mapping[ObjectType, str]
    format: Format
    options: Options
    problems: Problems = field(default_factory=Problems, compare=False)
    segment: bool = False

    def __getitem__(self, object_type: ObjectType) -> TypeResult:
        return self.types[object_type]


def _reach(values: NDArray[np.float32] | NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k,) how many values reach each threshold."""
    ordered = np.sort(values.astype(np.float32))
    return (len(ordered) - np.searchsorted(ordered, at.astype(np.float32), side="left")).astype(float)
