"""The result of an evaluation: every figure at every threshold, computed without running a model again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anonymizer._html import html_table
from anonymizer._text import text_table
from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.matching import SIZES, size_groups
from anonymizer.evaluation.metrics.statistics import METHOD_NOTE, Interval, interval
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.formats import Format
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.data_frames import data_frame

if TYPE_CHECKING:
    import pandas

__all__ = ["Curve", "EvaluationResult", "TypeResult"]

_COLUMNS = ("type", "images", "objects", "threshold", "recall", "leak rate", "false blurs an image")
_CURVE_COLUMNS = ("threshold", "recall", "precision", "leak rate", "false blurs an image")
#: thresholds that a notebook shows for one type
_SHOWN_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Curve:
    """Figures at k thresholds.

    A figure is NaN if there is nothing to divide by, for example recall without objects.

    Attributes:
        thresholds: (k,) float64, 0..1.
        recall: (k,) float64, 0..1, the share of the objects that are detected.
        precision: (k,) float64, 0..1, the share of the detections that are objects.
        f1: (k,) float64, 0..1, the harmonic mean of precision and recall.
        false_blurs: (k,) float64, how many detections an image are no object.
        leak_rate: (k,) float64, 0..1, the share of the objects of which more than 10% of the pixels stay visible.
        over_redaction: (k,) float64, 0..1, the share of all pixels that are changed unnecessarily.
    """

    thresholds: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    f1: NDArray[np.float64]
    false_blurs: NDArray[np.float64]
    leak_rate: NDArray[np.float64]
    over_redaction: NDArray[np.float64]

    def to_pandas(self) -> pandas.DataFrame:
        """Convert to a `pandas.DataFrame` with a row for each threshold; needs the package `pandas`."""
        names = [each.name for each in fields(self)]
        return data_frame(names, np.column_stack([getattr(self, name) for name in names]).tolist())

    def __repr__(self) -> str:
        if not len(self.thresholds):
            return "Curve(no thresholds)"
        return f"Curve({len(self.thresholds)} thresholds from {self.thresholds.min():g} to {self.thresholds.max():g})"

    def _repr_html_(self) -> str:
        at = np.unique(np.linspace(0, len(self.thresholds) - 1, min(len(self.thresholds), 11)).round().astype(int))
        values = (self.thresholds, self.recall, self.precision, self.leak_rate, self.false_blurs)
        return html_table(_CURVE_COLUMNS, [[float(column[row]) for column in values] for row in at], title=repr(self))


@dataclass(frozen=True)
class TypeResult:
    """What was detected of one object type, as parallel arrays over images, objects and detections.

    Attributes:
        object_type: the type.
        image_indices: (p,) indices into `EvaluationResult.images` of the images in which the type is fully labelled.
        pixels: (p,) float64, the number of pixels of each image.
        object_picture: (n,) for each object, an index into `image_indices`. Ignored objects are left out.
        object_boxes: (n, 4) float32, x1, y1, x2, y2 in pixels.
        match_score: (n,) float32, the highest threshold at which the object is detected; -1 if no detection matches.
        cover_score: (n,) float32, the highest threshold at which the object is covered; -1 if it leaks at any.
        picture: (m,) for each detection, an index into `image_indices`. Detections of ignored objects are left out.
        boxes: (m, 4) float32, the detected boxes, x1, y1, x2, y2 in pixels.
        scores: (m,) float32, 0..1.
        hit: (m,) bool, whether the detection matches an object.
        excess: (k, 3) float64. Each row holds an index into `image_indices`, a threshold, and how many more pixels are
            changed unnecessarily at that threshold and below.
        ignored_picture: (i,) for each detection of an ignored object, an index into `image_indices`.
        ignored_boxes: (i, 4) float32, the boxes of these detections. Average precision at other overlaps needs them.
        ignored_scores: (i,) float32, 0..1.
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
    ignored_picture: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    ignored_boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    ignored_scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def pictures(self) -> int:
        """The number of images in which the type is fully labelled."""
        return len(self.image_indices)

    @property
    def objects(self) -> int:
        """The number of objects, without ignored ones."""
        return len(self.match_score)

    @property
    def sizes(self) -> NDArray[np.intp]:
        """(n,) the size group of each object: an index into `SIZES`, by the shorter side of its box."""
        return size_groups(self.object_boxes)

    def curve(self, thresholds: ArrayLike | None = None) -> Curve:
        """Compute all figures at several thresholds.

        Args:
            thresholds: (k,) 0..1; default: 101 thresholds from 0 to 1.

        Returns:
            The figures at each threshold.
        """
        at = np.linspace(0, 1, 101) if thresholds is None else np.asarray(thresholds, float)
        detected, covered = _count_reaching(self.match_score, at), _count_reaching(self.cover_score, at)
        hits, detections = _count_reaching(self.scores[self.hit], at), _count_reaching(self.scores, at)
        order = np.argsort(-self.excess[:, 1], kind="stable")
        total_excess = np.concatenate([[0.0], np.cumsum(self.excess[order, 2])])
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = detected / np.float64(self.objects)
            precision = hits / detections
            return Curve(
                thresholds=at,
                recall=recall,
                precision=precision,
                f1=2 * precision * recall / (precision + recall),
                false_blurs=(detections - hits) / np.float64(self.pictures),
                leak_rate=1 - covered / np.float64(self.objects),
                over_redaction=total_excess[_count_reaching(self.excess[:, 1], at).astype(int)] / self.pixels.sum(),
            )

    def by_picture(self, values: ArrayLike, of: str = "object") -> NDArray[np.float64]:
        """Sum a value over the objects, or the detections, of each image.

        Args:
            values: (n,) one value for each object, or (m,) one for each detection.
            of: "object" or "detection".

        Returns:
            (p,) float64, one sum for each image.
        """
        index = self.object_picture if of == "object" else self.picture
        return np.bincount(index, np.asarray(values, float), minlength=self.pictures).astype(float)

    def all_detections(self, picture: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Get every detection in an image, also those of ignored objects.

        Args:
            picture: an index into `image_indices`.

        Returns:
            (k, 4) float32 boxes, x1, y1, x2, y2 in pixels, and (k,) float32 scores, 0..1, by falling score.
        """
        counted, ignored = self.picture == picture, self.ignored_picture == picture
        boxes = np.concatenate([self.boxes[counted], self.ignored_boxes[ignored]])
        scores = np.concatenate([self.scores[counted], self.ignored_scores[ignored]])
        order = np.argsort(-scores, kind="stable")
        return boxes[order], scores[order]

    def recall(self, threshold: float, *, size: int | None = None, confidence: float = 0.95) -> Interval:
        """Compute the share of the objects that are detected, and its interval (`statistics.interval`).

        Args:
            threshold: 0..1.
            size: count only objects of this size group, an index into `SIZES`; default: all sizes.
            confidence: of the interval, 0..1.

        Returns:
            The share and its interval; NaN without objects.
        """
        selected = self._of_size(size)
        hits = self.by_picture((self.match_score >= threshold) & selected)
        return interval(hits, self.by_picture(selected), confidence=confidence)

    def leak_rate(self, threshold: float, *, size: int | None = None, confidence: float = 0.95) -> Interval:
        """Compute the share of the objects that leak, and its interval (`statistics.interval`).

        An object leaks if more than 10% of its pixels stay visible.

        Args:
            threshold: 0..1.
            size: count only objects of this size group, an index into `SIZES`; default: all sizes.
            confidence: of the interval, 0..1.

        Returns:
            The share and its interval; NaN without objects.
        """
        selected = self._of_size(size)
        leaks = self.by_picture((self.cover_score < threshold) & selected)
        return interval(leaks, self.by_picture(selected), confidence=confidence)

    def false_blurs(self, threshold: float, *, confidence: float = 0.95) -> Interval:
        """Compute how many detections an image are no object, and the interval of this mean (`statistics.interval`).

        Args:
            threshold: 0..1.
            confidence: of the interval, 0..1.
        """
        wrong = self.by_picture((self.scores >= threshold) & ~self.hit, "detection")
        return interval(wrong, np.ones(self.pictures), confidence=confidence, counts=True)

    def over_redaction(self, threshold: float, *, confidence: float = 0.95) -> Interval:
        """Compute the share of all pixels that are changed unnecessarily, and its interval (`statistics.interval`).

        Args:
            threshold: 0..1.
            confidence: of the interval, 0..1.
        """
        rows = self.excess[self.excess[:, 1] >= threshold]
        pixels = np.bincount(rows[:, 0].astype(int), rows[:, 2], minlength=self.pictures)
        return interval(pixels, self.pixels, confidence=confidence)

    def size_counts(self) -> dict[int, int]:
        """Count the objects of each size group (an index into `SIZES`); empty groups are left out."""
        counts = np.bincount(self.sizes, minlength=len(SIZES))
        return {size: int(count) for size, count in enumerate(counts) if count}

    def of_pictures(self, kept: ArrayLike) -> TypeResult:
        """Get the result on some of the images.

        Args:
            kept: (p,) bool, one value for each of `image_indices`.

        Returns:
            A new result with only these images.
        """
        kept = np.asarray(kept, bool)
        new = np.cumsum(kept) - 1
        objects, detections, ignored = kept[self.object_picture], kept[self.picture], kept[self.ignored_picture]
        rows = self.excess[kept[self.excess[:, 0].astype(int)]]
        excess = np.column_stack([new[rows[:, 0].astype(int)], rows[:, 1:]])
        return TypeResult(
            self.object_type,
            self.image_indices[kept],
            self.pixels[kept],
            new[self.object_picture[objects]],
            self.object_boxes[objects],
            self.match_score[objects],
            self.cover_score[objects],
            new[self.picture[detections]],
            self.boxes[detections],
            self.scores[detections],
            self.hit[detections],
            excess.reshape(-1, 3),
            new[self.ignored_picture[ignored]],
            self.ignored_boxes[ignored],
            self.ignored_scores[ignored],
        )

    def __repr__(self) -> str:
        return (
            f"TypeResult({self.object_type}: {self.pictures} images, {self.objects} objects, "
            f"{len(self.scores)} detections)"
        )

    def _repr_html_(self) -> str:
        """Show the figures at five thresholds."""
        rows = [
            (at, self.recall(at), precision, self.leak_rate(at), self.false_blurs(at))
            for at, precision in zip(_SHOWN_THRESHOLDS, self.curve(_SHOWN_THRESHOLDS).precision, strict=True)
        ]
        return html_table(_CURVE_COLUMNS, rows, title=repr(self), note=f"In brackets: 95% intervals. {METHOD_NOTE}")

    def _of_size(self, size: int | None) -> NDArray[np.bool_]:
        """(n,) which objects belong to a size group."""
        return np.ones(self.objects, bool) if size is None else self.sizes == size


@dataclass(frozen=True)
class EvaluationResult:
    """The result of evaluating models on a labelled set.

    `print(result)` prints a table of the figures at the thresholds in use; a notebook shows the same table.

    Examples:
        >>> result = evaluate(LabelledSet.read("my-images"), Anonymizer())
        >>> result[ObjectType.FACE].recall(0.5)
        Interval(value=0.947, low=0.921, high=0.966, method=<IntervalMethod.BOOTSTRAP: 'bootstrap'>)

    Attributes:
        name: what tables and plots call the models.
        set_name: the name of the labelled set.
        images: the images of the set, including those that could not be read.
        types: the result of each object type that is labelled in at least one image and that the models detect.
        keys: by object type, which models were used (`ModelStore.keys`).
        format: how images were divided into windows for the detectors.
        options: the options that the figures hold for. Its thresholds are the thresholds in use.
        problems: the problems of the set and of its image files.
        segment: whether persons and vehicles were evaluated with segmentation masks; otherwise with boxes.
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

    def table(self) -> str:
        """Format the figures of each object type at the thresholds in use, with 95% intervals, as plain text."""
        return text_table(_COLUMNS, self._rows())

    def to_pandas(self) -> pandas.DataFrame:
        """Convert to a `pandas.DataFrame` with a row for each object type; needs the package `pandas`.

        Returns:
            The figures at the thresholds in use, each with its 95% interval in the columns `_low` and `_high`. Average
            precision has a table of its own, `precision_by_size(result).to_pandas()`.
        """
        ranges = ("recall", "leak_rate", "false_blurs", "over_redaction")
        names = [f"{name}{end}" for name in ranges for end in ("", "_low", "_high")]
        rows = []
        for object_type, one in self.types.items():
            at = self.options.threshold(object_type)
            figures = [getattr(one, name)(at) for name in ranges]
            precision, f1 = (float(getattr(one.curve([at]), name)[0]) for name in ("precision", "f1"))
            head = (str(object_type), self.name, one.pictures, one.objects, at, precision, f1)
            rows.append([*head, *(value for each in figures for value in (each.value, each.low, each.high))])
        return data_frame(["type", "model", "images", "objects", "threshold", "precision", "f1", *names], rows)

    def __str__(self) -> str:
        return f"{self._title()}\n{self.table()}"

    def __repr__(self) -> str:
        types = ", ".join(f"{object_type}: {one.objects} objects" for object_type, one in self.types.items())
        name, set_name = _shortened(self.name), _shortened(self.set_name)
        return f"EvaluationResult({name!r} on {set_name!r}, {len(self.images)} images, {types or 'no object types'})"

    def _repr_html_(self) -> str:
        note = f"Figures at the thresholds in use. In brackets: 95% intervals. {METHOD_NOTE}"
        if self.problems:
            note += f" The set has {len(self.problems)} problems: print(result.problems)."
        return html_table(_COLUMNS, self._rows(), title=self._title(), note=note)

    def _title(self) -> str:
        return f"{self.name} on {self.set_name or 'a labelled set'}, {len(self.images)} images"

    def _rows(self) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for object_type, one in self.types.items():
            at = self.options.threshold(object_type)
            figures = (one.recall(at), one.leak_rate(at), one.false_blurs(at))
            rows.append((object_type.words, one.pictures, one.objects, at, *figures))
        return rows


def _shortened(name: str) -> str:
    return name if len(name) <= 50 else f"{name[:47]}..."


def _count_reaching(values: NDArray[np.float32] | NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k,) how many values reach each threshold."""
    ordered = np.sort(values.astype(np.float32))
    return (len(ordered) - np.searchsorted(ordered, at.astype(np.float32), side="left")).astype(float)
