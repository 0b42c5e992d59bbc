"""What of H.264 packets is copied: what shows the picture. What a camera writes beside it is left out."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import av
import pytest
from av.bitstream import BitStreamFilterContext
from av.packet import Packet

from anonymizer import Anonymizer, Options
from anonymizer.pipeline.results import VideoResult
from anonymizer.pipeline.video.io.codecs.copied_units import ForeignParameterSet, copied_packet
from anonymizer.pipeline.video.io.codecs.h264_parameters import has_redundant_pictures, hides_pixels
from anonymizer.pipeline.video.io.codecs.nal_units import units
from anonymizer.pipeline.video.io.splice import ParameterSets, join_headers
from tests.box_maker import box, changed, listed
from tests.clip_compare import compare, unredacted
from tests.clip_maker import Clip, make, remuxed
from tests.clip_zoo import CLIPS, h264
from tests.fakes import FakeStore, MagentaDetector
from tests.pipeline.video.io.test_splice import encoder_of, header_of

_SECRET = b"+48.3069+014.2858/ Ada"
_CAPTION = b"\xb5\0\x31GA94\3\xc1\xff\xfc\x94\x20\xff"
_ID = bytes(range(16))
_DESCRIPTION = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
#: packets of a clip without boxes
_EMPTY = Clip(".mp4", (h264(box_in=range(0)),))


def message(kind: int, content: bytes) -> bytes:
    """A unit with one message (SEI); its content has no two zeros in a row."""
    return bytes([6, kind, len(content)]) + content + b"\x80"


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def with_units(clip: Clip, path: Path, *more: bytes, after: bool = False) -> Path:
    """The clip with these units in each packet, before the slices or after them."""
    source = make(clip, path.with_name(f"{path.stem}-bare"))
    path = path.with_suffix(clip.extension)
    with av.open(str(source)) as file, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(video=0):
            if packet.size:
                whole = bytes(packet) + prefixed(*more) if after else prefixed(*more) + bytes(packet)
                new: Packet[Any] = Packet(whole)
                new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
                new.time_base, new.is_keyframe, new.stream = packet.time_base, packet.is_keyframe, stream
                out.mux(new)
    return path


def cropped(clip: Clip, path: Path, **sides: int) -> Path:
    """The clip with a cropping window in its parameter sets."""
    source = make(clip, path.with_name(f"{path.stem}-whole"))
    path = path.with_suffix(clip.extension)
    words = ":".join(f"crop_{side}={pixels}" for side, pixels in sides.items())
    with av.open(str(source)) as file, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0], opaque=True)
        change = BitStreamFilterContext(f"h264_metadata={words}", file.streams.video[0], stream)
        stream.width -= sides.get("left", 0) + sides.get("right", 0)
        stream.height -= sides.get("top", 0) + sides.get("bottom", 0)
        for packet in file.demux(video=0):
            for new in change.filter(packet if packet.size else None):
                new.stream = stream
                out.mux(new)
    return path


def anonymised(source: Path, **options: Any) -> VideoResult:
    folder = source.parent / "results"
    folder.mkdir(exist_ok=True)
    return Anonymizer(store=FakeStore(MagentaDetector()), noise_key=b"key").video(source, folder, Options(**options))


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


class TestPackets:
    @pytest.mark.parametrize("kind", [0, 2, 3, 4, 12, 13, 14, 15, 16, 19, 20, 21, 24, 25, 30, 31])
    def test_only_what_shows_the_picture_is_copied(self, kind: int) -> None:
        picture = prefixed(b"\x65abc", b"\x41def")
        other = prefixed(bytes([0x60 | kind]) + _SECRET)
        assert copied_packet(other + picture + other, (), with_times=True) == picture

    @pytest.mark.parametrize("kind", [2, 3, 4, 5, 19, 128, 130, 200])
    def test_messages_of_users_and_of_unknown_kinds_are_not(self, kind: int) -> None:
        picture = prefixed(b"\x65abc")
        assert copied_packet(prefixed(message(kind, _ID + _SECRET)) + picture, (), with_times=True) == picture

    def test_messages_in_one_unit_are_told_apart(self) -> None:
        timing, recovery, secret = b"\1\2\x12\x30", b"\6\1\xc4", bytes([5, 38]) + _ID + _SECRET
        parts = prefixed(b"\6" + timing + secret + recovery + b"\x80", b"\x65abc")
        kept = copied_packet(parts, (), with_times=True)
        assert list(units(kept, 4)) == [b"\6" + timing + recovery + b"\x80", b"\x65abc"]
        # a picture's timing may hold the time of day
        kept = copied_packet(parts, (), with_times=False)
        assert list(units(kept, 4)) == [b"\6" + recovery + b"\x80", b"\x65abc"]

    def test_what_lies_behind_the_last_message_is_not_copied(self) -> None:
        parts = prefixed(b"\6\6\1\xc4\x80" + _SECRET, b"\x65abc")
        assert list(units(copied_packet(parts, (), with_times=True), 4)) == [b"\6\6\1\xc4\x80", b"\x65abc"]

    def test_bytes_that_look_like_a_start_code_stay_escaped(self) -> None:
        content = b"\0\0\3\0\0\3\1\7"
        parts = prefixed(b"\6" + bytes([0, 6]) + content + bytes([5, 18]) + _ID + b"xx\x80", b"\x65abc")
        kept = list(units(copied_packet(parts, (), with_times=True), 4))
        assert kept == [b"\6" + bytes([0, 6]) + content + b"\x80", b"\x65abc"]

    def test_closed_captions_stay_and_other_registered_data_does_not(self) -> None:
        caption = prefixed(message(4, _CAPTION), b"\x65abc")
        assert copied_packet(caption, (), with_times=False) == caption
        for other in (_CAPTION + _SECRET, b"\xb5\0\x31DTG1" + _SECRET, b"\xb5\0\x3b" + _SECRET):
            parts = prefixed(message(4, other), b"\x65abc")
            assert copied_packet(parts, (), with_times=True) == prefixed(b"\x65abc")

    def test_the_name_of_the_encoder_stays_with_the_metadata(self, tmp_path: Path) -> None:
        first = packets_of(make(_EMPTY, tmp_path / "clip"))[0]
        assert b"x264 - core" in first
        assert copied_packet(first, (), with_times=True) == first
        assert b"x264" not in copied_packet(first, (), with_times=False)
        named = first.replace(b"options: cabac", b"Ada had: cabac")
        assert b"Ada" in named
        assert b"Ada" not in copied_packet(named, (), with_times=True)

    def test_parameter_sets_are_those_of_the_header(self) -> None:
        parts = prefixed(b"\x67sps", b"\x68pps", b"\x65abc")
        assert copied_packet(parts, {b"\x67sps", b"\x68pps"}, with_times=True) == prefixed(b"\x65abc")
        with pytest.raises(ForeignParameterSet):
            copied_packet(parts, {b"\x67sps"}, with_times=True)


class TestHeaders:
    @pytest.mark.parametrize("name", ["plain", "4:2:2", "4:4:4", "4:2:2-10", "interlaced", "grey", "odd-4:4:4"])
    def test_what_fills_up_the_last_macroblocks_hides_nothing(self, tmp_path: Path, name: str) -> None:
        sets = ParameterSets.from_header(header_of(CLIPS[name], tmp_path / "clip"))
        assert sets is not None
        assert not any(map(hides_pixels, sets.sps))
        assert not any(map(has_redundant_pictures, sets.pps))

    @pytest.mark.parametrize("interlaced", [False, True])
    def test_full_hd_hides_nothing(self, tmp_path: Path, *, interlaced: bool) -> None:
        clip = Clip(".mp4", (h264(size_wh=(1920, 1080), frames=1, interlaced=interlaced),))
        sets = ParameterSets.from_header(header_of(clip, tmp_path / "clip"))
        assert sets is not None
        assert not hides_pixels(sets.sps[0])

    @pytest.mark.parametrize(
        ("sides", "hidden"),
        [
            ({"left": 2}, True),
            ({"top": 2}, True),
            ({"right": 16}, True),
            ({"bottom": 16}, True),
            ({"right": 14}, False),
        ],
    )
    @pytest.mark.parametrize("name", ["plain", "4:2:2", "4:4:4"])
    def test_a_window_that_hides_pixels_is_seen(
        self, tmp_path: Path, name: str, sides: dict[str, int], *, hidden: bool
    ) -> None:
        with av.open(str(cropped(CLIPS[name], tmp_path / "clip", **sides))) as file:
            sets = ParameterSets.from_header(file.streams.video[0].codec_context.extradata)
        assert sets is not None
        assert hides_pixels(sets.sps[0]) is hidden

    def test_a_parameter_set_that_ends_early_counts_as_hiding(self) -> None:
        assert hides_pixels(b"\x67\x64\0\x28")
        assert has_redundant_pictures(b"\x68")

    def test_auxiliary_pictures_and_other_units_are_not_in_the_header(self, tmp_path: Path) -> None:
        header = header_of(CLIPS["plain"], tmp_path / "clip")
        own = ParameterSets.from_encoder(encoder_of(1).extradata)
        # an extension of a sequence parameter set, as for an alpha plane
        extended = ParameterSets.from_header(header[:-1] + b"\1\0\x18\x6d" + _SECRET[:23])
        assert extended is not None
        assert own is not None
        joined = join_headers(extended, own)
        assert joined is not None
        assert joined.endswith(header[-4:])
        assert _SECRET[:20] not in joined
        impure = ParameterSets(extended.profile, (*extended.sps, b"\6" + _SECRET), extended.pps)
        assert join_headers(impure, own) is None


@pytest.mark.slow
class TestVideos:
    @pytest.mark.parametrize("keep", ["technical", "all", "none"])
    def test_what_a_camera_writes_beside_its_pictures_is_not_copied(self, tmp_path: Path, keep: str) -> None:
        more = (message(5, _ID + _SECRET), b"\x6c" + _SECRET, b"\x78" + _SECRET, b"\x7f" + _SECRET)
        source = with_units(_EMPTY, tmp_path / "clip", *more)
        result = anonymised(source, keep_metadata=keep)
        assert result.anonymised is not None
        assert result.frames_copied == 30
        assert _SECRET in source.read_bytes()
        assert _SECRET not in result.anonymised.read_bytes()
        assert compare(source, result.anonymised) == []
        # all times and slices are those of the clip without it
        assert [bytes(p)[-40:] for p in packets_of(make(_EMPTY, tmp_path / "again"))] == [
            packet[-40:] for packet in packets_of(result.anonymised)
        ]

    @pytest.mark.parametrize("sides", [{"right": 64}, {"bottom": 48}, {"top": 32}, {"left": 64}, {"left": 6, "top": 2}])
    def test_pixels_outside_the_window_are_not_copied(self, tmp_path: Path, sides: dict[str, int]) -> None:
        source = cropped(_EMPTY, tmp_path / "clip", **sides)
        result = anonymised(source)
        assert result.anonymised is not None
        assert (result.frames, result.frames_copied) == (30, 0)
        assert not set(packets_of(source)) & set(packets_of(result.anonymised))
        with av.open(str(result.anonymised)) as file:
            sets = ParameterSets.from_header(file.streams.video[0].codec_context.extradata)
            size = (file.streams.video[0].width, file.streams.video[0].height)
        assert sets is not None
        assert not any(map(hides_pixels, sets.sps))
        across, down = (sides.get(one, 0) + sides.get(two, 0) for one, two in (("left", "right"), ("top", "bottom")))
        assert size == (192 - across, 144 - down)
        assert compare(source, result.anonymised) == []

    @pytest.mark.parametrize("extension", [".mkv", ".ts"])
    @pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
    def test_a_window_may_begin_at_any_column(self, tmp_path: Path, extension: str, pixel_format: str) -> None:
        source = cropped(Clip(extension, (h264(pixel_format=pixel_format),)), tmp_path / "clip", left=6)
        result = anonymised(source)
        assert result.anonymised is not None
        assert result.review_counts["frames_redacted"] == 30
        assert compare(source, result.anonymised) == []

    def test_a_packet_with_parameter_sets_of_its_own_is_encoded(self, tmp_path: Path) -> None:
        other = ParameterSets.from_encoder(encoder_of(7).extradata)
        assert other is not None
        source = with_units(_EMPTY, tmp_path / "clip", *other.sps, *other.pps)
        result = anonymised(source)
        assert (result.frames, result.frames_copied) == (30, 0)
        assert not json.loads(result.metadata.read_text())[0].get("objects")

    @pytest.mark.parametrize("extension", [".mp4", ".mkv"])
    def test_a_window_of_the_container_hides_nothing_from_the_detectors(self, tmp_path: Path, extension: str) -> None:
        source = make(Clip(".mp4", (h264(),)), tmp_path / "clip")
        # the window is at the right, and the box at the left
        window = box(b"clap", struct.pack(">8i", 64, 1, 144, 1, 64, 1, 0, 1))
        source.write_bytes(changed(source.read_bytes(), lambda content: _with_box(content, window), *_DESCRIPTION))
        if extension == ".mkv":
            source = remuxed(source, tmp_path / "clip.mkv", first=0)
            # PixelCropLeft
            assert b"\x54\xcc" in source.read_bytes()
        result = anonymised(source)
        assert result.anonymised is not None
        assert result.review_counts["frames_redacted"] == 30
        assert compare(source, result.anonymised) == []
        frames = json.loads(result.metadata.read_text())
        assert unredacted(source, result.anonymised, h264(), frames) == []
        assert all(detection["bbox"][2] < 128 for frame in frames for detection in frame["detections"])


def _with_box(content: bytes, more: bytes) -> bytes:
    """The description of samples with one box more in its entry."""
    ((kind, inner),) = listed(content[8:])
    return content[:8] + box(kind, inner + more)
