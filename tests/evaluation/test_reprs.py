"""What a notebook and a Python prompt show of evaluation objects: short, and with a table where figures matter."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.metrics.comparison import compare
from anonymizer.evaluation.metrics.confidence_bands import confidence_bands
from anonymizer.evaluation.metrics.leak_coverage import leak_coverage
from anonymizer.evaluation.metrics.matching import DetectionCounts
from anonymizer.evaluation.metrics.predictions import predict
from anonymizer.evaluation.metrics.redaction_strength import random_pattern
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.thresholds.choose import choose_thresholds
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.options.options import Options
from tests.evaluation.made import FACE, made, models_and_cache
from tests.evaluation.sets import coco
from tests.evaluation.tracked import track, tracks

#: what a notebook shows as a table
TABLES = (
    "result", "type result", "curve", "labelled set", "tracks", "problems", "choices", "comparison",
)  # fmt: skip


def shown(folder: Path) -> dict[str, object]:
    """One of each kind."""
    result = made(folder)
    anonymizer, cache = models_and_cache(folder)
    predictions = predict(result.images, anonymizer, [FACE], Whole(), cache=cache, problems=Problems(), progress=False)
    problems = Problems()
    for number in range(200):
        problems.add(ProblemKind.BOX_EMPTY, f"picture {number}", "<b>the box</b> has no area")
    detections: Detections = predictions.detections[FACE][0].detections
    objects = result.images[0].objects[FACE]
    choices = choose_thresholds(result, 0.9)
    return {
        "result": result,
        "type result": result[FACE],
        "curve": result[FACE].curve(),
        "labelled set": LabelledSet.read(coco(folder / "coco", [{"bbox": [1, 2, 10, 12]}] * 30)),
        "tracks": tracks(*(track(range(50), id=number) for number in range(90)), times_s=np.arange(50.0)),
        "problems": problems,
        "choices": choices,
        "comparison": compare(result, made(folder, "other"), FACE),
        "choice": choices[FACE],
        "labelled image": result.images[0],
        "objects": objects,
        "track": track(range(50)),
        "cache": cache,
        "cached detections": predictions.detections[FACE][0],
        "predictions": predictions,
        "leak coverage": leak_coverage(detections, objects, FACE, (100, 200), Options()),
        "bands": confidence_bands(result[FACE], np.linspace(0, 1, 101)),
        "counts": DetectionCounts(0.5, found=[(0.5, True)] * 1000),
        "cutout": random_pattern(64, FACE, 1),
    }


def test_no_object_prints_its_arrays(tmp_path: Path) -> None:
    objects = shown(tmp_path)
    for name, thing in objects.items():
        text = repr(thing)
        assert len(text) < 300, name
        assert "array(" not in text and "\n" not in text, name
        assert text.startswith(type(thing).__name__), name


def test_a_notebook_shows_tables_without_scripts(tmp_path: Path) -> None:
    objects = shown(tmp_path)
    for name in TABLES:
        html = objects[name]._repr_html_()  # type: ignore[attr-defined]
        assert "<table" in html and "<td" in html, name
        assert "<script" not in html and "<b>" not in html, name
        assert len(html) < 20_000, name


def test_a_result_is_printed_as_a_table_with_intervals(tmp_path: Path) -> None:
    result = made(tmp_path)
    first, heads, *rows = str(result).splitlines()
    assert first == "fake on drawn, 3 images"
    assert heads.split("  ")[0] == "type"
    face = next(row for row in rows if row.startswith("face"))
    recall = result[FACE].recall(result.options.threshold(FACE))
    assert str(recall) in face and f"({recall.low:.3f} to " in face
    person = next(row for row in rows if row.startswith("person"))
    assert "nan" not in person and " - " in person, "without objects there is no recall"
    html = result._repr_html_()
    assert str(recall) in html and "license plate" in html


def test_choices_are_tables_and_sentences(tmp_path: Path) -> None:
    choices = choose_thresholds(made(tmp_path), 0.9)
    assert "too few objects" in choices.table()
    assert len(str(choices).splitlines()) == len(list(choices))


def test_nothing_can_be_shown_too() -> None:
    assert repr(LabelledSet((), "empty")) == "LabelledSet('empty', 0 images; objects: no objects)"
    assert repr(Problems()) == "Problems(none)"
    assert "<table" in Problems()._repr_html_()
    assert str(Problems()) == "No problems."
    assert repr(tracks()) == "LabelledTracks('', 0 tracks in 0 frames: no objects)"


def large_result(images: int, objects: int) -> EvaluationResult:
    """Random figures, as many as a large set has."""
    rng = np.random.default_rng(0)
    of_type = {}
    for object_type in ObjectType:
        picture = np.sort(rng.integers(0, images, objects))
        scores = rng.random(objects).astype(np.float32)
        boxes = rng.random((objects, 4)).astype(np.float32)
        of_type[object_type] = TypeResult(
            object_type, np.arange(images), np.full(images, 1e6), picture, boxes, scores, scores, picture, boxes,
            scores, rng.random(objects) < 0.9, np.empty((0, 3)),
        )  # fmt: skip
    keys = dict.fromkeys(of_type, "fake@1")
    return EvaluationResult("model " * 60, "set " * 60, (), of_type, keys, Whole(), Options())


@pytest.mark.parametrize("images", [0, 1400])
def test_a_large_result_is_shown_at_once(images: int) -> None:
    result = large_result(images, 10_000 if images else 0)
    started = time.process_time()
    html = result._repr_html_()
    assert time.process_time() - started < 2, "about 0.3 s on one core"
    assert len(repr(result)) < 500 and "<table" in html
