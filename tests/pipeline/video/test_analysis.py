from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, Options
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
