"""The first bytes of a video that has not arrived completely: what they tell, and that a good one is never refused."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from anonymizer.pipeline.errors import BrokenMedia, TooLarge, UnsupportedMedia
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.video.io.reader import check_video_beginning
from anonymizer.pipeline.video.io.truncation import find_truncation
from tests.videos import moving_square

FORMATS = ("mp4", "mov", "mkv", "webm", "avi", "ts")


def clip(folder: Path, kind: str) -> bytes:
    codec = "libvpx" if kind == "webm" else "libx264"
    return moving_square(folder / f"a.{kind}", seconds=1.0, codec=codec, audio=None).read_bytes()


def with_index_first(folder: Path) -> bytes:
    """An MP4 with its index at the beginning."""
    clip(folder, "mp4")
    options = {"movflags": "faststart"}
    with av.open(str(folder / "a.mp4")) as one, av.open(str(folder / "b.mp4"), "w", options=options) as two:
        stream = two.add_stream_from_template(one.streams.video[0])
        for packet in one.demux(one.streams.video[0]):
            if packet.size:
                packet.stream = stream
                two.mux(packet)
    return (folder / "b.mp4").read_bytes()


def check(folder: Path, content: bytes, limits: Limits = Limits()) -> str:  # noqa: B008
    (folder / "part").write_bytes(content)
    return check_video_beginning(folder / "part", limits=limits).format


@pytest.mark.parametrize("kind", FORMATS)
def test_the_beginning_of_a_good_video_is_taken(kind: str, tmp_path: Path) -> None:
    content = clip(tmp_path, kind)
    for share in (0.5, 0.8, 0.99, 1):
        assert check(tmp_path, content[: int(share * len(content))]) == kind


def test_an_index_at_the_beginning_is_looked_at(tmp_path: Path) -> None:
    content = with_index_first(tmp_path)
    half = content[: len(content) // 2]
    assert check(tmp_path, half) == "mp4"
    with pytest.raises(UnsupportedMedia):
        check(tmp_path, half.replace(b"avc1", b"zzzz"))
    with pytest.raises(TooLarge):
        check(tmp_path, half, Limits(megapixels=0.01))
    with pytest.raises(TooLarge):
        check(tmp_path, half, Limits(seconds=0.5))
    with pytest.raises(BrokenMedia, match="is no box"):
        check(tmp_path, content[:32] + b"\0\0\0\3" + content[36:])
    with pytest.raises(BrokenMedia, match="no index"):
        check(tmp_path, clip(tmp_path, "mp4")[:32] + bytes(5000))
    with pytest.raises(UnsupportedMedia, match="is a picture"):
        check(tmp_path, b"\xff\xd8\xff\xe0" + bytes(5000))


@pytest.mark.parametrize("kind", FORMATS)
def test_no_beginning_of_a_whole_file_looks_cut_off(kind: str, tmp_path: Path) -> None:
    content = clip(tmp_path, kind)
    least = 64
    for length in {*range(least, 400), *range(least, len(content), 97), *range(len(content) - 40, len(content) + 1)}:
        assert find_truncation(io.BytesIO(content[:length]), kind, len(content)) is None, length
    # a size that does not fit is seen from the beginning, where the format tells it
    if kind in ("mp4", "mov", "avi"):
        assert find_truncation(io.BytesIO(content[: len(content) // 2]), kind, len(content) // 2)
