"""Writing videos: which encoder and container, at what times, with which other tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from anonymizer.pipeline.errors import EncoderFailed, InvalidParameter
from anonymizer.pipeline.options.options import KeepMetadata, Options, VideoEncoder
from anonymizer.pipeline.video.io.encoders import OutputPlan, encoder_works, open_encoder, plan_output, with_bit_rate
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from anonymizer.pipeline.video.io.tracks import DecodedFrame
from anonymizer.pipeline.video.io.writer import VideoWriter
from tests.clip_compare import compare, pictures, seconds
from tests.clip_maker import make
from tests.clip_zoo import CLIPS


def planned(path: Path, options: Options | None = None) -> OutputPlan:
    with VideoReader(path, check_video(path)) as reader:
        return plan_output(reader, options or Options())


def written(source: Path, target: Path, *, first: int = 0, keep_metadata: str = "technical") -> list[str]:
    """Every frame encoded and every other packet copied; the warnings.

    Args:
        first: frame that is written; those before are left out.
    """
    info = check_video(source)
    with VideoReader(source, info) as reader:
        writer = VideoWriter(
            target, reader, plan_output(reader, Options()),
            keep_metadata=KeepMetadata(keep_metadata),
        )  # fmt: skip
        with writer:
            for track, packet in reader.packets():
                if track is None:
                    writer.copy(None, packet)
            for frame in read_again(source):
                if frame.number >= first:
                    writer.encode(frame.track, frame.picture, frame.picture.pts or 0, frame.picture.duration)
        return writer.warnings


def read_again(source: Path) -> Iterator[DecodedFrame]:
    with VideoReader(source, check_video(source)) as reader:
        yield from reader.frames()


class TestPlanning:
    @pytest.mark.parametrize(
        ("name", "encoder", "pixel_format"),
        [
            ("plain", "libx264", "yuv420p"),
            ("4:2:2-10", "libx264", "yuv422p10le"),
            ("full-range", "libx264", "yuvj420p"),
            ("hdr", "libx265", "yuv420p10le"),
            ("vp8", "libvpx", "yuv420p"),
            ("vp9", "libvpx-vp9", "yuv420p"),
            ("av1", "libsvtav1", "yuv420p"),
            ("mpeg4-avi", "mpeg4", "yuv420p"),
            ("mjpeg", "mjpeg", "yuvj422p"),
            ("mpeg2", "mpeg2video", "yuv420p"),
            ("prores", "prores_ks", "yuv422p10le"),
            ("ffv1", "ffv1", "yuv422p"),
            ("grey-mkv", "ffv1", "gray"),
            ("huffyuv", "huffyuv", "yuv422p"),
        ],
    )
    def test_codec_and_container_stay(self, tmp_path: Path, name: str, encoder: str, pixel_format: str) -> None:
        plan = planned(make(CLIPS[name], tmp_path / "clip"))
        assert plan.info.extension == CLIPS[name].extension
        assert plan.warnings == ()
        encoding = plan.tracks[0]
        assert (encoding.encoder, encoding.pixel_format, encoding.same_codec) == (encoder, pixel_format, True)

    def test_without_an_encoder_it_is_h264(self, tmp_path: Path) -> None:
        plan = planned(make(CLIPS["msmpeg4"], tmp_path / "clip"))
        assert (plan.info.format, plan.tracks[0].encoder, plan.tracks[0].same_codec) == ("mp4", "libx264", False)
        assert plan.warnings == (
            "The video (msmpeg4v3 in avi) was written as H.264 in mp4: there is no encoder for it.",
        )

    def test_another_encoder_can_be_asked_for(self, tmp_path: Path) -> None:
        path = make(CLIPS["plain"], tmp_path / "clip")
        encoding = planned(path, Options(video_encoder="libx265")).tracks[0]
        assert (encoding.encoder, encoding.same_codec) == ("libx265", False)
        absent = [encoder for encoder in VideoEncoder if encoder.endswith("_nvenc") and not encoder_works(encoder)]
        for encoder in absent:
            with pytest.raises(InvalidParameter, match=encoder):
                planned(path, Options(video_encoder=encoder))

    def test_a_fatter_source_gets_a_better_quality(self, tmp_path: Path) -> None:
        with VideoReader(path := make(CLIPS["plain"], tmp_path / "clip"), check_video(path)) as reader:
            before = float(plan_output(reader, Options()).tracks[0].options["crf"])
            reader.tracks = [replace(track, bit_rate=20 * (track.bit_rate or 0)) for track in reader.tracks]
            assert 17 <= float(plan_output(reader, Options()).tracks[0].options["crf"]) < before <= 26

    def test_a_bit_rate_takes_the_place_of_a_quality(self, tmp_path: Path) -> None:
        encoding = planned(make(CLIPS["plain"], tmp_path / "clip")).tracks[0]
        kept = with_bit_rate(encoding, bits=1_000_000, frames=50, stats=tmp_path / "stats", again=False)
        assert kept.bit_rate == 500_000
        assert "crf" not in kept.options


class TestEncoders:
    def test_one_that_is_not_there_does_not_work(self) -> None:
        assert encoder_works("libx264")
        assert not encoder_works("no-such-encoder")

    def test_one_that_cannot_be_opened_says_why(self, tmp_path: Path) -> None:
        path = make(CLIPS["odd-mp4"], tmp_path / "clip")
        with VideoReader(path, check_video(path)) as reader:
            (track,) = reader.tracks
            encoding = plan_output(reader, Options(video_encoder="libx264")).tracks[0]
            with pytest.raises(EncoderFailed, match="libx264 cannot write 853 x 479 yuv420p"):
                open_encoder(encoding, track, reader.stream(track).codec_context, header=True)


class TestTimes:
    @pytest.mark.parametrize(
        "name",
        ["variable-rate", "variable-rate-mkv", "rate-59.94", "starts-late", "starts-before-zero", "starts-far-ts",
         "two-videos", "av1", "vp9"],
    )  # fmt: skip
    def test_every_frame_is_shown_when_it_was(self, tmp_path: Path, name: str) -> None:
        source = make(CLIPS[name], tmp_path / "clip")
        target = tmp_path / f"new{source.suffix}"
        assert written(source, target) == []
        assert compare(source, target) == []

    def test_packets_are_decoded_in_order_and_not_later_than_shown(self, tmp_path: Path) -> None:
        source = make(CLIPS["variable-rate"], tmp_path / "clip")
        written(source, tmp_path / "new.mp4")
        with av.open(str(tmp_path / "new.mp4")) as file:
            times = [(packet.dts, packet.pts) for packet in file.demux(video=0) if packet.size]
        assert all(dts <= pts for dts, pts in times)
        assert [dts for dts, _ in times] == sorted({dts for dts, _ in times})
        assert [pts for _, pts in times] != sorted(pts for _, pts in times)

    def test_a_video_may_begin_later_than_its_sound(self, tmp_path: Path) -> None:
        source = make(CLIPS["plain"], tmp_path / "clip")
        written(source, tmp_path / "new.mp4", first=7)
        assert seconds(pictures(tmp_path / "new.mp4")) == seconds(pictures(source))[7:]
        with av.open(str(source)) as before, av.open(str(tmp_path / "new.mp4")) as after:
            sounds = [[packet.pts for packet in file.demux(audio=0)] for file in (before, after)]
        assert sounds[0] == sounds[1]


class TestOtherTracks:
    def test_lines_of_text_are_not_more_than_there_were(self, tmp_path: Path) -> None:
        source = make(CLIPS["tracks"], tmp_path / "clip")
        written(source, tmp_path / "new.mp4")
        lines = []
        for path in (source, tmp_path / "new.mp4"):
            with av.open(str(path)) as file:
                lines.append(
                    [(packet.pts, packet.duration, bytes(packet)) for packet in file.demux(subtitles=0) if packet.size]
                )
        assert lines[0] == lines[1]
        assert [text for _, _, text in lines[1]] == [b"\0\0", b"\0\3One", b"\0\0", b"\0\7Another"]

    def test_a_time_code_is_there_once(self, tmp_path: Path) -> None:
        source = make(CLIPS["tracks-mov"], tmp_path / "clip")
        written(source, tmp_path / "new.mov")
        with av.open(str(tmp_path / "new.mov")) as file:
            (data,) = file.streams.data
            assert data.metadata["timecode"] == file.streams.video[0].metadata["timecode"] == "01:02:03:04"

    def test_what_is_stripped_is_said(self, tmp_path: Path) -> None:
        source = make(CLIPS["telemetry"], tmp_path / "clip")
        assert written(source, tmp_path / "new.mp4") == []
        assert written(source, tmp_path / "new.mp4", keep_metadata="none") == [
            "A data track was left out with the metadata."
        ]

    def test_a_container_that_cannot_hold_a_track_leaves_it_out_and_says_so(self, tmp_path: Path) -> None:
        source = make(CLIPS["tracks-mkv"], tmp_path / "clip")
        info = check_video(source)
        with VideoReader(source, info) as reader:
            plan = plan_output(reader, Options())
            mp4 = check_video(make(CLIPS["one-frame"], tmp_path / "other"))
            writer = VideoWriter(tmp_path / "new.mp4", reader, OutputPlan(mp4, plan.tracks))
            writer.container.close()
        assert [warning.split(" was")[0] for warning in writer.warnings] == [
            "A track of type subtitle", "A track of type subtitle", "A track of type attachment"
        ]  # fmt: skip

    def test_frames_are_as_long_as_they_were_where_only_the_container_says_it(self, tmp_path: Path) -> None:
        source = make(CLIPS["vp9"], tmp_path / "clip")
        written(source, tmp_path / "new.webm")
        with av.open(str(tmp_path / "new.webm")) as file:
            assert {packet.duration for packet in file.demux(video=0) if packet.size} == {40}
            assert file.streams.video[0].average_rate == Fraction(25)


class TestSplicing:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [("plain", True), ("4:2:2", True), ("closed-groups-mkv", False), ("hevc", False), ("h264-ts", False),
         ("mpeg4", False)],
    )  # fmt: skip
    def test_it_is_said_whether_stretches_can_be_copied(self, tmp_path: Path, *, name: str, expected: bool) -> None:
        source = make(CLIPS[name], tmp_path / "clip")
        with VideoReader(source, check_video(source)) as reader:
            for splice in (True, False):
                writer = VideoWriter(
                    tmp_path / f"new{source.suffix}", reader, plan_output(reader, Options()), splice=splice
                )
                assert writer.can_splice(reader.tracks[0]) == (expected and splice)
                writer.container.close()
