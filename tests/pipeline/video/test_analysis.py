from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, Options
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import NotFullyAnalysed
from tests.clip_maker import Clip, make
from tests.clip_zoo import h264
from tests.fakes import FakeStore, MagentaDetector


class Recording(MagentaDetector):
    """Keeps the widths of what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: set[int] = set()

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.widths |= {image.shape[1] for image in images}
        return super().detect(images, side)


@pytest.mark.parametrize(("size_wh", "widths"), [((480, 200), {320}), ((800, 200), {275, 800})])
def test_frames_beyond_three_to_one_are_looked_at_in_pieces(
    size_wh: tuple[int, int], widths: set[int], tmp_path: Path
) -> None:
    detector = Recording()
    clip = make(Clip(".mp4", (h264(size_wh=size_wh, frames=6),)), tmp_path / "wide.mp4")
    (tmp_path / "results").mkdir()

    result = Anonymizer(store=FakeStore(detector)).video(
        str(clip),
        tmp_path / "results",
        Options(license_plate=True, save_mask="none"),  # type: ignore[arg-type]
    )

    assert detector.widths == widths
    assert result.frames == 6


@pytest.mark.parametrize(
    ("form", "size_wh", "analysed"),
    [
        # 320 pixels of 960, 3 times smaller: more than 2.5 times for the first look
        ("auto", (960, 540), "the first look analysed it at 320"),
        ("auto", (640, 360), None),
        ("thorough", (960, 540), None),
        ('{"number": [1, 1], "overlap": [0, 0]}', (480, 270), "fake analysed it at 320"),
        ("pano:512", (480, 270), None),
        ("whole", (960, 540), "fake analyses each in 320"),
    ],
)
def test_frames_that_are_analysed_much_smaller_are_warned_of_and_strict_refuses_them(
    form: str, size_wh: tuple[int, int], analysed: str | None, tmp_path: Path
) -> None:
    clip = make(Clip(".mp4", (h264(size_wh=size_wh, frames=3),)), tmp_path / "clip.mp4")
    # a detector of persons or vehicles has a larger scale in the first look
    detector = MagentaDetector(object_types=(ObjectType.LICENSE_PLATE,))
    anonymizer = Anonymizer(store=FakeStore(detector))
    options = Options(license_plate=True, save_mask="none", format=form)  # type: ignore[arg-type]

    result = anonymizer.video(str(clip), tmp_path, options)

    assert result.not_fully_analysed == result.warnings
    if analysed is None:
        assert result.warnings == ()
        anonymizer.video(str(clip), tmp_path, replace(options, strict=True))
    else:
        (warning,) = result.warnings
        assert f"{size_wh[0]} pixels on" in warning
        assert analysed in warning
        with pytest.raises(NotFullyAnalysed):
            anonymizer.video(str(clip), tmp_path, replace(options, strict=True))


def test_without_tracking_the_rule_is_that_of_pictures(tmp_path: Path) -> None:
    clip = make(Clip(".mp4", (h264(size_wh=(480, 270), frames=3),)), tmp_path / "clip.mp4")
    options = Options(license_plate=True, save_mask="none", format="whole")  # type: ignore[arg-type]
    anonymizer = Anonymizer(store=FakeStore(MagentaDetector()))
    assert anonymizer.video(str(clip), tmp_path, options).warnings == ()
    (warning,) = anonymizer.video(str(clip), tmp_path, replace(options, no_object_tracking=True)).warnings
    assert "The frame has 480 pixels on its long side, and fake analysed it at 320" in warning
