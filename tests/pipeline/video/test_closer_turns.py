from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Detections
from anonymizer.pipeline.detection.second_look import DetailRegion, RegionShare
from anonymizer.pipeline.detections import ObjectType
from tests.fakes import MagentaDetector
from tests.pipeline.video.one_scale import MAIN, SCALES, SIDE, SIZE_WH, count_bare, write_clip

FACE, PERSON = ObjectType.FACE, ObjectType.PERSON


@dataclass
class HeadsOnCanvases(MagentaDetector):
    """Finds persons in whole frames, and the head of one only where it is as large as in a second look.

    Attributes:
        persons: how many more persons there are in each frame, all without a head.
        pixels: of each canvas.
        looks: by canvas, whether the head was in it.
    """

    kind: ObjectType = FACE
    persons: int = 0
    pixels: list[int] = field(default_factory=list)
    looks: list[bool] = field(default_factory=list)

    def scales(self, long_side: int) -> tuple[int, ...]:
        return SCALES

    def video_scale(self, long_side: int) -> int:
        return MAIN

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        return [
            self._persons(image, found) if image.shape[1::-1] == SIZE_WH else self._heads(image, found)
            for image, found in zip(images, super().detect(images, side), strict=True)
        ]

    def _persons(self, image: NDArray[np.uint8], heads: Detections) -> Detections:
        assert len(heads) == 1
        x1, y1, x2, y2 = heads.boxes[0]
        boxes = [[x1 - SIDE / 2, y1 - 4, x2 + SIDE / 2, y2 + 5 * SIDE]]
        boxes += [
            [10 + 95 * (n % 10), 10 + 130 * (n // 10), 70 + 95 * (n % 10), 190 + 130 * (n // 10)]
            for n in range(self.persons)
        ]
        return Detections(boxes, [0.9] * len(boxes), [PERSON.number] * len(boxes), ["fake"] * len(boxes))

    def _heads(self, canvas: NDArray[np.uint8], heads: Detections) -> Detections:
        self.pixels.append(canvas.shape[0] * canvas.shape[1])
        sides = (heads.boxes[:, 2:] - heads.boxes[:, :2]).max(axis=1, initial=0)
        self.looks.append(bool((sides > 1.5 * SIDE).any()))
        return heads if self.looks[-1] else Detections.empty()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, range(50), Fraction(1, 25), rate=Fraction(25))


def test_heads_that_only_a_closer_look_shows_are_covered_in_every_frame(clip: Path) -> None:
    detector = HeadsOnCanvases()
    assert count_bare(clip, [number / 25 for number in range(50)], detector, face=True) == 0
    # once in half a second
    assert len(detector.looks) <= 5


def test_in_a_crowd_regions_take_turns_and_a_turn_takes_no_longer_than_the_whole_frame(clip: Path) -> None:
    detector = HeadsOnCanvases(persons=20)
    count_bare(clip, [number / 25 for number in range(50)], detector, face=True, name="crowd")
    assert any(detector.looks)
    assert not all(detector.looks)
    assert max(detector.pixels) <= SIZE_WH[0] * SIZE_WH[1]


def test_each_region_has_its_turn_and_turns_are_bounded() -> None:
    chance = np.random.default_rng(1)
    regions = [
        DetailRegion(int(x), int(y), int(x) + 50, int(y) + 60, float(zoom), frozenset({FACE}))
        for x, y, zoom in zip(*chance.uniform([[0], [0], [0.5]], [[1800], [1000], [2]], (3, 60)), strict=True)
    ]
    area = {region: 3000 * region.zoom**2 for region in regions}
    parts = [RegionShare(40_000, number).choose(regions) for number in range(20)]
    count = next(number for number in range(2, 20) if parts[number] == parts[0])
    assert sorted(chain.from_iterable(parts[:count]), key=regions.index) == regions
    assert all(sum(area[region] for region in part) <= 40_000 + 12_000 for part in parts)
    assert RegionShare(1e9, 7).choose(regions) == RegionShare(1e9, 8).choose(regions)
    assert RegionShare(40_000, 3).choose([]) == []
