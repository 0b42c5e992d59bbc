"""Corrections of reviewers become labels: the real pipeline and a real review, with a detector that is passed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from anonymizer.evaluation import choose_thresholds, evaluate_detections
from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.exchange.pictures import of_labelled_set, of_metadata
from anonymizer.evaluation.exchange.regions import regions_of
from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.service.labels.finished import finished_pictures
from tests.fakes import FakeDetector
from tests.service.reviewing.test_reviews import done, reviewed, rows

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_a_reviewer_left_is_the_labelled_set(upload: Any, detector: FakeDetector, tmp_path: Path) -> None:
    task, other = done(upload), done(upload)
    assert list(finished_pictures(reviewed=True)) == [] and len(list(finished_pictures())) == 2
    found = {row["type_label"]: row["bbox"] for row in rows(task)}
    # labels of another tool come as regions, which a review takes as they are
    corrected = of_metadata({"filename": "x", "size": [9, 9], "detections": [
        {"type_label": "face", "bbox": [200, 150, 230, 200], "score": 1}
    ]})  # fmt: skip
    task = reviewed(task, add=regions_of(corrected), drop=[{"id": 0}])
    call_command("labels", "from-reviews", "--output", str(tmp_path / "set"))
    labelled = LabelledSet.read(tmp_path / "set")
    (image,) = labelled.images
    assert image.path.name.startswith(str(task.pk)) and str(other.pk) not in image.path.name
    assert image.objects[ObjectType.FACE].boxes.tolist() == [[200, 150, 230, 200]]
    assert image.objects[ObjectType.LICENSE_PLATE].boxes.tolist() == [found["license-plate"]]
    # and the set is one that thresholds are chosen on
    plate = Detections([found["license-plate"]], [0.8], [ObjectType.LICENSE_PLATE.number], ["any"])
    cache = DetectionCache(tmp_path / "cache.sqlite3")
    (choice,) = choose_thresholds(evaluate_detections(labelled, {0: plate}, cache=cache, progress=False), 0.9)
    assert (choice.object_type, choice.objects, choice.recall.value) == (ObjectType.LICENSE_PLATE, 1, 1.0)
    assert next(of_labelled_set(labelled)).name == image.path.name
