"""Parameter sets of copied and encoded stretches of H.264 in one header."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from anonymizer.pipeline.video.io.splice import (
    LARGEST_ID,
    ParameterSets,
    is_idr_packet,
    join_headers,
    to_length_prefixed,
)
from tests.clip_maker import Clip, make, scene
from tests.clip_zoo import CLIPS, h264


def encoder_of(sps_id: int, pixel_format: str = "yuv420p") -> VideoCodecContext:
    encoder = cast("VideoCodecContext", VideoCodecContext.create("libx264", "w"))
    encoder.width, encoder.height, encoder.pix_fmt = 192, 144, pixel_format
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.flags |= av.codec.context.Flags.global_header
    encoder.options = {"preset": "ultrafast", "x264-params": f"sps-id={sps_id}:bframes=0"}
    encoder.open()
    return encoder


def header_of(clip: Clip, path: Path) -> bytes:
    with av.open(str(make(clip, path))) as file:
        return file.streams.video[0].codec_context.extradata or b""


class TestParameterSets:
    @pytest.mark.parametrize("name", ["plain", "4:2:2", "4:4:4", "4:2:2-10"])
    def test_a_header_that_is_read_is_written_the_same(self, tmp_path: Path, name: str) -> None:
        header = header_of(CLIPS[name], tmp_path / "clip")
        sets = ParameterSets.from_header(header)
        assert sets is not None
        assert (len(sets.sps), len(sets.pps), sets.ids) == (1, 1, {0})
        assert sets.to_header() == header

    @pytest.mark.parametrize("number", [0, 1, 7, 31])
    def test_an_encoder_tells_its_ids(self, number: int) -> None:
        sets = ParameterSets.from_encoder(encoder_of(number).extradata)
        assert sets is not None
        assert sets.ids == {number}

    @pytest.mark.parametrize("header", [None, b"", b"\1", b"\0\0\0\1\x67\x42\0\x0a", b"\1\x64\0\x0a\xfc\xe1\0\4abcd\0"])
    def test_what_is_no_header_or_has_short_lengths_is_none(self, header: bytes | None) -> None:
        assert ParameterSets.from_header(header) is None

    def test_a_header_that_is_cut_off_is_none(self, tmp_path: Path) -> None:
        header = header_of(CLIPS["plain"], tmp_path / "clip")
        assert ParameterSets.from_header(header[:20]) is None

    def test_units_alone_are_no_encoder_header(self) -> None:
        assert ParameterSets.from_encoder(None) is None
        assert ParameterSets.from_encoder(b"\0\0\0\1\x67\x64\0\x0a") is None


class TestJoining:
    def test_both_are_in_one_header(self, tmp_path: Path) -> None:
        source = ParameterSets.from_header(header_of(CLIPS["plain"], tmp_path / "clip"))
        own = ParameterSets.from_encoder(encoder_of(1).extradata)
        assert source is not None
        assert own is not None
        both = ParameterSets.from_header(join_headers(source, own))
        assert both is not None
        assert (both.sps, both.pps, both.ids) == (source.sps + own.sps, source.pps + own.pps, {0, 1})
        assert both.profile[0] == max(source.profile[0], own.profile[0])
        assert both.profile[2] == max(source.profile[2], own.profile[2])

    def test_the_same_id_twice_cannot_be(self, tmp_path: Path) -> None:
        source = ParameterSets.from_header(header_of(CLIPS["plain"], tmp_path / "clip"))
        own = ParameterSets.from_encoder(encoder_of(0).extradata)
        assert source is not None
        assert own is not None
        assert join_headers(source, own) is None
        many = ParameterSets(source.profile, source.sps * LARGEST_ID, source.pps)
        other = ParameterSets.from_encoder(encoder_of(1).extradata)
        assert other is not None
        assert join_headers(many, other) is None

    def test_a_high_profile_gets_its_tail(self, tmp_path: Path) -> None:
        plain = Clip(".mp4", (h264(options={"preset": "ultrafast", "profile": "baseline"}),))
        source = ParameterSets.from_header(header_of(plain, tmp_path / "clip"))
        assert source is not None
        assert (source.profile[0], source.tail) == (66, b"")
        high = ParameterSets(b"\x64\0\x0a", (b"\x67\x64\0\x0a\x40",), (b"\x68\x40",))
        both = ParameterSets.from_header(join_headers(source, high))
        assert both is not None
        assert (both.profile[0], both.tail) == (100, b"\xfd\xf8\xf8\0")


class TestUnits:
    def test_start_codes_become_lengths(self) -> None:
        data = b"\0\0\0\1\x65abc\0\0\1\x41\0\0\3d"
        assert to_length_prefixed(data) == b"\0\0\0\4\x65abc\0\0\0\5\x41\0\0\3d"

    def test_an_encoders_packet_is_one_that_a_header_with_lengths_decodes(self) -> None:
        encoder = encoder_of(3)
        packets = []
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(scene(number, (192, 144)), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        sets = ParameterSets.from_encoder(encoder.extradata)
        assert sets is not None
        plain, to_header = (cast("VideoCodecContext", VideoCodecContext.create("h264", "r")) for _ in range(2))
        plain.extradata, to_header.extradata = encoder.extradata, sets.to_header()
        decoded = []
        for decoder, change in ((plain, bytes), (to_header, to_length_prefixed)):
            frames = [frame for packet in packets for frame in decoder.decode(av.Packet(change(bytes(packet))))]
            decoded.append([frame.to_ndarray() for frame in [*frames, *decoder.decode(None)]])
        assert len(decoded[0]) == 3
        assert all(np.array_equal(*pair) for pair in zip(*decoded, strict=True))

    def test_only_an_idr_picture_closes_what_was_before(self, tmp_path: Path) -> None:
        for name, closed in (("plain", [0, 12, 24]), ("open-groups", [0])):
            with av.open(str(make(CLIPS[name], tmp_path / name))) as file:
                packets = [packet for packet in file.demux(video=0) if packet.size]
            assert [at for at, packet in enumerate(packets) if is_idr_packet(bytes(packet))] == closed
            # what a container calls a key frame may be no more than a place to begin
            assert sum(packet.is_keyframe for packet in packets) >= 3
        assert not is_idr_packet(b"")
        assert not is_idr_packet(b"\0\0\0\1")
