"""Looks side by side: what is found does not depend on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from anonymizer import Anonymizer
from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detection import looks
from anonymizer.pipeline.detection.looks import Look, LookedAt, run_looks
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Auto, Format, Whole
from tests.fakes import FakeDetector


@pytest.fixture(autouse=True)
def _two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@dataclass
class Telling(FakeDetector):
    """Finds a face as large as the image, with a score that tells the scale, and keeps what it was called with."""

    side_by_side: bool = True
    called: list[tuple[int, int, str]] = field(default_factory=list)

    def detect(self, images: list[Image], side: int) -> list[Detections]:
        self.called.append((len(images), side, threading.current_thread().name))
        if self.error:
            raise self.error
        boxes = [[0, 0, image.shape[1], image.shape[0]] for image in images]
        return [Detections(np.array([box], np.float32), [side / 1000], [0], [self.id]) for box in boxes]


def look(detector: FakeDetector, side: int, *widths: int) -> Look:
    images = [np.zeros((100, width, 3), np.uint8) for width in widths]
    return Look(detector, [LookedAt(image.shape[:2], image.copy) for image in images], side)


def told(results: list[list[Detections]]) -> list[list[tuple[int, int]]]:
    return [[(round(1000 * float(each.scores[0])), int(each.boxes[0, 2])) for each in row] for row in results]


def test_images_run_one_by_one_and_come_back_in_order() -> None:
    detector, other = Telling("a"), Telling("b")
    given = [look(detector, 300, 100, 200), look(other, 500, 150), look(detector, 400), look(other, 200, 9)]
    results = run_looks(given)
    assert told(results) == [[(300, 100), (300, 200)], [(500, 150)], [], [(200, 9)]]
    assert sorted(each[:2] for each in detector.called + other.called) == [(1, 200), (1, 300), (1, 300), (1, 500)]
    assert all(name.startswith("look") for *_, name in detector.called + other.called)


def test_detectors_that_do_not_say_so_run_as_ever() -> None:
    detector, plain = Telling(), Telling("plain", side_by_side=False)
    results = run_looks([look(plain, 300, 100, 200), look(detector, 500, 150), look(detector, 500, 9)])
    assert told(results) == [[(300, 100), (300, 200)], [(500, 150)], [(500, 9)]]
    assert plain.called == [(2, 300, threading.current_thread().name)]


@pytest.mark.parametrize("sides", [(300,), (800, 300)])
def test_looks_that_would_leave_a_core_idle_use_all_cores(sides: tuple[int, ...]) -> None:
    detector = Telling()
    run_looks([look(detector, side, 200) for side in sides])
    assert detector.called == [(1, side, threading.current_thread().name) for side in sides]


def test_one_core_runs_one_after_the_other() -> None:
    torch.set_num_threads(1)
    detector = Telling()
    run_looks([look(detector, 300, 100, 100), look(detector, 300, 100)])
    assert [each[0] for each in detector.called] == [2, 1]


def test_the_first_error_counts() -> None:
    small, large = Telling(error=DetectorFailed("small")), Telling(error=DetectorFailed("large"))
    with pytest.raises(DetectorFailed, match="small"):
        run_looks([look(small, 300, 200), look(large, 310, 200)])


@pytest.mark.parametrize("format_", [Whole(), Auto()])
def test_real_detectors_find_the_same_bit_for_bit(data: Path, format_: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Anonymizer(store=ModelStore(device="cpu", models="embedded", runtime="openvino")).engine
    images = [image.pixels() for image in LabelledSet.read(data / "val.json").of(("coco", "wider", "dashcam"), 2)]
    together = [engine.detect([image], OBJECT_TYPES, format_)[0] for image in images]
    ran: list[int] = []
    monkeypatch.setattr(looks, "run_side_by_side", lambda works, _sizes: ran.append(len(works)))
    monkeypatch.setattr(looks, "BUSY", np.inf)
    alone = [engine.detect([image], OBJECT_TYPES, format_)[0] for image in images]
    assert not ran
    for one, other in zip(together, alone, strict=True):
        for name in ("boxes", "scores", "types", "models"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert len(one)
