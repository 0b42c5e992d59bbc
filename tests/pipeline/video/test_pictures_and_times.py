"""`Anonymizer.video`: times of AVI, tags, pixel aspect, colours, and frames that are not whole."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from anonymizer import Anonymizer, Options
from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.results import VideoResult
from anonymizer.pipeline.video.io.codecs.fingerprints import fingerprint
from tests.clip_compare import pictures
from tests.clip_maker import Clip, Sound, Video, make
from tests.clip_zoo import h264
from tests.fakes import FakeStore, MagentaDetector

pytestmark = pytest.mark.slow

#: MPEG-4 part 2, a visual object: as FFmpeg writes it, and with a signal type that says that the range is full
_NO_SIGNAL, _FULL_RANGE = b"\x13", b"\x1d\x9f"


@pytest.fixture
def anonymizer() -> Anonymizer:
    return Anonymizer(store=FakeStore(MagentaDetector()), noise_key=b"key")


def anonymised(anonymizer: Anonymizer, source: Path, **options: Any) -> Path:
    folder = source.parent / f"result-{source.stem}"
    folder.mkdir()
    result: VideoResult = anonymizer.video(source, folder, Options(**options))
    assert result.anonymised is not None
    return result.anonymised


def rewritten(
    source: Path, path: Path, *, aspect: Fraction | None = None, tag: str = "", full_range: bool = False
) -> Path:
    """The same packets in a new file, with other words about the track."""
    with av.open(str(source)) as file, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        context = stream.codec_context
        if aspect:
            context.sample_aspect_ratio = aspect
        if tag:
            context.codec_tag = tag
        if full_range:
            header = context.extradata
            assert header is not None
            at = header.index(b"\0\0\1\xb5") + 5
            assert header[at : at + 1] == _NO_SIGNAL
            context.extradata = header[:at] + _FULL_RANGE + header[at + 1 :]
        for packet in file.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return path


def decode_times(path: Path) -> list[int]:
    """In AVI, the number of a packet is all that there is to know of its time."""
    with av.open(str(path)) as file:
        return [int(packet.dts or 0) for packet in file.demux(video=0) if packet.size]


def described(path: Path) -> av.video.stream.VideoStream:
    with av.open(str(path)) as file:
        return file.streams.video[0]


class TestAvi:
    @pytest.mark.parametrize(
        "video",
        [
            h264(frames=20, options={"preset": "veryfast", "bf": "3"}),
            h264(frames=20, options={"preset": "veryfast", "bf": "3", "x264-params": "b-pyramid=normal:open-gop=1"}),
            Video("mpeg4", frames=20, bit_rate=800_000, options={"bf": "2"}),
            h264(frames=20, options={"preset": "veryfast", "bf": "0"}),
        ],
        ids=["h264", "h264-pyramid", "mpeg4", "h264-without"],
    )
    def test_each_frame_is_shown_at_its_number(self, anonymizer: Anonymizer, tmp_path: Path, video: Video) -> None:
        source = make(Clip(".avi", (video,), (Sound("libmp3lame"),)), tmp_path / "clip")
        result = anonymised(anonymizer, source)
        assert len(decode_times(result)) == 20
        assert decode_times(result) == decode_times(source)
        # frame for frame the same: the ground outside of the boxes drifts
        for was, now in zip(pictures(source), pictures(result), strict=True):
            rows = [frame.to_ndarray(format="gray")[:30].astype(float) for frame in (was, now)]
            assert np.abs(rows[0] - rows[1]).mean() < 3

    def test_a_frame_that_was_dropped_leaves_its_gap(self, anonymizer: Anonymizer, tmp_path: Path) -> None:
        times = [*range(10), *range(13, 23)]
        video = h264(frames=20, times=times, options={"preset": "veryfast", "bf": "0"})
        source = make(Clip(".avi", (video,), (Sound("libmp3lame"),)), tmp_path / "clip")
        stored = decode_times(source)
        assert max(np.diff(stored[5:])) == 4
        assert decode_times(anonymised(anonymizer, source)) == stored


class TestTags:
    @pytest.mark.parametrize("extension", [".mp4", ".mov"])
    def test_a_tag_of_hevc_stays(self, anonymizer: Anonymizer, tmp_path: Path, extension: str) -> None:
        options = {"preset": "ultrafast", "x265-params": "log-level=error"}
        source = make(Clip(".mp4", (Video("libx265", frames=8, options=options),)), tmp_path / "clip")
        source = rewritten(source, tmp_path / f"tagged{extension}", tag="hvc1")
        assert described(source).codec_tag == described(anonymised(anonymizer, source)).codec_tag == "hvc1"

    def test_hevc_of_another_codec_gets_the_tag_that_all_players_open(
        self, anonymizer: Anonymizer, tmp_path: Path
    ) -> None:
        source = make(Clip(".mp4", (h264(frames=8),)), tmp_path / "clip")
        assert described(anonymised(anonymizer, source, video_encoder="libx265")).codec_tag == "hvc1"


class TestPictures:
    @pytest.mark.parametrize("own", [None, Fraction(16, 11)])
    @pytest.mark.parametrize("extension", [".mp4", ".mov"])
    def test_the_pixel_aspect_of_the_container_stays(
        self, anonymizer: Anonymizer, tmp_path: Path, extension: str, own: Fraction | None
    ) -> None:
        source = make(Clip(".mp4", (h264(frames=8, pixel_aspect=own),)), tmp_path / "clip")
        source = rewritten(source, tmp_path / f"wide{extension}", aspect=Fraction(4, 3))
        for path in (source, anonymised(anonymizer, source)):
            assert described(path).sample_aspect_ratio == Fraction(4, 3)

    @pytest.mark.parametrize("extension", [".3gp", ".mp4", ".mkv"])
    def test_the_full_range_of_mpeg4_stays(self, anonymizer: Anonymizer, tmp_path: Path, extension: str) -> None:
        video = Video("mpeg4", frames=8, size_wh=(176, 144), bit_rate=800_000)
        source = make(Clip(extension, (video,)), tmp_path / "clip")
        assert pictures(source)[0].color_range != 2
        source = rewritten(source, tmp_path / f"full{extension}", full_range=True)
        for path in (source, anonymised(anonymizer, source)):
            assert {picture.color_range for picture in pictures(path)} == {2}

    def test_the_full_range_of_h264_in_3gp_stays(self, anonymizer: Anonymizer, tmp_path: Path) -> None:
        source = make(Clip(".3gp", (h264(frames=8, pixel_format="yuvj420p", colours=(2, 2, 2, 2)),)), tmp_path / "clip")
        assert {picture.color_range for picture in pictures(anonymised(anonymizer, source))} == {2}

    def test_rgb_h264_stays_rgb(self, anonymizer: Anonymizer, tmp_path: Path) -> None:
        source = make(
            Clip(".mp4", (h264(codec="libx264rgb", pixel_format="rgb24", frames=8, options={}),)), tmp_path / "clip"
        )
        result = anonymised(anonymizer, source)
        for was, now in zip(pictures(source), pictures(result), strict=True):
            assert (was.format.name, now.format.name) == ("gbrp", "gbrp")
            outside = [picture.to_ndarray(format="rgb24")[:30].astype(float) for picture in (was, now)]
            assert np.abs(outside[0] - outside[1]).mean() < 4

    def test_rgb_that_becomes_yuv_says_how_it_was_converted(self, anonymizer: Anonymizer, tmp_path: Path) -> None:
        source = make(Clip(".mov", (Video("qtrle", "rgb24", frames=8),)), tmp_path / "clip")
        picture = pictures(anonymised(anonymizer, source))[0]
        assert (picture.colorspace, picture.color_range) == (6, 1)

    def test_opaque_prores_4444_stays_prores(self, anonymizer: Anonymizer, tmp_path: Path) -> None:
        video = Video("prores_ks", "yuv444p10le", frames=4, options={"profile": "4444"})
        result = anonymised(anonymizer, make(Clip(".mov", (video,)), tmp_path / "clip"))
        assert (described(result).codec_context.name, described(result).codec_tag) == ("prores", "ap4h")


class TestOtherPixelsEachTime:
    """Frames that differ between the two readings were not analysed as they are written."""

    @pytest.fixture
    def differs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []

        def of_reading(picture: av.VideoFrame) -> int:
            seen.append(picture.pts or 0)
            return fingerprint(picture) ^ (picture.pts == 5 * 512)

        monkeypatch.setattr("anonymizer.pipeline.video.frame_images.fingerprint", of_reading)

    @pytest.mark.usefixtures("differs")
    def test_they_are_refused_or_blackened(self, anonymizer: Anonymizer, tmp_path: Path) -> None:
        source = make(Clip(".mp4", (h264(frames=10),)), tmp_path / "clip")
        assert pictures(source)[5].pts == 5 * 512
        with pytest.raises(BrokenMedia, match=r"Frame 5 of the video \(at 0.20 s\) cannot be read whole"):
            anonymised(anonymizer, source)
        (tmp_path / "black").mkdir()
        result = anonymizer.video(source, tmp_path / "black", Options(damaged_frames="blacken"))
        assert result.anonymised is not None
        dark = [picture.to_ndarray(format="gray").max() < 24 for picture in pictures(result.anonymised)]
        assert dark == [number == 5 for number in range(10)]
        assert result.review_counts["frames_blackened"] == 1
