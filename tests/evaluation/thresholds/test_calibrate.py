"""Scores that mean something: chances that come true, in the order of the scores."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.thresholds.calibrate import (
    MIN_DETECTIONS,
    MIN_OBJECTS,
    fit_calibration,
    fit_calibrations,
    judge_detections,
    reliability_error,
    write_calibrations,
)
from anonymizer.evaluation.thresholds.calibration_fit import (
    JudgedDetections,
    brier_score,
    every_other,
    is_clearly_better,
)
from anonymizer.pipeline.detection.calibration import Calibration, Calibrations
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.images.io import encode_png
from tests.fakes import FakeDetector

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
PARENT = Calibration(((0.0, 0.0), (0.3, 0.05), (0.6, 0.9), (1.0, 1.0)))


def found(count: int, seed: int) -> list[tuple[float, bool]]:
    """Detections whose scores are too low: a score of s comes true with a chance of sqrt(s)."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.7, 1.5, count)
    return list(zip(scores.tolist(), (rng.random(count) < scores**0.5).tolist(), strict=True))


def separable(objects: int, others: int, seed: int) -> list[tuple[float, bool]]:
    """All objects have higher scores than all other detections."""
    rng = np.random.default_rng(seed)
    right, wrong = rng.uniform(0.5, 1, objects), rng.uniform(0.1, 0.5, others)
    return [(score, True) for score in right.tolist()] + [(score, False) for score in wrong.tolist()]


def judged(count: int, seed: int, power: float, *, side: float = 40.0, images: int = 100) -> JudgedDetections:
    """Detections of one size that come true with a chance of score ** power, evenly spread over images."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, count).astype(np.float32)
    hits = rng.random(count) < scores**power
    return JudgedDetections(scores, hits, np.full(count, side, np.float32), np.arange(count) % images)


def test_chances_come_true_on_other_detections() -> None:
    calibration, others = fit_calibration(found(2000, 1)), found(2000, 2)
    assert reliability_error(others) > 0.15
    assert reliability_error(others, calibration) < 0.05


def test_the_order_of_the_scores_is_kept() -> None:
    for parent in (None, PARENT):
        calibration = fit_calibration(found(500, 3), parent=parent)
        chances = calibration(np.linspace(0, 1, 200, dtype=np.float32))
        assert (np.diff(chances) > 0).all()
        assert chances[0] == 0
        assert chances[-1] == 1


@pytest.mark.parametrize(
    "rows",
    [[], [(0.5, True)] * (MIN_DETECTIONS - 1), [(0.5, False)] * 200, separable(MIN_OBJECTS - 1, 100, 0)],
)
def test_too_little_is_said(rows: list[tuple[float, bool]]) -> None:
    with pytest.raises(ValueError, match="too few"):
        fit_calibration(rows)


@pytest.mark.parametrize("rows", [[], separable(40, 9, 0), separable(9, 100, 0)])
def test_a_parent_does_not_make_up_for_nothing(rows: list[tuple[float, bool]]) -> None:
    with pytest.raises(ValueError, match="too few"):
        fit_calibration(rows, parent=PARENT)


@pytest.mark.parametrize(
    ("objects", "parent"), [(20, PARENT), (40, PARENT), (MIN_OBJECTS, PARENT), (MIN_OBJECTS, None)]
)
def test_objects_that_scores_separate_from_the_rest_stay_over_a_half(objects: int, parent: Calibration | None) -> None:
    for seed in range(20):
        rows = separable(objects, 2 * objects, seed)
        calibration = fit_calibration(rows, parent=parent)
        under = calibration(np.array([score for score, hit in rows if hit], np.float32)) < 0.5
        assert under.sum() <= 0.05 * objects


def test_few_objects_change_a_parent_a_little_and_many_replace_it() -> None:
    at = np.linspace(0.05, 0.95, 19, dtype=np.float32)
    distances = []
    for count in (40, 400, 8000):
        rows = found(count + 60, 4)
        objects = sum(hit for _, hit in rows)
        shrunk = fit_calibration(rows, parent=PARENT)(at)
        distances.append(np.abs(shrunk - PARENT(at)).mean())
        # the share of the data is n / (n + 60) wherever the data alone has a calibration
        if objects >= MIN_OBJECTS:
            weight = objects / (objects + MIN_OBJECTS)
            assert_allclose(shrunk, weight * fit_calibration(rows)(at) + (1 - weight) * PARENT(at), atol=2e-4)
    assert distances == sorted(distances)


def test_the_brier_score_is_the_mean_squared_error() -> None:
    some = JudgedDetections(
        np.array([0.2, 0.9], np.float32), np.array([False, True]), np.ones(2, np.float32), np.arange(2)
    )
    assert brier_score(some) == pytest.approx((0.04 + 0.01) / 2)


def test_a_better_calibration_is_clearly_better_only_if_the_images_agree() -> None:
    wrong = Calibration(((0.0, 0.0), (1.0, 0.5)))
    many = judged(1000, 5, 1.0)
    assert is_clearly_better(many, many.calibrated(wrong))
    assert not is_clearly_better(many.calibrated(wrong), many)
    assert not is_clearly_better(many, many)
    # the same detections, but all gain comes from one image of 1000 detections
    alike = JudgedDetections(many.scores, many.hits, many.sides, np.zeros(1000, np.int64))
    assert not is_clearly_better(alike, alike.calibrated(wrong))


def test_no_calibration_is_clearly_better_by_chance_more_often_than_it_says() -> None:
    # both are equally wrong: .1 too high and .1 too low at a true chance of .5
    rng, better = np.random.default_rng(6), 0
    high, low = (Calibration(((0.0, chance), (1.0, chance))) for chance in (0.6, 0.4))
    for _ in range(400):
        hits = np.repeat(rng.random(60), 5) < 0.5
        some = JudgedDetections(
            np.full(300, 0.5, np.float32), hits, np.full(300, 40, np.float32), np.repeat(np.arange(60), 5)
        )
        better += is_clearly_better(some.calibrated(high), some.calibrated(low))
    # nominally 5 %; with three standard errors of 400 draws
    assert better / 400 < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


class TestMapsOfTheirOwn:
    @staticmethod
    def fit(small: float, close: float) -> tuple[Calibrations, dict[tuple[str, str], bool]]:
        """Calibrations of large objects that come true as scored, and of others that come true as score ** power."""
        whole = JudgedDetections.merge([judged(1500, 7, 1.0), judged(6000, 8, small, side=10.0)])
        calibrations, rows = fit_calibrations(FACE, whole, judged(700, 9, close), set(range(0, 100, 2)))
        return calibrations, {(row.views, row.size): row.is_kept for row in rows}

    def test_small_objects_have_one_where_the_same_score_means_less(self) -> None:
        calibrations, kept = self.fit(small=4.0, close=1.0)
        half = np.array([0.5], np.float32)
        assert calibrations.small[FACE](half) == pytest.approx(0.5**4, abs=0.08)
        # and those of the others are not taken down by them
        assert calibrations.whole[FACE](half) == pytest.approx(0.5, abs=0.08)
        assert kept[("whole", "under 16 px")]

    def test_enlarged_views_have_one_where_the_same_score_means_more(self) -> None:
        calibrations, kept = self.fit(small=1.0, close=0.25)
        assert calibrations.close[FACE](np.array([0.5], np.float32)) == pytest.approx(0.5**0.25, abs=0.08)
        assert calibrations.small == {}
        assert kept == {key: key == ("close", "all") for key in kept}

    def test_there_is_none_where_scores_mean_the_same(self) -> None:
        calibrations, kept = self.fit(small=1.0, close=1.0)
        assert (calibrations.small, calibrations.close) == ({}, {})
        assert not any(kept.values())
        assert [size for views, size in kept if views == "whole"] == [
            "all", "under 16 px", "16 to 32 px", "32 px and more",
        ]  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> LabelledSet:
    """Two pictures of which `FakeDetector` finds one labelled face, one ignored one and one that is nothing."""
    (tmp_path / "a.png").write_bytes(encode_png(np.zeros((240, 320, 3), np.uint8)))
    faces = Objects(np.array([[20, 20, 60, 70], [200, 50, 240, 90]], np.float32), np.array([False, True]))
    none = Objects(np.empty((0, 4), np.float32), np.zeros(0, bool))
    objects = dict.fromkeys(ObjectType, none) | {FACE: faces}
    rows = [LabelledImage(number, tmp_path / "a.png", "drawn", (FACE, PLATE), objects, (240, 320)) for number in (4, 7)]
    return LabelledSet(tuple(rows), "drawn")


def test_detections_are_judged_by_the_labels_of_their_image(images: LabelledSet) -> None:
    judged_of = judge_detections(FakeDetector(), images.images, object_types=[FACE, PLATE])
    faces, plates = judged_of[FACE], judged_of[PLATE]
    assert (faces.images.tolist(), faces.hits.tolist(), faces.sides.tolist()) == ([4, 7], [True] * 2, [40.0] * 2)
    assert_allclose(faces.scores, 0.9)
    assert (plates.hits.tolist(), plates.sides.tolist()) == ([False] * 2, [20.0] * 2)
    assert every_other(images.images) == {4}
    first, second = faces.halves({4})
    assert (first.images.tolist(), second.images.tolist()) == ([4], [7])


def test_enlarged_views_are_judged_without_the_whole_image(images: LabelledSet) -> None:
    detector = FakeDetector()
    close = judge_detections(detector, images.images[:1], object_types=[FACE], close=True)[FACE]
    # the same box is found in each of the four tiles; only that of the first tile is where the labelled face is
    assert close.hits.sum() == 1
    assert len(close) >= 4


@pytest.mark.parametrize("knots", [[[0.1, 0.2]], [[0.1, 0.2], [0.1, 0.3]], [[0.1, 0.2], [0.5, 0.1]], [[0, 0], [1, 2]]])
def test_what_is_no_calibration_is_refused(knots: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration.read(knots)


def test_they_are_written_into_their_model_and_no_other(tmp_path: Path) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text('# head\n[[model]]\nid = "a"\nfile = "x"\n\n# between\n[[model]]\nid = "b"\nfile = "y"\n')
    for small in ({"license-plate": [[0, 0], [1, 0.5]]}, {}):
        for knots in ([[0, 0], [1, 0.5]], [[0, 0], [0.25, 0.125], [1, 1]]):
            maps = Calibrations.read({"whole": {"license-plate": knots}, "small": small})
            write_calibrations(registry, "a", maps)
            first, second = tomllib.loads(registry.read_text())["model"]
            kinds = {"calibration": {"license-plate": knots}} | ({"calibration-small": small} if small else {})
            assert first == {"id": "a", "file": "x"} | kinds
            assert second == {"id": "b", "file": "y"}
    assert "# between" in registry.read_text()
    with pytest.raises(ValueError, match="'c'"):
        write_calibrations(registry, "c", Calibrations())
