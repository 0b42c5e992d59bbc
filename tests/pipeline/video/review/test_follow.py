"""An object that was drawn in one frame is followed forth and back, and not beyond a cut."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anonymizer.pipeline.media_kinds import sniff
from anonymizer.pipeline.review.edits import parse_review
from anonymizer.pipeline.video.review.follow import follow_objects

pytestmark = pytest.mark.slow

#: frames, and the first one after the cut
FRAMES, CUT = 50, 40
SIDE = 48


def place(number: int) -> tuple[int, int]:
    return 20 + 3 * number, 60 + number


def textured(seed: int, size_wh: tuple[int, int], low: int, high: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(low, high, (size_wh[1] // 6, size_wh[0] // 6), np.uint8)
    return np.asarray(cv2.resize(noise, size_wh, interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A textured square that moves over a textured ground; after a cut, another ground alone."""
    path = tmp_path_factory.mktemp("follow") / "clip.mp4"
    grounds, square = (
        [textured(1, (320, 240), 30, 90), textured(2, (320, 240), 150, 250)],
        textured(3, (SIDE, SIDE), 0, 250),
    )
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(FRAMES):
            picture = grounds[number >= CUT].copy()
            if number < CUT:
                x, y = place(number)
                picture[y : y + SIDE, x : x + SIDE] = square
            frame = av.VideoFrame.from_ndarray(picture, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def followed(clip: Path, at: int, direction: str) -> dict[int, np.ndarray]:
    x, y = place(at)
    box = [x, y, x + SIDE, y + SIDE]
    added = {"type": "face", "keyframes": [{"time": at / 25, "box": box}], "follow": direction}
    (wanted,) = parse_review({"add": [added]}).edits.add
    return follow_objects(clip, sniff(clip.read_bytes()[:4096]), {0: wanted})[0]


@pytest.mark.parametrize(
    ("direction", "first", "last"), [("both", 0, CUT - 1), ("forward", 20, CUT - 1), ("backward", 0, 20)]
)
def test_it_is_followed_to_the_ends_of_its_scene(clip: Path, direction: str, first: int, last: int) -> None:
    boxes = followed(clip, 20, direction)
    assert sorted(boxes) == list(range(first, last + 1))
    for number, (x1, y1, x2, y2) in boxes.items():
        x, y = place(number)
        assert x1 <= x + 3, number
        assert y1 <= y + 3, number
        assert x2 >= x + SIDE - 3, number
        assert y2 >= y + SIDE - 3, number
        assert x2 - x1 < 1.6 * SIDE, number
