"""What the actors of `evaluate --ray` detect, without a cluster: the same as the evaluation itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from anonymizer.bulk.detection import DetectionWorker, _image
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.images.io import load_image
from anonymizer.pipeline.options.formats import Auto
from tests.bulk.conftest import make_fast
from tests.pictures import encoded


def test_an_actor_detects_what_the_engine_does_and_leaves_broken_images_out(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded())
    (tmp_path / "broken.jpg").write_bytes(encoded()[:900])
    types = [ObjectType.FACE, ObjectType.LICENSE_PLATE]
    worker = DetectionWorker(make_fast, types, Auto(), 1)
    rows = worker(pa.table({"path": [str(tmp_path / "a.jpg"), str(tmp_path / "broken.jpg")]}))
    (found,) = map(_image, rows.to_pylist())
    image = load_image(tmp_path / "a.jpg")
    (expected,) = make_fast().engine.detect_images([image], types, Auto())
    assert found.path == tmp_path / "a.jpg" and found.size_hw == image.shape[:2]
    assert len(found.detections) == len(expected) > 0
    for name in ("boxes", "scores", "types", "models"):
        assert np.array_equal(getattr(found.detections, name), getattr(expected, name)), name
