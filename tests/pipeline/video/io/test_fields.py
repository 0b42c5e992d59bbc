"""Interlaced videos: the result shows the same field of each frame first."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from anonymizer import Anonymizer, Options
from anonymizer.pipeline.options.options import KeepMetadata
from tests.clip_maker import scene
from tests.fakes import FakeStore, MagentaDetector
from tests.pipeline.video.io.test_writer import written


def interlaced(
    path: Path,
    order: str,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    frames: int = 6,
    box: range = range(99),
) -> Path:
    """A video that shows the top field ("tff") or the bottom field ("bff") of each frame first."""
    options = {"preset": "ultrafast", "crf": "20", "bf": "0", "x264-params": f"{order}=1"} if codec == "libx264" else {}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"g": "12", **options})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 192, 144, pixel_format
        context = stream.codec_context
        context.bit_rate = 4_000_000
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(scene(number, (192, 144), box=number in box), "rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            # PyAV has no attribute for it
            out.mux(stream.encode(filtered(frame, "setfield", order)))
        out.mux(stream.encode(None))
    return path


def filtered(frame: VideoFrame, name: str, options: str = "") -> VideoFrame:
    """The first frame that a filter of FFmpeg makes of a frame."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    graph.link_nodes(source, graph.add(name, options), graph.add("buffersink")).configure()
    graph.push(frame)
    found = graph.pull()
    assert isinstance(found, VideoFrame)
    return found


def shown_first(path: Path) -> list[str]:
    """Which field of each frame is shown first, as FFmpeg's filter takes frames apart."""
    found = []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            assert frame.interlaced_frame
            rows = _luma(frame)
            first = _luma(filtered(frame, "separatefields"))
            fields = {"top": rows[0::2], "bottom": rows[1::2]}
            found += [name for name, field in fields.items() if np.array_equal(field, first)]
    return found


def _luma(frame: VideoFrame) -> NDArray[np.uint8]:
    plane = frame.planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width * (2 if "10" in frame.format.name else 1)]


@pytest.mark.parametrize(("order", "field"), [("tff", "top"), ("bff", "bottom")])
class TestOrder:
    @pytest.mark.parametrize("extension", [".mp4", ".mkv", ".ts"])
    def test_h264_keeps_it(self, tmp_path: Path, order: str, field: str, extension: str) -> None:
        source = interlaced(tmp_path / f"clip{extension}", order)
        target = tmp_path / f"new{extension}"
        assert written(source, target) == []
        for path in (source, target):
            assert shown_first(path) == [field] * 6
            with av.open(str(path)) as file:
                # 2: top field first, 3: bottom field first
                assert file.streams.video[0].codec_context.field_order == {"top": 2, "bottom": 3}[field]

    @pytest.mark.parametrize(
        ("codec", "pixel_format", "extension"),
        [
            ("mpeg2video", "yuv420p", ".ts"),
            ("mpeg4", "yuv420p", ".mp4"),
            ("mpeg4", "yuv420p", ".avi"),
            ("prores_ks", "yuv422p10le", ".mov"),
            ("ffv1", "yuv420p", ".mkv"),
        ],
    )
    def test_other_codecs_keep_it(
        self, tmp_path: Path, order: str, field: str, codec: str, pixel_format: str, extension: str
    ) -> None:
        source = interlaced(tmp_path / f"clip{extension}", order, codec, pixel_format)
        assert shown_first(source) == [field] * 6
        assert written(source, tmp_path / f"new{extension}") == []
        assert shown_first(tmp_path / f"new{extension}") == [field] * 6

    @pytest.mark.slow
    @pytest.mark.parametrize("keep", ["technical", "none"])
    def test_copied_and_encoded_groups_have_the_same(self, tmp_path: Path, order: str, field: str, keep: str) -> None:
        source = interlaced(tmp_path / "clip.mp4", order, frames=72, box=range(60, 72))
        (tmp_path / "results").mkdir()
        result = Anonymizer(store=FakeStore(MagentaDetector()), noise_key=b"key").video(
            source, tmp_path / "results", Options(keep_metadata=KeepMetadata(keep))
        )
        assert result.anonymised is not None
        # without metadata, copied pictures would lose their timing, which tells the order
        assert result.frames_copied == (48 if keep == "technical" else 0)
        assert shown_first(result.anonymised) == [field] * 72
