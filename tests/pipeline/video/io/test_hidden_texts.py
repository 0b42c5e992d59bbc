"""Texts and pictures beside the video: in chapters, headers of tracks, tags and names of files."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from anonymizer.pipeline.options.options import KeepMetadata
from anonymizer.pipeline.video.io.codecs.text_headers import kept_header
from anonymizer.pipeline.video.io.metadata import kept_of_file, kept_of_track
from tests.clip_maker import Clip, Sound, Video, _packet, _pictures, _tone, make
from tests.clip_zoo import h264
from tests.pipeline.video.io.test_writer import written

_JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(200))
_BLOCK = (3).to_bytes(4, "big") + (10).to_bytes(4, "big") + b"image/jpeg" + bytes(20) + _JPEG
_COVER = base64.b64encode(_BLOCK).decode()
_SCRIPT = b"""[Script Info]
; Ada's script
Title: Adas street
Original Script: Ada Example
Update Details: Ada changed it
ScriptType: v4.00+
PlayResX: 192
PlayResY: 144

[Aegisub Project Garbage]
Video File: ../Ada.mp4

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,12

[Graphics]
filename: Ada.bmp
(picture)

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
_DRAWN = b"""[Script Info]
ScriptType: v4.00+
PlayResX: 192
PlayResY: 144

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,12

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
_KEEPS = list(KeepMetadata)


def xiph(first: bytes, comments: bytes, setup: bytes) -> bytes:
    sizes = b"".join(b"\xff" * (len(part) // 255) + bytes([len(part) % 255]) for part in (first, comments))
    return b"\2" + sizes + first + comments + setup


def comment_header(vendor: str, texts: Mapping[str, str]) -> bytes:
    parts = [f"{key}={value}".encode() for key, value in texts.items()]
    out = b"\3vorbis" + len(vendor).to_bytes(4, "little") + vendor.encode() + len(parts).to_bytes(4, "little")
    return out + b"".join(len(part).to_bytes(4, "little") + part for part in parts) + b"\1"


def with_texts(folder: Path, comments: Mapping[str, str]) -> Path:
    """A clip with Vorbis sound, whose header has comments, and subtitles, whose header names people."""
    bare, path = folder / "bare.mkv", folder / "clip.mkv"
    options = {"strict": "experimental"}
    with av.open(str(bare), "w", options=options) as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 192, 144, "yuv420p"
        sound = out.add_stream("vorbis", rate=48_000, layout="stereo", options=options)
        script = out.add_mux_stream("ass", time_base=Fraction(1, 1000))
        packets = [*_pictures(video, Video(frames=20)), *_tone(sound, Sound(), 0.8)]
        packets += [_packet(script, b"%d,0,Default,,0,0,0,,Hello" % n, 300 * n, 200) for n in range(2)]
        out.start_encoding()
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            out.mux(packet)
    with av.open(str(bare)) as file, av.open(str(path), "w") as out:
        streams: dict[int, Any] = {stream.index: out.add_stream_from_template(stream) for stream in file.streams}
        header = streams[1].codec_context.extradata
        streams[1].codec_context.extradata = xiph(
            header[3:33], comment_header("Adas tool", comments), header[header.index(b"\5vorbis") :]
        )
        streams[2].codec_context.extradata = _SCRIPT
        for packet in file.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    return path


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
def test_none_keeps_no_chapters_and_no_time_code(tmp_path: Path, extension: str) -> None:
    video = h264(frames=30, metadata={"timecode": "01:02:03:04", "title": "Ada"})
    source = make(Clip(extension, (video,), (Sound(language="deu"),), chapters=True), tmp_path / "clip")
    assert b"Part 1" in source.read_bytes()
    for keep in ("technical", "all", "none"):
        target = tmp_path / f"new{extension}"
        assert written(source, target, keep_metadata=keep) == []
        with av.open(str(target)) as file:
            assert bool(file.chapters()) is (keep != "none")
            assert any("timecode" in map(str.lower, stream.metadata) for stream in file.streams) is (keep != "none")
            assert {stream.type for stream in file.streams} >= {"video", "audio"}
        content = target.read_bytes()
        assert (b"Part 1" in content) is (keep != "none")
        assert keep != "none" or not [word for word in (b"Ada", b"tmcd", b"01:02:03") if word in content]


def test_a_font_has_no_name_of_its_own_without_metadata(tmp_path: Path) -> None:
    source = make(Clip(".mkv", (h264(frames=10),), font=True), tmp_path / "clip")
    for keep, name in (("technical", "plain.ttf"), ("none", "font.ttf")):
        assert written(source, tmp_path / "new.mkv", keep_metadata=keep) == []
        with av.open(str(tmp_path / "new.mkv")) as file:
            font = next(stream for stream in file.streams if stream.type == "attachment")
            assert font.metadata["filename"] == name
            assert font.metadata["mimetype"] == "application/x-truetype-font"


class TestHeaders:
    @pytest.mark.parametrize("keep", ["technical", "all", "none"])
    def test_texts_in_headers_go_with_the_others(self, tmp_path: Path, keep: str) -> None:
        texts = {"ARTIST": "Ada Example", "METADATA_BLOCK_PICTURE": _COVER, "ENCODER": "a program"}
        source = with_texts(tmp_path, texts)
        target = tmp_path / "new.mkv"
        assert written(source, target, keep_metadata=keep) == []
        before, after = source.read_bytes(), target.read_bytes()
        secrets = [b"Ada Example", b"Adas tool", b"Ada.mp4", b"Adas street", b"a program"]
        kept = {"technical": secrets[1:2] + secrets[3:], "all": secrets, "none": []}[keep]
        assert [word for word in secrets if word in before] == secrets
        assert [word for word in secrets if word in after] == kept
        assert _COVER.encode() in before
        assert not [word for word in (_COVER.encode(), b"Ada.bmp") if word in after]
        with av.open(str(source)) as old, av.open(str(target)) as new:
            assert [stream.type for stream in new.streams] == ["video", "audio", "subtitle"]
            sounds = [[frame.to_ndarray() for frame in file.decode(audio=0)] for file in (old, new)]
        assert len(sounds[0]) > 10
        assert all(np.array_equal(*pair) for pair in zip(*sounds, strict=True))
        with av.open(str(source)) as old, av.open(str(target)) as new:
            lines = [[bytes(p) for p in file.demux(subtitles=0) if p.size] for file in (old, new)]
            # the picture in the header of the subtitles is gone, and what says how they look is not
            assert b"Style: Default,Arial,12" in (new.streams.subtitles[0].codec_context.extradata or b"")
        assert lines[0] == lines[1]

    def test_what_says_how_subtitles_are_drawn_stays(self) -> None:
        for codec in ("ass", "ssa"):
            assert kept_header(codec, _SCRIPT, KeepMetadata.NONE) == _DRAWN
            assert kept_header(codec, _DRAWN, KeepMetadata.NONE) == _DRAWN
            assert kept_header(codec, _DRAWN, KeepMetadata.ALL) == _DRAWN
        assert kept_header("ass", _SCRIPT, KeepMetadata.TECHNICAL) == _DRAWN.replace(
            b"[Script Info]\n", b"[Script Info]\nTitle: Adas street\n"
        )

    def test_fonts_in_subtitles_stay_as_they_are(self) -> None:
        line = b"[" + b"A" * 78 + b"]\n"
        fonts = b"[Fonts]\nfontname: plain_0.ttf\n;!:AAA\n" + line + b"!:BB\n"
        for keep in _KEEPS:
            assert fonts in kept_header("ass", _SCRIPT + b"\n" + fonts, keep)

    def test_other_subtitles_keep_no_texts_about_themselves(self) -> None:
        dvd = b"# Ada's disc\nsize: 720x576\npalette: 000000, ffffff\nalt: Ada\n"
        assert kept_header("dvd_subtitle", dvd, KeepMetadata.TECHNICAL) == b"size: 720x576\npalette: 000000, ffffff\n"
        web = b"WEBVTT - Ada\n\nNOTE by Ada\n\nSTYLE\n::cue { color: red }\n"
        assert kept_header("webvtt", web, KeepMetadata.NONE) == b"WEBVTT\n\nSTYLE\n::cue { color: red }\n\n"
        for codec, header in (("dvd_subtitle", dvd), ("webvtt", web)):
            assert kept_header(codec, header, KeepMetadata.ALL) == header

    @pytest.mark.parametrize(
        "header", [b"\2", b"\1\x1e\x20", b"\2\x1e\x20" + bytes(90), xiph(bytes(30), b"\3vorbis\xff", b"x")]
    )
    def test_a_header_of_vorbis_that_cannot_be_read_is_an_error(self, header: bytes) -> None:
        with pytest.raises(ValueError, match=r"three headers|Vorbis|cut off"):
            kept_header("vorbis", header, KeepMetadata.TECHNICAL)

    def test_a_track_with_such_a_header_is_left_out_by_name(self, tmp_path: Path) -> None:
        source = with_texts(tmp_path, {"ARTIST": "Ada Example"})
        content = source.read_bytes()
        assert content.count(b"ARTIST=Ada") == 1
        at = content.index(b"ARTIST=Ada") - 4
        (tmp_path / "bad.mkv").write_bytes(content[:at] + b"\xff\xff\xff\x7f" + content[at + 4 :])
        warnings = written(tmp_path / "bad.mkv", tmp_path / "new.mkv")
        assert warnings == ["A track of type audio was left out: mkv cannot hold vorbis as it is."]
        assert b"Ada Example" not in (tmp_path / "new.mkv").read_bytes()


class TestPictures:
    @pytest.mark.parametrize("key", ["METADATA_BLOCK_PICTURE", "COVERART", "com.apple.quicktime.artwork", "my-text"])
    def test_a_text_that_holds_a_picture_is_never_kept(self, key: str) -> None:
        for text in (_COVER, base64.b64encode(_JPEG).decode(), "data:image/png;base64," + "A" * 80):
            for keep in _KEEPS:
                assert kept_of_file({key: text}, keep) == {}
                assert kept_of_track({key: text}, keep) == {}

    def test_other_long_texts_stay(self) -> None:
        texts = {"comment": "A" * 100, "synopsis": "All about pictures and covers: " * 4, "coverage": "wide"}
        assert kept_of_file(texts, KeepMetadata.ALL) == texts

    def test_a_file_is_written_without_them(self, tmp_path: Path) -> None:
        video = h264(frames=10, metadata={"METADATA_BLOCK_PICTURE": _COVER, "artist": "Ada"})
        source = make(Clip(".mkv", (video,), metadata={"COVERART": _COVER, "artist": "Ada"}), tmp_path / "clip")
        assert source.read_bytes().count(_COVER.encode()) == 2
        written(source, tmp_path / "new.mkv", keep_metadata="all")
        content = (tmp_path / "new.mkv").read_bytes()
        assert _COVER.encode() not in content
        assert content.count(b"Ada") == 2


def test_an_alpha_plane_that_is_gone_is_not_claimed(tmp_path: Path) -> None:
    video = Video("libvpx-vp9", frames=5, metadata={"alpha_mode": "1"}, options={"deadline": "realtime"})
    source = make(Clip(".webm", (video,)), tmp_path / "clip")
    with av.open(str(source)) as file:
        assert file.streams.video[0].metadata["ALPHA_MODE"] == "1"
    for keep in ("technical", "all", "none"):
        assert written(source, tmp_path / "new.webm", keep_metadata=keep) == []
        with av.open(str(tmp_path / "new.webm")) as file:
            assert "alpha_mode" not in {key.lower() for key in file.streams.video[0].metadata}
