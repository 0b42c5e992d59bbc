"""An evaluation of three images, with a few hits and a few errors.

Faces and persons are labelled in all images, license plates only in the last one. There are no persons.

- 0: faces at `FIRST`, detected with .9, and at `SECOND`, detected with .3
- 1: faces at `FIRST`, detected with .9, and at `NEVER`, not detected; a false detection at `SECOND` with .3
- 2: false faces at `FIRST` with .9 and at `SECOND` with .3; a license plate at `PLATE`, detected with .7
"""

from __future__ import annotations

from pathlib import Path

from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Options
from tests.evaluation.found import NamedStore, Row, evaluate_pictures

FACE, PLATE_TYPE, PERSON = ObjectType.FACE, ObjectType.LICENSE_PLATE, ObjectType.PERSON

FIRST, SECOND, NEVER, PLATE = (20, 20, 60, 70), (100, 50, 140, 90), (150, 5, 190, 45), (70, 10, 100, 25)

_FACES: list[Row] = [(*FIRST, 0.9), (*SECOND, 0.3)]
_NONE: tuple[list[Row], list[Row]] = ([], [])


def made(folder: Path, name: str = "fake") -> EvaluationResult:
    """The result of `evaluate` for these images."""
    pictures = (
        {FACE: ([FIRST, SECOND], _FACES), PERSON: _NONE},
        {FACE: ([FIRST, NEVER], _FACES), PERSON: _NONE},
        {FACE: ([], _FACES), PLATE_TYPE: ([PLATE], [(*PLATE, 0.7)]), PERSON: _NONE},
    )
    return evaluate_pictures(folder, pictures, name=name, options=Options())


def models_and_cache(folder: Path, name: str = "fake") -> tuple[Anonymizer, DetectionCache]:
    """The models, and the cache with their detections."""
    return Anonymizer(store=NamedStore(name)), DetectionCache(folder / "cache.sqlite3")
