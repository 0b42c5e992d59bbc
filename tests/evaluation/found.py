"""Evaluate small images with the detections that a test states: they are put into the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.metrics.detection_cache import CachedDetections, DetectionCache
from anonymizer.evaluation.metrics.evaluate import evaluate
from anonymizer.evaluation.metrics.predictions import detection_key
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from tests.fakes import FakeDetector, FakeStore

Row = tuple[float, ...]
#: by type: the labelled boxes, and the detected boxes with their scores
Picture = Mapping[ObjectType, tuple[Sequence[Row], Sequence[Row]]]

WIDTH, HEIGHT = 200, 100


class NamedStore(FakeStore):
    """A store whose models have a name, so that each name has its own detections in the cache."""

    def __init__(self, name: str) -> None:
        super().__init__(FakeDetector())
        self.name = name

    def keys(self, object_types: Sequence[ObjectType]) -> dict[str, str]:
        return {each.value: f"{self.name}@1" for each in object_types}


def objects(boxes: Sequence[Row], ignored: Sequence[int] = ()) -> Objects:
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.isin(np.arange(len(boxes)), ignored))


def evaluate_pictures(
    folder: Path,
    pictures: Sequence[Picture],
    *,
    name: str = "fake",
    ignored: Mapping[int, Sequence[int]] | None = None,
    **given: Any,
) -> EvaluationResult:
    """Evaluate images `0.png`, `1.png`, ... in a folder. They are created if they do not exist.

    Args:
        folder: for the images and the cache.
        pictures: what is labelled and detected in each image. Types that are not named are not labelled.
        name: of the models; models of another name have other detections in the same images.
        ignored: by image, which of its labelled boxes are ignored; default: none.
        given: other arguments of `evaluate`; default of `options`: no margin and no soft edge.
    """
    given.setdefault("options", Options(margin=0, face_anonymization_gradient_start=0, bbox=True))
    anonymizer, cache = Anonymizer(store=NamedStore(name)), DetectionCache(folder / "cache.sqlite3")
    images = [
        _image(folder, number, of_type, (ignored or {}).get(number, ())) for number, of_type in enumerate(pictures)
    ]
    digests = cache.digests(image.path for image in images)
    for object_type in ObjectType:
        rows = {
            digests[image.path]: CachedDetections((HEIGHT, WIDTH), _detections(of_type[object_type][1], object_type))
            for image, of_type in zip(images, pictures, strict=True)
            if object_type in of_type
        }
        cache.put_detections(detection_key(anonymizer, object_type, given["options"].image_format), rows)
    labelled = LabelledSet(tuple(images), "drawn")
    return evaluate(labelled, anonymizer, name=name, cache=cache, progress=False, **given)


def _image(folder: Path, number: int, of_type: Picture, ignored: Sequence[int]) -> LabelledImage:
    path = folder / f"{number}.png"
    if not path.exists():
        noise = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(path), noise)
    known = {each: objects(of_type[each][0], ignored) if each in of_type else objects([]) for each in ObjectType}
    return LabelledImage(number, path, "drawn", tuple(of_type), known, (HEIGHT, WIDTH))


def _detections(rows: Sequence[Row], object_type: ObjectType) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    n = len(table)
    return Detections(table[:, :4], table[:, 4], np.full(n, object_type.number), np.full(n, "fake"))
