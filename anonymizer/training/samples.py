"""The pictures that the own detector learns from, and all that is known of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.datasets.issues import ProblemKind
from anonymizer.evaluation.metrics.matching import overlaps
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["Sample", "Targets", "read_samples"]

#: what is larger is scaled down when it is read
LARGEST_SIDE = 800
#: a teacher's detections are objects from this score on; below, nothing is learnt where they are
SURE = {
    ObjectType.FACE: 0.60,
    ObjectType.LICENSE_PLATE: 0.55,
    ObjectType.PERSON: 0.45,
    ObjectType.VEHICLE: 0.45,
}


@dataclass(frozen=True)
class Targets:
    """The objects of one picture.

    Attributes:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels.
        types: (n,) int64, index into `OBJECT_TYPES`.
        ignored: (n,) bool; nothing is learnt where these are.
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
        return cls(
            np.concatenate([each.boxes for each in parts] or [np.zeros((0, 4), np.float32)]),
            np.concatenate([each.types for each in parts] or [np.zeros(0, np.int64)]),
            np.concatenate([each.ignored for each in parts] or [np.zeros(0, bool)]),
        )


@dataclass(frozen=True)
class Sample:
    """A picture to learn from.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        silent: (4,) bool by `OBJECT_TYPES`; of these types the picture teaches nothing but the objects that it gives.
    """

    pixels: NDArray[np.uint8]
    targets: Targets
    unlabelled: NDArray[np.bool_]
    source: str


def read_samples(
    labelled: Path | LabelledSet, teachers: Path | None = None, *, limit: int | None = None, progress: bool = True
) -> list[Sample]:
    """Every picture of a labelled set, decoded. One that cannot be read is added to the set's problems and left out.

    Args:
        labelled: a set, or the file of one (`LabelledSet.read`).
        teachers: what `anonymizer.training.teachers` wrote; without, types that are not labelled carry no loss.
        limit: only so many pictures, spread over the set.
        progress: show a bar.

    Raises:
        OSError, ValueError: a file is missing or is not what it should be.
    """
    whole = LabelledSet.read(labelled) if isinstance(labelled, Path) else labelled
    images = whole.images
    if limit is not None:
        images = images[:: max(1, len(images) // limit)][:limit]
    taught: dict[str, list[list[float]]] = json.loads(teachers.read_text()) if teachers else {}
    samples = []
    for each in tqdm(images, desc="reading", unit="picture", mininterval=5, disable=not progress):
        try:
            pixels = each.pixels()
        except ValueError as error:
            whole.problems.add(ProblemKind.PICTURE_BROKEN, str(each.path), str(error))
            continue
        samples.append(_sample(each, pixels, taught.get(str(each.id))))
    return samples


def _sample(image: LabelledImage, pixels: NDArray[np.uint8], taught: list[list[float]] | None) -> Sample:
    scale = min(1.0, LARGEST_SIDE / max(pixels.shape[:2]))
    if scale < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    known = Targets.merge(
        [
            Targets(each.boxes, np.full(len(each.boxes), object_type.number, np.int64), each.ignored)
            for object_type, each in image.objects.items()
        ]
    )
    targets = known if taught is None else Targets.merge([known, _new(taught, image, known)])
    unlabelled = np.array([taught is None and each not in image.labelled for each in OBJECT_TYPES])
    return Sample(pixels, Targets(targets.boxes * scale, targets.types, targets.ignored), unlabelled, image.source)


def _new(taught: list[list[float]], image: LabelledImage, known: Targets) -> Targets:
    """What the teachers found of types that are not labelled, less what is known anyway."""
    rows = np.array(taught, np.float32).reshape(-1, 6)
    types = rows[:, 0].astype(np.int64)
    sure = np.array([SURE[each] for each in OBJECT_TYPES], np.float32)[types] <= rows[:, 5]
    labelled = np.array([each in image.labelled for each in OBJECT_TYPES])
    wanted = ~labelled[types]
    for row in np.flatnonzero(wanted):
        same = known.types == types[row]
        wanted[row] = not (overlaps(rows[row, 1:5], known.boxes[same]) > 0.5).any()
    return Targets(rows[:, 1:5], types, ~sure)[wanted]
