"""An object that was drawn in one frame is followed forth and back, and not beyond a cut."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anonymizer.pipeline.media_kinds import sniff
from anonymizer.pipeline.review.edits import AddedObject, parse_review
from anonymizer.pipeline.video.review.follow import FollowedPath, follow_objects
from anonymizer.pipeline.video.review.follow_report import follow_report

pytestmark = pytest.mark.slow

#: frames, and the first one after the cut
FRAMES, CUT = 50, 40
SIDE = 48


def place(number: int) -> tuple[int, int]:
    return 20 + 3 * number, 60 + number


def textured(seed: int, size_wh: tuple[int, int], low: int, high: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(low, high, (size_wh[1] // 6, size_wh[0] // 6), np.uint8)
    return np.asarray(cv2.resize(noise, size_wh, interpolation=cv2.INTER_CUBIC), np.uint8)


def written(path: Path, pictures: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def with_square(ground: np.ndarray, square: np.ndarray, number: int) -> np.ndarray:
    picture, (x, y) = ground.copy(), place(number)
    picture[y : y + SIDE, x : x + SIDE] = square
    return picture


def vanishing_square(count: int, *, until: int) -> list[tuple[np.ndarray, list[int]]]:
    """Frames of a square that is gone from a frame on, before the same ground; with its box."""
    ground, square = textured(1, (320, 240), 30, 90), textured(3, (SIDE, SIDE), 0, 250)
    places = [(*place(number), place(number)[0] + SIDE, place(number)[1] + SIDE) for number in range(count)]
    return [
        (with_square(ground, square, number) if number < until else ground, list(places[number]))
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A textured square that moves over a textured ground; after a cut, another ground alone."""
    ground, other = textured(1, (320, 240), 30, 90), textured(2, (320, 240), 150, 250)
    square = textured(3, (SIDE, SIDE), 0, 250)
    pictures = [with_square(ground, square, number) if number < CUT else other for number in range(FRAMES)]
    return written(tmp_path_factory.mktemp("follow") / "clip.mp4", pictures)


def follow(clip: Path, at: int, direction: str = "both", **values: float) -> tuple[AddedObject, FollowedPath]:
    x, y = place(at)
    box = [x, y, x + SIDE, y + SIDE]
    added = {"type": "face", "keyframes": [{"time": at / 25, "box": box}], "follow": direction, **values}
    (wanted,) = parse_review({"add": [added]}).edits.add
    return wanted, follow_objects(clip, sniff(clip.read_bytes()[:4096]), {0: wanted})[0]


@pytest.mark.parametrize(
    ("direction", "first", "last", "ends"),
    [
        ("both", 0, CUT - 1, ("video", "cut")),
        ("forward", 20, CUT - 1, ("key_frame", "cut")),
        ("backward", 0, 20, ("video", "key_frame")),
    ],
)
def test_it_is_followed_to_the_ends_of_its_scene(
    clip: Path, direction: str, first: int, last: int, ends: tuple[str, str]
) -> None:
    added, path = follow(clip, 20, direction)
    assert sorted(path.boxes) == list(range(first, last + 1))
    for number, (x1, y1, x2, y2) in path.boxes.items():
        x, y = place(number)
        assert x1 <= x + 3, number
        assert y1 <= y + 3, number
        assert x2 >= x + SIDE - 3, number
        assert y2 >= y + SIDE - 3, number
        assert x2 - x1 < 1.6 * SIDE, number
    report = follow_report(added, path, 7)
    assert (report["from_frame"], report["to_frame"], report["begins"], report["ends"]) == (first, last, *ends)
    assert (report["track_id"], report["even_frames"]) == (7, 0)
    assert ("after 1.56 s there is a cut" in str(report["warning"])) == (ends[1] == "cut")


def test_the_times_that_were_asked_for_end_before_the_cut_and_nothing_is_missing(clip: Path) -> None:
    report = follow_report(*follow(clip, 20, to=1.0), 7)
    assert (report["from_frame"], report["to_frame"], report["warning"]) == (0, 25, None)


def test_an_object_that_is_lost_says_until_when_it_was_followed(tmp_path: Path) -> None:
    # no cut, and nothing to follow from frame 25 on
    pictures = [picture for picture, _ in vanishing_square(FRAMES, until=25)]
    added, path = follow(written(tmp_path / "lost.mp4", pictures), 10)
    report = follow_report(added, path, 7)
    assert (report["begins"], report["ends"], report["from_frame"]) == ("video", "lost", 0)
    assert report["to_frame"] in (24, 25)
    # half a second more is covered, and no more
    assert max(path.boxes) - report["to_frame"] in (12, 13)
    warning = str(report["warning"])
    assert f"was followed from 0.00 s to {report['to']:.2f} s (frames 0 to {report['to_frame']})" in warning
    assert f"after {report['to']:.2f} s it was lost. In the rest of the video it is not covered." in warning


def test_an_object_on_an_even_surface_is_not_taken_for_one_that_stays(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    pictures = []
    for number in range(30):
        # an even square, with a little noise, that moves over an even wall
        wall = with_square(np.full((240, 320), 120, np.uint8), np.full((SIDE, SIDE), 122, np.uint8), number)
        pictures.append(np.clip(wall + rng.normal(0, 1, wall.shape), 0, 255).astype(np.uint8))
    added, path = follow(written(tmp_path / "even.mp4", pictures), 10)
    report = follow_report(added, path, 7)
    assert report["even_frames"] > 0
    assert "the surface there is so even that a movement cannot be seen" in str(report["warning"])


def test_an_object_that_leaves_the_picture_says_so(tmp_path: Path) -> None:
    ground, square = textured(1, (1000, 240), 30, 90), textured(3, (SIDE, SIDE), 0, 250)
    pictures = []
    for number in range(FRAMES):
        wide = ground.copy()
        x, y = 20 + 9 * number, 60 + number
        wide[y : y + SIDE, x : x + SIDE] = square
        pictures.append(wide[:, :320])
    clip = written(tmp_path / "left.mp4", pictures)
    added = {"type": "face", "keyframes": [{"time": 0.2, "box": [65, 65, 65 + SIDE, 65 + SIDE]}], "follow": "both"}
    (wanted,) = parse_review({"add": [added]}).edits.add
    report = follow_report(wanted, follow_objects(clip, sniff(clip.read_bytes()[:4096]), {0: wanted})[0], 7)
    assert report["ends"] in ("left", "lost")
    assert 25 <= report["to_frame"] <= 36
    assert report["warning"]
