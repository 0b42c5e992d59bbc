"""Training samples of the own detector: images with their known objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.datasets.issues import ProblemKind
from anonymizer.evaluation.metrics.matching import overlaps
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["Sample", "Targets", "add_turned", "read_samples"]

#: Images with a longer side are scaled down when they are read, in pixels.
LARGEST_SIDE = 800
#: From this score on, a detection of a teacher counts as an object. With a lower score its place is ignored.
SURE = {
    ObjectType.FACE: 0.60,
    ObjectType.LICENSE_PLATE: 0.55,
    ObjectType.PERSON: 0.45,
    ObjectType.VEHICLE: 0.45,
}


@dataclass(frozen=True)
class Targets:
    """The objects of one image.

    Attributes:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels.
        types: (n,) int64, index into `OBJECT_TYPES`.
        ignored: (n,) bool; places of ignored objects carry no loss.
    """

    boxes: NDArray[np.float32]
    types: NDArray[np.int64]
    ignored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: NDArray[np.bool_]) -> Targets:
        return Targets(self.boxes[index], self.types[index], self.ignored[index])

    @classmethod
    def merge(cls, parts: Sequence[Targets]) -> Targets:
        """Concatenate the objects of several parts.

        Args:
            parts: any number of targets in the same coordinates.
        """
        return cls(
            np.concatenate([part.boxes for part in parts] or [np.zeros((0, 4), np.float32)]),
            np.concatenate([part.types for part in parts] or [np.zeros(0, np.int64)]),
            np.concatenate([part.ignored for part in parts] or [np.zeros(0, bool)]),
        )


@dataclass(frozen=True, repr=False)
class Sample:
    """An image to learn from.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        targets: the known objects.
        unlabelled: (4,) bool by `OBJECT_TYPES`, the types that are not completely labelled. For these types, only the
            known objects carry a loss.
        source: the name of the data source.
    """

    pixels: NDArray[np.uint8]
    targets: Targets
    unlabelled: NDArray[np.bool_]
    source: str

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        counts = np.bincount(self.targets.types[~self.targets.ignored], minlength=len(OBJECT_TYPES))
        objects = ", ".join(f"{count} {each.value}" for each, count in zip(OBJECT_TYPES, counts, strict=True) if count)
        return f"Sample({width} x {height} pixels, {objects or 'no objects'}, source {self.source!r})"


def read_samples(
    labelled: Path | LabelledSet,
    teachers: Path | None = None,
    *,
    without: Sequence[str] = (),
    limit: int | None = None,
    progress: bool = True,
) -> list[Sample]:
    """Read the images of a labelled set.

    An image that cannot be read is added to the problems of the set and left out.

    Args:
        labelled: a set, or the file of one (`LabelledSet.read`).
        teachers: the JSON file of pseudo-labels that `python -m anonymizer.training.teachers` wrote; default: none, so
            that types that are not labelled carry no loss.
        without: names of sources that are left out; default: none.
        limit: the most images, evenly spread over the set; default: all.
        progress: show a progress bar; default: True.

    Returns:
        One sample for each image.

    Raises:
        OSError, ValueError: a file is missing or invalid.
    """
    whole = LabelledSet.read(labelled) if isinstance(labelled, Path) else labelled
    sources = {image.source for image in whole.images}
    if unknown := set(without) - sources:
        raise ValueError(f"without has {sorted(unknown)}, but the sources of the set are {sorted(sources)}.")
    images = [image for image in whole.images if image.source not in without]
    if limit is not None:
        images = images[:: max(1, len(images) // limit)][:limit]
    pseudo_labels: dict[str, list[list[float]]] = json.loads(teachers.read_text()) if teachers else {}
    samples = []
    for image in tqdm(images, desc="reading", unit="picture", mininterval=5, disable=not progress):
        try:
            pixels = image.pixels()
        except ValueError as error:
            whole.problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), str(error))
            continue
        samples.append(_make_sample(image, pixels, pseudo_labels.get(str(image.id))))
    return samples


def add_turned(samples: Sequence[Sample], share: float, rng: np.random.Generator) -> list[Sample]:
    """Add copies of some samples that are turned by 90, 180 or 270 degrees.

    Args:
        samples: the samples; they are not changed.
        share: the share 0..1 of the samples that get a copy.
        rng: makes all random decisions.

    Returns:
        The samples, and the copies after them.
    """
    chosen = [sample for sample in samples if rng.random() < share]
    return [*samples, *(_turned(sample, int(rng.integers(1, 4))) for sample in chosen)]


def _turned(sample: Sample, quarters: int) -> Sample:
    """A sample turned by quarters of a circle, counter-clockwise."""
    height, width = sample.pixels.shape[:2]
    boxes = sample.targets.boxes
    for _ in range(quarters):
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([y1, width - x2, y2, width - x1], 1)
        height, width = width, height
    pixels = np.ascontiguousarray(np.rot90(sample.pixels, quarters))
    targets = Targets(boxes.astype(np.float32), sample.targets.types, sample.targets.ignored)
    return replace(sample, pixels=pixels, targets=targets)


def _make_sample(image: LabelledImage, pixels: NDArray[np.uint8], pseudo_labels: list[list[float]] | None) -> Sample:
    scale = min(1.0, LARGEST_SIDE / max(pixels.shape[:2]))
    if scale < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    known = Targets.merge(
        [
            Targets(objects.boxes, np.full(len(objects.boxes), object_type.number, np.int64), objects.ignored)
            for object_type, objects in image.objects.items()
        ]
    )
    targets = known if pseudo_labels is None else Targets.merge([known, _new_targets(pseudo_labels, image, known)])
    unlabelled = np.array([pseudo_labels is None and each not in image.labelled for each in OBJECT_TYPES])
    return Sample(pixels, Targets(targets.boxes * scale, targets.types, targets.ignored), unlabelled, image.source)


def _new_targets(pseudo_labels: list[list[float]], image: LabelledImage, known: Targets) -> Targets:
    """The pseudo-labels of types that are not labelled, without objects that are already known."""
    rows = np.array(pseudo_labels, np.float32).reshape(-1, 6)
    types = rows[:, 0].astype(np.int64)
    sure = np.array([SURE[each] for each in OBJECT_TYPES], np.float32)[types] <= rows[:, 5]
    labelled = np.array([each in image.labelled for each in OBJECT_TYPES])
    wanted = ~labelled[types]
    for row in np.flatnonzero(wanted):
        same = known.types == types[row]
        wanted[row] = not (overlaps(rows[row, 1:5], known.boxes[same]) > 0.5).any()
    return Targets(rows[:, 1:5], types, ~sure)[wanted]
