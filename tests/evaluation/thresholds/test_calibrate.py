"""Scores that mean something: chances that come true, in the order of the scores."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.thresholds.calibrate import fit_calibration, reliability_error, write_calibration
from anonymizer.pipeline.detection.calibration import Calibration
from anonymizer.pipeline.detections import ObjectType


def found(count: int, seed: int) -> list[tuple[float, bool]]:
    """Detections whose scores are too low: a score of s comes true with a chance of sqrt(s)."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.7, 1.5, count)
    return list(zip(scores.tolist(), (rng.random(count) < scores**0.5).tolist(), strict=True))


def test_chances_come_true_on_other_detections() -> None:
    calibration, others = fit_calibration(found(2000, 1)), found(2000, 2)
    assert reliability_error(others) > 0.15
    assert reliability_error(others, calibration) < 0.05


def test_the_order_of_the_scores_is_kept() -> None:
    calibration = fit_calibration(found(500, 3))
    chances = calibration(np.linspace(0, 1, 200, dtype=np.float32))
    assert (np.diff(chances) > 0).all()
    assert chances[0] == 0
    assert chances[-1] == 1


@pytest.mark.parametrize("rows", [[], [(0.5, True)] * 49, [(0.5, False)] * 200])
def test_too_little_is_said(rows: list[tuple[float, bool]]) -> None:
    with pytest.raises(ValueError, match="too few"):
        fit_calibration(rows)


@pytest.mark.parametrize("knots", [[[0.1, 0.2]], [[0.1, 0.2], [0.1, 0.3]], [[0.1, 0.2], [0.5, 0.1]], [[0, 0], [1, 2]]])
def test_what_is_no_calibration_is_refused(knots: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration.read(knots)


def test_it_is_written_into_its_model_and_no_other(tmp_path: Path) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text('# head\n[[model]]\nid = "a"\nfile = "x"\n\n# between\n[[model]]\nid = "b"\nfile = "y"\n')
    for knots in ([[0, 0], [1, 0.5]], [[0, 0], [0.25, 0.125], [1, 1]]):
        write_calibration(registry, "a", {ObjectType.LICENSE_PLATE: Calibration.read(knots)})
        first, second = tomllib.loads(registry.read_text())["model"]
        assert first == {"id": "a", "file": "x", "calibration": {"license-plate": knots}}
        assert second == {"id": "b", "file": "y"}
    assert "# between" in registry.read_text()
    with pytest.raises(ValueError, match="'c'"):
        write_calibration(registry, "c", {})
