from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from anonymizer.pipeline.detection import batching
from anonymizer.pipeline.detection.models.base import BatchedDetector, FixedScales, OwnSizeAndCloseUp
from anonymizer.pipeline.detection.models.boxes import suppress_overlaps
from anonymizer.pipeline.detection.models.letterbox import Letterbox, Resize
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import DetectorFailed, OutOfMemory


class Recorder(BatchedDetector):
    """Detects nothing and records its batches."""

    object_types: tuple[ObjectType, ...] = (ObjectType.FACE,)
    min_score, least_size, tile_side = 0.1, 8.0, 640

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__("recorder", "cpu")
        self.batches: list[tuple[tuple[int, ...], int, int]] = []
        self.error = error

    def scales(self, long_side: int) -> tuple[int, ...]:
        return (long_side, 100)

    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        self.batches.append((images[0].shape[:2], len(images), side))
        if self.error:
            raise self.error
        return [Detections.empty() for _ in images]


class Fixed(FixedScales, Recorder):
    scales = FixedScales.scales


class CloseUp(OwnSizeAndCloseUp, Recorder):
    largest_side, close_up_side, video_side = 1000, 200, 500
    scales = OwnSizeAndCloseUp.scales


def blank(height: int, width: int) -> Image:
    return np.zeros((height, width, 3), np.uint8)


def test_images_of_one_shape_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batching.BATCH_PIXELS, "cpu", 64 * 64 * 6)
    detector = Recorder()

    found = detector.detect([blank(10, 20), blank(20, 10), blank(10, 20)], 64)

    assert [len(of_image) for of_image in found] == [0, 0, 0]
    assert detector.batches == [((10, 20), 2, 64), ((20, 10), 1, 64)]


def test_a_heavy_network_gets_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batching.BATCH_PIXELS, "cpu", 64 * 64 * 6)
    detector = Recorder()
    detector.detect([blank(10, 20)] * 6, 64)
    detector.memory_weight = 3
    detector.detect([blank(10, 20)] * 6, 64)
    assert [count for _, count, _ in detector.batches] == [6, 2, 2, 2]


def test_it_warms_up_with_one_image_at_the_scale_of_videos() -> None:
    detectors = Recorder(), Fixed(), CloseUp()
    for detector in detectors:
        detector.warm_up()
    assert [detector.batches for detector in detectors] == [
        [((320, 320), 1, 320)],
        [((320, 416), 1, 416)],
        [((320, 320), 1, 320)],
    ]


@pytest.mark.parametrize(
    ("error", "translated", "sentence"),
    [
        (torch.cuda.OutOfMemoryError(), OutOfMemory, "recorder has too little memory"),
        (RuntimeError("shapes"), DetectorFailed, r"recorder failed \(RuntimeError\)"),
        (OutOfMemory("full"), OutOfMemory, "full"),
        (DetectorFailed("another network"), DetectorFailed, "another network"),
    ],
)
def test_errors_are_translated(error: Exception, translated: type[Exception], sentence: str) -> None:
    with pytest.raises(translated, match=sentence):
        Recorder(error).detect([blank(8, 8)], 32)


def test_what_is_no_error_of_the_model_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        Recorder(KeyboardInterrupt()).detect([blank(8, 8)], 32)


@pytest.mark.parametrize(
    ("long_side", "scales", "video_scale"),
    [(1, (2,), 2), (200, (256,), 256), (640, (256, 416, 640), 416), (801, (256, 416, 640, 1280), 640)],
)
def test_fixed_scales(long_side: int, scales: tuple[int, ...], video_scale: int) -> None:
    assert (Fixed().scales(long_side), Fixed().video_scale(long_side)) == (scales, video_scale)


@pytest.mark.parametrize(
    ("long_side", "scales", "video_scale"),
    [(1, (1,), 1), (280, (280,), 280), (281, (281, 200), 281), (5000, (1000, 200), 500)],
)
def test_own_size_and_close_up(long_side: int, scales: tuple[int, ...], video_scale: int) -> None:
    assert (CloseUp().scales(long_side), CloseUp().video_scale(long_side)) == (scales, video_scale)


@pytest.mark.parametrize(("height", "width", "side"), [(100, 200, 64), (3, 2000, 320), (50, 20, 100), (1, 1, 2)])
def test_boxes_come_back_from_where_the_image_was_laid(height: int, width: int, side: int) -> None:
    letterbox = Letterbox.of(blank(height, width), side, pad=7)

    canvas = letterbox(np.full((height, width, 3), 255, np.uint8))
    scaled_width, scaled_height = letterbox.scaled_wh
    whole = torch.tensor([[0.0, 0.0, scaled_width, scaled_height], [-5.0, -5.0, 9e9, 9e9]])

    assert max(letterbox.scaled_wh) == side
    assert not any(length % 32 for length in canvas.shape[:2])
    assert (canvas[:scaled_height, :scaled_width] == 255).all()
    assert (canvas[scaled_height:] == 7).all()
    assert (canvas[:, scaled_width:] == 7).all()
    assert letterbox.restore_boxes(whole).tolist() == [[0, 0, width, height]] * 2


def test_boxes_in_the_padding_and_worse_copies_are_dropped() -> None:
    resize = Resize.to_long_side(blank(100, 200), 200)
    boxes = torch.tensor([[10.0, 10, 50, 50], [12, 10, 50, 50], [12, 10, 50, 50], [10, 101, 50, 120]])
    types = torch.tensor([0, 0, 1, 0])

    found = suppress_overlaps("one", boxes, torch.tensor([0.6, 0.9, 0.5, 0.8]), types, resize=resize, nms_iou=0.5)

    assert found.boxes.tolist() == [[12, 10, 50, 50]] * 2
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.types.tolist() == [0, 1]
    assert set(found.models) == {"one"}
